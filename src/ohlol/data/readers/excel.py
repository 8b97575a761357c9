"""Tables from Excel workbooks (.xlsx): numbers, dates and booleans keep their types."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from ohlol.config import DataSettings
from ohlol.data.lines import Place, error_at, nfc, quote
from ohlol.data.opening import FREE_BYTES, MAX_RATIO, compression_of
from ohlol.data.readers.column_names import list_names
from ohlol.data.readers.number_formats import NumberFormat
from ohlol.data.readers.tables import Row, Table, has_header, is_empty
from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate


def excel_table(path: str, settings: DataSettings) -> Table:
    """The table of a sheet: its first row that is not empty and those below it; empty rows are left out.

    Raises:
        InputError: openpyxl is not installed; the file is missing or damaged; it has several sheets, none of which is
            chosen; a row has a cell beyond the columns of the first, once it is reached.
    """
    rows = _rows(path, settings.sheet)
    start = list(islice(rows, 2))
    if not start:
        raise InputError("{path}: no rows; the sheet is empty", path=path)
    cells = list(start[0].cells)
    width = max(index for index, cell in enumerate(cells, 1) if not is_empty(cell))
    header = settings.header if settings.header is not None else has_header(start, settings)
    names = tuple("" if cell is None else nfc(str(cell)) for cell in cells[:width])
    names = names if header else tuple(str(number) for number in range(1, width + 1))
    cut = _cut(chain(start[header:], rows), width)
    chosen = settings.decimal is not None or settings.thousands is not None
    return Table(path, names, header, cut, NumberFormat.of(settings), chosen)


def _cut(rows: Iterator[Row], width: int) -> Iterator[Row]:
    """The rows with as many cells as there are columns; the cells beyond them must be empty."""
    for row in rows:
        cells = [*row.cells, *[None] * (width - len(row.cells))]
        beyond = next((cell for cell in cells[width:] if not is_empty(cell)), None)
        if beyond is not None:
            raise error_at(
                row.place,
                translate("{beyond} is beyond the {width} columns of the first row", beyond=quote(beyond), width=width),
            )
        yield Row(cells[:width], row.place)


def _rows(path: str, sheet: str | None) -> Iterator[Row]:
    """The rows of a sheet that are not empty, and the number of each in the sheet."""
    with _open_book(path) as book:
        for number, cells in enumerate(_sheet(path, book, sheet).iter_rows(values_only=True), 1):
            if not all(is_empty(cell) for cell in cells):
                yield Row(list(cells), Place(path, number))


def _sheet(path: str, book: Any, chosen: str | None) -> Any:
    """The only sheet of a workbook, or the one that is chosen by its name or by its number from 1."""
    sheets: Sequence[Any] = book.worksheets
    if len(sheets) == 1:
        return sheets[0]
    names = tuple(str(sheet.title) for sheet in sheets)
    if chosen is None:
        raise InputError(
            "{path}: has {count} sheets; choose one with `sheet`: {names}",
            path=path,
            count=len(sheets),
            names=list_names(names),
        )
    number = parse_digits(chosen) or 0
    if chosen not in names and not 1 <= number <= len(names):
        raise InputError(
            "{path}: no sheet {chosen}; there are {names}", path=path, chosen=quote(chosen), names=list_names(names)
        )
    return sheets[names.index(chosen) if chosen in names else number - 1]


@contextmanager
def _open_book(path: str) -> Generator[Any]:
    """A workbook; the errors of openpyxl become InputError."""
    try:
        openpyxl: Any = import_module("openpyxl")
    except ImportError:
        raise InputError("{path}: Excel files need openpyxl; pip install 'ohlol[excel]'", path=path) from None
    if kind := compression_of(path):
        raise InputError("{path}: Excel files are compressed already; unpack the {kind}", path=path, kind=kind)
    try:
        _check_size(path)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except FileNotFoundError:
        raise InputError("{path}: no such file", path=path) from None
    except (BadZipFile, KeyError, OSError, ValueError, TypeError, AttributeError, SyntaxError, IndexError) as error:
        raise InputError("{path}: not an Excel file ({type})", path=path, type=type(error).__name__) from None
    try:
        yield book
    finally:
        book.close()


def _check_size(path: str) -> None:
    """Refuse a file that decompresses to far more than its size, as `opening` does."""
    with ZipFile(path) as file:
        size = sum(entry.file_size for entry in file.infolist())
    if size > FREE_BYTES + MAX_RATIO * Path(path).stat().st_size:
        raise InputError(
            "{path}: decompresses to {size:,} bytes, more than {max_ratio} times its size",
            path=path,
            size=size,
            max_ratio=MAX_RATIO,
        )
