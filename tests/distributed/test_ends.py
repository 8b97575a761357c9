"""A process of a run ends with its own status and one line, and no thread of gloo outlives it."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY, text_file
from launch import flags, together

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {**TINY, "bptt": 7, "checkpoint_every": "20"}
REPEATS = int(os.environ.get("OHLOL_PROCESS_ENDS", "1"))
"""Of each case; `make faults` asks for 10."""
GONE = "ohlol: another process of this run has ended"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    text_file(tmp_path / "data.txt", 2000)
    return tmp_path


def ended(place: Path, how: str, who: str, *more: str) -> list[tuple[int, str, str]]:
    """The exit status, output and errors of each process."""
    program = [sys.executable, str(Path(__file__).with_name("exit_worker.py")), how, who]
    processes = together([*program, "data.txt", "--out", "run", "--overwrite", *flags(SETTINGS), *more], place)
    return [(process.returncode, *said) for process in processes if (said := process.communicate())]


@pytest.mark.parametrize(
    ("how", "who", "status", "lines"),
    [
        ("none", "all", [0, 0], ["", ""]),
        ("input", "0", [2, 2], ["ohlol: refused", GONE]),
        ("input", "1", [2, 2], [GONE, "ohlol: refused"]),
        ("memory", "all", [2, 2], ["ohlol: out of memory in training", "ohlol: out of memory in training"]),
        ("bug", "0", [1, 2], ["ZeroDivisionError: a bug", GONE]),
    ],
)
def test_no_thread_outlives_a_process(place: Path, how: str, who: str, status: list[int], lines: list[str]) -> None:
    for _ in range(REPEATS):
        found = ended(place, how, who)
        assert [code for code, _, _ in found] == status, found
        for (_, out, err), line in zip(found, lines, strict=True):
            assert out.splitlines()[-1] == "threads:", out
            assert line in err
            assert err.count("ohlol: ") == (line[:5] == "ohlol")


def test_an_error_of_the_main_process_is_printed_once(place: Path) -> None:
    (leader, _, said), (other, _, nothing) = ended(place, "none", "all", "--lr", "-1")
    assert (leader, other) == (2, 2)
    assert said.startswith("ohlol: --lr is -1.0")
    assert said.count("\n") == 1
    assert nothing == ""


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_with_one_line(place: Path, victim: int) -> None:
    text_file(place / "data.txt", 40000)
    program = [sys.executable, str(Path(__file__).with_name("exit_worker.py")), "none", "all"]
    for repeat in range(REPEATS):
        processes = together([*program, "data.txt", "--out", f"run{repeat}", *flags(SETTINGS)], place)
        state = place / f"run{repeat}" / "resume" / "last.safetensors"
        while not state.exists():
            assert processes[0].poll() is None
            time.sleep(0.02)
        time.sleep(0.1 * repeat)
        os.kill(processes[victim].pid, signal.SIGKILL)
        processes[victim].communicate()
        out, err = processes[1 - victim].communicate()
        assert processes[1 - victim].returncode == 2, err
        assert err.startswith(GONE)
        assert out.splitlines()[-1] == "threads:"


def test_processes_that_do_not_connect_report_it(place: Path) -> None:
    program = "from datetime import timedelta; "
    program += "from ohlol.utils import distributed; distributed.RENDEZVOUS_TIMEOUT = timedelta(seconds=2); "
    program += "from ohlol.cli import main; main(['train', 'data.txt', '--out', 'run'])"
    leader, other = together([sys.executable, "-c", program], place)
    other.kill()
    other.communicate()
    _, err = leader.communicate()
    assert leader.returncode == 2
    assert "ohlol: the 2 processes of this run could not connect to each other: " in err
    assert "Traceback" not in err
