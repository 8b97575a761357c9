"""Locks of run directories and of files, within a process and between processes."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ohlol.utils import locks
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.locks import is_locked, lock_run, wait_for_lock

HOLD = """
import sys
from pathlib import Path
from ohlol.utils.locks import wait_for_lock
with wait_for_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
fcntl = pytest.importorskip("fcntl", reason="this system has no file locks")


def test_a_run_is_locked_once(tmp_path: Path) -> None:
    path = tmp_path / "resume" / "lock"
    with lock_run(tmp_path):
        assert path.read_text() == str(os.getpid())
        assert is_locked(path)
        message = rf"another process \({os.getpid()}\) is training there"
        with pytest.raises(InputError, match=message), lock_run(tmp_path):
            pass
    assert not path.exists()
    with lock_run(tmp_path):
        pass


def test_a_lock_file_that_remains_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "resume").mkdir()
    (tmp_path / "resume" / "lock").write_text("1")
    with lock_run(tmp_path):
        assert (tmp_path / "resume" / "lock").read_text() == str(os.getpid())


def test_a_run_is_unlocked_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock_run(tmp_path):
        _ = 1 / 0
    with lock_run(tmp_path):
        pass


def test_a_link_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a symbolic link"), lock_run(tmp_path / "run"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_missing_directory_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be locked: No such file"), lock_run(tmp_path / "none"):
        pass


def test_a_lock_is_held_until_its_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one"
    assert is_locked(path) is False
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_locked(path) is True
        process.kill()
        process.wait()
        assert is_locked(path) is False
    with wait_for_lock(path):  # the file is still there
        assert is_locked(path) is True


def refuse(number: int) -> Callable[..., None]:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return flock


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
    with pytest.warns(InputWarning, match="this file system has no locks"), lock_run(tmp_path):
        assert is_locked(tmp_path / "resume" / "lock") is None
    with wait_for_lock(tmp_path / "one"):
        pass


def test_another_error_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.EIO))
    with pytest.raises(InputError, match="cannot be locked: Input/output error"), lock_run(tmp_path):
        pass


def test_a_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with lock_run(tmp_path), wait_for_lock(tmp_path / "one"):
        assert is_locked(tmp_path / "one") is None
