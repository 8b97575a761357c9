"""Backtests: which rows are held back, and which series are long enough."""

from typing import Any

import pytest
from forecasts import FakeModel, fake_forecasts, panel_of, seasonal

from ohlol.config import DataSettings
from ohlol.inference.backtest import backtest
from ohlol.utils.errors import InputError

__all__ = ["fake_forecasts"]
pytestmark = pytest.mark.usefixtures("fake_forecasts")
PANEL = panel_of({"a": seasonal(60), "b": seasonal(20, seed=1)}, 7)


def run(**options: Any) -> Any:
    return backtest(FakeModel(**options.pop("model", {})), options.pop("panel", PANEL), **options)


def test_origins_are_a_forecast_apart_and_end_at_the_last_row() -> None:
    report = run(steps=4, origins=3)
    assert report.origins == (12, 8, 4)
    assert report.steps == 4
    assert (report.series, report.left_out) == (2, 0)
    assert report.values == {"y": 2 * 3 * 4}
    assert report.beats_seasonal_naive


def test_the_stride_moves_the_origins() -> None:
    assert run(steps=4, origins=3, stride=1).origins == (6, 5, 4)


def test_the_steps_are_the_horizon() -> None:
    assert run(origins=1).steps == 7
    assert run(origins=1, model={"horizon": 3}).steps == 3


def test_series_that_are_too_short_are_left_out() -> None:
    report = run(steps=4, origins=4)  # 16 rows held back, and 8 before them
    assert (report.series, report.left_out) == (1, 1)
    with pytest.raises(InputError, match=r"has 60 rows, and 88 are needed: 80 for 20 origins of 4 steps, .* `origins`"):
        run(steps=4, origins=20)


@pytest.mark.parametrize("name", ["steps", "origins", "stride"])
def test_arguments_are_positive(name: str) -> None:
    with pytest.raises(InputError, match=f"`{name}` is 0; it must be at least 1"):
        run(**{"steps": 3, name: 0})


def test_other_tasks_have_no_backtest() -> None:
    with pytest.raises(InputError, match="task is label; it does not forecast series"):
        run(model={"task": "label"})


def test_tables_in_memory_are_read() -> None:
    rows = [{"y": value} for value in seasonal(60).tolist()]
    report = backtest(FakeModel(settings=DataSettings("forecast", "columns", target="y", season=7)), rows)
    assert (report.series, report.season, report.steps) == (1, 7, 7)
