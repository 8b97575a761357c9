"""Files written whole or not at all, and read with a limit; knows nothing of what they are for.

What is written has a temporary name until it is on the disk. What is read may come from a stranger: its size, depth and
kind are checked first. Nothing is written through a symbolic link.
"""

import errno
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from ohlol.utils.errors import InputError, short

FORMAT = 2
"""Version of the run directory and of its checksums; a reader refuses any other."""
JSON_LIMIT = 1 << 28
"""Bytes of the largest JSON file read: a vocabulary of a few million symbols fits."""
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Opens no symbolic link, where the system has it."""


def write_bytes(path: Path, data: bytes | bytearray, keep: Path | None = None) -> None:
    """Write a file whole or not at all: temporary name, flush to disk, rename, flush the folder.

    Args:
        path: where to; a symbolic link there is replaced, not followed, and what is no plain file is left.
        data: what to write.
        keep: where the file that was there goes; without it it is gone.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        if path.exists() and not path.is_file():  # whoever may replace /dev/null does not want to
            raise OSError(errno.EINVAL, "not a plain file")
        temporary.unlink(missing_ok=True)  # of a run that was killed
        with temporary.open("xb") as file:  # x: never through a link
            file.write(data)
            flush(file)
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise unwritten(path, error) from None


def unwritten(path: Path, error: OSError) -> InputError:
    """What is said where a file cannot be written."""
    return InputError(f"{path}: cannot be written: {error.strerror}; what was there is as it was")


def link(path: Path, target: Path) -> bool:
    """Let a symbolic link lead to what lies beside or below it, in one step; False where the system makes no links.

    Raises:
        InputError: something that is no link is there.
    """
    if path.exists() and not path.is_symlink():
        raise InputError(f"{path}: is in the way: it should be a link, and is none")
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process that was killed
        temporary.symlink_to(target.relative_to(path.parent), target_is_directory=True)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError:
        return False
    return True


def flush(file: BinaryIO) -> None:
    """Bring what was written to a file onto the disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk; raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot flush folders says so
            raise
    finally:
        os.close(handle)


def append_line(path: Path, data: bytes) -> int:
    """Add to a file and flush it to the disk, not through a symbolic link; its length then.

    Raises:
        InputError: it cannot be written; what was there is as it was.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_FOLLOW, 0o666)
        with os.fdopen(handle, "ab", buffering=0) as file:
            before, left = os.fstat(handle).st_size, memoryview(data)
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, before)
                raise
        if not before:  # the file is new, and its name must be on the disk before a state counts on it
            flush_folder(path.parent)
        return before + len(data)
    except OSError as error:
        raise unwritten(path, error) from None


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON, indented and with its checksum last, as `write_bytes` does."""
    sealed = {**data, "sha256": _digest(data)}
    write_bytes(path, (json.dumps(sealed, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode())


def _digest(data: dict[str, Any]) -> str:
    """The checksum of a JSON object, whatever its white space and the order of its keys."""
    plain = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Read JSON, without its checksum if it has one, which must be right.

    Raises:
        InputError: missing, no plain file, larger than `JSON_LIMIT`, not UTF-8, not JSON, damaged.
    """
    raw = read_bytes(path, JSON_LIMIT)
    try:
        data = parse_json(raw)
        if isinstance(data, dict) and "sha256" in data:  # the checksum is the same in every format
            found = data.pop("sha256")
            if found != _digest(cast("dict[str, Any]", data)):
                raise ValueError('it does not match its checksum; without its "sha256" it is read as it stands')
        return data
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {short(error)}") from None


def parse_json(raw: bytes | str) -> Any:
    """JSON as the standard has it: no key twice, no NaN.

    Raises:
        ValueError: it is not.
        RecursionError: it is too deep.
    """

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    return json.loads(raw, object_pairs_hook=different, parse_constant=constant)


def different(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys all differ; raises ValueError where one stands twice."""
    made = dict(entries)
    if len(made) < len(entries):
        raise ValueError("a key stands twice in an object")
    return made


def read_bytes(path: Path, most: int) -> bytes:
    """A plain file's bytes; raises InputError where it is none, or holds more than `most`."""
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would keep us waiting, or never end
            raise InputError(f"{path}: cannot be read: not a plain file")
        with path.open("rb") as file:
            data = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise InputError(f"{path}: cannot be read: at most {most} bytes are expected, and it has more")
    return data
