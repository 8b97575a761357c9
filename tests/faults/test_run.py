"""Faults during a run: signals, locks, full and read-only disks, NaN, memory, changed data, clocks."""

import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from helpers import TINY, Recorder, bytes_of, text_file, upper_pairs
from runs import KEPT, PATIENCE, context, run_command

import ohlol
from ohlol import ops
from ohlol.checkpoint import resume_state, run_directory
from ohlol.checkpoint.weights import read_tensors
from ohlol.training import trainer
from ohlol.training.loss import BatchLoss, Loss
from ohlol.training.trainer import MAX_SKIPPED, Interrupted, Trainer
from ohlol.utils import environment
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.locks import lock_run

SETTINGS: dict[str, Any] = {**TINY, "bptt": 16, "checkpoint_every": 1}


def same(one: Path, two: Path, *, but: tuple[str, ...] = ("README.md",)) -> None:
    """Equal to the byte; the card names its directory, so runs with different names differ there."""
    found, wanted = bytes_of(one), bytes_of(two)
    assert [name for name in KEPT if name not in but and found[name] != wanted[name]] == []


SIGNAL_IN_SAVE = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
real, saves = os.fsync, []
def fsync(handle):
    saves.append(1)
    if len(saves) == 30: {act}
    real(handle)
os.fsync = fsync
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_during_a_save(tmp_path: Path, name: str) -> None:
    act = f"os.kill(os.getpid(), signal.{name})"
    code, err = run_command("train", "--out", "r", cwd=tmp_path, code=SIGNAL_IN_SAVE.format(act=act))
    assert (code, err) == (130, "interrupted, and saved: ohlol train --resume --out r\n")
    ohlol.fit(out=tmp_path / "r", resume=True)
    ohlol.fit(out=tmp_path / "whole")
    same(tmp_path / "r", tmp_path / "whole")


def test_two_interrupts_stop_at_once_and_leave_a_readable_state(tmp_path: Path) -> None:
    # raise_signal returns after the handler has run; Python may report two signals sent by kill as one
    act = "(signal.raise_signal(signal.SIGINT), signal.raise_signal(signal.SIGINT))"
    code, err = run_command("train", "--out", "r", cwd=tmp_path, code=SIGNAL_IN_SAVE.format(act=act))
    assert (code, err) == (130, "")
    assert not (tmp_path / "r" / "resume" / "lock").exists()
    ohlol.fit(out=tmp_path / "r", resume=True)
    ohlol.fit(out=tmp_path / "whole")
    same(tmp_path / "r", tmp_path / "whole")


def test_two_terminations_end_the_process_and_leave_a_readable_state(tmp_path: Path) -> None:
    act = "(signal.raise_signal(signal.SIGTERM), signal.raise_signal(signal.SIGTERM))"
    code, err = run_command("train", "--out", "r", cwd=tmp_path, code=SIGNAL_IN_SAVE.format(act=act))
    assert (code, err) == (-signal.SIGTERM, "")
    ohlol.fit(out=tmp_path / "r", resume=True)  # the stale lock is taken over
    ohlol.fit(out=tmp_path / "whole")
    same(tmp_path / "r", tmp_path / "whole")


def test_two_threads_end_with_the_same_bytes(tmp_path: Path) -> None:
    """With a model that the kernels do split between threads."""
    data = text_file(tmp_path / "data.txt", 2000)
    wide: dict[str, Any] = {**SETTINGS, "hidden_size": 128, "batch_size": 32, "bptt": 8, "epochs": 2, "dropout": 0.2}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ohlol.fit(data, out=tmp_path / "whole", **wide)
        with pytest.raises(Interrupted):
            ohlol.fit(data, out=tmp_path / "run", callbacks=[Recorder(stop_at(5))], **wide)
        ohlol.fit(out=tmp_path / "run", resume=True)
    finally:
        torch.set_num_threads(threads)
    same(tmp_path / "run", tmp_path / "whole")
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["machine"]["threads"] == 2


def hold(run: str, ready: Any) -> None:
    with lock_run(Path(run)):
        ready.set()
        time.sleep(PATIENCE)


def test_a_second_process_is_refused_and_a_stale_lock_taken_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    ohlol.fit(out=run, epochs=2)
    before = bytes_of(run)
    ready = context.Event()
    holder = context.Process(target=hold, args=(str(run), ready))
    holder.start()
    assert ready.wait(PATIENCE)
    for more in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(InputError) as refused:
            ohlol.fit(out=run, **more)
        assert str(refused.value).startswith(f"{run}: another process ({holder.pid}) is training there: wait for it")
    assert {**bytes_of(run), "resume/lock": b""} == {**before, "resume/lock": b""}
    holder.kill()
    holder.join()
    assert (run / "resume" / "lock").exists()
    ohlol.fit(out=run, resume=True)
    assert bytes_of(run) == before


def test_a_lock_that_its_holder_removes_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "resume").mkdir()
    with lock_run(tmp_path), pytest.raises(InputError, match="another process"), lock_run(tmp_path):
        pass
    with lock_run(tmp_path):
        assert (tmp_path / "resume" / "lock").read_text() == str(os.getpid())
    assert not (tmp_path / "resume" / "lock").exists()


def test_a_run_stopped_by_a_full_disk_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """On a real file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        data = text_file(tmp_path / "data.txt", 2000)
        filler = place / "filler"

        def fill(recorder: Recorder, step: int) -> None:
            if step == 12:
                with pytest.raises(OSError, match="No space left"):
                    filler.write_bytes(b"x" * (1 << 19))

        with pytest.raises(
            InputError, match="cannot be written: No space left on device; the existing file is unchanged"
        ):
            ohlol.fit(data, out=place / "run", callbacks=[Recorder(fill)], **SETTINGS)
        assert not list((place / "run").rglob("*.tmp"))
        assert resume_state.load_state(place / "run")[1]["step"] == 11
        filler.unlink()
        ohlol.fit(out=place / "run", resume=True)
        ohlol.fit(data, out=tmp_path / "whole", **SETTINGS)
        same(place / "run", tmp_path / "whole")
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)  # the data are still mapped


def test_a_read_only_disk(tmp_path: Path) -> None:
    """A real one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(Interrupted):
            ohlol.fit(out=place / "run", callbacks=[Recorder(stop_at(7))])
        before = bytes_of(place / "run")
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        for out, more in (("run", {"resume": True}), ("run", {"overwrite": True}), ("new", {})):
            with pytest.raises(InputError, match="Read-only file system"):
                ohlol.fit(out=place / out, **more)
        assert bytes_of(place / "run") == before
        assert not (place / "new").exists()
        subprocess.run(["mount", "-o", "remount,rw", place], check=True)
        ohlol.fit(out=place / "run", resume=True)
        ohlol.fit(out=tmp_path / "whole")
        same(place / "run", tmp_path / "whole")
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)  # the data are still mapped


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_read_only_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """By fault injection, as whoever runs the tests may be allowed to write anywhere."""
    ohlol.fit(out=tmp_path / "run", epochs=2)
    before = bytes_of(tmp_path / "run")
    real_open, real_mkdir = os.open, os.mkdir

    def refuse(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(path).startswith(str(tmp_path)):
            raise OSError(error, os.strerror(error))
        return real_open(path, flags, *rest, **more)

    def no_folder(path: Any, *rest: Any, **more: Any) -> None:
        if str(path).startswith(str(tmp_path)) and not Path(path).exists():
            raise OSError(error, os.strerror(error))
        real_mkdir(path, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        patched.setattr(os, "mkdir", no_folder)
        for out, more in (("run", {"resume": True}), ("run", {"overwrite": True}), ("new", {})):
            with pytest.raises(InputError, match=re.escape(os.strerror(error))):
                ohlol.fit(out=tmp_path / out, **more)
    assert bytes_of(tmp_path / "run") == before
    assert not (tmp_path / "new").exists()


def test_a_clock_set_back_does_not_affect_resuming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = text_file(tmp_path / "data.txt")
    ohlol.fit(data, out=tmp_path / "whole", **SETTINGS)
    now = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    with pytest.raises(Interrupted):
        ohlol.fit(data, out=tmp_path / "run", callbacks=[Recorder(stop_at(7))], **SETTINGS)
    os.utime(tmp_path / "run" / "resume" / "last.safetensors", (0, 0))  # the newest state is the oldest by its date
    ohlol.fit(out=tmp_path / "run", resume=True)
    same(tmp_path / "run", tmp_path / "whole")


def stop_at(step: int) -> Callable[[Recorder, int], None]:
    def act(recorder: Recorder, now: int) -> None:
        assert recorder.trainer is not None
        if now == step:
            recorder.trainer.stop()

    return act


@pytest.mark.parametrize(("every", "step"), [("3", 9), (4, 8), ("0s", 10), ("300s", 0)])
def test_states_are_saved_every_so_many_steps_or_seconds(tmp_path: Path, every: Any, step: int) -> None:
    class GoneError(Exception):
        pass

    def die(recorder: Recorder, now: int) -> None:
        if now == 11:
            raise GoneError

    data = text_file(tmp_path / "data.txt", 4000)
    with pytest.raises(GoneError):
        ohlol.fit(data, out=tmp_path / "run", callbacks=[Recorder(die)], **{**SETTINGS, "checkpoint_every": every})
    assert resume_state.load_state(tmp_path / "run")[1]["step"] == step


@pytest.mark.parametrize("every", ["0", "-1", "1.5", "s", "", "5m", "٣", "9" * 30])
def test_an_invalid_interval_is_refused(tmp_path: Path, every: str) -> None:
    with pytest.raises(InputError, match=r"`checkpoint_every` is .*; give steps, such as 200, or seconds"):
        ohlol.fit(out=tmp_path / "run", checkpoint_every=every)


def broken_at(steps: range, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the loss, or the gradient alone, of some steps (from 1) no number."""
    real = Trainer._combine_losses

    def combine_losses(self: Trainer, batch: Any, own: Loss, penalty: Any) -> tuple[torch.Tensor, float, float]:
        if self.progress.step + 1 in steps:
            worse = own.mean * math.nan if what == "loss" else own.mean + (own.mean * 0).sqrt()  # sqrt at 0: slope inf
            own = own._replace(mean=worse)
        return real(self, batch, own, penalty)

    monkeypatch.setattr(Trainer, "_combine_losses", combine_losses)


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_broken_steps_are_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, clip: float
) -> None:
    data = text_file(tmp_path / "data.txt")
    broken_at(range(2, 5), what, monkeypatch)
    more = {**SETTINGS, "max_grad_norm": clip}
    with pytest.raises(InputError, match=rf"epoch 1, step 2: the {what} is nan; training stopped and no weights were"):
        ohlol.fit(data, out=tmp_path / "stopped", **more)
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    recorder = Recorder()
    ohlol.fit(data, out=tmp_path / "whole", on_nan="skip", callbacks=[recorder], **more)
    assert [epoch.skipped for epoch in recorder.epochs] == [3, 0, 0]
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("skipped") for line in lines] == [3, None, None]
    for path in ("model.safetensors", "resume/last.safetensors"):
        tensors, _ = read_tensors(tmp_path / "whole" / path)
        assert all(torch.isfinite(t).all() for t in tensors.values())
    with pytest.raises(Interrupted):  # in the middle of the broken steps
        ohlol.fit(data, out=tmp_path / "run", on_nan="skip", callbacks=[Recorder(stop_at(3))], **more)
    ohlol.fit(out=tmp_path / "run", resume=True)
    same(tmp_path / "run", tmp_path / "whole")


def test_weights_that_stay_nan_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = text_file(tmp_path / "data.txt", 4000)
    broken_at(range(5, 10**6), "loss", monkeypatch)
    with pytest.raises(InputError, match=f"step {5 + MAX_SKIPPED}: the loss is nan"):
        ohlol.fit(data, out=tmp_path / "run", on_nan="skip", **SETTINGS)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_run_that_ends_in_nan_exits_2(tmp_path: Path) -> None:
    code, err = run_command("train", "--lr", "1e38", "--head", "softmax", "--out", "r", cwd=tmp_path)
    assert code == 2
    assert err.count("\n") == 1
    assert "no weights were saved" in err
    assert published(tmp_path / "r") == []


def published(run: Path) -> list[str]:
    """What a run shows to others: weights, a card, scores, and lines of metrics that hold no number."""
    found = [name for name in ("model.safetensors", "README.md") if (run / name).exists()]
    found += ["metrics"] if run_directory.read_config(run).metrics else []
    metrics = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else ""
    return found + [line for line in metrics.splitlines() if "NaN" in line or "Infinity" in line]


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_a_failed_run_publishes_only_its_best_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_nan: str
) -> None:
    data = text_file(tmp_path / "data.txt", 4000)
    recorder = Recorder()
    ohlol.fit(data, out=tmp_path / "good", callbacks=[recorder], **{**SETTINGS, "epochs": 1, "lr_schedule": "constant"})
    broken_at(range(recorder.steps + 2, 10**6), "gradient", monkeypatch)
    more: dict[str, Any] = {**SETTINGS, "lr_schedule": "constant", "on_nan": on_nan, "snapshots": True}
    for how in ({}, {"resume": True}):  # the resumed run ends in the same way
        with pytest.raises(InputError, match=r"the gradient is nan; training stopped and the best weights so far are"):
            ohlol.fit(None if how else data, out=tmp_path / "run", **(how or more))
        assert published(tmp_path / "run") == ["model.safetensors"]
        assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
            tmp_path / "good" / "model.safetensors"
        ).read_bytes()
        assert len(list((tmp_path / "run" / "snapshots").iterdir())) == 2  # before the first epoch and after it


def test_loss_spikes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = text_file(tmp_path / "data.txt", 8000)
    real = Trainer._combine_losses

    def combine_losses(self: Trainer, batch: Any, own: Loss, penalty: Any) -> tuple[torch.Tensor, float, float]:
        factor = 20 if self.progress.step in (60, 70) else 1
        return real(self, batch, own._replace(mean=own.mean * factor), penalty)

    recorder = Recorder()
    ohlol.fit(data, out=tmp_path / "quiet", callbacks=[recorder], **SETTINGS)
    assert sum(epoch.spikes for epoch in recorder.epochs) == 0
    monkeypatch.setattr(Trainer, "_combine_losses", combine_losses)
    recorder = Recorder()
    ohlol.fit(data, out=tmp_path / "run", callbacks=[recorder], **SETTINGS)
    assert sum(epoch.spikes for epoch in recorder.epochs) == 2
    assert '"spikes": ' in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_a_model_too_large_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    data = text_file(tmp_path / "data.txt")
    began = time.monotonic()
    with pytest.raises(InputError, match=r"parameters and take .* GiB to train, and .* free: a smaller `hidden_size`"):
        ohlol.fit(data, out=tmp_path / "run", hidden_size=1_000_000)
    assert time.monotonic() - began < 20
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "free", "flags"),
    [
        ("next", 2_000_000, r"`batch_size` \(here 32\) or `bptt` \(here 64\) helps"),
        ("label", 1_900_000, r"`batch_size` \(here 32\) helps"),
    ],
)
def test_a_batch_too_large_is_refused_before_it_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, free: int, flags: str
) -> None:
    data = text_file(tmp_path / "data.txt", 4000) if task == "next" else upper_pairs(tmp_path / "data.tsv", 100)
    monkeypatch.setattr(environment, "get_free_memory", lambda: free)
    more = {**TINY, "batch_size": 32, "hidden_size": 64}
    with pytest.raises(InputError, match=r"the largest batch has [\d,]+ steps and takes .* free: a smaller " + flags):
        ohlol.fit(data, out=tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()
    ohlol.fit(data, out=tmp_path / "run", **{**more, "batch_size": 1, "epochs": 1})


LITTLE_MEMORY = """
import resource, torch, ohlol.training.fit, ohlol.utils.environment
ohlol.utils.environment.get_free_memory = lambda: None  # skip the check before training
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (300 << 20), -1))
"""


def test_running_out_of_memory_names_the_option_that_helps(tmp_path: Path) -> None:
    text_file(tmp_path / "data.txt", 400_000)
    flags = ("--batch-size", "512", "--bptt", "512", "--hidden-size", "512", "--num-layers", "1", "--epochs", "1")
    code, err = run_command("train", "data.txt", *flags, "--out", "r", cwd=tmp_path, code=LITTLE_MEMORY)
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith("ohlol: out of memory in training; a smaller --batch-size helps most, then --bptt")
    assert resume_state.load_state(tmp_path / "r")[1]["step"] == 0


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_an_allocation_error_names_the_setting_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(BatchLoss, "__call__", fail)
    with pytest.raises(InputError, match="out of memory in training; a smaller `batch_size` helps most"):
        ohlol.fit(out=tmp_path / "run")


def test_another_runtime_error_is_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(BatchLoss, "__call__", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        ohlol.fit()


def test_changed_data_is_reported(tmp_path: Path) -> None:
    data = upper_pairs(tmp_path / "data.tsv")
    with pytest.raises(Interrupted):
        ohlol.fit(data, out=tmp_path / "run", callbacks=[Recorder(stop_at(3))], **TINY)
    before = bytes_of(tmp_path / "run")
    kept = data.read_text()
    rows = kept.splitlines()
    data.write_text("\n".join([rows[1], rows[0], *rows[2:]]) + "\n")  # the same symbols, as often, in another order
    with pytest.raises(InputError, match=r"run was started with other data: .*data\.tsv changed since; `resume` needs"):
        ohlol.fit(out=tmp_path / "run", resume=True)
    assert bytes_of(tmp_path / "run") == before
    data.write_text(kept)
    ohlol.fit(out=tmp_path / "run", resume=True)


def test_the_machine_is_recorded_and_a_change_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        ohlol.fit(out=tmp_path / "run", epochs=5, callbacks=[Recorder(stop_at(2))])
    here = environment.record_environment(kernels=ops.implementation(), deterministic=False)
    assert here["threads"] == torch.get_num_threads()
    monkeypatch.setattr(trainer, "record_environment", lambda **_: {**here, "threads": 99})
    with pytest.warns(InputWarning, match=r"threads \d+ -> 99; the end may differ in the last bits"):
        ohlol.fit(out=tmp_path / "run", resume=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("machine", {}).get("threads") for line in lines] == [here["threads"], 99, None, None, None]


def test_deterministic_is_reported_and_restored_afterwards(tmp_path: Path) -> None:
    seen: list[bool] = []
    recorder = Recorder(lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()))
    ohlol.fit(
        text_file(tmp_path / "data.txt"), out=tmp_path / "run", deterministic=True, callbacks=[recorder], **SETTINGS
    )
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["machine"] == environment.record_environment(kernels=ops.implementation(), deterministic=True)
    code, err = run_command("train", "--deterministic", "--epochs", "1", "--out", "r", cwd=tmp_path)
    assert code == 0
    assert err.startswith(f"deterministic: equal bytes again with torch {torch.__version__}, ")
    code, err = run_command("train", "data.txt", "--deterministic", "--on-nan", "ignore", cwd=tmp_path)
    assert (code, err.count("\n")) == (2, 1)


def test_a_config_without_newer_settings_is_read_with_their_defaults(tmp_path: Path) -> None:
    ohlol.fit(out=tmp_path / "run", epochs=1)
    config = run_directory.read_config(tmp_path / "run")
    data = json.loads((tmp_path / "run" / "config.json").read_text())
    del data["sha256"], data["training"]["on_nan"], data["training"]["deterministic"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(data))
    assert run_directory.read_config(tmp_path / "run") == config


def test_doctor_needs_an_existing_directory(tmp_path: Path) -> None:
    code, err = run_command("doctor", "--out", "gone", cwd=tmp_path)
    assert (code, err) == (2, "ohlol: --out is gone, which is not a directory; give an existing one\n")


def test_doctor_reports_and_tests_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ohlol.cli import main

    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as out:
            main(["doctor", "--out", str(tmp_path), *more])
        assert out.value.code == 0
        said = capsys.readouterr().out
        assert torch.__version__ in said
        assert "stop and resume: equal bytes" in said
    found = json.loads(said)
    assert found["threads"] == torch.get_num_threads()
    assert abs(found["disk"] - shutil.disk_usage(tmp_path).free) < 1 << 30
    assert [check["passed"] for check in found["self_test"]] == [True] * 5
    assert sum(check["seconds"] for check in found["self_test"]) < 60
    assert list(tmp_path.iterdir()) == []


def test_a_failing_self_test_of_doctor_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from ohlol.cli import main

    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch("ohlol.training.fit.fit", side_effect=full), pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert err == "ohlol: the self-test failed: write a run\n"
    assert "No space left on device" in json.loads(out)["self_test"][-1]["detail"]
