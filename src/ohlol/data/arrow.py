"""Parquet and Arrow files become tables, in bounded memory whatever they claim; knows not what a column means."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ohlol.data.columns import Row, Table
from ohlol.data.lines import Place, nfc, shown
from ohlol.errors import InputError

ARROW = (".arrow", ".feather")
WHY = 120
"""Characters of pyarrow's own message that an error repeats."""
PARQUET_CELLS, PARQUET_BYTES = 1 << 26, 1 << 32
"""Cells (entries of lists too), and bytes when unpacked, of the largest row group read: a file of 1,000 bytes can claim
terabytes. So many cells take about a minute."""
PARQUET_ROWS = 1 << 14
"""Rows of a Parquet file unpacked at once."""


def arrow_table(path: str) -> Table:
    """The table of a Parquet or Arrow file, read a batch of rows at a time; the place of a row is its number.

    Raises:
        InputError: missing, damaged, or with a row group larger than `PARQUET_CELLS` or `PARQUET_BYTES`; pyarrow is
            not there.
    """
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(f"{path}: Parquet and Arrow files need pyarrow; pip install 'ohlol[arrow]'") from None
    with _damage_told(path):
        if path.lower().endswith(ARROW):
            file = arrow.ipc.open_file(arrow.memory_map(path))
            schema, batches = file.schema, _record_batches(file)
        else:
            file = parquet.ParquetFile(path)
            schema, batches = file.schema_arrow, _row_groups(path, file)
        names = tuple(nfc(str(name)) for name in schema.names)
    return Table(path, names, True, _rows(path, file, batches))


@contextmanager
def _damage_told(path: str) -> Generator[None]:
    arrow: Any = import_module("pyarrow")
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        kind = "an Arrow" if path.lower().endswith(ARROW) else "a Parquet"
        raise InputError(f"{path}: not {kind} file ({shown(error, WHY)})") from None


def _rows(path: str, file: Any, batches: Iterator[Any]) -> Iterator[Row]:
    number = 0
    with _damage_told(path), file:
        for batch in batches:
            columns: list[list[Any]] = [_text(column).to_pylist() for column in batch.columns]
            for cells in zip(*columns, strict=True):
                number += 1
                yield Row(cells, Place(path, number))


def _text(column: Any) -> Any:
    """The column, its bytes as UTF-8 where it holds bytes, as some writers leave texts."""
    types: Any = import_module("pyarrow.types")
    return column.cast("string") if types.is_binary(column.type) or types.is_large_binary(column.type) else column


def _record_batches(file: Any) -> Iterator[Any]:
    """The batches of an Arrow file; pyarrow itself believes what they say of lengths and places."""
    for number in range(file.num_record_batches):
        batch = file.get_batch(number)
        batch.validate(full=True)
        yield batch


def _row_groups(path: str, file: Any) -> Iterator[Any]:
    """Some rows at a time of a Parquet file, each row group once it is seen what it unpacks to."""
    parquet: Any = import_module("pyarrow.parquet")
    file.scan_contents()  # reads all in little memory: pyarrow ends the process where it is asked for damaged metadata
    about = file.metadata
    texts = [leaf.path for leaf in map(about.schema.column, range(about.num_columns)) if _is_text(leaf)]
    with parquet.ParquetFile(path, read_dictionary=texts) as once:
        for number in range(about.num_row_groups):
            group = about.row_group(number)
            _refuse(path, sum(group.column(i).num_values for i in range(group.num_columns)), group.total_byte_size)
            _refuse(path, 0, sum(_unpacked(once, number, text) for text in texts))
            yield from file.iter_batches(PARQUET_ROWS, row_groups=[number])


def _is_text(leaf: Any) -> bool:
    return leaf.physical_type == "BYTE_ARRAY"


def _refuse(path: str, cells: int, size: int) -> None:
    for found, most, what in ((cells, PARQUET_CELLS, "cells"), (size, PARQUET_BYTES, "bytes unpacked")):
        if found > most:
            raise InputError(
                f"{path}: a row group of {found} {what}; at most {most} are read; write it with smaller row groups"
            )


def _unpacked(once: Any, group: int, text: str) -> int:
    """Bytes of a column of texts, each as often as it stands in a row; `once` reads each only as often as the file has
    it, since a text of a million bytes can stand in a million rows.
    """
    arrow: Any = import_module("pyarrow")
    try:
        column = once.read_row_group(group, columns=[text]).columns[0]
    except arrow.ArrowNotImplementedError:  # texts in lists, too many for a dictionary: they stand there in full
        return 0
    return sum(map(_repeated, column.chunks))


def _repeated(array: Any) -> int:
    """Bytes of an array of texts, or of a nest that holds one, as if each text were there in full."""
    types: Any = import_module("pyarrow.types")
    compute: Any = import_module("pyarrow.compute")
    if types.is_dictionary(array.type):
        lengths = compute.binary_length(array.dictionary).cast("int64")
        return compute.sum(lengths.take(array.indices)).as_py() or 0
    if types.is_map(array.type):
        return _repeated(array.keys) + _repeated(array.items)
    if types.is_struct(array.type):
        return sum(map(_repeated, array.flatten()))
    return _repeated(array.flatten()) if types.is_nested(array.type) else array.nbytes
