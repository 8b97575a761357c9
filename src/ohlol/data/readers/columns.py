"""Tables become texts with a class, or series of numbers; knows nothing of the files that they come from."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Place, fault, is_strings, nfc, shown
from ohlol.data.readers.labelled import filled, find, listed, split
from ohlol.data.readers.tables import Row, Table, names_of, number
from ohlol.utils.errors import InputError


def _spec(names: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def _chosen(table: Table, spec: str) -> list[int]:
    place = Place(table.file, 1)
    names = [spec] if spec in table.names else names_of(spec)
    if not names:
        raise fault(place, f"{shown(spec)} names no column; there are {listed(table.names)}")
    return [find(table.names, name, place) for name in names]


def resolved(table: Table, settings: DataSettings, *, keep: bool = True) -> DataSettings:
    """The settings with the task, the columns and the header that the table and the flags tell.

    Where every row must be seen for that, they stay in memory and in the table only with `keep`.
    """
    settings = replace(settings, header=table.header, format="columns")
    if settings.task == "classify" and settings.input and settings.target:
        return replace(settings, level=settings.level or _level(table, settings.input))
    if settings.task == "forecast" and settings.input and settings.target:
        return settings
    first = table.peeked()
    if first is None:
        raise InputError(f"{table.file}: no rows below the header")
    seen = [_Seen() for _ in table.names]
    for row in table.kept() if keep else table.rows:
        for cell, column in zip(row.cells, seen, strict=False):
            column.add(cell, row)
    numeric = [i for i, column in enumerate(seen) if column.share == 1]
    asked = [i for spec in (settings.input, settings.target) if spec for i in _chosen(table, spec)]
    chosen = asked or list(range(len(table.names)))
    task = settings.task or ("forecast" if set(chosen) <= set(numeric) else "classify")
    if task == "forecast":
        inputs = settings.input or _spec(table.names[i] for i in numeric)
        for i, column in enumerate(seen):
            if not settings.input and i not in numeric and column.share > MOSTLY and column.odd is not None:
                _finite(column.odd, table.names, i)
        if not inputs:
            raise InputError(f"{table.file}: no column of numbers to forecast; there are {listed(table.names)}")
        return replace(settings, task=task, input=inputs, target=settings.target or inputs)
    if not settings.input or not settings.target:
        flags = "say which to read with --input NAME --target NAME"
        if not table.header:
            cells = listed(tuple(str(cell) for cell in first.cells))
            flags = f"(the first row: {cells}); say which to read with --input NUMBER --target NUMBER, or their names"
        if numeric and not asked:
            flags += f", or forecast {listed(tuple(table.names[i] for i in numeric))} with --task forecast"
        raise InputError(f"{table.file}: the columns are {listed(table.names)}; {flags}".replace("; (", " ("))
    return replace(settings, task=task, level=settings.level or _level_of(first, table, settings.input))


def _level(table: Table, spec: str) -> str:
    return _level_of(table.peeked(), table, spec)


def _level_of(first: Row | None, table: Table, spec: str) -> str:
    at = _chosen(table, spec)[0]
    return "word" if first is not None and isinstance(first.cells[at], list) else "char"


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


MOSTLY = 0.5
"""A column with more numbers than this is one of numbers, and what is none in it a mistake."""


@dataclass
class _Seen:
    """What the rows that were read say of a column."""

    filled: int = 0
    numbers: int = 0
    odd: Row | None = None
    """The first row in which it holds no finite number."""

    def add(self, cell: Any, row: Row) -> None:
        value = number(cell)
        self.filled += not _is_empty(cell)
        self.numbers += value is not None
        if self.odd is None and (value is None or not isfinite(value)):
            self.odd = row

    @property
    def share(self) -> float:
        """Of the cells that hold something, the share that holds a number."""
        return self.numbers / self.filled if self.filled else 0.0


def _finite(row: Row, names: tuple[str, ...], column: int) -> float:
    cell = row.cells[column]
    value = number(cell)
    if value is not None and isfinite(value):
        return value
    what = "is empty" if _is_empty(cell) else f"is {shown(cell)}, which is not a finite number"
    raise fault(row.place, f"column {shown(names[column])} {what}; fill it in or choose other columns with --input")


def classified(table: Table, settings: DataSettings, targets: bool) -> Iterator[Example]:
    """A text and its class a row, lazily; settings are resolved."""
    columns = _chosen(table, settings.input or "1") if targets or len(table.names) > 1 or table.header else [0]
    if len(columns) > 1:
        raise InputError(f"{table.file}: --input {shown(settings.input)} names several columns; a class reads one text")
    target = _one(table, settings.target or "2") if targets else None
    for row in table.rows:
        text = _sequence(row, table.names, columns[0], settings.level)
        yield Example(text, None if target is None else _class(row, table.names, target), row.place)


def _one(table: Table, spec: str) -> int:
    columns = _chosen(table, spec)
    if len(columns) > 1:
        raise InputError(f"{table.file}: --target {shown(spec)} names several columns; a class is one column")
    return columns[0]


def _sequence(row: Row, names: tuple[str, ...], column: int, level: str | None) -> list[str] | str:
    cell: Any = row.cells[column]
    if _is_empty(cell):
        raise fault(row.place, f"column {shown(names[column])} is empty; a sequence has one symbol at least")
    if is_strings(cell) and level == "word":
        return filled(row.place, [nfc(entry) for entry in cell])
    if isinstance(cell, (list, dict)):
        raise fault(row.place, f"column {shown(names[column])} is no text; --level word reads lists of strings too")
    return split(nfc(str(cell)), level)


def _class(row: Row, names: tuple[str, ...], column: int) -> str:
    cell: Any = row.cells[column]
    if _is_empty(cell) or isinstance(cell, (list, dict)):
        what = "is empty" if _is_empty(cell) else "is no text"
        raise fault(row.place, f"column {shown(names[column])} {what}; a class is a text or a number")
    return nfc(str(cell))


class Series(NamedTuple):
    """Rows of numbers of one file, (T, I) and (T, F), the latter where targets are wanted."""

    inputs: NDArray[np.float64]
    targets: NDArray[np.float64] | None
    input_names: tuple[str, ...]
    target_names: tuple[str, ...]

    def cut(self, at: int) -> "tuple[Series, Series]":
        """The rows before a place, and those from it on."""
        targets = (None, None) if self.targets is None else (self.targets[:at], self.targets[at:])
        return (
            self._replace(inputs=self.inputs[:at], targets=targets[0]),
            self._replace(inputs=self.inputs[at:], targets=targets[1]),
        )


ROWS = 1 << 14
"""Rows of a series that are read at once."""


def series(table: Table, settings: DataSettings, targets: bool) -> Iterator[Series]:
    """The numbers of the chosen columns, `ROWS` at a time; settings are resolved."""
    inputs = _chosen(table, settings.input or "")
    wanted = _chosen(table, settings.target or "") if targets else []
    names = [tuple(table.names[column] for column in columns) for columns in (inputs, wanted)]
    place, both = {column: i for i, column in enumerate(dict.fromkeys((*inputs, *wanted)))}, (inputs, wanted)
    empty = True
    while rows := list(islice(table.rows, ROWS)):
        empty = False
        numbers = np.array([[_finite(row, table.names, column) for column in place] for row in rows])
        of = [numbers[:, [place[column] for column in columns]] for columns in both]
        yield Series(of[0], of[1] if wanted else None, names[0], names[1])
    if empty:
        raise InputError(f"{table.file}: no rows below the header")


def joined(parts: Iterable[Series]) -> Series:
    """A series in one piece."""
    found = list(parts)
    targets = [part.targets for part in found if part.targets is not None]
    inputs = np.concatenate([part.inputs for part in found])
    return found[0]._replace(inputs=inputs, targets=np.concatenate(targets) if targets else None)
