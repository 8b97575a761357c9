"""Forecasts: their intervals, and their rows as lists and data frames."""

from dataclasses import replace

import numpy as np
import pytest
from forecasts import forecast_of, panel_of
from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.panel import TimeStep
from ohlol.evaluation.forecast import Forecasts
from ohlol.utils.errors import InputError


def forecasts(
    *, names: tuple[str, ...] = ("a", "b"), targets: tuple[str, ...] = ("y",), timed: bool = True
) -> Forecasts:
    values = {name: 0.1 * np.arange(1.0, 1 + 5 * len(targets)).reshape(5, -1) for name in names}
    panel = panel_of(values, targets=targets, step=TimeStep("s", 86400) if timed else TimeStep())
    return forecast_of(panel, 2, 2)


def test_intervals_are_those_of_the_levels_and_between_them() -> None:
    (forecast,) = forecasts(names=("",))
    point = forecast.point
    for percent, width in ((95, 2.0), (80, 1.0), (40, 0.5)):
        lower, upper = forecast.interval(percent)
        assert lower == pytest.approx(point - width)
        assert upper == pytest.approx(point + width)
    with pytest.raises(InputError, match="the model gives intervals up to 95 %"):
        forecast.interval(96)


def test_the_usual_intervals_are_those_that_the_model_gives() -> None:
    (forecast,) = forecasts(names=("",))
    assert forecast.intervals() == (80, 95)
    narrow = replace(forecast, levels=(0.1, 0.5, 0.9), quantiles=forecast.quantiles[:, :, 1:4])
    assert narrow.intervals() == (80,)
    assert narrow.interval(80)[0] == pytest.approx(forecast.quantiles[:, :, 1])
    narrower = replace(forecast, levels=(0.25, 0.5, 0.75), quantiles=forecast.quantiles[:, :, 1:4])
    assert narrower.intervals() == (50,)
    assert replace(forecast, levels=(0.5,), quantiles=forecast.quantiles[:, :, 2:3]).intervals() == ()


@given(st.floats(0.5, 95))
def test_every_interval_holds_the_point(percent: float) -> None:
    (forecast,) = forecasts(names=("",))
    lower, upper = forecast.interval(percent)
    assert (lower <= forecast.point).all()
    assert (forecast.point <= upper).all()


def test_rows_have_series_times_and_bounds() -> None:
    rows = forecasts().to_rows()
    assert [(row["series"], row["time"]) for row in rows] == [
        ("a", "2024-01-04"), ("a", "2024-01-05"), ("b", "2024-01-04"), ("b", "2024-01-05")
    ]  # fmt: skip
    assert list(rows[0]) == ["series", "time", "y", "lower_80", "upper_80", "lower_95", "upper_95"]
    assert rows[1]["y"] == 0.5
    assert rows[1]["upper_95"] == 2.5


def test_rows_that_are_counted_have_steps_and_a_series_without_a_name_has_none() -> None:
    rows = forecasts(names=("",), timed=False).to_rows([50])
    assert list(rows[0]) == ["step", "y", "lower_50", "upper_50"]
    assert [row["step"] for row in rows] == [1, 2]
    assert Forecasts().to_rows() == []


def test_several_targets_prefix_their_bounds_and_keep_their_names() -> None:
    rows = forecasts(names=("a",), targets=("time", "time_lower_80")).to_rows([80])
    assert list(rows[0]) == [
        "series", "time_", "time", "time_lower_80_", "time_upper_80", "time_lower_80", "time_lower_80_lower_80",
        "time_lower_80_upper_80",
    ]  # fmt: skip
    assert rows[0]["time_"] == "2024-01-04"
    assert rows[0]["time"] == pytest.approx(0.7)
    assert rows[0]["time_lower_80"] == pytest.approx(0.8)
    assert rows[0]["time_lower_80_"] == pytest.approx(-0.3)


def test_times_within_a_day_are_written_to_the_second() -> None:
    panel = panel_of({"": np.arange(5.0)}, step=TimeStep("s", 3600))
    assert [row["time"] for row in forecast_of(panel, 2).to_rows()] == ["2024-01-01T05:00:00", "2024-01-01T06:00:00"]


def test_numbers_are_rounded_by_the_size_and_the_range_of_their_series() -> None:
    large, small = np.array([123456.789, 123456.1]), np.array([0.000123456789, 0.000123])
    panel = panel_of({"large": large, "small": small})
    rows = forecast_of(panel, 2, 2, levels=(0.5,)).to_rows()
    assert [row["y"] for row in rows] == [123456.789, 123456.1, 0.0001234568, 0.000123]
    (row,) = forecast_of(panel_of({"": [123456.789]}), 1, 1, levels=(0.5,)).to_rows()
    assert row["y"] == 123457.0


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=5))
def test_rounding_keeps_six_digits_of_the_largest(values: list[float]) -> None:
    rows = forecast_of(panel_of({"": values}), len(values), len(values), levels=(0.5,)).to_rows()
    largest = max(map(abs, values))
    assert [row["y"] for row in rows] == pytest.approx(values, abs=1e-5 * largest)


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_frames_have_the_same_columns_with_times_and_all_digits(backend: str) -> None:
    pytest.importorskip(backend)
    import narwhals

    made = forecasts(targets=("y", "z"))
    frame = narwhals.from_native(made.to_frame([80], backend=backend), eager_only=True)
    assert frame.columns == list(made.to_rows([80])[0])
    assert frame["time"].dtype == narwhals.Datetime
    np.testing.assert_array_equal(frame["z"].to_numpy(), np.concatenate([f.point[:, 1] for f in made]))
    assert frame["series"].to_list() == ["a", "a", "b", "b"]


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InputError, match="`backend` is 'tables'"):
        forecasts().to_frame(backend="tables")
