"""File locks between processes, which the system releases when their process ends."""

import errno
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.files import NO_FOLLOW
from ohlol.utils.translation import translate

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

BUSY_ERRORS = (errno.EAGAIN, errno.EACCES)
"""The errors with which a system reports that another process holds a lock."""


@contextmanager
def lock_run(run: Path) -> Generator[None]:
    """Lock a run directory, so that no other process writes to it.

    The system releases the lock when the process ends, however it ends; a lock file that remains is taken over.

    Raises:
        InputError: another process holds the lock, or `resume` is a symbolic link.
    """
    if (run / "resume").is_symlink():
        raise InputError("{path}: is a symbolic link; nothing is written through one", path=run / "resume")
    path = run / "resume" / "lock"
    try:
        (run / "resume").mkdir(exist_ok=True)
        handle = _open_locked(path)
    except OSError as error:
        raise InputError("{path}: cannot be locked: {strerror}", path=path, strerror=error.strerror) from None
    try:
        yield
    finally:
        with suppress(OSError):  # a lock file that remains is taken over
            path.unlink()
        os.close(handle)


@contextmanager
def wait_for_lock(path: Path) -> Generator[None]:
    """Lock a file, after waiting for the process that holds it; the file remains.

    Raises:
        InputError: the file cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
    except OSError as error:
        raise InputError("{path}: cannot be locked: {strerror}", path=path, strerror=error.strerror) from None
    try:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool | None:
    """Whether a process holds a lock file: False where there is no file, None where the system cannot say."""
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
        return True if error.errno in BUSY_ERRORS else None
    finally:
        os.close(handle)


def _open_locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
        try:
            if not _try_lock(handle):
                holder = os.read(handle, 20).decode("ascii", "replace").strip()
                raise InputError(
                    "{parent}: another process{value} is training there: wait for it, stop it, or give another `out`",
                    parent=path.parent.parent,
                    value=f" ({holder})" if holder.isdigit() else "",
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):  # not a file that its holder has just removed
                    os.ftruncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Lock an open file without waiting; False where another process holds it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in BUSY_ERRORS:
            return False
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # a network file system without locks
            warnings.warn(
                translate("this file system has no locks: see that no other process uses this `out`"), InputWarning, 4
            )
            return True
        raise
