"""Series: rows of numbers from the columns of a table."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.config import DataSettings
from ohlol.data.lines import Place
from ohlol.data.readers.column_names import find_columns
from ohlol.data.readers.tables import Table, finite_number
from ohlol.utils.errors import InputError

ROWS = 1 << 14
"""Rows of a series that are read at once."""


class Series(NamedTuple):
    """Consecutive rows of the series in a file."""

    inputs: NDArray[np.float64]
    """(T, I)."""
    targets: NDArray[np.float64] | None
    """(T, F); None where targets are not read."""
    input_names: tuple[str, ...]
    target_names: tuple[str, ...]

    def split(self, row: int) -> "tuple[Series, Series]":
        """The rows before a row, and those from it on."""
        targets = (None, None) if self.targets is None else (self.targets[:row], self.targets[row:])
        return (
            self._replace(inputs=self.inputs[:row], targets=targets[0]),
            self._replace(inputs=self.inputs[row:], targets=targets[1]),
        )


def read_series(table: Table, settings: DataSettings, *, with_targets: bool) -> Iterator[Series]:
    """The numbers of the chosen columns, `ROWS` rows at a time; settings are complete.

    Raises:
        InputError: a cell does not hold a finite number, once it is reached; there are no rows.
    """
    place = Place(table.file, 1)
    input_columns = find_columns(table.names, settings.input or "", place)
    target_columns = find_columns(table.names, settings.target or "", place) if with_targets else []
    names = [tuple(table.names[column] for column in columns) for columns in (input_columns, target_columns)]
    index = {column: i for i, column in enumerate(dict.fromkeys((*input_columns, *target_columns)))}
    form, empty = table.number_format, True
    while rows := list(islice(table.rows, ROWS)):
        empty = False
        numbers = np.array([[finite_number(row, table.names, column, form) for column in index] for row in rows])
        inputs, targets_read = (numbers[:, [index[c] for c in columns]] for columns in (input_columns, target_columns))
        yield Series(inputs, targets_read if target_columns else None, names[0], names[1])
    if empty:
        raise InputError("{file}: no rows below the header", file=table.file)


def join_series(parts: Iterable[Series]) -> Series:
    """The parts of a series in one."""
    parts = list(parts)
    targets = [part.targets for part in parts if part.targets is not None]
    inputs = np.concatenate([part.inputs for part in parts])
    return parts[0]._replace(inputs=inputs, targets=np.concatenate(targets) if targets else None)
