"""The memory that Parquet and Arrow data take, computed before they are decompressed."""

import struct
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.utils.errors import InputError, describe_error
from ohlol.utils.translation import message_id, translate


class ColumnSize(NamedTuple):
    """What a column takes when each of its cells becomes a Python object."""

    cells: int
    """Entries of lists included."""
    bytes: int
    """Each text counts in every row that refers to it."""


def check_size(path: str, group: str, cells: int, max_cells: int, size: int, max_bytes: int) -> None:
    """Raise InputError where a group of rows is too large."""
    for count, limit, unit in (
        (cells, max_cells, message_id("cells")),
        (size, max_bytes, message_id("bytes decompressed")),
    ):
        if count > limit:
            smaller = translate("smaller row groups") if group == "a row group" else translate("smaller batches")
            raise InputError(
                "{path}: {group} of {count} {unit}; at most {limit} are read; write it with {smaller}",
                path=path,
                group=translate(group),
                count=count,
                unit=translate(unit),
                limit=limit,
                smaller=smaller,
            )


def column_size(array: Any) -> ColumnSize | None:
    """The size of a column; None where it is unknown before decompression: list views, unions, run-end encoding.

    A million rows can refer to one text of a million bytes, and a list can declare a billion entries that do not exist.
    """
    arrow: Any = import_module("pyarrow")
    types: Any = import_module("pyarrow.types")
    kind, rows = array.type, len(array)
    if isinstance(array, arrow.ExtensionArray):
        return column_size(array.storage)
    if types.is_dictionary(kind):
        if not _is_text(kind.value_type):
            return ColumnSize(rows, 8 * rows) if types.is_primitive(kind.value_type) else None
        lengths = _lengths(array.dictionary)
        indices = array.indices.drop_null().to_numpy(zero_copy_only=False)
        return ColumnSize(rows, int(lengths[indices].sum()))
    if _is_text(kind):
        return ColumnSize(rows, int(_lengths(array).sum()))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = [column_size(array.flatten())]
    elif types.is_map(kind):
        inner = [column_size(array.keys), column_size(array.items)]
    elif types.is_struct(kind):
        inner = [column_size(field) for field in array.flatten()]
    elif types.is_null(kind):
        return ColumnSize(rows, 0)
    else:
        try:
            return ColumnSize(rows, rows * kind.bit_width // 8)
        except ValueError:
            return None
    sizes = [size for size in inner if size is not None]
    if len(sizes) < len(inner):
        return None
    return ColumnSize(rows + sum(size.cells for size in sizes), sum(size.bytes for size in sizes))


def _is_text(kind: Any) -> bool:
    types: Any = import_module("pyarrow.types")
    return any(
        is_kind(kind)
        for is_kind in (
            types.is_string,
            types.is_large_string,
            types.is_binary,
            types.is_large_binary,
            types.is_string_view,
            types.is_binary_view,
        )
    )


def _lengths(array: Any) -> NDArray[np.int64]:
    """The bytes of each text; 0 for null."""
    types: Any = import_module("pyarrow.types")
    if types.is_string_view(array.type) or types.is_binary_view(array.type):  # 16 bytes each, the first 4 the length
        views = np.frombuffer(array.buffers()[1], np.int32)[4 * array.offset :: 4][: len(array)]
        return np.where(array.is_valid().to_numpy(zero_copy_only=False), views, 0).astype(np.int64)
    compute: Any = import_module("pyarrow.compute")
    return compute.binary_length(array).fill_null(0).cast("int64").to_numpy(zero_copy_only=False)


def text_column_bytes(file: Any, group: int, text: str) -> int:
    """Bytes of a column of texts of a Parquet row group, where each text counts in every row that refers to it.

    Args:
        file: opened so that texts are read as dictionaries, each text once.
        group: number of the row group.
        text: name of the column.
    """
    arrow: Any = import_module("pyarrow")
    try:
        column = file.read_row_group(group, columns=[text]).columns[0]
    except arrow.ArrowNotImplementedError:  # texts in lists, too many for a dictionary: each is stored in full
        return 0
    sizes = ((chunk, column_size(chunk)) for chunk in column.chunks)
    return sum(chunk.nbytes if size is None else size.bytes for chunk, size in sizes)


def batch_sizes(path: str, file: Any, limit: int) -> list[int]:
    """Bytes of each record batch of an Arrow file when decompressed, from its metadata; nothing is decompressed.

    The footer and the messages are FlatBuffers tables; their layout is that of the format's File.fbs and Message.fbs. A
    compressed buffer begins with 8 bytes that give its decompressed length, or with -1 where it is not compressed.

    Args:
        path: of the file, for messages.
        file: its bytes; pyarrow has read the footer without an error.
        limit: largest decompressed bytes of a batch, or of all dictionaries together; as much as the file itself has
            is always accepted.

    Raises:
        InputError: the metadata are damaged, or a batch is too large.
    """
    try:
        end = len(file) - FOOTER_END
        (size,) = struct.unpack("<i", file[end : end + 4])
        footer = _root(file[end - size : end].to_pybytes())
        dictionaries, batches = (_blocks(footer, field) for field in (2, 3))
        total = sum(_message_size(file, *block) for block in dictionaries)
        check_size(path, "dictionaries", 0, 0, total, max(limit, len(file)))
        sizes: list[int] = []
        for block in batches:
            sizes.append(_message_size(file, *block))
            check_size(path, message_id("a record batch"), 0, 0, sizes[-1], max(limit, len(file)))
        return sizes
    except (struct.error, ValueError, IndexError, TypeError) as error:
        raise InputError("{path}: not an Arrow file ({error})", path=path, error=describe_error(error)) from None


FOOTER_END = 10
"""Bytes after the footer of an Arrow file: the length of the footer, and ARROW1."""
BLOCK = np.dtype([("offset", "<i8"), ("metadata", "<i4"), ("padding", "<i4"), ("body", "<i8")])
BUFFER = np.dtype([("offset", "<i8"), ("length", "<i8")])


def _root(raw: bytes) -> Any:
    """The root table of a FlatBuffer."""
    flatbuffers: Any = import_module("flatbuffers.table")
    return flatbuffers.Table(raw, int.from_bytes(raw[:4], "little"))


def _field(table: Any, number: int) -> int:
    """The offset of a field of a table; 0 where it is absent."""
    return table.Offset(4 + 2 * number)


def _vector(table: Any, number: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """A field that is a vector of structures."""
    offset = _field(table, number)
    if not offset:
        return np.empty(0, kind)
    return np.frombuffer(table.Bytes, kind, table.VectorLen(offset), table.Vector(offset))


def _blocks(footer: Any, number: int) -> list[tuple[int, int, int]]:
    blocks = _vector(footer, number, BLOCK)
    return [(int(block["offset"]), int(block["metadata"]), int(block["body"])) for block in blocks]


def _message_size(file: Any, offset: int, metadata: int, body: int) -> int:
    """Bytes of a message when decompressed."""
    if min(offset, metadata, body) < 0 or offset + metadata + body > len(file):
        raise ValueError("a batch is outside of the file")
    raw = file[offset : offset + metadata].to_pybytes()
    message = _root(raw[8:] if raw[:4] == b"\xff\xff\xff\xff" else raw[4:])
    header = _inner(message, 2)
    if message.Bytes[message.Pos + _field(message, 1)] == DICTIONARY:
        header = _inner(header, 1)
    if not _field(header, 3):  # not compressed
        return body
    total, start = 0, offset + metadata
    for begin, length in _vector(header, 2, BUFFER).tolist():
        if min(begin, length) < 0 or begin + length > body:
            raise ValueError("a buffer is outside of its batch")
        if length:
            (size,) = struct.unpack("<q", file[start + begin : start + begin + 8])
            if size < -1:
                raise ValueError("a buffer has a negative length")
            total += length if size < 0 else size
    return total


DICTIONARY = 2
"""The type of a message that holds a dictionary, as a record batch."""


def _inner(table: Any, number: int) -> Any:
    flatbuffers: Any = import_module("flatbuffers.table")
    return flatbuffers.Table(table.Bytes, table.Indirect(table.Pos + _field(table, number)))
