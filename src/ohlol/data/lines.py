"""Lines of a file with their places, and the examples that readers make of them.

Only "\\n" and "\\r\\n" end a line: every other separator of Unicode is an ordinary character.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple
from unicodedata import normalize

from ohlol.data.opening import SAMPLE, STDIN, describe_encoding, name_of, open_utf8, without_compression
from ohlol.utils.errors import InputError
from ohlol.utils.translation import message_id, translate

QUOTED = 40
"""Characters of the user's text that an error message repeats."""
LINE_LIMIT = 1 << 27
"""Bytes of the longest line read. The benchmark text8 is one line of 100,000,000 bytes; an endless device without line
ends is refused here."""
BINARY = {
    b"PK\x03\x04": message_id(
        "a zip archive, such as a spreadsheet, read where the name ends in .xlsx: unpack or rename it"
    ),
    b"\xd0\xcf\x11\xe0": message_id("an old spreadsheet or document (.xls): save the sheet as CSV in UTF-8"),
    b"\x1f\x8b": message_id("compressed with gzip, which is unpacked where the name ends in .gz"),
    b"BZh": message_id("compressed with bzip2, which is unpacked where the name ends in .bz2"),
    b"\xfd7zXZ": message_id("compressed with xz, which is unpacked where the name ends in .xz"),
    b"\x28\xb5\x2f\xfd": message_id("compressed with zstd, which is unpacked where the name ends in .zst"),
    b"%PDF": message_id("a PDF document: extract its text first"),
}
"""Formats that are taken for text by mistake, by the bytes with which they begin, and what to do with them."""
FRAME = "data frame"
"""What stands for the name of a file where a table is in memory."""
BLOCK = 1 << 16
"""Bytes of a line that are read first."""


class Place(NamedTuple):
    """A file and a line of it, or a row of a Parquet file or a data frame, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return (
            translate("{file}, row {line}", file=self.file, line=self.line)
            if self.file == FRAME
            else f"{self.file}:{self.line}"
        )


class Argument(Place):
    """An argument of Python: its file is a message with the number of the argument, one of the next two."""

    def __str__(self) -> str:
        return translate(self.file, number=self.line)


TEXT_ARGUMENT = message_id("text {number}")
SERIES_ARGUMENT = message_id("series {number}")


class FileRange(NamedTuple):
    """Part of a file: its UTF-8 bytes `start` to `end - 1`, where a line begins at both offsets.

    In a Parquet or Arrow file `start` and `end` count groups of rows.
    """

    file: str
    start: int
    end: int
    line: int
    """The number of its first line or row, counted from 1."""


class Line(NamedTuple):
    """One line of a file, without its end."""

    text: str
    place: Place


class StaticCell(NamedTuple):
    """A cell of a static column."""

    text: str
    """Its text; "" where it is missing."""
    number: float = math.nan
    """The number in it; NaN where it holds none."""


class Example(NamedTuple):
    """One sequence of symbols."""

    input: list[str] | str
    """A string stands for its characters, a list for its words."""
    target: list[str] | str | float | None
    """A label for each step, one label or number for the sequence, or a list of those of a set.

    None where targets are not read."""
    place: Place
    """Where it starts."""
    statics: tuple[StaticCell, ...] = ()
    """The cells of the static columns beside it."""


def error_at(place: Place, problem: str) -> InputError:
    """The error about a place in a file."""
    return InputError("{place}: {problem}", place=place, problem=problem)


def quote(text: object, limit: int = QUOTED) -> str:
    """The user's text in quotes, on one line and shortened to `limit` characters."""
    text = str(text)
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def nfc(text: str) -> str:
    """The text in Unicode's composed form (NFC), in which symbols are compared."""
    return normalize("NFC", text)


def is_row(text: str) -> bool:
    """Whether a line is neither blank nor a comment, which begins with "#" and has no tab."""
    return bool(text.strip()) and ("\t" in text or not text.startswith("#"))


def is_filled(text: str) -> bool:
    """Whether a line is not blank; one with a tab is a row of a table, even if its cells are empty."""
    return "\t" in text or bool(text.strip())


class Lines(Iterator[Line]):
    """The lines of a file, of a part of it or of standard input, one at a time; `first` and `until` look ahead.

    Args:
        path: the file, or the part of it.
        encoding: that of the file; None for UTF-8, or for UTF-16 with a byte order mark.
    """

    def __init__(self, path: str | Path | FileRange, encoding: str | None = None) -> None:
        self.span = path if isinstance(path, FileRange) else None
        path = path.file if isinstance(path, FileRange) else path
        self.path, self.encoding = path, encoding
        self.file = name_of(path)
        self.suffix = without_compression(path).suffix.lower()
        """The ending of the name, before that of a compression."""
        self.ended = False
        """Whether the line returned last had a line end."""
        self._ahead: deque[tuple[Line, bool]] = deque()
        self._source = self._read()

    def __next__(self) -> Line:
        line, self.ended = self._ahead.popleft() if self._ahead else next(self._source)
        return line

    @property
    def head(self) -> "Lines":
        """The lines from the start of the file, from which its format is inferred; itself unless it is a later part."""
        return Lines(self.path, self.encoding) if self.span is not None and self.span.start else self

    def first(self, matches: Callable[[str], bool] = is_filled) -> Line | None:
        """The first line that matches, or None; no line is consumed."""
        return next((line for line in self.until(matches) if matches(line.text)), None)

    def until(self, matches: Callable[[str], bool]) -> list[Line]:
        """The lines up to and including the first that matches, or all; none is consumed."""
        lines: list[Line] = []
        for line, _ in self._ahead:
            lines.append(line)
            if matches(line.text):
                return lines
        for line, ended in self._source:
            self._ahead.append((line, ended))
            lines.append(line)
            if matches(line.text):
                break
        return lines

    def start(self, count: int) -> list[Line]:
        """The first lines, at most `count`; none is consumed."""
        left = count

        def is_last(_: str) -> bool:
            nonlocal left
            left -= 1
            return not left

        return self.until(is_last)

    def _read(self) -> Iterator[tuple[Line, bool]]:
        try:
            if str(self.path) != STDIN and Path(self.path).is_dir():
                raise InputError("{file} is a directory; give the files in it", file=self.file)
            with self._opened() as handle:
                first, left, earlier = 1, math.inf, 0
                if self.span is not None:
                    first, left = self.span.line, self.span.end - self.span.start
                    handle.seek(self.span.start)
                for number, raw in enumerate(iter(lambda: read_line(handle), b""), first):
                    left -= len(raw)
                    if left < 0:
                        return
                    if len(raw) >= BLOCK and not raw.strip(b"\0"):
                        raise error_at(
                            Place(self.file, number), translate("a line of zero bytes only; this is not a text file")
                        )
                    if len(raw) > LINE_LIMIT:
                        raise error_at(
                            Place(self.file, number),
                            translate("a line of more than {line_limit} bytes; break it up", line_limit=LINE_LIMIT),
                        )
                    body, ended = without_end(raw)
                    text = decoded(body, self.file, number, None if str(self.path) == STDIN else handle, earlier)
                    earlier = earlier or (0 if body.isascii() else number)
                    yield Line(text.removeprefix("\ufeff") if number == 1 else text, Place(self.file, number)), ended
        except FileNotFoundError:
            raise InputError("{path}: no such file", path=self.file) from None
        except OSError as error:
            raise InputError("{path}: cannot be read ({error})", path=self.file, error=error.strerror) from None
        except ValueError:
            raise InputError("{file!r} is not a file name", file=self.file) from None

    def _opened(self) -> AbstractContextManager[BinaryIO]:
        handle = open_utf8(self.path, self.encoding)
        return nullcontext(handle) if str(self.path) == STDIN else handle


def read_line(handle: BinaryIO) -> bytes:
    """A line of at most `LINE_LIMIT` bytes, or the beginning of a longer one; of a line of zero bytes one block.

    A device or a sparse file may consist of zero bytes without end.
    """
    block = handle.readline(BLOCK)
    if len(block) < BLOCK or block.endswith(b"\n") or not block.strip(b"\0"):
        return block
    return block + handle.readline(LINE_LIMIT + 1 - len(block))


def without_end(raw: bytes) -> tuple[bytes, bool]:
    """A line without its line end, and whether it had one."""
    body = raw.removesuffix(b"\n")
    return (body.removesuffix(b"\r"), True) if len(body) < len(raw) else (raw, False)


def decoded(raw: bytes, file: str, line: int, handle: BinaryIO | None = None, earlier: int = 0) -> str:
    """Decode bytes of a file that start at the beginning of a line.

    Args:
        raw: the bytes.
        file: as messages name it.
        line: the number of their first line.
        handle: where the bytes that follow are read, to guess the encoding.
        earlier: the number of a line before that has a character beyond ASCII; 0 where there is none.

    Raises:
        InputError: they are not UTF-8, or hold a zero byte; the message says which encoding they may have.
    """
    kind = next((kind for magic, kind in BINARY.items() if raw.startswith(magic)), None) if line == 1 else None
    if kind is not None and (b"\0" in raw or not _is_utf8(raw)):
        raise InputError("{path}: is {what}", path=file, what=translate(kind))
    if b"\0" in raw:
        before = raw[: raw.index(b"\0")]
        wide = next((name for name, at in (("utf-16-le", 1), ("utf-16-be", 0)) if _is_wide(raw, at)), None)
        how = (
            translate("the file may be UTF-16; give `encoding={wide}`", wide=wide)
            if wide and line == 1
            else translate("this is not a text file")
        )
        raise error_at(Place(file, line + before.count(b"\n")), translate("a zero byte; {how}", how=how))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        start = before.rfind(b"\n") + 1
        column = len(before[start:].decode("utf-8")) + 1
        if not before[:start].isascii():
            earlier = line + before.count(b"\n", 0, next(i for i, byte in enumerate(before) if byte > 127))
        line += before.count(b"\n")
        sample = raw[start:] if handle is None else raw[start:] + b"\n" + handle.read(SAMPLE)
        what = translate("line {earlier} is UTF-8, and this is not; ", earlier=earlier) if earlier else ""
        advice = translate("write the whole file in one encoding") if earlier else describe_encoding(sample)
        raise error_at(
            Place(file, line),
            translate(
                "byte 0x{raw:02x} at column {column} is not UTF-8; {what}{advice}",
                raw=raw[error.start],
                column=column,
                what=what,
                advice=advice,
            ),
        ) from None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_wide(raw: bytes, at: int) -> bool:
    """Whether most characters at the start of a file have two bytes, one of which is 0."""
    zeros = raw[at:1024:2]
    return zeros.count(b"\0") > len(zeros) / 2 > 1 - raw[1 - at : 1024 : 2].count(b"\0")


def text_pieces(span: FileRange, size: int = 1 << 22, encoding: str | None = None) -> Iterator[str]:
    """The text of part of a file, composed (NFC), in pieces of about `size` bytes.

    A piece ends with a line end or a space, neither of which composes with the character that follows.

    Raises:
        InputError: it cannot be read, is not UTF-8, or has more than `LINE_LIMIT` bytes without a space or line end.
    """
    line, rest, left, first = span.line, b"", span.end - span.start, span.start == 0
    try:
        with open_utf8(span.file, encoding) as handle:
            handle.seek(span.start)
            while left > 0 or rest:
                block = handle.read(min(size, left))
                left = left - len(block) if block else 0
                raw = rest + block
                cut = len(raw) if not left else max(raw.rfind(b"\n"), raw.rfind(b" ")) + 1
                raw, rest = raw[:cut], raw[cut:]
                if len(rest) > LINE_LIMIT:
                    raise error_at(
                        Place(span.file, line),
                        translate("more than {line_limit} bytes without a space; break it up", line_limit=LINE_LIMIT),
                    )
                text = decoded(raw, span.file, line, handle)
                line += raw.count(b"\n")
                if raw and first:
                    text, first = text.removeprefix("\ufeff"), False
                if text:
                    yield nfc(text.replace("\r\n", "\n"))
    except OSError as error:
        raise InputError("{path}: cannot be read ({error})", path=span.file, error=error.strerror) from None
