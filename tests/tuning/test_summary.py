"""A study as plain data, as a table, on a terminal and as a picture."""

import re
from pathlib import Path

import pytest
from helpers import upper_pairs

import ohlol
from ohlol.cli import main
from ohlol.display.figures import save_figure
from ohlol.tuning.figures import draw_study
from ohlol.tuning.summary import StudySummary, Trial
from ohlol.utils.errors import InputError
from tuning.studies import SUMMARY


def test_trials_are_ranked_by_metric_and_then_by_number() -> None:
    assert [t.number for t in SUMMARY.ranked] == [2, 5, 0, 1, 6]  # of equal ones the earlier
    assert SUMMARY.best == SUMMARY.trials[2]
    assert SUMMARY.best_so_far == [(0, 0.5), (1, 0.5), (2, 0.6), (5, 0.6), (6, 0.6)]
    low, high = SUMMARY.axis_limits
    assert 0.01 < low < 0.4  # the worst is far off
    assert 0.6 < high <= 1.0
    less = StudySummary(
        "x", "bits", {}, tuple(Trial(n, "complete", {}, v, {"bits": v, "loss": v}) for n, v in enumerate((3.0, 2.0)))
    )
    assert less.lower_is_better
    assert less.best == less.trials[1]
    assert less.best_so_far == [(0, 3.0), (1, 2.0)]
    assert StudySummary("x", "bits", {}, ()).best is None
    assert StudySummary("x", "bits", {}, ()).axis_limits == (0.0, 1.0)


def test_plot_shows_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    data = upper_pairs(tmp_path / "data.tsv")
    study = tmp_path / "study"
    summary = ohlol.tune(data, trials=6, out=study, search=["lr"], pruner="none", hidden_size=6, epochs=2)

    def run(*arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main(["plot", *arguments])
        assert end.value.code == status
        found = capsys.readouterr()
        return found.err if status else found.out

    shown = run(str(study), "--lang", "en")
    assert shown.startswith("accuracy of each trial\n")
    assert "6 complete, 0 pruned" in shown
    assert re.search(r"^lr +100%  █{40}$", shown, re.MULTILINE)  # nothing else was searched
    assert run(str(study), "--lang", "zh").startswith("各次试验的指标：accuracy\n")
    assert run(str(study), "--out", str(tmp_path / "study.svg")) == f"written: {tmp_path / 'study.svg'}\n"
    assert (tmp_path / "study.svg").read_text().count("<svg") == 1
    assert "is a study; plot it alone" in run(str(study), str(study / "best"), status=2)
    assert run(str(study / "best"), "--lang", "en").startswith("loss, nats\n")  # an ordinary run
    ohlol.tune(data, trials=1, out=tmp_path / "none", search=["lr"], timeout=0, hidden_size=6, epochs=2)
    assert "no trial has finished" in run(str(tmp_path / "none"), status=2)
    assert summary.best is not None
    with pytest.raises(InputError, match="the name of a figure must end in"):
        save_figure(draw_study(summary), tmp_path / "study.bmp")
