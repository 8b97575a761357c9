"""Columns of dates: a date in several columns, months side by side, and dates in a form that is not read."""

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from datetime import time as time_of_day
from typing import Any

from ohlol.data.dates import (
    DATED,
    DAY_WORDS,
    HOUR_WORDS,
    MINUTE_WORDS,
    MONTH_WORDS,
    MONTHS,
    QUARTER_WORDS,
    WEEK_WORDS,
    WEEKDAY_WORDS,
    YEAR_WORDS,
    YEARS,
    count_dates,
    is_date,
    is_made_of,
    is_time_name,
    parse_date,
)
from ohlol.data.lines import quote
from ohlol.data.readers.column_stats import COUNTED_ROWS, TableStats
from ohlol.data.readers.tables import is_empty, number
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

PARTS = {
    "year": (YEAR_WORDS, *YEARS),
    "quarter": (QUARTER_WORDS, 1, 4),
    "month": (MONTH_WORDS, 1, 12),
    "week": (WEEK_WORDS, 0, 53),
    "weekday": (WEEKDAY_WORDS, 0, 7),
    "day": (DAY_WORDS, 1, 366),
    "hour": (HOUR_WORDS, 0, 24),
    "minute": (MINUTE_WORDS, 0, 59),
}
"""The parts of a date that columns of integers hold: the words of their names, and their range."""
PART_COLUMNS = (
    ("year", "month", "day", "hour", "minute"),
    ("year", "month", "day", "hour"),
    ("year", "month", "day"),
    ("year", "week"),
    ("year", "month"),
    ("year", "quarter"),
)
"""The columns that are a date together, the first that a table has."""
COMPARED_DATES = 200
"""Cells of a column in which dates are looked for."""
DIGIT, WORDS = re.compile(r"\d"), 4
"""A digit, and the most words of a date."""


def part_of_date(name: str) -> str | None:
    """The part of a date that a column of this name holds, by all its words; None for another column.

    >>> [part_of_date(name) for name in ("weekday", "Jahr", "year of birth")]
    ['weekday', 'year', None]
    """
    return next((part for part, (words, *_) in PARTS.items() if is_made_of(name, words)), None)


def part_held(stats: TableStats, index: int) -> str | None:
    """The part of a date that a column holds in every row: its name says so, and its integers are in the range."""
    column, part = stats.columns[index], part_of_date(stats.names[index])
    if part is None or not (column.integers and column.numbers == stats.rows):
        return None
    _, low, high = PARTS[part]
    return part if low <= column.low <= column.high <= high else None


def is_year(stats: TableStats, index: int) -> bool:
    """Whether a column holds the year in every row."""
    return part_held(stats, index) == "year"


def find_date_parts(stats: TableStats, columns: Sequence[int], keys: Sequence[int]) -> list[int]:
    """The columns of integers that are the parts of a date, from the year on; a year alone must increase.

    Args:
        stats: of the table.
        columns: those that may be parts.
        keys: those that name the series.
    """
    found: dict[str, int] = {}
    for index in columns:
        if (part := part_held(stats, index)) is not None:
            found.setdefault(part, index)
    if "year" not in found:
        return []
    for parts in PART_COLUMNS:
        if all(part in found for part in parts):
            return [found[part] for part in parts]
    year = found["year"]
    last: dict[tuple[str, ...], float] = {}
    for row in stats.sample:
        key, value = tuple(str(row.cells[i]) for i in keys), number(row.cells[year], stats.number_format) or 0.0
        if value <= last.get(key, 0.0):
            return []
        last[key] = value
    return [year] if stats.rows >= COUNTED_ROWS * len(last) else []


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
                "holds dates ({reading}), and {cell} in {place} is not a date",
                reading=translate(reading),
                place=row.place,
                cell=quote("" if row.cells[index] is None else row.cells[index]),
            )
        elif _are_dated(cells) or (
            is_time_name(stats.names[index]) and column.filled == stats.rows and _are_short(cells)
        ):
            found[index] = translate("holds {cell}, which is not read as a date", cell=quote(cells[0]))
    return found


def _are_dated(cells: Sequence[Any]) -> bool:
    """Whether texts are dates with at most a short word; cells of another type are times of day or durations."""
    return all(not isinstance(cell, str) or DATED.fullmatch(cell.strip()) for cell in cells)


def _are_short(cells: Sequence[Any]) -> bool:
    """Whether texts have the words of a date at most, and a digit or the name of a month each."""
    return all(
        not isinstance(cell, str)
        or (len(cell.split()) <= WORDS and (DIGIT.search(cell) or cell.strip()[:3].lower() in MONTHS))
        for cell in cells
    )


def check_unread_dates(stats: TableStats, columns: Iterable[int]) -> None:
    """Ask where dates that are not read would be left out, and rows only counted; raises InputError."""
    for index, why in find_unread_dates(stats, columns).items():
        raise InputError(
            "{file}: column {name} {why}; write dates as 2020-01-31, months as 2020-01, correct or remove other "
            "rows, choose `input` and `target` where the column is text, or count the rows with `time` ''",
            file=stats.file,
            name=quote(stats.names[index]),
            why=why,
        )
