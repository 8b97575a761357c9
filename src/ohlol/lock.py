"""One process a directory: a lock that the system lets go of when its process ends; knows nothing of what it guards."""

import errno
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from ohlol.errors import InputError, InputWarning
from ohlol.files import NO_FOLLOW

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
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # a network file system without locks
            warnings.warn("this file system has no locks: see that no other process uses this --out", InputWarning, 4)
            return True
        raise
