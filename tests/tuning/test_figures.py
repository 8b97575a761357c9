"""The figure of a study shows every trial that has a metric, and the importance of each setting."""

from pathlib import Path

import pytest

from ohlol.tuning.summary import StudySummary
from ohlol.utils.translation import LANGUAGES
from tuning.studies import RANGES, SUMMARY

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'ohlol[plot]'")

from ohlol.display.figures import save_figure
from ohlol.tuning.figures import draw_study


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    "summary", [SUMMARY, StudySummary("few", "accuracy", RANGES, SUMMARY.trials[3:4])], ids=["whole", "few"]
)
def test_the_figure_of_a_study(lang: str, summary: StudySummary, tmp_path: Path) -> None:
    figure = draw_study(summary, lang=lang)
    history, importance, *against = [axes for axes in figure.axes if axes.get_visible()]
    assert len(against) == len(RANGES)
    points = sum(len(c.get_offsets()) for c in history.collections)  # pyright: ignore[reportArgumentType]
    assert points == len(summary.evaluated)
    assert all(sum(len(c.get_offsets()) for c in axes.collections) == len(summary.evaluated) for axes in against)  # pyright: ignore[reportArgumentType]
    assert [bar.get_width() for bar in importance.patches] == sorted(summary.importance.values())  # pyright: ignore[reportAttributeAccessIssue]
    assert against[-1].get_xscale() == "log"
    save_figure(figure, tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
