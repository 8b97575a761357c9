"""Times: the dates or numbers in the column `time`, and the regular step between the rows of each series."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.data.lines import Place, error_at, quote
from ohlol.data.panel import DAY, TimeStep
from ohlol.data.readers.column_stats import READINGS, UNIX_FIRST, UNIX_LAST, parse_date
from ohlol.data.readers.number_formats import NumberFormat
from ohlol.data.readers.tables import is_empty, number
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

EPOCH = 719162 * DAY
"""The seconds from year 1 to 1970."""
FRIDAY, SATURDAY = 4, 5
"""Days of the week from Monday, 0."""
MAX_FILLED = 10
"""Rows of a regular step for each row that is there, from which on the step must be a mistake."""
SMALL = 1000
"""Missing rows that are never too many."""

Seconds = NDArray[np.int64]


class Times(NamedTuple):
    """A value for each row: seconds since 1970, or the number of the row."""

    values: Seconds
    are_dates: bool


def join_cells(cells: Sequence[Any]) -> Any:
    """The time in the cells of a row: one, a date and a time of day, or integers from the year on.

    >>> join_cells(["2020-01-31", "17:30"]), join_cells([2020, "1", 31, 5])
    ('2020-01-31 17:30', '2020-1-31 05:00:00')
    """
    if len(cells) == 1:
        return cells[0]
    texts = ["" if cell is None else str(cell).strip() for cell in cells]
    if not all(text.isdecimal() for text in texts):
        return " ".join(texts)
    clock = [f"{int(text):02}" for text in (*texts[3:], "0", "0")[:3]] if len(texts) > 3 else []
    return "-".join(texts[:3]) + f" {':'.join(clock)}" * bool(clock)


def read_times(
    name: str, cells: Sequence[Any], groups: Sequence[Seconds], places: Sequence[Place], form: NumberFormat
) -> Times:
    """The times of rows.

    Args:
        name: of the column.
        cells: of all rows.
        groups: the rows of each series.
        places: of all rows.
        form: how numbers are written.

    Raises:
        InputError: a cell holds neither a date nor an integer as the others do.
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
        days = _days(numbers.astype(np.int64))
        if days is not None:
            return Times(days, are_dates=True)
        for unit in (1, 1000):
            if UNIX_FIRST * unit <= numbers.min() and numbers.max() <= UNIX_LAST * unit:
                return Times(_whole_seconds(numbers / unit, name, places), are_dates=True)
        return Times(numbers.astype(np.int64), are_dates=False)
    return Times(_whole_seconds(_read_dates(name, cells, groups, places), name, places), are_dates=True)


def _days(numbers: Seconds) -> Seconds | None:
    """The days in integers such as 20200131, or the months in 202001; None where one of them is neither."""
    for low, reading in ((1800_01_01, "year first"), (1800_01, "year and month")):
        if not (low <= numbers.min() and numbers.max() < low + low // 4):  # to the year 2249
            continue
        texts = [f"{text[:4]}-{text[4:6]}" + f"-{text[6:]}" * (len(text) > 6) for text in map(str, numbers.tolist())]
        dates = [parse_date(text, reading) for text in texts]
        if None not in dates:
            return np.array(dates, np.float64).astype(np.int64) - EPOCH
    return None


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


def _read_dates(
    name: str, cells: Sequence[Any], groups: Sequence[Seconds], places: Sequence[Place]
) -> NDArray[np.float64]:
    """The seconds since 1970 in the reading in which most cells are dates and the dates run backward least."""
    keys = [cell if isinstance(cell, str) else str(cell) for cell in cells]
    distinct = dict(zip(keys, cells, strict=True))
    best: tuple[tuple[int, int], str, NDArray[np.float64]] | None = None
    for reading in READINGS:
        moments = {key: parse_date(cell, reading) for key, cell in distinct.items()}
        seconds = np.array([np.nan if (moment := moments[key]) is None else moment - EPOCH for key in keys])
        backward = sum(int((np.diff(seconds[group]) < 0).sum()) for group in groups)
        rank = int(np.isnan(seconds).sum()), backward
        if best is None or rank < best[0]:
            best = rank, reading, seconds
    assert best is not None
    (failures, _), reading, seconds = best
    if failures:
        row = int(np.argmax(np.isnan(seconds)))
        problem = translate("is empty") if is_empty(cells[row]) else translate("is {cells}", cells=quote(cells[row]))
        others = translate(", and the others hold dates ({reading})", reading=translate(reading)) * (
            failures < len(cells)
        )
        raise error_at(
            places[row],
            translate(
                "column {name} {problem}, which is not a date{others}; `time` is a column of dates or of "
                "integers, or '' where the rows are only counted",
                name=quote(name),
                problem=problem,
                others=others,
            ),
        )
    return seconds


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
                    "column {name} has {cell} twice{of}; {settle}, or give a date and a time of day, in two "
                    "columns, as `time`",
                    name=quote(name),
                    cell=cell,
                    of=of,
                    settle=settle,
                ),
            )
        how = translate(", as in every row") * bool((steps < 0).all())
        advice = translate("reverse the rows") if how else translate("sort the rows by date")
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
