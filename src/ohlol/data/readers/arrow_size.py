"""What Parquet and Arrow data take in memory, told before it is taken; knows nothing of rows or of what they mean."""

import struct
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.utils.errors import InputError, short


class Claims(NamedTuple):
    """What a column takes when each of its cells becomes an object of Python."""

    cells: int
    """Those in lists too."""
    size: int
    """Bytes, each text as if it were there in full."""


def refuse(path: str, what: str, cells: int, most_cells: int, size: int, most_bytes: int) -> None:
    """Raise InputError where a group of rows is too large."""
    for found, most, unit in ((cells, most_cells, "cells"), (size, most_bytes, "bytes unpacked")):
        if found > most:
            smaller = "smaller row groups" if what == "a row group" else "smaller batches"
            raise InputError(f"{path}: {what} of {found} {unit}; at most {most} are read; write it with {smaller}")


def claims(array: Any) -> Claims | None:
    """What a column claims; None where that cannot be told without unpacking it: views of lists, unions, run ends.

    A text of a million bytes can stand in a million rows, and a list of a billion entries that are not there in none.
    """
    arrow: Any = import_module("pyarrow")
    types: Any = import_module("pyarrow.types")
    kind, rows = array.type, len(array)
    if isinstance(array, arrow.ExtensionArray):
        return claims(array.storage)
    if types.is_dictionary(kind):
        if not _is_text(kind.value_type):
            return Claims(rows, 8 * rows) if types.is_primitive(kind.value_type) else None
        lengths = _lengths(array.dictionary)
        at = array.indices.drop_null().to_numpy(zero_copy_only=False)
        return Claims(rows, int(lengths[at].sum()))
    if _is_text(kind):
        return Claims(rows, int(_lengths(array).sum()))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = [claims(array.flatten())]
    elif types.is_map(kind):
        inner = [claims(array.keys), claims(array.items)]
    elif types.is_struct(kind):
        inner = [claims(field) for field in array.flatten()]
    elif types.is_null(kind):
        return Claims(rows, 0)
    else:
        try:
            return Claims(rows, rows * kind.bit_width // 8)
        except ValueError:
            return None
    if None in inner:
        return None
    told = [one for one in inner if one is not None]
    return Claims(rows + sum(one.cells for one in told), sum(one.size for one in told))


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
    """The bytes of each text, 0 where there is none."""
    types: Any = import_module("pyarrow.types")
    if types.is_string_view(array.type) or types.is_binary_view(array.type):  # 16 bytes each, of which 4 are its length
        views = np.frombuffer(array.buffers()[1], np.int32)[4 * array.offset :: 4][: len(array)]
        return np.where(array.is_valid().to_numpy(zero_copy_only=False), views, 0).astype(np.int64)
    compute: Any = import_module("pyarrow.compute")
    return compute.binary_length(array).fill_null(0).cast("int64").to_numpy(zero_copy_only=False)


def texts_in_full(once: Any, group: int, text: str) -> int:
    """Bytes of a column of texts of a Parquet row group, each as often as it stands in a row.

    `once` reads each only as often as the file has it.
    """
    arrow: Any = import_module("pyarrow")
    try:
        column = once.read_row_group(group, columns=[text]).columns[0]
    except arrow.ArrowNotImplementedError:  # texts in lists, too many for a dictionary: they stand there in full
        return 0
    return sum(found.size if (found := claims(chunk)) is not None else chunk.nbytes for chunk in column.chunks)


def unpacked(path: str, file: Any, most: int) -> list[int]:
    """Bytes to which each record batch of an Arrow file unpacks, by what its metadata say; nothing is unpacked.

    The layout of the footer and of messages is that of the format's File.fbs and Message.fbs, tables of FlatBuffers; a
    compressed buffer begins with its length when unpacked, as 8 bytes, or with -1 where it is not compressed.

    Args:
        path: of the file, for messages.
        file: its bytes, of which pyarrow has read the footer and found that it is one.
        most: what a batch, or the dictionaries together, may unpack to where that is more than the file itself has.

    Raises:
        InputError: the metadata are damaged, or a batch is too large.
    """
    try:
        end = len(file) - FOOT
        (size,) = struct.unpack("<i", file[end : end + 4])
        footer = _root(file[end - size : end].to_pybytes())
        dictionaries, batches = (_blocks(footer, field) for field in (2, 3))
        whole = sum(_unpacked(file, *block) for block in dictionaries)
        refuse(path, "dictionaries", 0, 0, whole, max(most, len(file)))
        sizes: list[int] = []
        for block in batches:
            sizes.append(_unpacked(file, *block))
            refuse(path, "a record batch", 0, 0, sizes[-1], max(most, len(file)))
        return sizes
    except (struct.error, ValueError, IndexError, TypeError) as error:
        raise InputError(f"{path}: not an Arrow file ({short(error)})") from None


FOOT = 10
"""Bytes at the end of an Arrow file: the length of its footer, and ARROW1."""
BLOCK = np.dtype([("offset", "<i8"), ("metadata", "<i4"), ("padding", "<i4"), ("body", "<i8")])
BUFFER = np.dtype([("offset", "<i8"), ("length", "<i8")])


def _root(raw: bytes) -> Any:
    """The table that a FlatBuffer holds."""
    table: Any = import_module("flatbuffers.table")
    return table.Table(raw, int.from_bytes(raw[:4], "little"))


def _field(table: Any, number: int) -> int:
    """Where a field of a table stands; 0 where it is not there."""
    return table.Offset(4 + 2 * number)


def _vector(table: Any, number: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """A field that holds structures."""
    at = _field(table, number)
    return np.frombuffer(table.Bytes, kind, table.VectorLen(at), table.Vector(at)) if at else np.empty(0, kind)


def _blocks(footer: Any, number: int) -> list[tuple[int, int, int]]:
    found = _vector(footer, number, BLOCK)
    return [(int(block["offset"]), int(block["metadata"]), int(block["body"])) for block in found]


def _unpacked(file: Any, offset: int, metadata: int, body: int) -> int:
    """What a message unpacks to."""
    if min(offset, metadata, body) < 0 or offset + metadata + body > len(file):
        raise ValueError("a batch lies outside of the file")
    raw = file[offset : offset + metadata].to_pybytes()
    message = _root(raw[8:] if raw[:4] == b"\xff\xff\xff\xff" else raw[4:])
    header = _inner(message, 2)
    if message.Bytes[message.Pos + _field(message, 1)] == DICTIONARY:
        header = _inner(header, 1)
    if not _field(header, 3):  # not compressed: it lies there as it is
        return body
    total, start = 0, offset + metadata
    for at, length in _vector(header, 2, BUFFER).tolist():
        if min(at, length) < 0 or at + length > body:
            raise ValueError("a buffer lies outside of its batch")
        if length:
            (size,) = struct.unpack("<q", file[start + at : start + at + 8])
            if size < -1:
                raise ValueError("a buffer has less than no bytes")
            total += length if size < 0 else size
    return total


DICTIONARY = 2
"""The kind of a message that is a dictionary; what it holds is like a record batch."""


def _inner(table: Any, number: int) -> Any:
    made: Any = import_module("flatbuffers.table")
    return made.Table(table.Bytes, table.Indirect(table.Pos + _field(table, number)))
