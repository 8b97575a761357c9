"""Times: the dates or numbers in the column `time`, and the regular step between the rows of each series."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.data.dates import (
    DAY,
    EPOCH,
    ORDERS,
    QUARTER_WORDS,
    UNIX_FIRST,
    UNIX_LAST,
    UNIX_UNITS,
    WEEK_WORDS,
    days_in_numbers,
    name_words,
    parse_moment,
    readings_of,
)
from ohlol.data.lines import Place, error_at, quote
from ohlol.data.panel import TimeStep
from ohlol.data.readers.number_formats import NumberFormat
from ohlol.data.readers.tables import is_empty, number
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

FRIDAY, SATURDAY = 4, 5
"""Days of the week from Monday, 0."""
MAX_FILLED = 10
"""Rows of a regular step for each row that is there, from which on the step must be a mistake."""
SMALL = 1000
"""Missing rows that are never too many."""

REGULAR_ROWS = 8
"""Rows of a series from which on a regular step is no chance."""

Seconds = NDArray[np.int64]


class Times(NamedTuple):
    """A value for each row: seconds since 1970, or the number of the row."""

    values: Seconds
    are_dates: bool
    date_order: str | None = None
    """The setting by which dates were read whose numbers have an order."""


def join_cells(cells: Sequence[Any], names: Sequence[str] = ()) -> Any:
    """The time in the cells of a row: one, a date and a time of day or an hour, or integers from the year on.

    Args:
        cells: of the columns of the time.
        names: of these columns; a quarter or a week after the year has such a name.

    >>> join_cells(["2020-01-31", "17:30"]), join_cells(["2020-01-31", 5]), join_cells([2020, "1", 31, 5])
    ('2020-01-31 17:30', '2020-01-31 05:00', '2020-1-31 05:00:00')
    >>> join_cells([2020, 4], ["year", "quarter"]), join_cells([2020, 4], ["year", "week"])
    ('2020Q4', '2020-W04')
    """
    if len(cells) == 1:
        return cells[0]
    texts = [_date_or_text(cell) for cell in cells]
    if not all(text.isdecimal() for text in texts):
        hours = [f"{int(text):02}:00" if text.isdecimal() else text for text in texts[1:]]
        return " ".join([texts[0], *(hours if len(texts) == 2 else texts[1:])])
    words = name_words(names[1]) if len(names) == 2 else set[str]()
    if words & QUARTER_WORDS:
        return f"{texts[0]}Q{texts[1]}"
    if words & WEEK_WORDS:
        return f"{texts[0]}-W{int(texts[1]):02}"
    clock = [f"{int(text):02}" for text in (*texts[3:], "0", "0")[:3]] if len(texts) > 3 else []
    return "-".join(texts[:3]) + f" {':'.join(clock)}" * bool(clock)


def _date_or_text(cell: Any) -> str:
    """The text of a cell, of a date without a time of day that is midnight."""
    if isinstance(cell, datetime) and (cell.hour, cell.minute, cell.second) == (0, 0, 0) and cell.tzinfo is None:
        cell = date(cell.year, cell.month, cell.day)
    return "" if cell is None else str(cell).strip()


def read_times(
    name: str,
    cells: Sequence[Any],
    groups: Sequence[Seconds],
    places: Sequence[Place],
    form: NumberFormat,
    *,
    date_order: str | None = None,
    step: TimeStep | None = None,
) -> Times:
    """The times of rows.

    Args:
        name: of the column.
        cells: of all rows.
        groups: the rows of each series.
        places: of all rows.
        form: how numbers are written.
        date_order: that of the day, the month and the year; None where the dates decide.
        step: that of the series, where it is known.

    Raises:
        InputError: a cell holds neither a date nor an integer as the others do, or several orders are as plausible.
    """
    numbers = np.array([np.nan if (value := number(cell, form)) is None else value for cell in cells])
    if np.isfinite(numbers).all():
        if (numbers != np.floor(numbers)).any():
            raise InputError(
                "{file}: column {name} holds fractions; `time` is a column of dates or of integers, "
                "or '' where the rows are only counted",
                file=places[0].file,
                name=quote(name),
            )
        distinct, at = np.unique(numbers.astype(np.int64), return_inverse=True)
        days = days_in_numbers(distinct.tolist(), name)
        if days is not None:
            return Times(np.array(days).astype(np.int64)[at] - EPOCH, are_dates=True)
        for unit in UNIX_UNITS:
            if UNIX_FIRST * unit <= numbers.min() and numbers.max() <= UNIX_LAST * unit:
                return Times(_whole_seconds(numbers / unit, name, places), are_dates=True)
        return Times(numbers.astype(np.int64), are_dates=False)
    seconds, reading = _read_dates(name, cells, groups, places, date_order, step)
    return Times(_whole_seconds(seconds, name, places), True, ORDERS.get(reading))


def _whole_seconds(seconds: NDArray[np.float64], name: str, places: Sequence[Place]) -> Seconds:
    parts = np.flatnonzero(seconds != np.floor(seconds))
    if len(parts):
        raise error_at(
            places[parts[0]],
            translate(
                "column {name} holds parts of a second, and the shortest step is a second; count the rows "
                "instead with `time` '', or with a column of integers",
                name=quote(name),
            ),
        )
    return seconds.astype(np.int64)


class _Reading(NamedTuple):
    """The dates of a column in one reading, and how well it suits them: the less, the better."""

    failures: int
    """Cells without a date."""
    backward: int
    """Dates that are before those above."""
    irregular: int
    """Rows that do not follow at the regular step; 0 until it is compared."""
    name: str
    seconds: NDArray[np.float64]

    @property
    def rank(self) -> tuple[int, int, int]:
        return self[:3]


def _read_dates(
    name: str,
    cells: Sequence[Any],
    groups: Sequence[Seconds],
    places: Sequence[Place],
    date_order: str | None,
    step: TimeStep | None,
) -> tuple[NDArray[np.float64], str]:
    """The seconds since 1970, and the reading in which most cells are dates, in order and at a regular step."""
    keys = [cell if isinstance(cell, str) else str(cell) for cell in cells]
    distinct = dict(zip(keys, cells, strict=True))
    readings: list[_Reading] = []
    for reading in readings_of(date_order):
        seconds = _clock_times(keys, distinct, reading, step)
        backward = sum(int((np.diff(seconds[group]) < 0).sum()) for group in groups)
        readings.append(_Reading(int(np.isnan(seconds).sum()), backward, 0, reading, seconds))
        if reading == "ISO" and not readings[0].failures:  # which leaves nothing open
            break
    best = min(readings, key=lambda one: one.rank)
    if not best.failures:
        others = [one for one in readings if one.rank == best.rank]
        if len(others) > 1:
            others = [one._replace(irregular=_count_irregular(one.seconds, groups, step)) for one in others]
            best = min(others, key=lambda one: one.rank)
            if step is None:
                _check_order_is_known(name, cells, places, best, others)
        return best.seconds, best.name
    row = int(np.argmax(np.isnan(best.seconds)))
    problem = translate("is empty") if is_empty(cells[row]) else translate("is {cells}", cells=quote(cells[row]))
    known = translate(", and the others hold dates ({reading})", reading=translate(best.name)) * (
        best.failures < len(cells)
    )
    raise error_at(
        places[row],
        translate(
            "column {name} {problem}, which is not a date{others}; `time` is a column of dates or of "
            "integers, or '' where the rows are only counted",
            name=quote(name),
            problem=problem,
            others=known,
        ),
    )


def _clock_times(
    keys: Sequence[str], distinct: dict[str, Any], reading: str, step: TimeStep | None
) -> NDArray[np.float64]:
    """The seconds since 1970 of dates in one reading: of UTC, or local ones where all rows are at one time of day."""
    moments = {key: parse_moment(cell, reading) for key, cell in distinct.items()}
    if step is None:
        is_daily = len({np.nan if moment is None else moment.local % DAY for moment in moments.values()}) == 1
    else:
        is_daily = step.unit != "s" or step.count % DAY == 0
    seconds = dict.fromkeys(moments, np.nan)
    for key, moment in moments.items():
        if moment is not None:
            seconds[key] = moment.local - EPOCH - (0 if is_daily else moment.offset or 0)
    return np.array([seconds[key] for key in keys])


def _count_irregular(seconds: NDArray[np.float64], groups: Sequence[Seconds], step: TimeStep | None) -> int:
    """Rows that do not follow the one above at the regular step."""
    values = seconds.astype(np.int64)
    step = step or infer_step(Times(values, are_dates=True), groups)
    if step is None:
        return 0
    if step.count <= 0:  # dates that occur twice
        return len(values)
    series = (values[group].astype("datetime64[s]") for group in groups)
    return sum(int((np.diff(step.positions(times[0], times)) != 1).sum()) for times in series)


def _check_order_is_known(
    name: str, cells: Sequence[Any], places: Sequence[Place], best: _Reading, others: Sequence[_Reading]
) -> None:
    """Ask where dates are as regular in another order of the day and the month; raises InputError."""
    others = [one for one in others if one.rank == best.rank and one.name in ORDERS]
    other = next((one for one in others if (one.seconds != best.seconds).any()), None)
    if other is None or best.name not in ORDERS:
        return
    row = int(np.argmax(best.seconds != other.seconds))
    days = [str(np.datetime64(int(one.seconds[row]), "s").astype("datetime64[D]")) for one in (best, other)]
    raise error_at(
        places[row],
        translate(
            "column {name} holds {cell}, which is {first} ({reading}) or {second} ({other}); say which with "
            "`date_order={order}` or `date_order={other_order}`",
            name=quote(name),
            cell=quote(cells[row]),
            first=days[0],
            reading=translate(best.name),
            second=days[1],
            other=translate(other.name),
            order=ORDERS[best.name],
            other_order=ORDERS[other.name],
        ),
    )


def check_order(
    name: str, cells: Sequence[Any], times: Times, groups: dict[str, Seconds], places: Sequence[Place]
) -> None:
    """Refuse times that run backward or occur twice within a series; raises InputError."""
    for series, rows in groups.items():
        steps = np.diff(times.values[rows])
        wrong = np.flatnonzero(steps <= 0)
        if not len(wrong):
            continue
        at, of = int(wrong[0]), translate(" in series {series}", series=quote(series)) * bool(series)
        cell, before = quote(cells[rows[at + 1]]), quote(cells[rows[at]])
        place = places[rows[at + 1]]
        settle = (
            translate("choose `series` where the rows are of several")
            if not series
            else translate("keep one row for each")
        )
        if steps[at] == 0:
            raise error_at(
                place,
                translate(
                    "column {name} has {cell} twice{of}; {settle}, give a date and a time of day, in two columns, as "
                    "`time`, or count the rows with `time` ''",
                    name=quote(name),
                    cell=cell,
                    of=of,
                    settle=settle,
                ),
            )
        how = translate(", as in every row") * bool((steps < 0).all())
        advice = translate("reverse the rows") if how else translate("sort the rows by date")
        if not series and not how:
            advice = translate("sort the rows by date, choose `series` where they are of several")
        raise error_at(
            place,
            translate(
                "column {name} runs backward{of}: {cell} is before the row above, {before}{how}; {advice}, or "
                "read them as they stand with `time` ''",
                name=quote(name),
                of=of,
                cell=cell,
                before=before,
                how=how,
                advice=advice,
            ),
        )


def infer_step(times: Times, groups: Sequence[Seconds]) -> TimeStep | None:
    """The step of most rows; None where no series has two rows."""
    series = [times.values[rows] for rows in groups if len(rows) > 1]
    if not series:
        return None
    steps, counts = np.unique(np.concatenate([np.diff(values) for values in series]), return_counts=True)
    usual = int(steps[np.argmax(counts)])
    if not times.are_dates:
        return TimeStep("", usual)
    if all(_on_month_day(values).all() and (np.diff(_months(values)) > 0).all() for values in series):
        return TimeStep("M", int(np.gcd.reduce(np.concatenate([np.diff(_months(values)) for values in series]))))
    if usual == DAY and all(_on_working_day(values).all() for values in series):
        days = [(values[:-1] // DAY + 3) % 7 for values in series]
        if any(((day == FRIDAY) & (np.diff(v) == 3 * DAY)).any() for day, v in zip(days, series, strict=True)):
            return TimeStep("B")
    return TimeStep("s", usual)


def check_one_step(
    name: str, times: Times, step: TimeStep | None, groups: dict[str, Seconds], places: Sequence[Place]
) -> None:
    """Refuse a series whose rows are all at another step than those of most series; raises InputError."""
    if step is None or not times.are_dates or len(groups) < 2:
        return
    for series, rows in groups.items():
        own = infer_step(times, [rows]) if len(rows) >= REGULAR_ROWS else None
        if own is None or own == step:
            continue
        dates = times.values[rows].astype("datetime64[s]")
        if (np.diff(own.positions(dates[0], dates)) == 1).all() and (
            np.diff(step.positions(dates[0], dates)) != 1
        ).all():
            raise error_at(
                places[rows[0]],
                translate(
                    "series {series} is {own} by column {name}, and most rows are {step}; train a model for each, or "
                    "count the rows with `time` ''",
                    series=quote(series),
                    own=own,
                    name=quote(name),
                    step=step,
                ),
            )


def _months(seconds: Seconds) -> Seconds:
    return seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)


def _on_month_day(seconds: Seconds) -> NDArray[np.bool_]:
    """Which times are on the day of the month of most, or on the last day where most are, at one time of day."""
    months = seconds.astype("datetime64[s]").astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    last = (months + 1).astype("datetime64[D]").astype(np.int64) - first - 1
    days = seconds // DAY - first
    on_day, on_last = days == np.minimum(days.max(), last), days == last
    return (on_last if on_last.sum() > on_day.sum() else on_day) & (seconds % DAY == seconds[0] % DAY)


def _on_working_day(seconds: Seconds) -> NDArray[np.bool_]:
    """Which times are not on a Saturday or Sunday, at one time of day."""
    return ((seconds // DAY + 3) % 7 < SATURDAY) & (seconds % DAY == seconds[0] % DAY)


FITS = {"M": _on_month_day, "B": _on_working_day}
"""Which times can be those of a unit."""


def positions(
    name: str, cells: Sequence[Any], times: Times, step: TimeStep, rows: Seconds, places: Sequence[Place]
) -> Seconds:
    """The step at which each row of a series stands, from 0.

    Raises:
        InputError: a row is between two steps.
    """
    values = times.values[rows]
    if times.are_dates:
        dates = values.astype("datetime64[s]")
        found = step.positions(dates[0], dates)
        if step.unit in FITS:
            found[~FITS[step.unit](values)] += 0.5
    else:
        found = (values - values[0]) / step.count
    between = np.flatnonzero(found != np.floor(found))
    if len(between):
        at = int(between[0])
        row, before = rows[at], rows[max(at - 1, 0)]
        raise error_at(
            places[row],
            translate(
                "column {name} has no regular step: {after} follows {before}, and the other rows are {step}; "
                "choose another `time`, `series` where the rows are of several, or count the rows with `time` "
                "''",
                name=quote(name),
                after=quote(cells[row]),
                before=quote(cells[before]),
                step=step,
            ),
        )
    return found.astype(np.int64)


def check_filled(
    name: str, cells: Sequence[Any], places: Sequence[Place], rows: Seconds, at: Seconds, step: TimeStep
) -> None:
    """Refuse a series of which most rows would be missing; raises InputError."""
    missing = int(at[-1]) + 1 - len(at)
    if missing > MAX_FILLED * len(at) + SMALL:
        largest = int(np.argmax(np.diff(at)))
        raise error_at(
            places[rows[largest + 1]],
            translate(
                "column {name} has a gap from {before} to {after}, of {count:,} rows where rows are {step}; "
                "correct the dates, or count the rows with `time` ''",
                name=quote(name),
                before=quote(cells[rows[largest]]),
                after=quote(cells[rows[largest + 1]]),
                count=int(np.diff(at)[largest]) - 1,
                step=step,
            ),
        )
