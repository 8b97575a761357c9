"""CSV and JSONL files become tables of named columns; knows nothing of what a column means, nor of columnar files."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple

from ohlol.config import DataSettings
from ohlol.data.lines import LINE_LIMIT, Lines, Place, fault, json_object, nfc, without_end
from ohlol.utils.errors import InputError, cut

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

    def peeked(self) -> Row | None:
        """The first row, which stays in the table."""
        first = next(self.rows, None)
        self.rows = self.rows if first is None else chain([first], self.rows)
        return first


def csv_table(lines: Lines, settings: DataSettings) -> Table:
    """The table of a CSV file; the file's first rows tell of a stretch of it what it is."""
    head = lines.head
    delimiter = delimiter_of(head)
    rows = _csv_rows(head, delimiter)
    start = list(islice(rows, 2))
    if not start:
        raise InputError(f"{lines.file}: no rows; the file is empty")
    width = len(start[0].cells)
    header = settings.header
    if header is None:
        header = _has_header(start, settings)
    names = tuple(nfc(cell) for cell in start[0].cells) if header else tuple(str(n) for n in range(1, width + 1))
    rows = chain(start[header:], rows) if head is lines else _csv_rows(lines, delimiter)
    return Table(lines.file, names, header, _even(rows, width))


def delimiter_of(lines: Lines) -> str:
    """The mark that makes the most columns of the first line."""
    first = lines.first()
    text = first.text if first else ""
    return max(DELIMITERS, key=lambda mark: len(_first_row(text, mark)))


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        return next(iter(csv.reader([text], delimiter=delimiter)))
    except (csv.Error, StopIteration):
        return []


def _csv_rows(lines: Lines, delimiter: str) -> Iterator[Row]:
    reader = _reader((line.text + "\n" for line in lines), delimiter)
    first = lines.span.line if lines.span is not None else 1
    while True:
        place = Place(lines.file, first + reader.line_num)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            why = cut(str(error))
            raise fault(place, f"not CSV ({why}); a cell that holds quotes doubles and encloses them") from None
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield Row(cells, place)


def _reader(lines: Iterator[str], delimiter: str) -> Any:
    csv.field_size_limit(max(CELL_LIMIT, csv.field_size_limit()))
    return csv.reader(lines, delimiter=delimiter, strict=True)


def csv_boundary(handle: BinaryIO, start: int, at: int, delimiter: str) -> int:
    """The first byte from `at` on that a row of a CSV file begins with, where one begins with the byte `start`.

    A line end between quotes ends no row, so all from `start` on is looked through: what has no quotes for line ends
    alone, and the rest with the reader of the rows itself. Where that finds a fault, the rest is not cut.
    """
    while start < at:
        handle.seek(start)
        block = handle.read(BLOCK)
        quote = block.find(b'"')
        plain = block[: quote if quote >= 0 else len(block)]
        if not block:
            return start
        if (found := plain.find(b"\n", max(0, at - 1 - start))) >= 0:
            return start + found + 1
        passed = plain.rfind(b"\n") + 1
        start = start + passed if passed else _rows_end(handle, start, min(start + BLOCK, at), delimiter)
    return start


BLOCK = 1 << 20
"""Bytes looked through at once for line ends."""


def _rows_end(handle: BinaryIO, start: int, until: int, delimiter: str) -> int:
    """The end of the first row that reaches `until`, parsed from `start` on."""
    handle.seek(start)

    def lines() -> Iterator[str]:
        while raw := handle.readline(LINE_LIMIT + 1):
            body, _ = without_end(raw if handle.tell() > len(raw) else raw.removeprefix(codecs.BOM_UTF8))
            yield body.decode("latin-1") + "\n"  # any bytes; what means something to the reader is ASCII

    try:
        for _ in _reader(lines(), delimiter):
            if handle.tell() >= until:
                return handle.tell()
    except csv.Error:  # who reads it is told where
        pass
    return handle.seek(0, io.SEEK_END)


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
    """The table of a JSONL file, its columns the keys of the file's first object."""
    first = lines.head.first(lambda text: bool(text.strip()))
    if first is None:
        raise InputError(f"{lines.file}: no rows; the file is empty")
    names = tuple(json_object(first))
    objects = ((json_object(line), line.place) for line in lines if line.text.strip())
    rows = (Row([entry.get(name) for name in names], place) for entry, place in objects)
    return Table(lines.file, names, True, rows)


def names_of(spec: str) -> list[str]:
    """The columns a setting lists, separated by commas; a name that holds a comma stands in quotes."""
    return [name.strip() for name in _first_row(spec, ",")]


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
