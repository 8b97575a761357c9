"""Parquet files become tables, in bounded memory whatever they claim; knows nothing of what a column means."""

from importlib import import_module
from typing import Any

from ohlol.data.columns import Row, Table
from ohlol.data.lines import Place, nfc, shown
from ohlol.errors import InputError

WHY = 120
"""Characters of pyarrow's own message that an error repeats."""
PARQUET_CELLS, PARQUET_BYTES = 1 << 26, 1 << 32
"""Cells (entries of lists too), and bytes when unpacked, of the largest Parquet file read: one of 1,000 bytes can claim
terabytes. So many cells take about a minute."""


def parquet_table(path: str) -> Table:
    """The table of a Parquet file; the place of a row is its number.

    Raises:
        InputError: missing, no Parquet file, larger than `PARQUET_CELLS` or `PARQUET_BYTES`; pyarrow is not there.
    """
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(f"{path}: Parquet files need pyarrow; pip install 'ohlol[arrow]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            _refuse(path, *_claimed(file))
        with parquet.ParquetFile(path, read_dictionary=_texts(file.metadata)) as once:
            _refuse(path, 0, _unpacked(once))
        with parquet.ParquetFile(path) as file:
            names = tuple(nfc(str(name)) for name in file.schema_arrow.names)
            columns: list[list[Any]] = [_text(column).to_pylist() for column in file.read().columns]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a Parquet file ({shown(error, WHY)})") from None
    rows = (Row(cells, Place(path, i)) for i, cells in enumerate(zip(*columns, strict=True), 1))
    return Table(path, names, True, rows)


def _text(column: Any) -> Any:
    """The column, its bytes as UTF-8 where it holds bytes, as some writers leave texts."""
    types: Any = import_module("pyarrow.types")
    return column.cast("string") if types.is_binary(column.type) or types.is_large_binary(column.type) else column


def _refuse(path: str, cells: int, size: int) -> None:
    for found, most, what in ((cells, PARQUET_CELLS, "cells"), (size, PARQUET_BYTES, "bytes unpacked")):
        if found > most:
            raise InputError(f"{path}: {found} {what}; at most {most} are read; split the file")


def _claimed(file: Any) -> tuple[int, int]:
    """Cells and bytes as the file has them."""
    file.scan_contents()  # reads all in little memory: pyarrow ends the process where it is asked for damaged metadata
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    cells = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
    return cells, sum(group.total_byte_size for group in groups)


def _texts(about: Any) -> list[str]:
    """The paths of the columns of text."""
    leaves = [about.schema.column(i) for i in range(about.num_columns)]
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def _unpacked(file: Any) -> int:
    """Bytes of the texts, each as often as it stands in a row; in memory they are as in the file, each once."""
    arrow: Any = import_module("pyarrow")
    size = 0
    for group in range(file.metadata.num_row_groups):
        for path in _texts(file.metadata):
            try:
                column = file.read_row_group(group, columns=[path]).columns[0]
            except (
                arrow.ArrowNotImplementedError
            ):  # texts in lists, too many for a dictionary: they stand there in full
                continue
            size += sum(map(_repeated, column.chunks))
    return size


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
