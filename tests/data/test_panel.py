"""Panels: regular steps of time, their seasons, and the known values of the steps to forecast."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ohlol.data.panel import Panel, PanelColumns, TimeSeries, TimeStep, align_future, format_time
from ohlol.utils.errors import InputError

MONTH, WORKING_DAY, DAILY = TimeStep("M"), TimeStep("B"), TimeStep("s", 86400)


@pytest.mark.parametrize(
    ("step", "season", "text"),
    [
        (MONTH, 12, "monthly"),
        (TimeStep("M", 3), 4, "quarterly"),
        (TimeStep("M", 12), 1, "yearly"),
        (TimeStep("M", 2), 6, "every 2 months"),
        (TimeStep("M", 5), 1, "every 5 months"),
        (WORKING_DAY, 5, "every working day"),
        (DAILY, 7, "daily"),
        (TimeStep("s", 7 * 86400), 52, "weekly"),
        (TimeStep("s", 14 * 86400), 26, "every 14 days"),
        (TimeStep("s", 3600), 24, "hourly"),
        (TimeStep("s", 1800), 48, "every 30 minutes"),
        (TimeStep("s", 900), 96, "every 15 minutes"),
        (TimeStep("s", 300), 288, "every 5 minutes"),
        (TimeStep("s", 60), 60, "every minute"),
        (TimeStep("s", 1), 60, "every second"),
        (TimeStep("s", 5 * 3600), 1, "every 5 hours"),
        (TimeStep(), 1, "rows are counted"),
        (TimeStep("", 4), 1, "numbered in steps of 4"),
    ],
)
def test_a_step_has_a_season_and_a_name(step: TimeStep, season: int, text: str) -> None:
    assert (step.season, str(step)) == (season, text)


@given(
    st.sampled_from([MONTH, TimeStep("M", 3), WORKING_DAY, DAILY, TimeStep("s", 1800)]),
    st.integers(-(10**9), 3 * 10**9),
    st.integers(0, 500),
)
def test_positions_reverse_after(step: TimeStep, seconds: int, steps: int) -> None:
    start = np.datetime64(seconds, "s")
    if step.unit == "B":
        start = np.busday_offset(start.astype("datetime64[D]"), 0, roll="forward").astype("datetime64[s]")
    times = step.after(start, np.array([0, steps]))
    assert times[0] == start
    assert step.positions(start, times).tolist() == [0, steps]


def test_a_time_between_steps_has_a_fraction() -> None:
    start = np.datetime64("2020-01-01", "s")
    assert DAILY.positions(start, np.array(["2020-01-02T12:00:00"], "datetime64[s]")).tolist() == [1.5]
    assert TimeStep("M", 2).positions(start, np.array(["2020-02-01"], "datetime64[s]")).tolist() == [0.5]


@pytest.mark.parametrize(
    ("time", "step", "text"),
    [
        ("2020-03-01", MONTH, "2020-03"),
        ("2020-03-31", MONTH, "2020-03-31"),
        ("2020-03-01", DAILY, "2020-03-01"),
        ("2020-03-01T12:30", TimeStep("s", 1800), "2020-03-01 12:30:00"),
    ],
)
def test_a_time_as_text(time: str, step: TimeStep, text: str) -> None:
    assert format_time(np.datetime64(time), step) == text


def panel(*series: TimeSeries, step: TimeStep = DAILY, known: tuple[str, ...] = ("promo",)) -> Panel:
    return Panel(series, PanelColumns(("y",), known), step, 7)


def series(name: str, length: int, start: str | int | None, values: NDArray[Any] | None = None) -> TimeSeries:
    first = start if isinstance(start, int) else None
    time = np.datetime64(start, "s") if isinstance(start, str) else None
    return TimeSeries(name, np.zeros((length, 2)) if values is None else values, time, first)


def known(*values: float) -> NDArray[np.float64]:
    return np.array(values)[:, None]


@pytest.mark.parametrize(
    ("step", "start", "after", "before"),
    [
        (DAILY, "2020-01-01", "2020-01-06", "2020-01-04"),
        (MONTH, "2020-01-31", "2020-06-30", "2020-04-30"),
        (WORKING_DAY, "2020-01-01", "2020-01-08", "2020-01-06"),
        (TimeStep("", 2), 4, 14, 10),
        (TimeStep(), None, None, None),
    ],
)
def test_the_rows_that_follow_are_taken(step: TimeStep, start: Any, after: Any, before: Any) -> None:
    history = panel(series("a", 5, start), series("b", 5, start), step=step)
    exact = series("a", 3, after, known(1, 2, 3))
    earlier = series("b", 6, before, known(8, 9, 4, 5, 6, 7) if before else known(4, 5, 6, 7, 8, 9))
    rows = align_future(history, panel(earlier, exact, step=step), 3)
    assert [row.tolist() for row in rows] == [[[1], [2], [3]], [[4], [5], [6]]]


@pytest.mark.parametrize(
    ("future", "message"),
    [
        ([], "series 'a': no rows of it in the future values; rows 2020-01-06 to 2020-01-08 are needed"),
        (
            [series("a", 2, "2020-01-06", known(1, 2))],
            "x.csv:2: series 'a': no row 2020-01-08 in the future values; rows 2020-01-06 to 2020-01-08 are needed",
        ),
        (
            [series("a", 9, "2020-01-07", known(*range(9)))],
            "x.csv:2: series 'a': no row 2020-01-06 in the future values; ",
        ),
        (
            [series("a", 3, "2020-01-06", known(1, np.nan, 2))],
            "x.csv:2: series 'a': no value of 'promo' in row 2020-01-07; rows 2020-01-06 to 2020-01-08 are needed",
        ),
        (
            [series("a", 3, "2020-01-06T12:00:00", known(1, 2, 3))],
            "x.csv:2: series 'a': its rows are between the steps",
        ),
    ],
)
def test_missing_rows_are_named(future: list[TimeSeries], message: str) -> None:
    from dataclasses import replace

    from ohlol.data.lines import Place

    rows = panel(*(replace(one, place=Place("x.csv", 2)) for one in future))
    with pytest.raises(InputError) as caught:
        align_future(panel(series("a", 5, "2020-01-01")), rows, 3)
    assert str(caught.value).startswith(message)
