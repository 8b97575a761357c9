"""Figures of forecasts and backtests: they contain the numbers."""

from pathlib import Path

import numpy as np
import pytest
from forecasts import forecast_of, panel_of, seasonal

from ohlol.data.panel import TimeStep
from ohlol.display.forecast_text import forecast_curves
from ohlol.evaluation.backtest import MODEL, BacktestReport

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'ohlol[plot]'")

from ohlol.display.figures import Fonts, save_figure
from ohlol.display.forecast_figures import draw_backtest, draw_forecasts


@pytest.mark.parametrize("step", [TimeStep("s", 86400), TimeStep()])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_figure_has_history_forecast_and_intervals(step: TimeStep, lang: str, tmp_path: Path) -> None:
    panel = panel_of({name: seasonal(50) for name in ("a", "b $x$", "é\n")}, 7, step=step)
    curves = forecast_curves(panel, forecast_of(panel, 7))
    figure = draw_forecasts(curves, lang=lang)
    drawn = [axes for axes in figure.axes if axes.get_visible()]
    assert len(drawn) == 3
    assert drawn[1].get_title(loc="left") == "b $x$"
    for axes, curve in zip(drawn, curves, strict=True):
        history, forecast = axes.lines
        np.testing.assert_array_equal(history.get_ydata(), curve.history)
        np.testing.assert_array_equal(forecast.get_ydata(), curve.point)
        assert len(axes.collections) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == (
        ["history", "80 % interval", "95 % interval", "forecast"]
        if lang == "en" or Fonts("历").missing  # a font with Chinese characters may not be installed
        else ["历史", "80% 区间", "95% 区间", "预测"]
    )
    save_figure(figure, tmp_path / "forecast.png")
    assert (tmp_path / "forecast.png").stat().st_size > 10_000


def test_large_numbers_are_written_out() -> None:
    panel = panel_of({"a": 1e6 * seasonal(30)}, 7)
    axes = draw_forecasts(forecast_curves(panel, forecast_of(panel, 7))).axes[0]
    assert axes.yaxis.get_major_formatter()(120000000, 0) == "120,000,000"


def test_the_figure_of_a_backtest_has_the_errors_by_step() -> None:
    values = np.stack([seasonal(60), np.full(60, 3.0)], axis=1)
    panel = panel_of({"a": values}, 7, targets=("y", "still"))
    report = BacktestReport.of(panel, [(7, list(forecast_of(panel, 7, 7, error=0.5)))])
    figure = draw_backtest(report)
    scaled, constant = figure.axes
    assert (scaled.get_ylabel(), constant.get_ylabel()) == ("MASE", "MAE")
    assert len(scaled.lines) == 3
    assert scaled.lines[0].get_ydata() == pytest.approx([s.mase for s in report.by_step[MODEL]["y"]])
    assert constant.lines[0].get_ydata() == pytest.approx([0.5] * 7)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["model", "seasonal naive", "naive"]
