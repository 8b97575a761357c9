"""Learning curves on a terminal: every point is drawn, in colours or in letters."""

import json
import re
import shutil
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from rich.console import Console

import ohlol
from ohlol.display.curves_text import HEIGHT, curves_to_text
from ohlol.explain.curves import load_curves


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    ohlol.fit([("hello", "ohlol")], seed=1, out=folder / "hello")
    ohlol.fit([("hello", "ohlol")], seed=3, loop=True, out=folder / "cell")
    return folder


def plot_text(runs: list[Path], *, width: int = 80, colours: bool = False, encoding: str = "utf-8") -> str:
    raw = BytesIO()
    out = TextIOWrapper(raw, encoding=encoding)
    console = Console(file=out, width=width, force_terminal=colours, color_system="truecolor" if colours else None)
    curves_to_text(load_curves(runs), console)
    out.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [72, 77, 78, 79, 80, 200])
def test_every_point_is_drawn(runs: Path, width: int) -> None:
    text = plot_text([runs / "hello"], width=width)
    assert all(len(line) <= min(width, 80) for line in text.splitlines())
    accuracy = text.split("accuracy\n")[1].split("\n\n")[0].splitlines()
    rows = accuracy[:HEIGHT]
    assert [row.split("|")[0].strip() for row in rows] == [f"{tenth * 10}%" for tenth in range(10, -1, -1)]
    points = [(match.start(), 10 - k) for k, row in enumerate(rows) for match in re.finditer("a", row)]
    lines = [json.loads(line) for line in (runs / "hello/metrics.jsonl").read_text().splitlines()]
    assert [tenth for _, tenth in sorted(points)] == [round(line["accuracy"] * 10) for line in lines]


def test_colours_on_a_terminal_letters_in_a_pipe_and_ascii(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # plotille checks the output of the process
    coloured = plot_text([runs / "hello", runs / "cell"], colours=True)
    assert "\x1b[94m" in coloured
    assert "\x1b[33m" in coloured
    assert re.search("[\u2801-\u28ff]", coloured)
    monkeypatch.delenv("FORCE_COLOR")
    plain = plot_text([runs / "hello", runs / "cell"], encoding="ascii")
    assert plain.isascii()
    assert "a hello, measured   b hello, in training   c cell, measured" in plain


def test_the_legend_of_many_runs_fits_into_80_columns(runs: Path, tmp_path: Path) -> None:
    names = [f"a_run_with_a_long_name_{k}" for k in range(4)]
    for name in names:
        shutil.copytree(runs / "hello", tmp_path / name)
    text = plot_text([tmp_path / name for name in names])
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(f"{name}, in training" in text for name in names)
