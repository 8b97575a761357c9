"""A worker killed with signal 9 is restarted by torchrun, and the run ends with the same bytes as without it."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY, text_file
from launch import flags, run, start, train, workers

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("OHLOL_WORKER_KILLS", "3"))
"""In all; `make faults` asks for 20."""
BACK_WITHIN = 30.0
"""Maximum seconds until the run trains again."""
SETTINGS: dict[str, Any] = {**TINY, "bptt": 7, "dropout": 0.2, "checkpoint_every": "20", "epochs": 3}
KEPT = ("model.safetensors", "metrics.jsonl", "config.json", "vocab.json", "resume/last.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run of two processes."""
    folder = tmp_path_factory.mktemp("whole")
    text_file(folder / "data.txt", 40000)
    run(train(2, "data.txt", "--out", "run", *flags(SETTINGS)), folder)
    return folder / "run"


def wait_for(what: Any, process: Any, seconds: float) -> float:
    """Wait until `what` is true or the run has ended; return the seconds waited."""
    began = time.monotonic()
    while not what() and process.poll() is None:
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


def time_of(state: Path) -> int:
    """The time a state was saved, or 0 between the two renames of a save."""
    try:
        return state.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def test_killed_workers_restart_and_nothing_is_lost(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text_file(tmp_path / "data.txt", 40000)
    chance = random.Random(KILLS)
    state, made, slowest, number = tmp_path / "run" / "resume" / "last.safetensors", 0, 0.0, 0
    while made < KILLS:
        run(["rm", "-rf", "run"], tmp_path)
        process = start(train(2, "data.txt", "--out", "run", *flags(SETTINGS), restarts=KILLS), tmp_path)
        wait_for(state.exists, process, 120)
        for _ in range(min(KILLS - made, 5)):
            before = set(workers(process.pid))
            time.sleep(chance.uniform(0, 1))
            if process.poll() is not None or len(before) != 2:
                break
            os.kill(chance.choice(sorted(before)), signal.SIGKILL)
            made += 1
            seconds = wait_for(lambda before=before, pid=process.pid: not before & set(workers(pid)), process, 120)
            saved = time_of(state)  # the other process may have saved it before it noticed
            seconds += wait_for(lambda saved=saved: time_of(state) > saved, process, 120)
            slowest = max(slowest, seconds)
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert out.count("saved: run") == 1
        number += 1
        for name in KEPT:
            assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name
    assert slowest < BACK_WITHIN
    with capsys.disabled():
        print(f"killed {made} workers of {number} runs: back within {slowest:.1f} s, all ended in the same bytes")


def test_a_manual_resume_equals_a_restart(whole: Path, tmp_path: Path) -> None:
    """Without --max-restarts the other process ends with one line, and --resume ends with the same bytes."""
    text_file(tmp_path / "data.txt", 40000)
    process = start(train(2, "data.txt", "--out", "run", *flags(SETTINGS)), tmp_path)
    state = tmp_path / "run" / "resume" / "before.safetensors"
    wait_for(state.exists, process, 120)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode != 0
    assert "ohlol: another process of this run has ended" in err or "SIGTERM" in err
    run(train(2, "--resume", "--out", "run"), tmp_path)
    for name in KEPT:
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name
