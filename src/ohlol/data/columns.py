"""Tables (CSV, JSONL) become texts with a class, or series of numbers; knows nothing of other formats."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain, islice
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.data.labelled import filled, find, listed, split
from ohlol.data.lines import Example, Lines, Place, fault, is_strings, json_object, nfc, shown
from ohlol.errors import InputError, cut
from ohlol.settings import DataSettings

DELIMITERS = (",", ";", "\t")
CELL_LIMIT = 2**27
"""Characters of a CSV cell; a longer one is a quote that was never closed. The csv module's own limit is 131,072."""


class Row(NamedTuple):
    """The cells of one row, of any type, and where it stands."""

    cells: Sequence[Any]
    place: Place


@dataclass
class Table:
    """Named columns and their rows, read one at a time."""

    file: str
    names: tuple[str, ...]
    header: bool
    """Whether the names stand in the file; otherwise they are numbers."""
    rows: Iterator[Row]

    def kept(self) -> list[Row]:
        """All rows, which stay in the table."""
        rows = list(self.rows)
        self.rows = iter(rows)
        return rows


def number(cell: Any) -> float | None:
    """The number a cell holds, which may be NaN; None where it holds none."""
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float, Decimal)):
        return None
    if isinstance(cell, str) and "_" in cell:
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def csv_table(lines: Lines, settings: DataSettings) -> Table:
    """The table of a CSV file; its delimiter is the one that makes the most columns of the first line."""
    first = lines.first()
    text = first.text if first else ""
    delimiter = max(DELIMITERS, key=lambda mark: len(_first_row(text, mark)))
    rows = _csv_rows(lines, delimiter)
    start = list(islice(rows, 2))
    if not start:
        raise InputError(f"{lines.file}: no rows; the file is empty")
    width = len(start[0].cells)
    header = settings.header
    if header is None:
        header = _has_header(start, settings)
    names = tuple(nfc(cell) for cell in start[0].cells) if header else tuple(str(n) for n in range(1, width + 1))
    return Table(lines.file, names, header, _even(chain(start[header:], rows), width))


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        return next(iter(csv.reader([text], delimiter=delimiter)))
    except (csv.Error, StopIteration):
        return []


def _csv_rows(lines: Lines, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(max(CELL_LIMIT, csv.field_size_limit()))
    reader = csv.reader((line.text + "\n" for line in lines), delimiter=delimiter, strict=True)
    while True:
        place = Place(lines.file, reader.line_num + 1)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            why = cut(str(error))
            raise fault(place, f"not CSV ({why}); a cell that holds quotes doubles and encloses them") from None
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield Row(cells, place)


def _has_header(start: list[Row], settings: DataSettings) -> bool:
    """Names asked for mean a header, numbers none; otherwise it is text that stands above a number, or text alone."""
    asked = [name for spec in (settings.input, settings.target) if spec for name in names_of(spec)]
    if asked:
        return not all(name.isdigit() for name in asked)
    first = [number(cell) is None for cell in start[0].cells]
    if len(start) == 1:
        return all(first)
    below = [number(cell) is None for cell in start[1].cells]
    return any(above and not under for above, under in zip(first, below, strict=False))


def _even(rows: Iterable[Row], width: int) -> Iterator[Row]:
    for row in rows:
        if len(row.cells) != width:
            raise fault(row.place, f"{len(row.cells)} columns, where the first row has {width}")
        yield row


def json_table(lines: Lines) -> Table:
    """The table of a JSONL file, its columns the keys of the first object."""
    objects = ((json_object(line), line.place) for line in lines if line.text.strip())
    start = list(islice(objects, 1))
    if not start:
        raise InputError(f"{lines.file}: no rows; the file is empty")
    names = tuple(start[0][0])
    rows = (Row([entry.get(name) for name in names], place) for entry, place in chain(start, objects))
    return Table(lines.file, names, True, rows)


def names_of(spec: str) -> list[str]:
    """The columns a setting lists, separated by commas; a name that holds a comma stands in quotes."""
    return [name.strip() for name in _first_row(spec, ",")]


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


def resolved(table: Table, settings: DataSettings) -> DataSettings:
    """The settings with the task, the columns and the header that the table and the flags tell."""
    settings = replace(settings, header=table.header, format="columns")
    if settings.task == "classify" and settings.input and settings.target:
        return replace(settings, level=settings.level or _level(table, settings.input))
    if settings.task == "forecast" and settings.input and settings.target:
        return settings
    rows = table.kept()
    if not rows:
        raise InputError(f"{table.file}: no rows below the header")
    numeric = [i for i in range(len(table.names)) if _share_of_numbers(rows, i) == 1]
    asked = [i for spec in (settings.input, settings.target) if spec for i in _chosen(table, spec)]
    chosen = asked or list(range(len(table.names)))
    task = settings.task or ("forecast" if set(chosen) <= set(numeric) else "classify")
    if task == "forecast":
        inputs = settings.input or _spec(table.names[i] for i in numeric)
        for i in range(len(table.names)):
            if not settings.input and i not in numeric:
                _refuse_if_nearly_numeric(rows, table, i)
        if not inputs:
            raise InputError(f"{table.file}: no column of numbers to forecast; there are {listed(table.names)}")
        return replace(settings, task=task, input=inputs, target=settings.target or inputs)
    if not settings.input or not settings.target:
        flags = "say which to read with --input NAME --target NAME"
        if not table.header:
            first = listed(tuple(str(cell) for cell in rows[0].cells))
            flags = f"(the first row: {first}); say which to read with --input NUMBER --target NUMBER, or their names"
        if numeric and not asked:
            flags += f", or forecast {listed(tuple(table.names[i] for i in numeric))} with --task forecast"
        raise InputError(f"{table.file}: the columns are {listed(table.names)}; {flags}".replace("; (", " ("))
    return replace(settings, task=task, level=settings.level or _level(table, settings.input))


def _level(table: Table, spec: str) -> str:
    rows = list(islice(table.rows, 1))
    table.rows = chain(rows, table.rows)
    at = _chosen(table, spec)[0]
    return "word" if rows and isinstance(rows[0].cells[at], list) else "char"


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _share_of_numbers(rows: list[Row], column: int) -> float:
    """Of the cells that hold something, the share that holds a number."""
    cells = [row.cells[column] for row in rows if not _is_empty(row.cells[column])]
    return sum(number(cell) is not None for cell in cells) / len(cells) if cells else 0.0


MOSTLY = 0.5
"""A column with more numbers than this is one of numbers, and what is none in it a mistake."""


def _refuse_if_nearly_numeric(rows: list[Row], table: Table, column: int) -> None:
    if _share_of_numbers(rows, column) > MOSTLY:
        for row in rows:
            _finite(row, table.names, column)


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
    """One file's rows of numbers, (T, I) and (T, F), the latter where targets are wanted."""

    inputs: NDArray[np.float64]
    targets: NDArray[np.float64] | None
    input_names: tuple[str, ...]
    target_names: tuple[str, ...]


def series(table: Table, settings: DataSettings, targets: bool) -> Series:
    """The numbers of the chosen columns; settings are resolved."""
    inputs = _chosen(table, settings.input or "")
    wanted = _chosen(table, settings.target or "") if targets else []
    numbers: dict[int, list[float]] = {column: [] for column in (*inputs, *wanted)}
    for row in table.rows:
        for column, values in numbers.items():
            values.append(_finite(row, table.names, column))
    if not numbers[inputs[0]]:
        raise InputError(f"{table.file}: no rows below the header")

    def stacked(columns: list[int]) -> NDArray[np.float64]:
        return np.column_stack([np.array(numbers[column], dtype=np.float64) for column in columns])

    return Series(
        stacked(inputs),
        stacked(wanted) if wanted else None,
        tuple(table.names[column] for column in inputs),
        tuple(table.names[column] for column in wanted),
    )
