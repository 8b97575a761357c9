"""A backtest as tables: its figures, in 80 columns, in two languages."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from forecasts import forecast_of, panel_of, seasonal
from rich.cells import cell_len
from rich.console import Console

from ohlol.display.backtest_text import MAX_STEPS, print_backtest, verdict
from ohlol.display.notebook import backtest_to_html
from ohlol.evaluation.backtest import MODEL, SEASONAL_NAIVE, BacktestReport


def report_of(scale: float = 1.0, *, error: float = 0.5, steps: int = 14, name: str = "sales [b]") -> BacktestReport:
    values = np.stack([seasonal(80), scale * seasonal(80, seed=1)], axis=1)
    panel = panel_of({"a": values, "b": values, "short": values[:3]}, 7, targets=("y", name))
    long_enough = replace(panel, series=panel.series[:2])
    return BacktestReport.of(panel, [(k, list(forecast_of(long_enough, steps, k, error=error))) for k in (28, 14)])


def printed(report: BacktestReport, lang: str = "en") -> list[str]:
    out = io.StringIO()
    print_backtest(report, Console(file=out, width=80), lang=lang)
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def test_the_tables_have_the_metrics_by_column_and_by_step() -> None:
    report = report_of()
    lines = printed(report)
    assert lines[0] == "series: 2   origins: 2   steps: 14   season: 7   values: 112"
    assert lines[1].split() == ["RMSE", "MAE", "sMAPE", "%", "MASE", "wQL", "80", "%", "95", "%", "MSIS"]
    scores = report.scores[SEASONAL_NAIVE]["y"]
    row = next(line for line in lines if line.startswith(" seasonal naive"))
    assert row.split()[2:5] == [f"{scores.rmse:.3f}", f"{scores.mae:.3f}", f"{scores.smape:.2f}"]
    assert any(line.strip() == "sales [b]" for line in lines)
    steps = {line.split()[0]: line.split()[1:] for line in lines if re.match(r" \d+ ", line)}
    assert len(steps) == MAX_STEPS
    assert steps["14"][0] == f"{report.mase(MODEL, 13):.3f}"
    assert "left out, since they are too short: 1 of 3 series" in lines
    assert " ".join(lines).endswith(verdict(report, "en"))
    assert verdict(report, "en").startswith("The model beats the seasonal naive forecast: MASE ")


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_line_fits(scale: float, lang: str) -> None:
    lines = printed(report_of(scale, name="a long name of a column " * 5), lang)
    assert max(map(cell_len, lines)) <= 80
    assert ("季节朴素法" if lang == "zh" else " seasonal naive ") in "\n".join(lines)


def test_the_verdict_names_both_figures_and_their_difference() -> None:
    report = report_of(error=30.0)
    model, other = report.mase(MODEL), report.mase(SEASONAL_NAIVE)
    assert model is not None
    assert other is not None
    assert verdict(report, "en") == (
        f"The model does not beat the seasonal naive forecast: MASE {model:.4f} against {other:.4f}, "
        f"higher by {model - other:.4f}."
    )
    assert verdict(report, "zh").startswith("模型不优于季节朴素法")


def test_without_season_scale_and_intervals() -> None:
    panel = panel_of({"": [3.0] * 8}, targets=("y",))
    lines = printed(BacktestReport.of(panel, [(2, list(forecast_of(panel, 2, 2, levels=(0.5,))))]))
    assert lines[1].split() == ["RMSE", "MAE", "sMAPE", "%", "MASE", "wQL"]
    assert next(line for line in lines if line.startswith(" model")).split()[4] == "-"
    assert not any("seasonal" in line for line in lines)
    assert "y: left out of MASE and MSIS: 1 forecasts" in "\n".join(lines)
    assert "The model is not compared with the naive forecast" in "\n".join(lines)


def test_a_notebook_shows_the_same_figures() -> None:
    report = report_of()
    html = report._repr_html_()
    assert html == backtest_to_html(report)
    assert f"{report.scores[MODEL]['y'].mase:.3f}" in html
    assert "sales [b]" in html
    assert verdict(report, "en") in html
