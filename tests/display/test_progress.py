"""The progress of a training on a console, and the lines of a loss and its baselines."""

import io
import math

import pytest
from rich.console import Console

from ohlol.display.progress import Bar, Log, Tutorial, baseline_lines, make_progress_callback
from ohlol.evaluation.baselines import Baselines


@pytest.mark.parametrize(
    ("targets", "is_terminal", "expected"),
    [(["ohlol"], False, Tutorial), (["ohlol"], True, Tutorial), (None, True, Bar), (None, False, Log)],
)
def test_the_callback_depends_on_the_data_and_the_console(
    targets: list[str] | None, is_terminal: bool, expected: type
) -> None:
    console = Console(file=io.StringIO(), force_terminal=is_terminal)
    assert type(make_progress_callback(console, targets)) is expected


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_baseline_lines_show_the_numbers_and_advice(lang: str) -> None:
    lines = baseline_lines(Baselines(1.5, 1234, 4, math.log(4), 1.2, 6.0, 0.3408), lang)
    assert len(lines) == 6
    assert "1.5000" in lines[0]
    assert "1,234" in lines[0]
    assert [line.split()[0] for line in lines[1:5]] == ["6.0000", "1.3863", "1.2000", "0.3408"]
    assert "`head=softmax`" in lines[4]
    assert "`lr`" in lines[5]  # no better than guessing
    assert len(baseline_lines(Baselines(1.0, 5, 4, math.log(4), 1.2), lang)) == 3
    assert len(baseline_lines(Baselines(0.2, 5, 0, 1.0), lang)) == 2
    assert all(len(line) <= 80 for line in lines)
