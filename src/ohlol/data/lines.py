"""Bytes become lines of text with their places; knows nothing of what a line means.

Only "\\n" and "\\r\\n" end a line: every other separator Unicode knows is a character like any other.
"""

import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard, cast
from unicodedata import normalize

from ohlol.utils.errors import InputError

STDIN = "-"
"""The path that means standard input."""
SHOWN = 40
"""Characters of the user's text that an error message repeats."""
LINE_LIMIT = 1 << 27
"""Bytes of the longest line read: text8, a text that many measure on, is one line of 100,000,000; a file without line
ends that never ends, such as a device, stops here."""
JSON_DEPTH = 16
"""Lists in lists that a line of JSON may hold: a sequence is one list of strings, and what is deeper is no data."""


class Place(NamedTuple):
    """Where something stands: a file and a line, or a row of a Parquet file, from 1."""

    file: str
    line: int


class Span(NamedTuple):
    """A stretch of a file, from one byte to before another, both where lines begin.

    Of a Parquet or Arrow file, from one group of rows to before another.
    """

    file: str
    start: int
    end: int
    line: int
    """The number of its first line or row, from 1."""


class Line(NamedTuple):
    """One line of a file, without its end."""

    text: str
    place: Place


class Example(NamedTuple):
    """One sequence, what should come out of it where that was asked for, and where it starts."""

    input: list[str] | str
    target: list[str] | str | None
    place: Place


def fault(place: Place, what: str) -> InputError:
    """The error that names a place in a file."""
    return InputError(f"{place.file}:{place.line}: {what}")


def shown(text: object, limit: int = SHOWN) -> str:
    """A piece of the user's text on one line, cut short."""
    cut = str(text)
    return repr(cut if len(cut) <= limit else cut[: limit - 1] + "…")


def nfc(text: str) -> str:
    """The text in Unicode's composed form, in which every symbol is compared."""
    return normalize("NFC", text)


def is_row(text: str) -> bool:
    """Whether a line says something: it is neither blank nor a comment (a "#" first, and no tab)."""
    return bool(text.strip()) and ("\t" in text or not text.startswith("#"))


def is_filled(text: str) -> bool:
    """Whether a line is not blank; a tab makes it a row of a table, whatever is in it."""
    return "\t" in text or bool(text.strip())


class Lines(Iterator[Line]):
    """The lines of a file or of standard input, one at a time, with a look ahead."""

    def __init__(self, path: str | Path | Span) -> None:
        self.span = path if isinstance(path, Span) else None
        path = path.file if isinstance(path, Span) else path
        self.path = path
        self.file = "stdin" if str(path) == STDIN else str(path)
        self.suffix = Path(path).suffix.lower()
        self.ended = False
        """Whether the last line given out had a line end."""
        self._ahead: deque[tuple[Line, bool]] = deque()
        self._source = self._read()

    def __next__(self) -> Line:
        line, self.ended = self._ahead.popleft() if self._ahead else next(self._source)
        return line

    @property
    def head(self) -> "Lines":
        """The lines from the file's start, which tell what it is: these themselves where they begin there."""
        return Lines(self.path) if self.span is not None and self.span.start else self

    def first(self, wanted: Callable[[str], bool] = is_filled) -> Line | None:
        """The first line that is wanted, none of them taken; None where there is none."""
        return next((line for line in self.until(wanted) if wanted(line.text)), None)

    def until(self, wanted: Callable[[str], bool]) -> list[Line]:
        """The lines up to the first one that is wanted, none of them taken."""
        passed: list[Line] = []
        for line, _ in self._ahead:
            passed.append(line)
            if wanted(line.text):
                return passed
        for line, ended in self._source:
            self._ahead.append((line, ended))
            passed.append(line)
            if wanted(line.text):
                break
        return passed

    def _read(self) -> Iterator[tuple[Line, bool]]:
        try:
            if str(self.path) != STDIN and Path(self.path).is_dir():
                raise InputError(f"{self.file}: a directory; give the files in it")
            with self._opened() as handle:
                first, left = 1, math.inf
                if self.span is not None:
                    first, left = self.span.line, self.span.end - self.span.start
                    handle.seek(self.span.start)
                for number, raw in enumerate(iter(lambda: handle.readline(LINE_LIMIT + 1), b""), first):
                    left -= len(raw)
                    if left < 0:
                        return
                    if len(raw) > LINE_LIMIT:
                        raise fault(Place(self.file, number), f"a line of more than {LINE_LIMIT} bytes; break it up")
                    body, ended = without_end(raw)
                    text = decoded(body, self.file, number)
                    yield Line(text.removeprefix("\ufeff") if number == 1 else text, Place(self.file, number)), ended
        except FileNotFoundError:
            raise InputError(f"{self.file}: no such file") from None
        except OSError as error:
            raise InputError(f"{self.file}: cannot be read ({error.strerror})") from None
        except ValueError:
            raise InputError(f"{self.file!r}: not a file name") from None

    def _opened(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(sys.stdin.buffer) if str(self.path) == STDIN else Path(self.path).open("rb")


def without_end(raw: bytes) -> tuple[bytes, bool]:
    """A line without its end, and whether it had one."""
    body = raw.removesuffix(b"\n")
    return (body.removesuffix(b"\r"), True) if len(body) < len(raw) else (raw, False)


def decoded(raw: bytes, file: str, line: int) -> str:
    """The text of some bytes of a file, which begin with a line; raises InputError where they are not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line += before.count(b"\n")
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        old = "UTF-16" if line == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "ENCODING"
        raise fault(
            Place(file, line),
            f"byte 0x{raw[error.start]:02x} at column {column} is not UTF-8; "
            f"convert the file with iconv -f {old} -t UTF-8",
        ) from None


def text_pieces(span: Span, size: int = 1 << 22) -> Iterator[str]:
    """A text in pieces of about `size` bytes, which together are what all its lines together are, composed.

    A piece ends with a line end or a space: neither composes with what follows it.

    Raises:
        InputError: it cannot be read, is not UTF-8, or has more than `LINE_LIMIT` bytes without a space or line end.
    """
    line, rest, left, first = span.line, b"", span.end - span.start, span.start == 0
    try:
        with Path(span.file).open("rb") as handle:
            handle.seek(span.start)
            while left > 0 or rest:
                block = handle.read(min(size, left))
                left = left - len(block) if block else 0
                raw = rest + block
                cut = len(raw) if not left else max(raw.rfind(b"\n"), raw.rfind(b" ")) + 1
                raw, rest = raw[:cut], raw[cut:]
                if len(rest) > LINE_LIMIT:
                    raise fault(Place(span.file, line), f"more than {LINE_LIMIT} bytes without a space; break it up")
                text = decoded(raw, span.file, line)
                line += raw.count(b"\n")
                if raw and first:
                    text, first = text.removeprefix("\ufeff"), False
                if text:
                    yield nfc(text.replace("\r\n", "\n"))
    except OSError as error:
        raise InputError(f"{span.file}: cannot be read ({error.strerror})") from None


def json_object(line: Line) -> dict[str, Any]:
    """The JSON object a line holds, its strings in composed form."""
    try:
        value = json.loads(line.text, object_pairs_hook=_different)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else "a value out of bounds"
        why = str(error) if isinstance(error, _KeyTwiceError) else why
        raise fault(line.place, f"not JSON ({why}); every line must be one JSON object") from None
    if not isinstance(value, dict):
        raise fault(line.place, f"{shown(line.text)} is not a JSON object")
    entries = cast("dict[str, Any]", value)
    return {_composed(key, line.place): _composed(entry, line.place) for key, entry in entries.items()}


class _KeyTwiceError(ValueError):
    """A key stands twice in an object."""


def _different(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(entries)
    if len(made) < len(entries):
        seen: set[str] = set()
        twice = next(key for key, _ in entries if key in seen or seen.add(key))
        raise _KeyTwiceError(f"the key {shown(twice)} stands twice in an object")
    return made


def _composed(value: Any, place: Place, depth: int = JSON_DEPTH) -> Any:
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise fault(place, f"{ascii(value)[: SHOWN + 2]} holds half a surrogate pair, which is no character")
        return nfc(value)
    if isinstance(value, list):
        if not depth:
            raise fault(place, f"lists in lists, more than {JSON_DEPTH} deep; a sequence is one list of strings")
        return [_composed(entry, place, depth - 1) for entry in cast("list[Any]", value)]
    return value


def is_strings(value: object) -> TypeGuard[list[str]]:
    """Whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(entry, str) for entry in cast("list[object]", value))


def looks_like_json(line: Line | None, *keys: str) -> TypeGuard[Line]:
    """Whether a line is a JSON object that has these keys."""
    if line is None or not line.text.lstrip().startswith("{"):
        return False
    try:
        value = json.loads(line.text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(key in value for key in keys)
