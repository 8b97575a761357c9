"""Names that a file system allows: bytes that are not UTF-8, and names that are as long as possible or longer."""

import json
import os
import sys
from pathlib import Path

import pytest
from faults.test_hostile_text import run_command
from helpers import bytes_of, upper_pairs

FLAGS = ("--epochs", 1, "--hidden-size", 4)
LONG = "x" * 300
"""Longer than a file system allows."""
ODD = os.fsdecode(b"odd\xff")
"""Not UTF-8."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems require UTF-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_that_are_not_utf8(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    data, run = f"{ODD}.tsv", f"run{ODD}"
    other = f"other{data}"
    upper_pairs(folder / data)
    upper_pairs(folder / other, seed=4)
    for command in (
        ("train", data, "--dev", data, "--out", run, *FLAGS),
        ("train", "--resume", "--out", run),
        ("train", data, *FLAGS),
        ("evaluate", run, other, "--json"),
        ("predict", run, data, "--output-format", "jsonl"),
        ("plot", run, "--out", f"{ODD}.png"),
        ("explain", run, "abc", "--html", f"{ODD}.html"),
        ("encode", data, "--out", f"corpus{ODD}"),
        ("train", f"corpus{ODD}", "--out", f"other{ODD}", *FLAGS),
    ):
        status, out, err = run_command(capsys, *command)
        assert (status, err) == (0, ""), command
        out.encode("utf-8")
    config = json.loads((folder / run / "config.json").read_text(encoding="utf-8"))
    assert config["train_files"] == [data]
    assert (folder / "runs" / f"{ODD}-1" / "README.md").read_text(encoding="utf-8").startswith("# odd\\udcff-1")


def test_a_study_of_a_name_that_is_not_utf8(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    upper_pairs(folder / f"{ODD}.tsv")
    command = ("tune", f"{ODD}.tsv", "--trials", 1, "--search", "lr", *FLAGS)
    status, out, err = run_command(capsys, *command)
    assert (status, out) == (2, "")
    assert "--out is studies/odd\\udcff, which is not UTF-8" in err
    assert not (folder / "studies").exists()
    status, out, err = run_command(capsys, *command, "--out", "study")
    assert (status, err) == (0, "")
    assert "trial 0" in out


@pytest.mark.parametrize(
    "command",
    [
        ("train", "data.tsv", "--out", LONG),
        ("train", f"{LONG}.tsv"),
        ("train", "data.tsv", "--dev", LONG),
        ("train", "--resume", "--out", LONG),
        ("tune", "data.tsv", "--out", LONG),
        ("encode", "data.tsv", "--out", LONG),
        ("encode", "data.tsv", "--out", "corpus", "--vocab", LONG),
        ("predict", LONG, "text"),
        ("import", f"{LONG}.onnx"),
        ("import", f"{LONG}.safetensors", "--task", "next"),
        ("plot", LONG),
        ("serve", LONG),
        ("doctor", "--out", LONG),
        ("import", "9" * 5000),
        ("bench", "--sizes", "1,1,1," + "9" * 5000),
    ],
    ids=lambda command: " ".join(word[:12] for word in command),
)
def test_a_name_that_is_too_long_is_reported_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    upper_pairs(folder / "data.tsv")
    status, out, err = run_command(capsys, *command)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("ohlol: ")
    assert len(err) < 1100
    assert os.listdir(folder) == ["data.tsv"]


def test_the_longest_names_are_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"{'y' * 251}.tsv"
    upper_pairs(folder / data)
    assert run_command(capsys, "train", data, *FLAGS)[0] == 0
    assert os.listdir(folder / "runs") == [f"{'y' * 60}-1"]
    page = f"{'y' * 250}.html"
    assert run_command(capsys, "explain", Path("runs") / f"{'y' * 60}-1", "abc", "--html", page)[0] == 0
    assert (folder / page).stat().st_size


@pytest.mark.parametrize("command", [("explain", "run", "abc", "--html"), ("export", "run"), ("plot", "run", "--out")])
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "metrics.jsonl", "README.md", "resume/last.safetensors"]
)
def test_a_file_of_a_run_is_not_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], name: str
) -> None:
    upper_pairs(folder / "data.tsv")
    run_command(capsys, "train", "data.tsv", "--out", "run", *FLAGS)
    before = bytes_of(folder / "run")
    status, _, err = run_command(capsys, *command, Path("run") / name)
    assert (status, err.count("\n")) == (2, 1)
    assert f"run/{name}: the name of " in err
    assert bytes_of(folder / "run") == before
