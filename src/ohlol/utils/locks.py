"""One process at a time: locks that the system lets go of when their process ends; knows nothing of what they guard."""

import errno
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.files import NO_FOLLOW

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None


@contextmanager
def locked(run: Path) -> Generator[None]:
    """Hold a run directory, so that no other process writes to it.

    The system lets go of the lock when a process ends, however it ends; a lock file that is left is taken over.

    Raises:
        InputError: another process holds it; or `resume` leads out of the directory.
    """
    if (run / "resume").is_symlink():
        raise InputError(f"{run / 'resume'}: is a symbolic link; nothing is written through one")
    path = run / "resume" / "lock"
    try:
        (run / "resume").mkdir(exist_ok=True)
        handle = _lock(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be locked: {error.strerror}") from None
    try:
        yield
    finally:
        with suppress(OSError):  # a lock file that stays is taken over
            path.unlink()
        os.close(handle)


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Hold a lock file, after waiting for whoever holds it; the file stays.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
    except OSError as error:
        raise InputError(f"{path}: cannot be locked: {error.strerror}") from None
    try:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def taken(path: Path) -> bool | None:
    """Whether a process holds a lock file; a file that is gone is held by nobody. None where the system cannot tell."""
    try:
        handle = os.open(path, os.O_RDWR | NO_FOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        if fcntl is None:
            return None
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return True if error.errno in BUSY else None
    finally:
        os.close(handle)


BUSY = (errno.EAGAIN, errno.EACCES)
"""How a system says that another process holds a lock."""


def _lock(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
        try:
            if not _held(handle):
                holder = os.read(handle, 20).decode("ascii", "replace").strip()
                raise InputError(
                    f"{path.parent.parent}: another process{f' ({holder})' if holder.isdigit() else ''} is training "
                    "there: wait for it, stop it, or give another --out"
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):  # not one that its holder has just removed
                    os.ftruncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _held(handle: int) -> bool:
    """Whether the lock is ours now."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in BUSY:
            return False
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # a network file system without locks
            warnings.warn("this file system has no locks: see that no other process uses this --out", InputWarning, 4)
            return True
        raise
