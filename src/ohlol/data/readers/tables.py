"""Tables: named columns and their rows, from CSV and from JSON objects."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, islice, pairwise
from math import isfinite
from typing import Any, BinaryIO, NamedTuple

from ohlol.config import DataSettings
from ohlol.data.dates import is_date
from ohlol.data.frames import Records
from ohlol.data.lines import FRAME, LINE_LIMIT, Lines, Place, error_at, nfc, quote, without_end
from ohlol.data.readers.column_names import split_names
from ohlol.data.readers.json_lines import json_object
from ohlol.data.readers.number_formats import PLAIN, NumberFormat, has_number_form
from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.translation import translate

DELIMITERS = (",", ";", "\t")
TITLE_ROWS = 10
"""Rows from the start of a file among which a header may be below a title."""
COMPARED_LINES = 20
"""Lines that are compared where several delimiters split the first line."""
FIELD_LIMIT = 2**27
"""Characters of the longest CSV field; a longer one is taken for an unclosed quote. The csv module allows 131,072."""

LARGEST = 1e100
"""The largest number that is read; the sum of the squares of as many as fit into memory is finite."""


class Row(NamedTuple):
    """The cells of one row, of any type, and its place."""

    cells: Sequence[Any]
    place: Place


@dataclass
class Table:
    """Named columns and their rows, read one at a time."""

    file: str
    names: tuple[str, ...]
    header: bool
    """Whether the names are in the file; otherwise they are numbers."""
    rows: Iterator[Row]
    number_format: NumberFormat = PLAIN
    """How its numbers are written."""
    number_format_is_chosen: bool = False
    delimiter: str = ""
    """Of a CSV file."""
    order: Sequence[float] | None = None
    """The index of a data frame, where it is of numbers and some are below one before."""

    def keep_rows(self) -> list[Row]:
        """All rows; they stay in the table."""
        rows = list(self.rows)
        self.rows = iter(rows)
        return rows

    def start(self, count: int) -> list[Row]:
        """The first rows, at most `count`; they stay in the table."""
        rows = list(islice(self.rows, count))
        self.rows = chain(rows, self.rows)
        return rows

    def first(self) -> Row | None:
        """The first row, or None; it stays in the table."""
        return next(iter(self.start(1)), None)


def csv_table(lines: Lines, settings: DataSettings) -> Table:
    """The table of a CSV file, or of a part of one, whose delimiter and header are those of the file.

    Raises:
        InputError: the file is empty; the text is not CSV or a row has another length, once it is reached.
    """
    head = lines.head
    delimiter = delimiter_of(head)
    rows = _csv_rows(head, delimiter)
    start = list(islice(rows, 2))
    if not start:
        raise InputError("{file}: no rows; the file is empty", file=lines.file)
    width = len(start[0].cells)
    header = settings.header
    if header is None:
        header = has_header(start, settings)
        if not header and not _chosen_names(settings):
            start += islice(rows, TITLE_ROWS)
            _check_late_header(start, settings)
    if header and not _names_any(start[0], settings):  # otherwise no more is read, since it may be standard input
        start += islice(rows, TITLE_ROWS)
        _check_title(start, settings)
    names = tuple(nfc(cell) for cell in start[0].cells) if header else tuple(str(n) for n in range(1, width + 1))
    rows = chain(start[header:], rows) if head is lines else _csv_rows(lines, delimiter)
    form, chosen = NumberFormat.of(settings), settings.decimal is not None or settings.thousands is not None
    rows = _check_rows(rows, start[0], header)
    return Table(lines.file, names, header, rows, form, chosen, delimiter)


def _chosen_names(settings: DataSettings) -> list[str]:
    return [name for names in (settings.input, settings.target) if names for name in split_names(names)]


def _names_any(row: Row, settings: DataSettings) -> bool:
    """Whether a row has the name of a column that was chosen, or none was chosen by name."""
    names = [name for name in _chosen_names(settings) if parse_digits(name) is None]
    return not names or any(name in map(nfc, row.cells) for name in names)


def _check_title(rows: list[Row], settings: DataSettings) -> None:
    """Refuse lines above the header and another delimiter, where the first row names no column that was chosen.

    Raises:
        InputError: a later row has them, or the first row is one column.
    """
    first, names = rows[0], _chosen_names(settings)
    for row in rows[1:]:
        if all(name in row.cells for name in names):
            raise error_at(
                row.place,
                translate(
                    "the header is in this line, and the file begins with {cells}; remove all above it",
                    cells=quote(first.cells[0]),
                ),
            )
    _check_delimiter(first)


def _check_late_header(rows: list[Row], settings: DataSettings) -> None:
    """Refuse several rows of text above columns of numbers or dates, and another delimiter; raises InputError."""
    _check_delimiter(rows[0])
    form = NumberFormat.of(settings)
    for k, (above, row) in enumerate(pairwise(rows[:-1]), 1):
        if any(_rank(cell, form) for cell in above.cells):
            return
        if has_header([above, row], settings) and any(
            all(_rank(cell, form) for cell in cells)
            for cells in zip(*(later.cells for later in rows[k:]), strict=False)
        ):
            raise error_at(
                row.place,
                translate(
                    "this is the first row with numbers or dates, and there are several above it; keep one row with "
                    "the names of the columns, or say so with `header=False`"
                ),
            )


def _check_delimiter(first: Row) -> None:
    """Refuse a first row that is one column and has another delimiter; raises InputError."""
    if len(first.cells) == 1 and (mark := next((mark for mark in "|^~" if mark in first.cells[0]), None)):
        raise error_at(
            first.place,
            translate(
                "the first row, {cells}, is one column; columns are separated by a comma, a semicolon or a "
                "tab, and not by {mark}",
                cells=quote(first.cells[0]),
                mark=quote(mark),
            ),
        )


def delimiter_of(lines: Lines) -> str:
    """The delimiter of a CSV file: the one that its first line names, or that splits it into the most columns.

    Where several delimiters split the first line, those come first that split the next lines alike; of several that
    split it into as many columns, the comma, which may be a decimal comma, comes last.
    """
    first = lines.first()
    text = first.text if first else ""
    if named := delimiter_line(text):
        return named
    texts = [text]
    marks = [mark for mark in DELIMITERS if mark in text]
    if len(marks) > 1 or text.count('"') % 2:  # only then are more lines read, since they may come from standard input
        texts = [line.text for line in lines.start(COMPARED_LINES)]
    widths = {mark: _widths(texts, mark) for mark in DELIMITERS}
    best = [mark for mark in DELIMITERS if widths[mark][0] > 1]
    best = [mark for mark in best if len(set(widths[mark])) == 1][::-1] or best
    return max(best, key=lambda mark: widths[mark][0], default=DELIMITERS[0])


def _widths(texts: list[str], mark: str) -> list[int]:
    """The number of cells of each row at the start of a file; a row that goes on after these lines is left out."""
    rows = csv.reader((text + "\n" for text in texts if text.strip()), delimiter=mark, strict=True)
    widths: list[int] = []
    with suppress(csv.Error):
        widths.extend(len(row) for row in rows)
    return widths or [0]


def delimiter_line(text: str) -> str | None:
    """The delimiter that the first line of a file names, as Excel writes it; None for another line.

    >>> delimiter_line("sep=;"), delimiter_line("sep,set")
    (';', None)
    """
    mark = text.removeprefix("\ufeff").strip().removeprefix("sep=")
    return mark if mark in DELIMITERS and mark != text.strip() else None


def _csv_rows(lines: Lines, delimiter: str) -> Iterator[Row]:
    texts: list[str] = []  # the lines of the row
    first = lines.span.line if lines.span is not None else 1
    start = lines.first() if first == 1 else None
    if start is not None and delimiter_line(start.text):
        next(lines)
        first += 1

    def read_lines() -> Iterator[str]:
        for line in lines:
            text = line.text.removeprefix("\ufeff")  # where files were joined
            texts.append(text)
            yield text + "\n"

    reader = _reader(read_lines(), delimiter)
    while True:
        place = Place(lines.file, first + reader.line_num)
        texts.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            why, advice = shorten(str(error)), translate("quotes in a cell are doubled, and the cell is quoted")
            if any("\r" in text for text in texts):
                why, advice = (
                    translate("a carriage return within a line"),
                    translate("end lines with a line feed; a cell with one is quoted"),
                )
            raise error_at(place, translate("not CSV ({why}); {advice}", why=why, advice=advice)) from None
        if delimiter == "\t" and len(texts) > 1 and len(cells) > 1:
            _check_merged(texts, len(cells), place)
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield Row(cells, place)


def _check_merged(texts: list[str], width: int, place: Place) -> None:
    """Refuse a quote that merges rows: lines that would be rows of as many columns without it; raises InputError."""
    if all(text.count("\t") == width - 1 for text in texts):
        raise error_at(
            place,
            translate(
                "a quote that is opened here and closed in line {line} merges {count} rows into one; where it "
                "belongs to the text, quote the cell and double it, or remove it",
                line=place.line + len(texts) - 1,
                count=len(texts),
            ),
        )


def _reader(lines: Iterator[str], delimiter: str) -> Any:
    csv.field_size_limit(max(FIELD_LIMIT, csv.field_size_limit()))
    return csv.reader(lines, delimiter=delimiter, strict=True)


def csv_boundary(handle: BinaryIO, start: int, at: int, delimiter: str) -> int:
    """The first offset from `at` on at which a row of a CSV file begins, given that one begins at `start`.

    The row before it has a cell that is not empty: rows of empty cells are left out at the end of a file alone, which
    must not be that of a piece.
    """
    end = _find_row(handle, start, at, delimiter)
    while _ends_empty(handle, start, end, delimiter) and (after := _find_row(handle, end, end + 1, delimiter)) > end:
        start, end = end, after
    return end


def _ends_empty(handle: BinaryIO, start: int, end: int, delimiter: str) -> bool:
    """Whether the last line from `start` to `end` has delimiters and white space alone."""
    first = max(start, end - BLOCK)
    handle.seek(first)
    line = handle.read(end - first).removesuffix(b"\n").rpartition(b"\n")[2].decode("utf-8", "replace")
    return not line.replace(delimiter, "").replace('"', "").strip()


def _find_row(handle: BinaryIO, start: int, at: int, delimiter: str) -> int:
    """The first offset from `at` on at which a row begins, given that one begins at `start`.

    A line end between quotes does not end a row, so the bytes from `start` on are searched: those without quotes for
    line ends, the others with the CSV reader. Where that fails, the rest of the file is not cut.
    """
    while start < at:
        handle.seek(start)
        block = handle.read(BLOCK)
        quote = block.find(b'"')
        unquoted = block[: quote if quote >= 0 else len(block)]
        if not block:
            return start
        if (line_end := unquoted.find(b"\n", max(0, at - 1 - start))) >= 0:
            return start + line_end + 1
        passed = unquoted.rfind(b"\n") + 1
        start = start + passed if passed else _end_of_row(handle, start, min(start + BLOCK, at), delimiter)
    return start


BLOCK = 1 << 20
"""Bytes searched at once for line ends."""


def _end_of_row(handle: BinaryIO, start: int, until: int, delimiter: str) -> int:
    """The end of the first row that reaches `until`, parsed from `start` on."""
    handle.seek(start)

    def lines() -> Iterator[str]:
        while raw := handle.readline(LINE_LIMIT + 1):
            if len(raw) > LINE_LIMIT:
                raise InputError(
                    "{file}: a line of more than {line_limit} bytes; break it up",
                    file=handle.name,
                    line_limit=LINE_LIMIT,
                )
            body, _ = without_end(raw if handle.tell() > len(raw) else raw.removeprefix(codecs.BOM_UTF8))
            yield body.decode("latin-1") + "\n"  # accepts any bytes; quotes and delimiters are ASCII

    try:
        for _ in _reader(lines(), delimiter):
            if handle.tell() >= until:
                return handle.tell()
    except csv.Error:  # reported with its place when the rows are read
        pass
    return handle.seek(0, io.SEEK_END)


def has_header(start: list[Row], settings: DataSettings) -> bool:
    """Infer whether the first row is a header.

    If the settings choose columns, it is a header unless all columns are chosen by number. Otherwise it is a header if
    some column has text above a number or a date, or a date above a number, or if it is the only row and has neither.
    """
    chosen = [name for names in settings.columns().values() for name in split_names(names)]
    if chosen:
        return not all(parse_digits(name) is not None for name in chosen)
    form = NumberFormat.of(settings)
    if len(start) == 1:
        return all(_rank(cell, form) == 0 for cell in start[0].cells)
    ranks = ([_rank(cell, form) for cell in row.cells] for row in start[:2])
    return any(above < below for above, below in zip(*ranks, strict=False))


def _rank(cell: Any, form: NumberFormat) -> int:
    """0 for a text, 1 for a date, which may be the name of a column of numbers, 2 for a number."""
    if number(cell, form) is not None or has_number_form(cell):
        return 2
    return int(is_date(cell))


def _check_rows(rows: Iterable[Row], first: Row, header: bool) -> Iterator[Row]:
    """Refuse rows of another width than the first, and those that repeat the header; raises InputError.

    Rows of empty cells at the end are left out.
    """
    width, empty = len(first.cells), list[Row]()
    for row in rows:
        if all(is_empty(cell) for cell in row.cells):  # a spreadsheet writes such rows at the end
            empty.append(row)
            continue
        yield from (Row([""] * width, one.place) for one in empty)
        empty.clear()
        if len(row.cells) != width:
            shown = f", {quote(first.cells[0])}," if width == 1 else ""
            raise error_at(
                row.place,
                translate(
                    "{count} columns, where the first row{shown} has {width}",
                    count=len(row.cells),
                    shown=shown,
                    width=width,
                ),
            )
        if header and width > 1 and row.cells == first.cells:
            raise error_at(row.place, translate("this row repeats the header, as where files were joined; remove it"))
        yield row


def json_table(lines: Lines, settings: DataSettings) -> Table:
    """The table of a file of JSON objects; its columns are the keys of the first object.

    Raises:
        InputError: the file is empty; a line is not a JSON object, once it is reached.
    """
    first = lines.head.first(lambda text: bool(text.strip()))
    if first is None:
        raise InputError("{file}: no rows; the file is empty", file=lines.file)
    names = tuple(json_object(first))
    objects = ((json_object(line), line.place) for line in lines if line.text.strip())
    rows = (Row([entry.get(name) for name in names], place) for entry, place in objects)
    return Table(lines.file, names, True, rows, NumberFormat.of(settings))


def records_table(records: Records) -> Table:
    """The table of records in memory; the place of a row is its number."""
    rows = (Row(cells, Place(FRAME, number)) for number, cells in enumerate(records.rows(), 1))
    return Table(FRAME, records.names, True, rows, order=records.order)


def number(cell: Any, form: NumberFormat = PLAIN) -> float | None:
    """The number in a cell, which may be NaN or infinite; None where there is none."""
    if isinstance(cell, str):
        plain = form.plain(cell)
        if plain is None or "_" in plain:
            return None
        cell = plain
    elif isinstance(cell, bool) or not isinstance(cell, (int, float, Decimal)):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def clear_missing(rows: Iterable[Row], names: Sequence[str], form: NumberFormat = PLAIN) -> Iterator[Row]:
    """The rows with None in place of cells that hold one of some texts, or its number."""
    texts = {name.strip() for name in names}
    numbers = {value for name in texts if (value := number(name, form)) is not None}
    for row in rows:
        is_missing = [str(cell).strip() in texts or number(cell, form) in numbers for cell in row.cells]
        cells = [None if gone else cell for cell, gone in zip(row.cells, is_missing, strict=True)]
        yield Row(cells, row.place)


def check_size(value: float, cell: Any, place: Place) -> float:
    """The value of a cell; raises InputError where its square may be infinite."""
    if abs(value) > LARGEST:
        raise error_at(
            place,
            translate(
                "{cell} is beyond {largest}, too large to be squared and summed; write the column in a larger unit",
                cell=quote(cell),
                largest=f"{LARGEST:g}",
            ),
        )
    return value


def is_empty(cell: Any) -> bool:
    """Whether a cell holds nothing, or white space alone."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def finite_number(row: Row, names: tuple[str, ...], column: int, form: NumberFormat = PLAIN) -> float:
    """The number in a cell of a row.

    Raises:
        InputError: it holds none, or NaN or infinity.
    """
    cell = row.cells[column]
    value = number(cell, form)
    if value is not None and isfinite(value):
        return check_size(value, cell, row.place)
    problem = (
        translate("is empty")
        if is_empty(cell)
        else translate("is {cell}, which is not a finite number", cell=quote(cell))
    )
    raise error_at(
        row.place,
        translate(
            "column {names} {problem}; fill it in or choose other columns with `input`",
            names=quote(names[column]),
            problem=problem,
        ),
    )
