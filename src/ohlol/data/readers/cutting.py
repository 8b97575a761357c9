"""Cutting a text file into pieces that can be read alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ohlol.data.lines import LINE_LIMIT, FileRange

Boundary = Callable[[BinaryIO, int, int], int]
"""`boundary(handle, start, at)` is the first offset from `at` on at which a piece may begin, given that one begins at
`start`."""


def cut_file(file: str, boundary: Boundary, piece: int, also_at: int = 0) -> Iterator[FileRange]:
    """Cut a file at boundaries, about every `piece` bytes and at the offset `also_at`; raises OSError."""
    size = Path(file).stat().st_size
    with Path(file).open("rb") as handle:
        start, line = 0, 1
        while start < size:
            end = also_at if start < also_at < size else size
            if end - start > piece:
                end = min(boundary(handle, start, start + piece), end)
            yield FileRange(file, start, end, line)
            line += _count_line_ends(handle, start, end) if end < size else 0
            start = end


def line_boundary(handle: BinaryIO, _: int, at: int) -> int:
    """After the line that holds the byte `at`."""
    handle.seek(at)
    handle.readline(LINE_LIMIT + 1)
    return handle.tell()


def sentence_boundary(handle: BinaryIO, _: int, at: int) -> int:
    """After the next blank line."""
    handle.seek(at)
    handle.readline(LINE_LIMIT + 1)  # perhaps the rest of a line
    while (line := handle.readline(LINE_LIMIT + 1)) and line.strip():
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
    return at + passed


def _count_line_ends(handle: BinaryIO, start: int, end: int) -> int:
    handle.seek(start)
    count = 0
    while start < end and (block := handle.read(min(1 << 20, end - start))):
        count += block.count(b"\n")
        start += len(block)
    return count
