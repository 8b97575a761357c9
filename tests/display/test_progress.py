"""The progress of a training on a console, and the lines of a loss and its baselines."""

import io
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import TINY, upper_pairs
from rich.console import Console

import ohlol
from ohlol.display.progress import Bar, Log, Tutorial, baseline_lines, end_line, make_progress_callback
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


@pytest.mark.parametrize(
    ("epoch", "without", "has_dev", "expected"),
    [
        (5, 2, True, "no better span f1 since epoch 3: the weights of epoch 3 are kept"),  # the time of 5 epochs
        (5, 0, True, "the last epoch was the best when the time was over: train again with more `minutes`"),
        (20, 0, True, "the last epoch was the best: train again with more `epochs`"),
        (20, 13, True, "no better span f1 since epoch 7: the weights of epoch 7 are kept"),
        (20, 0, False, None),
        (20, 13, False, None),
        (
            12,
            5,
            False,
            "stopped after epoch 12 of 20 (`patience`): no better span f1 since epoch 7, whose weights are kept",
        ),
        (20, 20, True, None),  # no epoch was better than none: its loss is NaN
    ],
)
def test_the_end_of_a_training_is_explained(epoch: int, without: int, has_dev: bool, expected: str | None) -> None:
    trainer: Any = SimpleNamespace(
        progress=SimpleNamespace(epoch=epoch, epochs_without_improvement=without, seconds=60.0 * (epoch == 5)),
        settings=SimpleNamespace(epochs=20, minutes=1.0 * (epoch == 5)),
        main_metric="span_f1",
        dev=object() if has_dev else None,
    )
    assert end_line(trainer, "en") == expected
    assert (end_line(trainer, "zh") is None) == (expected is None)


def test_a_training_without_a_number_of_epochs_names_none() -> None:
    trainer: Any = SimpleNamespace(
        progress=SimpleNamespace(epoch=12, epochs_without_improvement=5, seconds=20.0),
        settings=SimpleNamespace(epochs=0, minutes=1.0),
        main_metric="accuracy",
        dev=object(),
    )
    expected = "stopped after epoch 12 (`patience`): no better accuracy since epoch 7, whose weights are kept"
    assert end_line(trainer, "en") == expected
    assert "12" in (end_line(trainer, "zh") or "")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_minutes_are_shown_in_the_place_of_epochs(tmp_path: Path, is_terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=100)
    settings = {name: value for name, value in TINY.items() if name != "epochs"}
    callback = make_progress_callback(console)
    ohlol.fit(upper_pairs(tmp_path / "p.tsv"), minutes=0.001, callbacks=[callback], **settings)
    text = stream.getvalue()
    assert ", 0.001 minutes" in text
    assert re.search(r"^.*epoch 1  loss", text, re.MULTILINE)
    assert "epoch 1/" not in text


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
    assert baseline_lines(Baselines(0.2, 5, 0, None), lang) == []
    sets = baseline_lines(Baselines(0.2, 5, 4, math.log(2), 0.6, multiple=True), lang)
    assert ["0.5" in sets[1], "ln 2" in sets[1], len(sets)] == [True, True, 3]
    assert all(len(line) <= 80 for line in lines)
