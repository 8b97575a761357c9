"""Reports of backtests: the same values for the model and the naive forecasts, by column and by step."""

import json
import math

import numpy as np
import pytest
from forecasts import forecast_of, panel_of, seasonal

from ohlol.data.panel import Panel
from ohlol.evaluation.backtest import MODEL, NAIVE, SEASONAL_NAIVE, BacktestReport
from ohlol.evaluation.forecast import Forecast
from ohlol.utils.errors import InputError

NAN = float("nan")


def report_of(panel: Panel, origins: tuple[int, ...], steps: int, **options: object) -> BacktestReport:
    forecasts = [(k, list(forecast_of(panel, steps, k, **options))) for k in origins]  # pyright: ignore
    return BacktestReport.of(panel, forecasts)


def test_a_report_by_hand() -> None:
    panel = panel_of({"a": [1, 3, 2, 4, 5, 9], "b": [10, 10, 12, 12, 14, 20]}, 2)
    report = report_of(panel, (3, 2), 2, error=1.0)
    assert (report.series, report.left_out, report.origins, report.steps) == (2, 0, (3, 2), 2)
    assert (report.values, report.missing, report.constant) == ({"y": 8}, {"y": 0}, {"y": 0})
    model = report.scores[MODEL]["y"]
    assert (model.rmse, model.mae) == pytest.approx((1, 1))
    # seasonal differences of a up to the origins: 1; 1, 1; of b: 2; 2, 2
    assert model.mase == pytest.approx((1 / 1 + 1 / 2 + 1 / 1 + 1 / 2) / 4)
    assert model.coverage == {80: 1, 95: 1}
    assert model.msis[95] == pytest.approx(4 * model.mase)
    # last values of a: 2, 4; of b: 12, 12
    naive = report.by_step[NAIVE]["y"]
    assert naive[0].mae == pytest.approx((2 + 1 + 0 + 2) / 4)
    assert naive[1].mae == pytest.approx((3 + 5 + 2 + 8) / 4)
    # last seasons of a: 3 2, 2 4; of b: 10 12, 12 12
    seasonal_naive = report.by_step[SEASONAL_NAIVE]["y"]
    assert seasonal_naive[0].mae == pytest.approx((1 + 3 + 2 + 2) / 4)
    assert seasonal_naive[1].mae == pytest.approx((3 + 5 + 2 + 8) / 4)
    assert report.baseline == SEASONAL_NAIVE
    assert report.beats_seasonal_naive
    assert not report_of(panel, (3, 2), 2, error=30.0).beats_seasonal_naive


def test_steps_add_up_to_the_whole() -> None:
    panel = panel_of({"a": seasonal(60), "b": seasonal(50, seed=1)}, 7)
    report = report_of(panel, (10, 5), 5, error=0.5)
    for name, by_column in report.by_step.items():
        steps, whole = by_column["y"], report.scores[name]["y"]
        for metric in ("mae", "smape", "mase"):
            assert np.mean([getattr(step, metric) for step in steps]) == pytest.approx(getattr(whole, metric))
        assert np.mean([step.rmse**2 for step in steps if step.rmse is not None]) == pytest.approx(whole.rmse**2)
        assert report.mase(name, 2) == steps[2].mase


def test_missing_values_constant_histories_and_short_series_are_left_out_and_counted() -> None:
    values = {"a": [1, 2, NAN, 4, NAN, 6], "still": [5.0] * 6, "empty": [NAN] * 4 + [1, 2], "short": [1.0]}
    panel = panel_of(values)
    long_enough = Panel(panel.series[:3], panel.columns, panel.step, panel.season)
    report = BacktestReport.of(panel, [(2, list(forecast_of(long_enough, 2, 2, error=1.0)))])
    assert (report.series, report.left_out) == (3, 1)
    assert report.values == {"y": 3}
    assert report.missing == {"y": 3}
    assert report.constant == {"y": 1}
    assert report.scores[MODEL]["y"].mae == pytest.approx(1)
    assert report.scores[MODEL]["y"].mase == pytest.approx(1)
    assert set(report.scores) == {MODEL, NAIVE}  # without a season
    assert report.baseline == NAIVE


def test_without_a_scale_there_is_no_comparison() -> None:
    report = report_of(panel_of({"": [3.0] * 9}), (2,), 2)
    assert report.beats_seasonal_naive is None
    assert report.mase(MODEL) is None
    assert report.to_json()["beats_seasonal_naive"] is None


def test_columns_are_found_by_name_and_averaged() -> None:
    values = np.stack([seasonal(40), 1000 * seasonal(40, seed=1)], axis=1)
    panel = panel_of({"": values}, 7, targets=("y", "z"))
    swapped = [
        Forecast(f.series, f.columns[::-1], f.first, f.times, f.levels, f.quantiles[:, ::-1])
        for f in forecast_of(panel, 4, 4, error=2.0)
    ]
    report = BacktestReport.of(panel, [(4, swapped)])
    assert report.columns == ("z", "y")
    assert report.scores[MODEL]["y"].mae == report.scores[MODEL]["z"].mae == pytest.approx(2)
    both = [report.scores[MODEL][column].mase for column in report.columns]
    assert report.mase(MODEL) == pytest.approx(np.mean([value for value in both if value is not None]))


def test_json_has_every_figure() -> None:
    report = report_of(panel_of({"a": seasonal(40)}, 7), (6, 3), 3, error=0.1)
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (data["season"], data["steps"], data["origins"], data["series"]) == (7, 3, [6, 3], 1)
    column = data["columns"]["y"]
    assert column["values"] == 6
    assert set(column["metrics"]) == {"model", "seasonal_naive", "naive"}
    assert set(column["metrics"]["model"]) == {"rmse", "mae", "smape", "mase", "wql", "coverage", "msis"}
    assert column["metrics"]["model"]["mae"] == pytest.approx(0.1)
    assert column["metrics"]["model"]["coverage"] == {"80": 1, "95": 1}
    assert len(column["by_step"]["naive"]) == 3


def test_a_model_of_medians_has_no_intervals() -> None:
    report = report_of(panel_of({"a": seasonal(40)}, 7), (3,), 3, levels=(0.5,))
    assert report.intervals == ()
    assert report.scores[SEASONAL_NAIVE]["y"].coverage == {}
    assert report.scores[SEASONAL_NAIVE]["y"].wql is not None


def test_forecasts_that_are_not_finite_or_absent_are_refused() -> None:
    panel = panel_of({"a": seasonal(40)}, 7)
    with pytest.raises(InputError, match=r"the forecast of series 'a' from row 38 is not finite; .* `lr`"):
        report_of(panel, (3,), 3, error=math.inf)
    with pytest.raises(InputError, match="there is no forecast to measure"):
        BacktestReport.of(panel, [])
    with pytest.raises(ValueError, match="no series 'a' of the panel ends before row 38"):
        BacktestReport.of(panel, [(2, list(forecast_of(panel, 3, 3)))])
