"""Writing files atomically, and reading files of unknown origin with limits.

A file has a temporary name until its bytes are on the disk. The size, depth and type of a file are checked before its
content is used. Nothing is written through a symbolic link.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from ohlol.utils.errors import InputError, describe_error, shorten
from ohlol.utils.translation import join_list, translate

FORMAT = 2
"""Version of the run directory and of its checksums; a reader refuses any other."""
JSON_LIMIT = 1 << 28
"""Size in bytes of the largest JSON file that is read: a vocabulary of a few million symbols fits."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair."""
NAME_LIMIT = 255
"""Bytes of the longest file name."""
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""The flag that refuses to open a symbolic link, where the system has it."""


def write_bytes(path: Path, data: bytes | bytearray, backup: Path | None = None) -> None:
    """Write a file atomically: temporary name, flush to the disk, rename, flush the directory.

    Args:
        path: the file to write; a symbolic link there is replaced, not followed; anything else that is not a regular
            file is refused.
        data: its content.
        backup: where the previous file is moved; without it the previous file is lost.

    Raises:
        InputError: the file cannot be written; the previous file is unchanged.
    """
    temporary = temporary_path(path)
    try:
        if path.exists() and not path.is_file():  # root could replace /dev/null
            raise OSError(errno.EINVAL, "not a plain file")
        temporary.unlink(missing_ok=True)  # of a process that was killed
        with temporary.open("xb") as file:  # x: never through a link
            file.write(data)
            flush(file)
        if backup is not None and path.exists():
            path.replace(backup)
        temporary.replace(path)
        flush_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise write_error(path, error) from None


def write_utf8(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as `write_bytes` does.

    A lone surrogate, which stands for a byte of a file name that is not UTF-8, is written as an escape of JSON.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_output(path: Path, data: bytes) -> None:
    """Write a file that a user named: as `write_bytes` does, but a device or a pipe is written to, not refused.

    A symbolic link is followed, so that the file it points to is replaced.
    """
    try:
        target = path.resolve()
        if not target.exists() or target.is_file():
            write_bytes(target, data)
            return
        with path.open("wb") as file:
            file.write(data)
    except OSError as error:
        raise write_error(path, error) from None


def check_suffix(path: Path, kind: str, suffixes: Sequence[str]) -> None:
    """Refuse a name that does not end as those of its kind do: it may be another file, such as a run's, by mistake.

    Raises:
        InputError: the name ends otherwise.
    """
    if path.suffix.lower() not in suffixes:
        raise InputError(
            "{path}: the name of {kind} must end in {suffixes}",
            path=path,
            kind=translate(kind),
            suffixes=join_list(suffixes),
        )


def temporary_path(path: Path) -> Path:
    """The name that a file has until it is complete; for a long name another one, since names are limited."""
    name = os.fsencode(path.name)
    short_name = path.name if len(name) + len(".tmp") <= NAME_LIMIT else hashlib.sha256(name).hexdigest()
    return path.with_name(short_name + ".tmp")


def write_error(path: Path, error: OSError) -> InputError:
    """The error to raise where a file cannot be written."""
    return InputError(
        "{path}: cannot be written: {strerror}; the existing file is unchanged", path=path, strerror=error.strerror
    )


def replace_link(path: Path, target: Path) -> bool:
    """Let a symbolic link point to a path below its own directory, atomically.

    Returns:
        False where the system has no symbolic links.

    Raises:
        InputError: the path exists and is not a symbolic link.
    """
    if path.exists() and not path.is_symlink():
        raise InputError("{path}: exists and is not a symbolic link", path=path)
    temporary = temporary_path(path)
    try:
        temporary.unlink(missing_ok=True)  # of a process that was killed
        temporary.symlink_to(target.relative_to(path.parent), target_is_directory=True)
        temporary.replace(path)
        flush_directory(path.parent)
    except OSError:
        return False
    return True


def flush(file: BinaryIO) -> None:
    """Flush a file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_directory(directory: Path) -> None:
    """Flush the names in a directory to the disk; raises OSError."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system cannot flush directories
            raise
    finally:
        os.close(handle)


def append_line(path: Path, data: bytes) -> int:
    """Append to a file and flush it to the disk; a symbolic link is refused.

    Returns:
        The length of the file afterwards.

    Raises:
        InputError: the file cannot be written; it has its previous length.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_FOLLOW, 0o666)
        with os.fdopen(handle, "ab", buffering=0) as file:
            before, rest = os.fstat(handle).st_size, memoryview(data)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, before)
                raise
        if not before:  # a new file: its name must be on the disk before a saved state refers to it
            flush_directory(path.parent)
        return before + len(data)
    except OSError as error:
        raise write_error(path, error) from None


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON, indented and with its checksum last, as `write_bytes` does."""
    with_checksum = {**data, "sha256": _compute_checksum(data)}
    write_utf8(path, json.dumps(with_checksum, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def _compute_checksum(data: dict[str, Any]) -> str:
    """The checksum of a JSON object, independent of white space and the order of keys."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Read JSON; verify and remove its checksum, if it has one, which is the same in every version of a format.

    Raises:
        InputError: the file is missing, not a regular file, larger than `JSON_LIMIT`, not UTF-8, not JSON, or damaged.
    """
    raw = read_bytes(path, JSON_LIMIT)
    try:
        data = parse_json(raw)
        if isinstance(data, dict) and "sha256" in data:
            checksum = data.pop("sha256")
            if checksum != _compute_checksum(cast("dict[str, Any]", data)):
                raise ValueError('it does not match its checksum; without its "sha256" it is read as it stands')
        return data
    except (ValueError, RecursionError) as error:
        raise InputError("{path}: cannot be read: {error}", path=path, error=describe_error(error)) from None


def parse_json(raw: bytes | str) -> Any:
    """Parse JSON as the standard defines it: no duplicate keys, no NaN.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """

    def reject_constant(name: str) -> None:
        raise ValueError(f"{name} is not a number of JSON")

    return json.loads(raw, object_pairs_hook=reject_duplicate_keys, parse_constant=reject_constant)


def check_encodable(value: object) -> None:
    """Check that the strings in JSON data are text; raises ValueError for a lone surrogate, which no encoding has.

    JSON can hold half a surrogate pair as an escape. A vocabulary with one could be read, but neither printed nor sent.
    """
    if isinstance(value, str):
        if SURROGATE.search(value):
            raise ValueError(f"'{shorten(value)}' holds half a surrogate pair, which is not a character")
    elif isinstance(value, dict):
        for key, entry in cast("dict[object, object]", value).items():
            check_encodable(key)
            check_encodable(entry)
    elif isinstance(value, list | tuple):
        for entry in cast("list[object]", value):
            check_encodable(entry)


def reject_duplicate_keys(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object from its entries; raises ValueError where a key occurs twice."""
    data = dict(entries)
    if len(data) < len(entries):
        raise ValueError("a key stands twice in an object")
    return data


def read_start(path: Path, count: int) -> bytes:
    """The first `count` bytes of a regular file, or all of a shorter one; raises InputError."""
    try:
        if path.exists() and not path.is_file():
            raise InputError("{path}: cannot be read: not a plain file", path=path)
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError("{path}: cannot be read: {error}", path=path, error=error.strerror) from None


def read_bytes(path: Path, max_bytes: int, *, is_regular: bool = True) -> bytes:
    """The content of a file of at most `max_bytes` bytes; no more of a larger one is read.

    Args:
        path: the file.
        max_bytes: its largest size.
        is_regular: whether a pipe or a device is refused, since reading it may block.

    Raises:
        InputError: it cannot be read, is not a regular file, or is larger.
    """
    try:
        if is_regular and path.exists() and not path.is_file():
            raise InputError("{path}: cannot be read: not a plain file", path=path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # 0 for a pipe or a device
            data = file.read((size if is_regular else max_bytes) + 1) if size <= max_bytes else None
    except OSError as error:
        raise InputError("{path}: cannot be read: {error}", path=path, error=error.strerror) from None
    except MemoryError:
        raise InputError("{path}: cannot be read: its content does not fit into memory", path=path) from None
    if data is None or len(data) > max_bytes:
        raise InputError(
            "{path}: cannot be read: at most {max_bytes} bytes are expected, and it has more",
            path=path,
            max_bytes=max_bytes,
        )
    return data
