"""The output of a study: what is searched, each trial in at most 80 columns, and the result."""

from io import StringIO
from pathlib import Path

import pytest
from helpers import upper_pairs
from rich.console import Console

import ohlol
from ohlol.tuning.progress_text import StudyLog, result_to_text
from ohlol.tuning.summary import StudySummary, Trial
from tuning.studies import SUMMARY


def log_of(data: Path, out: Path, trials: int, *, is_terminal: bool = False) -> list[str]:
    written = StringIO()
    log = StudyLog(Console(file=written, width=80, force_terminal=is_terminal, color_system=None))
    ohlol.tune(
        data, trials=trials, out=out, search=["lr=0.01,0.03,1e38"], max_grad_norm=0.0, hidden_size=6, epochs=2,
        callback=log,
    )  # fmt: skip
    assert log.bar is None
    return written.getvalue().splitlines()


def test_each_trial_has_its_settings_and_its_result(tmp_path: Path) -> None:
    data = upper_pairs(tmp_path / "data.tsv")
    lines = log_of(data, tmp_path / "study", 2)
    assert lines[:2] == [
        "2 trials of 2 epochs, task label, pruner median; metric: accuracy (higher is better)",
        "  lr=0.01,0.03,1e+38",
    ]
    assert next(line for line in lines if line.startswith("trial ")) == "trial 0: lr=0.01"
    assert any(line.endswith("best so far") for line in lines)
    continued = log_of(data, tmp_path / "study", 3)
    assert "continuing after 2 trials" in continued
    assert any(line.startswith("  failed: ") for line in lines + continued)
    assert all(len(line) <= 80 for line in lines[1:] + continued[1:])


def test_on_a_terminal_the_bar_is_removed_at_the_end(tmp_path: Path) -> None:
    lines = log_of(upper_pairs(tmp_path / "data.tsv"), tmp_path / "study", 1, is_terminal=True)
    assert any("epoch 2/2" in line for line in lines)


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (SUMMARY, "best: trial 2, on far in far/0002"),
        (StudySummary("names", "accuracy", SUMMARY.space, ()), "no trial is complete"),
    ],
    ids=["whole", "empty"],
)
def test_the_result_names_the_best_run(summary: StudySummary, expected: str, tmp_path: Path) -> None:
    far = tuple(
        Trial(t.number, t.state, t.settings, t.value, t.metrics, host="far", run=Path(f"far/{t.number:04d}"))
        for t in summary.trials
    )
    written = StringIO()
    console = Console(file=written, width=80, color_system=None)
    result_to_text(StudySummary("names", "accuracy", summary.space, far), tmp_path, "ohlol train x", console)
    text = written.getvalue()
    assert expected in text
    assert ("train it again: ohlol train x" in text) == bool(far)
    assert ("still running, or interrupted: trial 7 on far" in text) == bool(far)
