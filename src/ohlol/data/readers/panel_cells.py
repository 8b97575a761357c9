"""The columns of a panel and the cells of its rows."""

from math import isfinite, isnan, nan

from ohlol.data.lines import Place, error_at, nfc, quote
from ohlol.data.readers.column_names import find_columns
from ohlol.data.readers.column_stats import TableStats, is_missing
from ohlol.data.readers.tables import Row, Table, check_size, number
from ohlol.utils.translation import translate

BOOLEANS = {"true": 1.0, "false": 0.0}
"""Cells of covariates, in any case, and their numbers."""
PARTS = ("target", "known", "observed")
"""The settings that choose columns of numbers."""


def find(table: Table | TableStats, names: str | None) -> list[int]:
    """The columns that a setting names; none where it names none. Raises InputError where one is missing."""
    return find_columns(table.names, names, Place(table.file, 1)) if names else []


def find_names(table: Table, setting: str | None) -> tuple[str, ...]:
    """The names of these columns, which a setting may choose by number."""
    return tuple(table.names[column] for column in find(table, setting))


def read_value(row: Row, table: Table, column: int, *, may_be_boolean: bool = False) -> float:
    """The number in a cell, NaN where it is missing; raises InputError where it holds something else.

    True and false are 1 and 0 where they may be there.
    """
    cell = row.cells[column]
    if may_be_boolean and str(cell).strip().lower() in BOOLEANS:
        return BOOLEANS[str(cell).strip().lower()]
    value = number(cell, table.number_format)
    if value is not None and isfinite(value):
        return check_size(value, cell, row.place)
    if is_missing(cell) or (value is not None and isnan(value)):
        return nan
    raise error_at(
        row.place,
        translate(
            "column {names} is {cell}, which is not a finite number; name what stands for a missing value with "
            "`missing`, or choose other columns with `target`",
            names=quote(table.names[column]),
            cell=quote(cell),
        ),
    )


def read_text(row: Row, table: Table, column: int) -> str:
    """The text in a cell of a category; raises InputError where it is empty."""
    cell = row.cells[column]
    if cell is None or isinstance(cell, (list, dict)) or not str(cell).strip():
        raise error_at(
            row.place,
            translate("column {names} is empty; fill it in, or choose other columns", names=quote(table.names[column])),
        )
    return nfc(str(cell).strip())
