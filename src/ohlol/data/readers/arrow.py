"""Tables from Parquet and Arrow files, read in bounded memory regardless of declared sizes.

Both formats hold rows in groups (row groups, record batches), each of which can be read alone. The memory that a group
takes is checked before it is decompressed: in Parquet's footer, and in Arrow's metadata (arrow_size.py).
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from ohlol.data.lines import FileRange, Place, nfc, quote
from ohlol.data.opening import compression_of
from ohlol.data.readers.arrow_size import batch_sizes, check_size, column_size, text_column_bytes
from ohlol.data.readers.tables import Row, Table
from ohlol.utils.errors import InputError
from ohlol.utils.translation import message_id, translate

ARROW = (".arrow", ".feather")
MESSAGE_LIMIT = 120
"""Characters of pyarrow's own message that an error repeats."""
PARQUET_CELLS, PARQUET_BYTES = 1 << 26, 1 << 32
"""Cells, entries of lists included, and decompressed bytes of the largest row group read: a file of 1,000 bytes can
declare terabytes. Reading this many cells takes about a minute. A row group is read some rows at a time."""
ARROW_BYTES = 1 << 30
"""Bytes of the largest record batch when decompressed; a batch is decompressed at once."""
MAX_SLICE_ROWS, MAX_SLICE_CELLS, MAX_SLICE_BYTES = 1 << 14, 1 << 20, 1 << 25
"""Approximate limits of one slice, which is converted to Python objects at once: rows, cells and bytes of text."""


class Group(NamedTuple):
    """A row group or a record batch."""

    rows: int
    size: int
    """Bytes when decompressed."""


def arrow_table(path: str, span: FileRange | None = None) -> Table:
    """The table of a Parquet or Arrow file or of some of its groups; the place of a row is its number.

    Raises:
        InputError: the file is missing or damaged, or a group is larger than `PARQUET_CELLS`, `PARQUET_BYTES` or
            `ARROW_BYTES`; pyarrow or flatbuffers is not installed.
    """
    with _open_file(path) as (_, schema):
        names = tuple(nfc(str(name)) for name in schema.names)
    return Table(path, names, True, _rows(path, span))


def read_groups(path: str) -> list[Group]:
    """The sizes of the groups of rows of a file, all of which are checked; raises InputError as `arrow_table` does."""
    with _open_file(path) as (file, _):
        if _is_arrow(path):
            return [group for group, _ in _record_batches(path, file, range(file.num_record_batches))]
        return list(_row_groups(path, file))


def _is_arrow(path: str) -> bool:
    return path.lower().endswith(ARROW)


@contextmanager
def _open_file(path: str) -> Generator[tuple[Any, Any]]:
    """A file and its schema; errors of pyarrow become InputError."""
    if kind := compression_of(path):
        raise InputError(
            "{path}: Parquet and Arrow files are read in parts; unpack it, which {kind} does not allow",
            path=path,
            kind=kind,
        )
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
        import_module("flatbuffers")
    except ImportError as error:
        missing = (error.name or "pyarrow").partition(".")[0]
        raise InputError(
            "{path}: Parquet and Arrow files need {missing}; pip install 'ohlol[arrow]'", path=path, missing=missing
        ) from None
    try:
        if _is_arrow(path):
            with arrow.memory_map(path) as source, arrow.ipc.open_file(source) as file:
                yield file, file.schema
        else:
            with parquet.ParquetFile(path) as file:
                yield file, file.schema_arrow
    except FileNotFoundError:
        raise InputError("{path}: no such file", path=path) from None
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        kind = translate("an Arrow") if _is_arrow(path) else translate("a Parquet")
        raise InputError(
            "{path}: not {kind} file ({error})", path=path, kind=kind, error=quote(error, MESSAGE_LIMIT)
        ) from None


def _rows(path: str, span: FileRange | None) -> Iterator[Row]:
    number = span.line - 1 if span is not None else 0
    with _open_file(path) as (file, _):
        for batch in _batches(path, file, span):
            columns: list[list[Any]] = [_cells(column) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                number += 1
                yield Row(cells, Place(path, number))


def _cells(column: Any) -> list[Any]:
    """A column as Python objects; bytes become texts, since some writers store texts as bytes.

    A column whose size is unknown before it is decompressed is not read. Each of its cells becomes an empty dict, which
    the reader of the column then refuses, be it a column of text or of numbers.
    """
    types: Any = import_module("pyarrow.types")
    if column_size(column) is None:
        return [{}] * len(column)
    is_binary = types.is_binary(column.type) or types.is_large_binary(column.type)
    return (column.cast("string") if is_binary else column).to_pylist()


def _batches(path: str, file: Any, span: FileRange | None) -> Iterator[Any]:
    """Some rows at a time of a file, or of those of its groups that a span names."""
    if _is_arrow(path):
        numbers = range(file.num_record_batches) if span is None else range(span.start, span.end)
        for _, batch in _record_batches(path, file, numbers):
            yield from _slices(path, batch)
        return
    chosen = _row_groups(path, file) if span is None else range(span.start, span.end)  # a span's were checked before
    for number, _ in enumerate(chosen, span.start if span is not None else 0):
        for batch in file.iter_batches(MAX_SLICE_ROWS, row_groups=[number]):
            yield from _slices(path, batch)


def _slices(path: str, batch: Any) -> Iterator[Any]:
    """A batch in parts, each of which is small or a single row."""
    left = [batch]
    while left:
        batch = left.pop()
        sizes = [size for column in batch.columns if (size := column_size(column)) is not None]
        cells, size = sum(column.cells for column in sizes), sum(column.bytes for column in sizes)
        if batch.num_rows > MAX_SLICE_ROWS or (
            batch.num_rows > 1 and (cells > MAX_SLICE_CELLS or size > MAX_SLICE_BYTES)
        ):
            half = min(batch.num_rows // 2, MAX_SLICE_ROWS)
            left += [batch.slice(half), batch.slice(0, half)]
            continue
        check_size(path, "a row", cells, PARQUET_CELLS, size, ARROW_BYTES)
        yield batch


def _record_batches(path: str, file: Any, numbers: range) -> Iterator[tuple[Group, Any]]:
    """Some batches of an Arrow file, each decompressed after its size is checked."""
    arrow: Any = import_module("pyarrow")
    with arrow.memory_map(path) as source:
        sizes = batch_sizes(path, source.read_buffer(), ARROW_BYTES)
    for number in numbers:
        batch = file.get_batch(number)
        check_size(path, message_id("a record batch"), batch.num_rows * batch.num_columns, PARQUET_CELLS, 0, 0)
        batch.validate(full=True)  # pyarrow does not check lengths and offsets when it reads
        yield Group(batch.num_rows, sizes[number]), batch


def _row_groups(path: str, file: Any) -> Iterator[Group]:
    """The row groups of a Parquet file, each after its size is checked."""
    parquet: Any = import_module("pyarrow.parquet")
    file.scan_contents()  # reads everything in little memory: pyarrow ends the process when damaged metadata are used
    metadata = file.metadata
    texts = [leaf.path for leaf in map(metadata.schema.column, range(metadata.num_columns)) if _is_text(leaf)]
    with parquet.ParquetFile(path, read_dictionary=texts) as dictionaries:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            cells, size = sum(group.column(i).num_values for i in range(group.num_columns)), group.total_byte_size
            check_size(path, message_id("a row group"), cells, PARQUET_CELLS, size, PARQUET_BYTES)
            text_bytes = sum(text_column_bytes(dictionaries, number, text) for text in texts)
            check_size(path, message_id("a row group"), 0, PARQUET_CELLS, text_bytes, PARQUET_BYTES)
            yield Group(group.num_rows, size)


def _is_text(leaf: Any) -> bool:
    return leaf.physical_type == "BYTE_ARRAY"
