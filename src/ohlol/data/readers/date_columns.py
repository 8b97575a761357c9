"""Columns of dates: a date in several columns, months side by side, and dates in a form that is not read."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from datetime import time as time_of_day
from typing import Any

from ohlol.data.dates import (
    DATED,
    DAY_WORDS,
    HOUR_WORDS,
    MONTH_WORDS,
    MONTHS,
    QUARTER_WORDS,
    WEEK_WORDS,
    YEAR_WORDS,
    count_dates,
    is_date,
    is_time_name,
    name_words,
    parse_date,
)
from ohlol.data.lines import quote
from ohlol.data.readers.column_stats import COUNTED_ROWS, TableStats
from ohlol.data.readers.tables import is_empty, number
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

CALENDAR = {
    "year": (1000, 3000),
    "quarter": (1, 4),
    "month": (1, 12),
    "week": (0, 53),
    "weekday": (0, 7),
    "dayofweek": (0, 7),
    "day": (1, 366),
    "hour": (0, 24),
    "minute": (0, 59),
}
"""Names of columns of integers that are parts of a date, and their range."""
PART_WORDS = YEAR_WORDS | QUARTER_WORDS | MONTH_WORDS | WEEK_WORDS | DAY_WORDS | HOUR_WORDS
"""Words of the names of such columns, in several languages."""
COMPARED_DATES = 200
"""Cells of a column in which dates are looked for."""


def is_date_part(name: str) -> bool:
    """Whether the name of a column is that of a part of a date, such as a year or a quarter.

    >>> [is_date_part(name) for name in ("weekday", "Jahr", "year of birth")]
    [True, True, False]
    """
    return name.strip().lower() in CALENDAR or set() < name_words(name) <= PART_WORDS


def is_year(stats: TableStats, index: int) -> bool:
    """Whether a column holds years in every row, and has such a name."""
    column, (first, last) = stats.columns[index], CALENDAR["year"]
    is_number = column.filled == stats.rows and column.is_numeric and column.integers
    return (
        is_number and first <= column.low <= column.high <= last and bool(name_words(stats.names[index]) & YEAR_WORDS)
    )


def find_date_parts(stats: TableStats, columns: Sequence[int], keys: Sequence[int]) -> list[int]:
    """The columns of integers that are the parts of a date, from the year on; a year alone must increase.

    Args:
        stats: of the table.
        columns: those that may be parts.
        keys: those that name the series.
    """
    numbers = [i for i in columns if stats.columns[i].integers and stats.columns[i].numbers == stats.rows]
    year = next((i for i in numbers if is_year(stats, i)), None)
    if year is None:
        return []
    parts = [year]
    for words, bounds in ((QUARTER_WORDS, (1, 4)), (WEEK_WORDS, (1, 53))):
        if (found := _find_part(stats, numbers, words, bounds)) is not None:
            parts = [year, found]
    for words, bounds in ((MONTH_WORDS, (1, 12)), (DAY_WORDS, (1, 31)), (HOUR_WORDS, (0, 23))):
        if (found := _find_part(stats, numbers, words, bounds)) is None:
            break
        parts = [year, found] if words is MONTH_WORDS else [*parts, found]
    if len(parts) > 1:
        return parts
    last: dict[tuple[str, ...], float] = {}
    for row in stats.sample:
        key, value = tuple(str(row.cells[i]) for i in keys), number(row.cells[year], stats.number_format) or 0.0
        if value <= last.get(key, 0.0):
            return []
        last[key] = value
    return parts if stats.rows >= COUNTED_ROWS * len(last) else []


def _find_part(stats: TableStats, columns: Sequence[int], words: set[str], bounds: tuple[int, int]) -> int | None:
    """The column of integers within bounds that is named by one of some words alone."""
    fits = (i for i in columns if bounds[0] <= stats.columns[i].low <= stats.columns[i].high <= bounds[1])
    return next((i for i in fits if set() < name_words(stats.names[i]) <= words), None)


def find_months(stats: TableStats) -> list[int]:
    """Twelve columns of numbers whose names are those of the months, beside the year; none where there are fewer."""
    numeric = stats.meant_numeric()
    months = [i for i in numeric if stats.names[i].strip().lower()[:3] in MONTHS and len(stats.names[i].strip()) < 10]
    named = [stats.names[i].strip().lower()[:3] for i in months]
    return months if named == MONTHS and any(is_year(stats, i) for i in numeric) else []


def find_unread_dates(stats: TableStats, columns: Iterable[int]) -> dict[int, str]:
    """The columns of texts that are meant as dates and are not read as such, and what is wrong with them."""
    found: dict[int, str] = {}
    for index in columns:
        column = stats.columns[index]
        if column.is_meant_numeric or column.date_order is not None or not column.filled:
            continue
        cells = [row.cells[index] for row in stats.sample if not is_empty(row.cells[index])]
        cells = [cell for cell in cells if isinstance(cell, (str, date, time_of_day, timedelta))]
        if not cells:
            continue
        counts = count_dates(cells[:COMPARED_DATES])
        reading = max(counts, key=lambda name: counts[name])
        if 2 * counts[reading] > len(cells[:COMPARED_DATES]) or (counts[reading] and all(map(is_date, cells))):
            row = next((row for row in stats.sample if parse_date(row.cells[index], reading) is None), column.no_date)
            assert row is not None
            found[index] = translate(
                "holds dates ({reading}), and {cell} in {place} is none",
                reading=translate(reading),
                place=row.place,
                cell=quote("" if row.cells[index] is None else row.cells[index]),
            )
        elif _is_dated(cells) or (is_time_name(stats.names[index]) and column.filled == stats.rows):
            found[index] = translate("holds {cell}, which is not read as a date", cell=quote(cells[0]))
    return found


def _is_dated(cells: Sequence[Any]) -> bool:
    """Whether texts begin as dates do; cells of another type are times of day or durations."""
    return all(not isinstance(cell, str) or DATED.match(cell.strip()) for cell in cells)


def check_unread_dates(stats: TableStats, columns: Iterable[int]) -> None:
    """Ask where dates that are not read would be left out, and rows only counted; raises InputError."""
    for index, why in find_unread_dates(stats, columns).items():
        raise InputError(
            "{file}: column {name} {why}; write dates as 2020-01-31, months as 2020-01, correct or remove other "
            "rows, or count the rows with `time` ''",
            file=stats.file,
            name=quote(stats.names[index]),
            why=why,
        )
