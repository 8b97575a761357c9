"""Parquet and Arrow files become tables, in bounded memory whatever they claim; knows not what a column means.

Both hold rows in groups, row groups and record batches, each of which can be read alone. What a group takes when it is
unpacked is seen before that: in Parquet's footer, and in Arrow's metadata (arrow_size.py).
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from ohlol.data.lines import Place, Span, nfc, shown
from ohlol.data.readers.arrow_size import claims, refuse, texts_in_full, unpacked
from ohlol.data.readers.tables import Row, Table
from ohlol.utils.errors import InputError

ARROW = (".arrow", ".feather")
PARQUET = (".parquet", ".pq")
WHY = 120
"""Characters of pyarrow's own message that an error repeats."""
PARQUET_CELLS, PARQUET_BYTES = 1 << 26, 1 << 32
"""Cells (entries of lists too), and bytes when unpacked, of the largest row group read: a file of 1,000 bytes can claim
terabytes. So many cells take about a minute. A row group is read some rows at a time."""
ARROW_BYTES = 1 << 30
"""Bytes to which the largest compressed record batch may unpack, which is read at once."""
ROWS, CELLS, BYTES = 1 << 14, 1 << 20, 1 << 25
"""Rows, cells and bytes of text, or thereabouts, that are made Python's own at once."""


class Group(NamedTuple):
    """Some rows that lie together in a file."""

    rows: int
    size: int
    """Bytes, unpacked."""


def arrow_table(path: str, span: Span | None = None) -> Table:
    """The table of a Parquet or Arrow file or of some of its groups; the place of a row is its number.

    Raises:
        InputError: missing, damaged, or with a group larger than `PARQUET_CELLS`, `PARQUET_BYTES` or `ARROW_BYTES`;
            pyarrow is not there.
    """
    with _opened(path) as (_, schema):
        names = tuple(nfc(str(name)) for name in schema.names)
    return Table(path, names, True, _rows(path, span))


def groups(path: str) -> list[Group]:
    """The groups of rows of a file, all of which may be read; raises InputError as `arrow_table` does."""
    with _opened(path) as (file, _):
        if _is_arrow(path):
            return [group for group, _ in _record_batches(path, file, range(file.num_record_batches))]
        return list(_row_groups(path, file))


def _is_arrow(path: str) -> bool:
    return path.lower().endswith(ARROW)


@contextmanager
def _opened(path: str) -> Generator[tuple[Any, Any]]:
    """A file and its schema; what pyarrow says of damage becomes an InputError."""
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
        import_module("flatbuffers")
    except ImportError:
        raise InputError(f"{path}: Parquet and Arrow files need pyarrow; pip install 'ohlol[arrow]'") from None
    try:
        if _is_arrow(path):
            with arrow.memory_map(path) as source, arrow.ipc.open_file(source) as file:
                yield file, file.schema
        else:
            with parquet.ParquetFile(path) as file:
                yield file, file.schema_arrow
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        kind = "an Arrow" if _is_arrow(path) else "a Parquet"
        raise InputError(f"{path}: not {kind} file ({shown(error, WHY)})") from None


def _rows(path: str, span: Span | None) -> Iterator[Row]:
    number = span.line - 1 if span is not None else 0
    with _opened(path) as (file, _):
        for batch in _batches(path, file, span):
            columns: list[list[Any]] = [_cells(column) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                number += 1
                yield Row(cells, Place(path, number))


def _cells(column: Any) -> list[Any]:
    """What Python makes of a column, its bytes as UTF-8 where it holds bytes, as some writers leave texts.

    A column whose claims nobody can tell before it is unpacked holds nothing that is read.
    """
    types: Any = import_module("pyarrow.types")
    if claims(column) is None:
        return [{}] * len(column)
    is_binary = types.is_binary(column.type) or types.is_large_binary(column.type)
    return (column.cast("string") if is_binary else column).to_pylist()


def _batches(path: str, file: Any, span: Span | None) -> Iterator[Any]:
    """Some rows at a time of a file, or of some groups of a Parquet file that `groups` has looked at."""
    if _is_arrow(path):
        numbers = range(file.num_record_batches) if span is None else range(span.start, span.end)
        for _, batch in _record_batches(path, file, numbers):
            yield from _slices(path, batch)
        return
    found = _row_groups(path, file) if span is None else range(span.start, span.end)
    for number, _ in enumerate(found, span.start if span is not None else 0):
        for batch in file.iter_batches(ROWS, row_groups=[number]):
            yield from _slices(path, batch)


def _slices(path: str, batch: Any) -> Iterator[Any]:
    """A batch, in as many parts as it takes for each to be small, or a single row."""
    left = [batch]
    while left:
        batch = left.pop()
        told = [found for column in batch.columns if (found := claims(column)) is not None]
        cells, size = sum(found.cells for found in told), sum(found.size for found in told)
        if batch.num_rows > ROWS or (batch.num_rows > 1 and (cells > CELLS or size > BYTES)):
            half = min(batch.num_rows // 2, ROWS)
            left += [batch.slice(half), batch.slice(0, half)]
            continue
        refuse(path, "a row", cells, PARQUET_CELLS, size, ARROW_BYTES)
        yield batch


def _record_batches(path: str, file: Any, numbers: range) -> Iterator[tuple[Group, Any]]:
    """Some batches of an Arrow file, each unpacked once it is seen to what."""
    arrow: Any = import_module("pyarrow")
    with arrow.memory_map(path) as source:
        sizes = unpacked(path, source.read_buffer(), ARROW_BYTES)
    for number in numbers:
        batch = file.get_batch(number)
        refuse(path, "a record batch", batch.num_rows * batch.num_columns, PARQUET_CELLS, 0, 0)
        batch.validate(full=True)  # pyarrow itself believes what it says of lengths and places
        yield Group(batch.num_rows, sizes[number]), batch


def _row_groups(path: str, file: Any) -> Iterator[Group]:
    """The row groups of a Parquet file, each once it is seen what it unpacks to."""
    parquet: Any = import_module("pyarrow.parquet")
    file.scan_contents()  # reads all in little memory: pyarrow ends the process where it is asked for damaged metadata
    about = file.metadata
    texts = [leaf.path for leaf in map(about.schema.column, range(about.num_columns)) if _is_text(leaf)]
    with parquet.ParquetFile(path, read_dictionary=texts) as once:
        for number in range(about.num_row_groups):
            group = about.row_group(number)
            cells, size = sum(group.column(i).num_values for i in range(group.num_columns)), group.total_byte_size
            refuse(path, "a row group", cells, PARQUET_CELLS, size, PARQUET_BYTES)
            full = sum(texts_in_full(once, number, text) for text in texts)
            refuse(path, "a row group", 0, PARQUET_CELLS, full, PARQUET_BYTES)
            yield Group(group.num_rows, size)


def _is_text(leaf: Any) -> bool:
    return leaf.physical_type == "BYTE_ARRAY"
