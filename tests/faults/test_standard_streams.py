"""Standard streams that are full or closed: one line, exit status 2, and a training that goes on."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from faults.test_hostile_text import SETTINGS
from helpers import upper_pairs

import ohlol

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")

FLAGS = "--epochs 2 --hidden-size 4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and its data, to read only."""
    folder = tmp_path_factory.mktemp("streams")
    upper_pairs(folder / "data.tsv")
    upper_pairs(folder / "other.tsv", seed=4)
    ohlol.fit(folder / "data.tsv", out=folder / "run", **SETTINGS)
    return folder


def run_shell(folder: Path, command: str, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a redirection of the shell."""
    words = shlex.join([sys.executable, "-m", "ohlol", *command.split()])
    return subprocess.run(
        ["sh", "-c", f"{words} {redirection}"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


COMMANDS = (
    "evaluate run other.tsv",
    "evaluate run other.tsv --json",
    "predict run data.tsv",
    "explain run abc",
    "explain run abc --json",
    "plot run",
    "shapes gru",
)


@pytest.mark.parametrize(
    "command",
    ["--help", "train --help", "predict run abc", *(pytest.param(words, marks=pytest.mark.slow) for words in COMMANDS)],
)
def test_a_full_disk_is_reported_in_one_line(folder: Path, command: str) -> None:
    ended = run_shell(folder, command, "> /dev/full")
    assert ended.stderr == "ohlol: standard output cannot be written: No space left on device\n"
    assert ended.returncode == 2


def test_a_training_continues_without_output(folder: Path, tmp_path: Path) -> None:
    ended = run_shell(folder, f"train data.tsv {FLAGS} --out {tmp_path / 'run'}", "> /dev/full")
    assert ended.stderr == "ohlol: standard output cannot be written: No space left on device\n"
    assert ended.returncode == 2
    assert ohlol.load(tmp_path / "run").config.metrics
    assert len((tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.slow
def test_a_training_continues_when_nobody_reads(folder: Path, tmp_path: Path) -> None:
    ended = run_shell(folder, f"train data.tsv {FLAGS} --out {tmp_path / 'run'}", "| head -n 1")
    assert ended.stderr == ""
    assert ohlol.load(tmp_path / "run").config.metrics


@pytest.mark.parametrize(
    "command",
    [
        "train data.tsv --out closed",
        *(
            pytest.param(words, marks=pytest.mark.slow)
            for words in ("predict run abc", "evaluate run other.tsv --json")
        ),
    ],
)
def test_a_closed_standard_output_is_reported_in_one_line(folder: Path, command: str) -> None:
    ended = run_shell(folder, command, ">&-")
    assert ended.stderr == "ohlol: standard output is closed; redirect it to a file, or to /dev/null\n"
    assert ended.returncode == 2
    assert not (folder / "closed").exists()


@pytest.mark.slow
def test_a_closed_standard_input_is_reported_if_it_is_needed(folder: Path) -> None:
    ended = run_shell(folder, "predict run", "<&-")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "ohlol: standard input is closed; give a file\n"
    assert run_shell(folder, "predict run abc", "<&-").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_standard_error_that_cannot_be_written(folder: Path, redirection: str) -> None:
    ended = run_shell(folder, "train missing.tsv", redirection)
    assert (ended.returncode, ended.stdout) == (2, "")
    ended = run_shell(folder, "predict run abz --output-format jsonl", redirection)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["input"] == "abz"
