"""Every n-th write, flush and rename fails, is truncated, or is the last one: the run directory stays readable."""

import errno
import io
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY, bytes_of, text_file
from runs import KEPT, resume_mode

import ohlol
from ohlol.utils.errors import InputError

SETTINGS: dict[str, Any] = {**TINY, "epochs": 2, "bptt": 16, "checkpoint_every": "2", "snapshots": True}
SNAPSHOTS = tuple(f"snapshots/{epoch:05}.safetensors" for epoch in range(3))


class PowerCut(BaseException):
    """The process is gone, and with it all that it would still have done."""


class Disk:
    """Counts the writes, flushes and renames of the run directory's code, and lets one of them go wrong."""

    def __init__(self, fail_at: int = 0, error: BaseException | None = None, *, short: bool = False):
        self.fail_at, self.error, self.short, self.done = fail_at, error, short, 0
        self.kinds: list[str] = []

    def act(self, kind: str) -> bool:
        """Count an operation; whether it goes wrong. After a power cut all do."""
        self.done += 1
        self.kinds.append(kind)
        if self.done > self.fail_at > 0 and isinstance(self.error, PowerCut):
            raise self.error
        return self.done == self.fail_at

    def write(self, real: Callable[[Any], int], data: Any) -> int:
        if self.act("write"):
            if self.short:
                real(data[: len(data) // 2])
            assert self.error is not None
            raise self.error
        return real(data)

    def fail(self, kind: str) -> None:
        if self.act(kind):
            assert self.error is not None
            raise self.error


@contextmanager
def disk(monkeypatch: pytest.MonkeyPatch, one: Disk) -> Generator[Disk]:
    class Writer(io.BufferedWriter):
        def write(self, data: Any) -> int:
            return one.write(super().write, data)

    class Appender(io.FileIO):
        def write(self, data: Any) -> int:
            return one.write(super().write, data)

    fsync, replace, opened = os.fsync, Path.replace, Path.open

    def flush(handle: int) -> None:
        one.fail("fsync")
        fsync(handle)

    def rename(path: Path, target: Path) -> Path:
        one.fail("rename")
        return replace(path, target)

    def open_(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return Writer(io.FileIO(path, "x")) if mode == "xb" else opened(path, mode, *rest, **more)

    def fdopen(handle: int, mode: str, buffering: int) -> Any:
        assert not buffering
        return Appender(handle, mode.removesuffix("b"))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", flush)
        patched.setattr(Path, "replace", rename)
        patched.setattr(Path, "open", open_)
        patched.setattr(os, "fdopen", fdopen)
        yield one


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    text_file(folder / "data.txt")
    before = Path.cwd()
    os.chdir(folder)
    try:
        ohlol.fit("data.txt", out="run", **SETTINGS)
    finally:
        os.chdir(before)
    return folder / "run"


FAULTS = {
    "full": (lambda: OSError(errno.ENOSPC, "No space left on device"), True),
    "quota": (lambda: OSError(errno.EDQUOT, "Disk quota exceeded"), False),
    "broken": (lambda: OSError(errno.EIO, "Input/output error"), True),
    "cut": (PowerCut, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_operation_may_fail(fault: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, short = FAULTS[fault]
    monkeypatch.chdir(tmp_path)
    text_file(tmp_path / "data.txt")
    with disk(monkeypatch, Disk()) as counted:
        ohlol.fit("data.txt", out="counted", **SETTINGS)
    assert {"write", "fsync", "rename"} == set(counted.kinds)
    assert counted.done > 40
    for n in range(1, counted.done + 1):
        run = tmp_path / f"at{n}" / "run"
        run.parent.mkdir()
        monkeypatch.chdir(run.parent)
        text_file(run.parent / "data.txt")
        with disk(monkeypatch, Disk(n, make(), short=short)), pytest.raises((InputError, PowerCut)) as ended:
            ohlol.fit("data.txt", out="run", **SETTINGS)
        if ended.type is InputError:
            said = str(ended.value)
            assert "cannot be written: " in said, n
            assert "\n" not in said
            assert not list(Path("run").rglob("*.tmp")), n
        readable(Path("run"), n)
        if resume_mode(Path("run")) == "resume":
            ohlol.fit(out="run", resume=True)
        else:  # before the first state there is nothing to lose
            assert not (Path("run") / "metrics.jsonl").exists(), n
            with pytest.raises(InputError, match="use `overwrite` to start a new run"):
                ohlol.fit(out="run", resume=True)
            ohlol.fit("data.txt", out="run", overwrite=True, **SETTINGS)
        found, wanted = bytes_of(Path("run")), bytes_of(whole)
        assert [name for name in (*KEPT, *SNAPSHOTS) if found[name] != wanted[name]] == [], f"{fault} at {n}"


def readable(run: Path, n: int) -> None:
    """Whatever is there loads, or says in one line what is not there yet."""
    if not (run / "model.safetensors").exists():
        with pytest.raises(InputError, match=r"no config\.json|has no model\.safetensors|cannot be read: No such file"):
            ohlol.load(run)
        return
    model = ohlol.load(run)
    assert len("".join(model.generate("the", length=3, seed=1))) == 3, n


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "cut"])
def test_a_resumed_run_may_fail_as_well(
    fault: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, short = FAULTS[fault]
    monkeypatch.chdir(tmp_path)
    text_file(tmp_path / "data.txt")
    with disk(monkeypatch, Disk(60, PowerCut())), pytest.raises(PowerCut):  # after the first saved state
        ohlol.fit("data.txt", out="run", **SETTINGS)
    for n in range(1, 12):  # one fault after another, each resume starting where the last one failed
        with disk(monkeypatch, Disk(n, make(), short=short)):
            try:
                ohlol.fit(out="run", resume=True)
            except (InputError, PowerCut):
                readable(Path("run"), n)
    ohlol.fit(out="run", resume=True)
    found, wanted = bytes_of(Path("run")), bytes_of(whole)
    assert [name for name in (*KEPT, *SNAPSHOTS) if found[name] != wanted[name]] == []
