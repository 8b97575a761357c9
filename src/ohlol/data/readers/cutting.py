"""Cutting a text file into pieces that can be read alone."""

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ohlol.data.lines import LINE_LIMIT, FileRange
from ohlol.data.opening import is_converted, open_utf8
from ohlol.utils.errors import InputError

Boundary = Callable[[BinaryIO, int, int], int]
"""`boundary(handle, start, at)` is the first offset from `at` on at which a piece may begin, given that one begins at
`start`."""


def cut_file(
    file: str, boundary: Boundary, piece: int, also_at: int = 0, encoding: str | None = None
) -> Iterator[FileRange]:
    """Cut a file at boundaries, about every `piece` bytes and at the offset `also_at`; raises OSError.

    A file that is compressed or not UTF-8 is cut only at `also_at`, since each piece is read from its start.
    """
    with open_utf8(file, encoding) as handle:
        size = handle.seek(0, io.SEEK_END)
        piece = size if is_converted(handle) else piece
        start, line = 0, 1
        while start < size:
            end = also_at if start < also_at < size else size
            if end - start > piece:
                end = min(boundary(handle, start, start + piece), end)
            yield FileRange(file, start, end, line)
            line += _count_line_ends(handle, start, end) if end < size else 0
            start = end


def first_piece(file: str, boundary: Boundary, size: int, encoding: str | None = None) -> tuple[FileRange, bool]:
    """The part of a file up to the first boundary after `size` bytes, and whether it is all of it; raises OSError."""
    with open_utf8(file, encoding) as handle:
        handle.seek(size)
        end = boundary(handle, 0, size) if handle.read(1) else handle.tell()
        handle.seek(end)
        return FileRange(file, 0, end, 1), not handle.read(1)


def line_boundary(handle: BinaryIO, _: int, at: int) -> int:
    """After the line that holds the byte `at`."""
    handle.seek(at)
    _read_line(handle)
    return handle.tell()


def sentence_boundary(handle: BinaryIO, _: int, at: int) -> int:
    """After the next blank line."""
    handle.seek(at)
    _read_line(handle)  # perhaps the rest of a line
    while (line := _read_line(handle)) and line.strip():
        pass
    return handle.tell()


def text_boundary(handle: BinaryIO, _: int, at: int) -> int:
    """After the next line end or, where none is near, the next space; `text_pieces` ends its pieces there too."""
    handle.seek(at)
    passed = 0
    while block := handle.read(1 << 16):
        for mark in (b"\n", b" "):
            if (offset := block.find(mark)) >= 0:
                return at + passed + offset + 1
        passed += len(block)
        if passed > LINE_LIMIT:
            raise InputError(
                "{file}: more than {line_limit} bytes without a space; break it up",
                file=handle.name,
                line_limit=LINE_LIMIT,
            )
    return at + passed


def _read_line(handle: BinaryIO) -> bytes:
    line = handle.readline(LINE_LIMIT + 1)
    if len(line) > LINE_LIMIT:
        raise InputError(
            "{file}: a line of more than {line_limit} bytes; break it up",
            file=handle.name,
            line_limit=LINE_LIMIT,
        )
    return line


def _count_line_ends(handle: BinaryIO, start: int, end: int) -> int:
    handle.seek(start)
    count = 0
    while start < end and (block := handle.read(min(1 << 20, end - start))):
        count += block.count(b"\n")
        start += len(block)
    return count
