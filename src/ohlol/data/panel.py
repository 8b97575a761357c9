"""Panels: series of numbers in the order of time, with a regular step, and what is known of each.

Shapes: T time steps of a series, C columns: the targets, then the known, then the observed covariates.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ohlol.data.dates import DAY
from ohlol.data.lines import Place, error_at, quote
from ohlol.utils.errors import InputError
from ohlol.utils.translation import message_id, translate

CYCLES = ((60, 60), (300, 3600), (DAY, DAY), (7 * DAY, 7 * DAY), (float("inf"), 52 * 7 * DAY))
"""The seconds of a season for steps below a bound: a minute, an hour, a day, a week or a year of weeks."""
NO_PLACE = Place("", 1)
"""Of a series that comes from no file."""
NO_COUNT = message_id(
    "{named}{column} is {value} in row {row}; this `head` forecasts counts, whole numbers from 0 on: choose another "
    "one, or another `target`"
)
WORKING_WEEK, YEAR_OF_MONTHS = 5, 12


@dataclass(frozen=True)
class TimeStep:
    """The regular distance from one row to the next."""

    unit: str = ""
    """"M" for months, "s" for seconds, "B" for working days (Monday to Friday); "" for rows that are only counted."""
    count: int = 1
    """How many of them."""

    @property
    def season(self) -> int:
        """Steps of a season, by the calendar; 1 where there is none.

        >>> [TimeStep("M", 3).season, TimeStep("s", 900).season, TimeStep("s", 86400).season, TimeStep("M", 12).season]
        [4, 96, 7, 1]
        """
        if self.unit == "s":
            cycle = next(cycle for bound, cycle in CYCLES if self.count < bound)
        else:
            cycle = {"M": YEAR_OF_MONTHS, "B": WORKING_WEEK}.get(self.unit, 1)
        return 1 if cycle % self.count else cycle // self.count

    def positions(self, start: np.datetime64, times: NDArray[np.datetime64]) -> NDArray[np.float64]:
        """How many steps times are after a start; not an integer where a time is between two steps."""
        if self.unit == "M":
            months = times.astype("datetime64[M]") - start.astype("datetime64[M]")
            return months.astype(np.float64) / self.count
        if self.unit == "B":
            days = np.busday_count(start.astype("datetime64[D]"), times.astype("datetime64[D]"))
            return days.astype(np.float64) / self.count
        return (times - start).astype("timedelta64[s]").astype(np.float64) / self.count

    def __str__(self) -> str:
        """As messages name it: "monthly", "every 2 days"."""
        names = {
            ("M", 1): translate("monthly"),
            ("M", 3): translate("quarterly"),
            ("M", 12): translate("yearly"),
            ("B", 1): translate("every working day"),
            ("s", 1): translate("every second"),
            ("s", 60): translate("every minute"),
            ("s", 3600): translate("hourly"),
            ("s", DAY): translate("daily"),
            ("s", 7 * DAY): translate("weekly"),
            ("", 1): translate("rows are counted"),
        }
        unit, count = self.unit, self.count
        if (unit, count) in names:
            return names[unit, count]
        if unit == "s":
            size, unit = next(
                (size, name)
                for size, name in (
                    (DAY, message_id("every {count} days")),
                    (3600, message_id("every {count} hours")),
                    (60, message_id("every {count} minutes")),
                    (1, message_id("every {count} seconds")),
                )
                if not count % size
            )
            return translate(unit, count=count // size)
        return (
            translate("every {count} months", count=count)
            if unit == "M"
            else translate("numbered in steps of {count}", count=count)
        )

    def after(self, time: np.datetime64, steps: NDArray[np.int64]) -> NDArray[np.datetime64]:
        """The times so many steps after a time, as datetime64[s]; months keep the day of the month, or their last."""
        if self.unit == "M":
            month = time.astype("datetime64[M]")
            months = month + steps * self.count
            day = time.astype("datetime64[D]") - month
            last = (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]") - 1
            is_last = (month + 1).astype("datetime64[D]") - time.astype("datetime64[D]") == np.timedelta64(1, "D")
            within = time - time.astype("datetime64[D]")
            days = months.astype("datetime64[D]") + (last if is_last else np.minimum(day, last))
            return days.astype("datetime64[s]") + within
        if self.unit == "B":
            days = np.busday_offset(time.astype("datetime64[D]"), steps * self.count, roll="forward")
            return days.astype("datetime64[s]") + (time - time.astype("datetime64[D]"))
        return time + (steps * self.count).astype("timedelta64[s]")


@dataclass(frozen=True)
class TimeSeries:
    """One series: a row for every step from its first to its last, missing values as NaN."""

    name: str
    """The value of the column `series`, several joined by a tab; "" where the file has one series."""
    values: NDArray[np.float64]
    """(T, C); NaN where a value is missing or its row is."""
    start: np.datetime64 | None
    """The time of the first row; None where rows are only counted."""
    first: int | None = None
    """The number of the first row where a column of integers counts the rows."""
    statics: tuple[str, ...] = ()
    """The values of the static columns."""
    place: Place = NO_PLACE
    no_count: Place | None = None
    """Where the first target stands that is not a count; None where all are, or they come from no file."""


@dataclass(frozen=True)
class PanelColumns:
    """The columns of a panel by their part in it; the order of `TimeSeries.values` is targets, known, observed."""

    targets: tuple[str, ...]
    known: tuple[str, ...] = ()
    """Covariates whose values are known for the steps to forecast."""
    observed: tuple[str, ...] = ()
    """Covariates that are known up to the present."""
    static: tuple[str, ...] = ()
    """Categories that do not change within a series."""

    @property
    def numeric(self) -> tuple[str, ...]:
        """The columns of `TimeSeries.values`."""
        return (*self.targets, *self.known, *self.observed)


@dataclass(frozen=True)
class Panel:
    """The series of some files."""

    series: tuple[TimeSeries, ...] = field(repr=False)
    columns: PanelColumns
    step: TimeStep
    season: int
    """Steps of a season; 1 where there is none."""

    def describe(self, row: TimeSeries, index: int) -> str:
        """A row of a series as messages name it: by its date, its number, or its place in the series."""
        if row.start is not None:
            return format_time(self.step.after(row.start, np.array([index], np.int64))[0], self.step)
        return str(index + 1 if row.first is None else row.first + index * self.step.count)


def is_count(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values are whole numbers from 0 on, or missing."""
    return np.isnan(values) | ((values >= 0) & (values == np.floor(values)))


def check_counts(panel: Panel) -> None:
    """Raise InputError at the first target that is not a count."""
    F = len(panel.columns.targets)
    for series in panel.series:
        wrong = np.argwhere(~is_count(series.values[:, :F]))
        if len(wrong):
            row, column = (int(index) for index in wrong[0])
            details = {
                "named": translate("series {name}: ", name=quote(series.name)) if series.name else "",
                "column": quote(panel.columns.targets[column]),
                "value": f"{series.values[row, column]:g}",
                "row": panel.describe(series, row),
            }
            place = series.no_count or series.place
            raise (
                InputError(NO_COUNT, **details)
                if place == NO_PLACE
                else error_at(place, translate(NO_COUNT, **details))
            )


def format_time(time: np.datetime64, step: TimeStep) -> str:
    """A time as messages and files write it: a month, a day or a second.

    >>> format_time(np.datetime64("2020-01-01T00:00:00"), TimeStep("M")), format_time(np.datetime64(9, "s"), TimeStep())
    ('2020-01', '1970-01-01 00:00:09')
    """
    text = str(time.astype("datetime64[s]"))
    date, _, clock = text.partition("T")
    if clock != "00:00:00":
        return f"{date} {clock}"
    return date.removesuffix("-01") if step.unit == "M" and date.endswith("-01") else date


def align_future(panel: Panel, future: Panel, steps: int) -> list[NDArray[np.float64]]:
    """The known covariates of the steps that follow each series.

    Rows are found by their time, or by their number where a column of integers counts them; where rows are only
    counted, they are the first rows of the series in `future`.

    Returns:
        An array (steps, number of known columns) for each series of the panel.

    Raises:
        InputError: a series or some of its rows are missing from `future`, or a known value is.
    """
    by_name = {series.name: series for series in future.series}
    return [_follow(panel, series, by_name, steps) for series in panel.series]


def offset_after(series: TimeSeries, rows: TimeSeries, step: TimeStep) -> float:
    """Steps from the first row that follows a series to the first of other rows of it; 0 where rows are only counted.

    Not an integer where these rows are between the steps of the series.
    """
    length = len(series.values)
    if series.start is not None:
        assert rows.start is not None
        return float(step.positions(series.start, np.array([rows.start]))[0]) - length
    if series.first is not None and rows.first is not None:
        return (rows.first - series.first) / step.count - length
    return 0.0


def _follow(panel: Panel, series: TimeSeries, future: dict[str, TimeSeries], steps: int) -> NDArray[np.float64]:
    length, names = len(series.values), panel.columns.known
    named = translate("series {name}: ", name=quote(series.name)) if series.name else ""
    needed = translate(
        "rows {first} to {last}", first=panel.describe(series, length), last=panel.describe(series, length + steps - 1)
    )
    if series.start is None and series.first is None:
        needed = translate("the {steps} rows that follow", steps=steps)
    rows = future.get(series.name)
    if rows is None:
        raise InputError("{named}no rows of it in the future values; {needed} are needed", named=named, needed=needed)
    offset = offset_after(series, rows, panel.step)
    if offset != int(offset):
        raise error_at(
            rows.place,
            translate(
                "{named}its rows are between the steps of the series; {needed} are needed", named=named, needed=needed
            ),
        )
    index = np.arange(steps) - int(offset)
    is_there = (index >= 0) & (index < len(rows.values))
    if not is_there.all():
        missing = panel.describe(series, length + int(np.argmin(is_there)))
        raise error_at(
            rows.place,
            translate(
                "{named}no row {missing} in the future values; {needed} are needed",
                named=named,
                missing=missing,
                needed=needed,
            ),
        )
    values = rows.values[index]
    empty = np.argwhere(np.isnan(values))
    if len(empty):
        row, column = empty[0]
        where = panel.describe(series, length + int(row))
        raise error_at(
            rows.place,
            translate(
                "{named}no value of {names} in row {where}; {needed} are needed",
                named=named,
                names=quote(names[column]),
                where=where,
                needed=needed,
            ),
        )
    return values
