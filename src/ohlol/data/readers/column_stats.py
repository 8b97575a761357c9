"""Statistics of the columns of a table: which hold numbers or dates, and how their values follow each other."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isclose, isfinite, nan
from typing import Any

from ohlol.data.dates import (
    READINGS,
    UNIX_FIRST,
    UNIX_LAST,
    UNIX_UNITS,
    days_in_numbers,
    is_time_name,
    is_unix_name,
    parse_date,
)
from ohlol.data.lines import StaticCell, nfc
from ohlol.data.readers.number_formats import PLAIN, NumberFormat, is_marked, match_number_form
from ohlol.data.readers.tables import Row, Table, is_empty, number

NUMERIC_SHARE = 0.5
"""A column of which more cells hold numbers is numeric, and a cell without a number is an error."""
MISSING = {
    "-", "--", "–", "—", ".", "..", ":", "?", "#n/a", "#div/0!", "#ref!", "#value!", "#num!", "<na>", "\\n",
    "missing", "n/a", "n.a.", "k.a.", "na", "nan", "nat", "nil", "none", "null"
}  # fmt: skip
"""What files write, in any case, for a value that is missing."""
COUNTED_ROWS = 4
"""Rows from which on a column with a constant step counts them; in fewer rows it may be chance."""
DATED_ROWS = 8
"""Rows from which on increasing integers that can all be days are such, whatever the name of their column."""
FIRST_NUMBER = 1800_01_01
"""The first day as an integer."""
SAMPLE_ROWS = 1 << 12
"""Rows from the start of a table that are kept, to compare columns with each other."""
STEP_ROUNDING = 1e-6
"""Relative difference of steps, such as those from 0.1 to 0.2 to 0.3, that rounding explains."""
DISTINCT = 1 << 12
"""Different values of a column that are counted."""


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty, or holds NaN or a word for a missing value."""
    return is_empty(cell) or cell != cell or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def static_cell(cell: Any, form: NumberFormat = PLAIN) -> StaticCell:
    """A cell of a static column.

    >>> static_cell(" 3.50 "), static_cell("n/a").text
    (StaticCell(text='3.50', number=3.5), '')
    """
    if is_missing(cell):
        return StaticCell("")
    value = number(cell, form)
    return StaticCell(nfc(str(cell).strip()), nan if value is None or not isfinite(value) else value)


@dataclass
class Order:
    """How the values of a column follow each other."""

    last: tuple[float, Any, Row] | None = None
    """The value of the previous row, its cell and the row."""
    backward: tuple[Row, Any, Any] | None = None
    """The first row whose value is less than the one before, its cell and the cell before."""
    repeated: tuple[Row, Any, Any] | None = None
    """The first row whose value is that of the row before."""
    backward_steps: int = 0
    steps: dict[float, tuple[int, Row, Any, Any]] = field(default_factory=dict[float, "tuple[int, Row, Any, Any]"])
    """How often each distance from one row to the next occurs, and the row and the cells where it occurs first."""
    count: int = 0
    smallest_step: float = float("inf")
    largest_step: float = float("-inf")

    def add(self, value: float, cell: Any, row: Row) -> None:
        """Add the value of the next row."""
        self.count += 1
        if self.last is not None:
            step = value - self.last[0]
            self.smallest_step, self.largest_step = min(self.smallest_step, step), max(self.largest_step, step)
            self.backward_steps += step < 0
            if step < 0 and self.backward is None:
                self.backward = row, cell, self.last[1]
            if step == 0 and self.repeated is None:
                self.repeated = row, cell, self.last[1]
            if step in self.steps or len(self.steps) < DISTINCT:
                times, first_row, here, before = self.steps.get(step, (0, row, cell, self.last[1]))
                self.steps[step] = times + 1, first_row, here, before
        self.last = value, cell, row

    @property
    def has_constant_step(self) -> bool:
        """Whether all values have the same distance from the one before, which is not 0, up to rounding."""
        low, high = self.smallest_step, self.largest_step
        return low * high > 0 and isclose(low, high, rel_tol=STEP_ROUNDING)

    @property
    def increases(self) -> bool:
        """Whether each value is larger than the one before."""
        return self.backward is None and self.repeated is None


@dataclass
class ColumnStats:
    """What the cells of a column hold."""

    filled: int = 0
    numbers: int = 0
    number_forms: int = 0
    """Cells that hold a number in a form that is not read, such as 1,037 or 5 %."""
    marked: int = 0
    """Those with a mark beside the number, such as 65+."""
    missing: int = 0
    """Cells that hold a word for a missing value."""
    not_finite: Row | None = None
    """The first row in which it holds no finite number."""
    number_form: Row | None = None
    """The first row with a number in a form that is not read."""
    integers: bool = True
    """Whether all numbers are integers."""
    low: float = float("inf")
    high: float = float("-inf")
    values: dict[str, int] = field(default_factory=dict[str, int])
    """How often each value occurs, for the first `DISTINCT` of them."""
    order: Order = field(default_factory=Order)
    """Of its numbers."""
    dates: dict[str, Order] | None = None
    """For each reading that all filled cells allow, the order of the dates; empty where a cell holds no date."""

    def add(self, cell: Any, row: Row, form: NumberFormat = PLAIN) -> None:
        """Count the cell of a row."""
        value = number(cell, form)
        if value is None and is_empty(cell):
            self.not_finite = self.not_finite or row
            return
        self.filled += 1
        text = str(cell)[:200]
        if text in self.values or len(self.values) < DISTINCT:
            self.values[text] = self.values.get(text, 0) + 1
        if value is not None and isfinite(value):
            self.numbers += 1
            self.integers = self.integers and value == int(value)
            self.low, self.high = min(self.low, value), max(self.high, value)
            self.order.add(value, cell, row)
            self.no_date, self.dates = self.no_date or row, {}
            return
        self.not_finite = self.not_finite or row
        self.numbers += value is not None
        if value is not None or text.strip().lower() in MISSING:
            self.missing += 1
        elif form_match := match_number_form(cell):
            self.number_forms += 1
            self.marked += is_marked(form_match)
            self.number_form = self.number_form or row
        self._add_date(cell, row)

    def _add_date(self, cell: Any, row: Row) -> None:
        if self.dates is None:
            self.dates = {reading: Order() for reading in READINGS}
        for reading in list(self.dates):
            value = parse_date(cell, reading)
            if value is None:
                del self.dates[reading]
            else:
                self.dates[reading].add(value, cell, row)
        self.no_date = self.no_date or (None if self.dates else row)

    no_date: Row | None = None
    """The first row from which on no reading allows all cells."""

    @property
    def counted(self) -> int:
        """Cells whose value is among `values`; fewer than are filled where the column has more different values."""
        return sum(self.values.values())

    @property
    def numeric_share(self) -> float:
        """The share of the filled cells that hold numbers."""
        return self.numbers / self.filled if self.filled else 0.0

    @property
    def is_numeric(self) -> bool:
        """Whether all filled cells hold numbers."""
        return self.numeric_share == 1

    @property
    def is_meant_numeric(self) -> bool:
        """Whether most cells hold numbers, in whatever form, and the others may be mistakes."""
        known = self.filled - self.missing
        forms = self.number_forms - (0 if self.numbers else self.marked)  # a group of ages may be 65+
        return bool(known) and (self.numbers + forms) / self.filled > NUMERIC_SHARE * known / self.filled

    @property
    def date_order(self) -> Order | None:
        """The order of its dates, in the reading in which they run backward least; None where it holds none."""
        readings = (self.dates or {}).values()
        return min(readings, key=lambda order: (order.backward_steps, not order.increases), default=None)


@dataclass
class TableStats:
    """The statistics of a table."""

    file: str
    names: tuple[str, ...]
    columns: list[ColumnStats]
    sample: list[Row]
    """The first `SAMPLE_ROWS` rows."""
    number_format: NumberFormat = PLAIN
    number_format_is_chosen: bool = False
    delimiter: str = ""
    """Of a CSV file."""
    rows: int = 0

    @staticmethod
    def of(table: Table, rows: Iterable[Row]) -> "TableStats":
        """The statistics of some rows of a table."""
        columns = [ColumnStats() for _ in table.names]
        form, chosen = table.number_format, table.number_format_is_chosen
        stats = TableStats(table.file, table.names, columns, [], form, chosen, table.delimiter)
        for row in rows:
            stats.rows += 1
            if len(stats.sample) < SAMPLE_ROWS:
                stats.sample.append(row)
            for cell, column in zip(row.cells, stats.columns, strict=False):
                column.add(cell, row, stats.number_format)
        return stats

    def numeric(self) -> list[int]:
        """The columns of numbers."""
        return [i for i, column in enumerate(self.columns) if column.is_numeric]

    def meant_numeric(self) -> list[int]:
        """The columns of numbers, and those in which most cells hold numbers."""
        return [i for i, column in enumerate(self.columns) if column.is_numeric or column.is_meant_numeric]

    def time_column(self) -> int | None:
        """The first column of dates or of Unix time."""
        return next((i for i in range(len(self.columns)) if self.time_order(i) is not None), None)

    def time_order(self, index: int) -> Order | None:
        """The order of a column of dates or of Unix time; None for another column."""
        column = self.columns[index]
        return column.order if self.unix_unit(index) else column.date_order

    def unix_unit(self, index: int) -> float:
        """The seconds of the unit of a column of Unix time: 1, or 0.001 for milliseconds; 0 for another column."""
        column = self.columns[index]
        if not (column.is_numeric and column.integers and is_unix_name(self.names[index])):
            return 0.0
        low, high = column.low, column.high
        return next((1 / unit for unit in UNIX_UNITS if UNIX_FIRST * unit <= low <= high <= UNIX_LAST * unit), 0.0)

    def holds_days(self, index: int) -> bool:
        """Whether the integers of a column are days, months or weeks, such as 20200131, 202001 or those of Excel."""
        column, name = self.columns[index], self.names[index]
        if not (column.filled and column.is_numeric and column.integers and column.filled == self.rows):
            return False
        order = column.order
        is_time = is_time_name(name) or (  # others may be identifiers
            order.increases and order.count >= DATED_ROWS and column.low >= FIRST_NUMBER and not order.has_constant_step
        )
        numbers = (number(value, self.number_format) for value in column.values)
        return is_time and days_in_numbers([int(value or 0) for value in numbers], name) is not None

    def moments(self, index: int, rows: Iterable[Row]) -> list[float]:
        """The times in a column of dates or of Unix time, in a reading in which they run backward least."""
        column = self.columns[index]
        if self.unix_unit(index):
            return [number(row.cells[index], self.number_format) or 0.0 for row in rows]
        reading = min(column.dates or {}, key=lambda name: (column.dates or {})[name].backward_steps)
        return [parse_date(row.cells[index], reading) or 0.0 for row in rows]
