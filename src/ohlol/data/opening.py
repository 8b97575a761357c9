"""Data files as streams of UTF-8 bytes: decompressed by the ending of the name, and decoded from their encoding.

Whoever reads a file sees the same bytes, whether the file is compressed or not and whatever its encoding. Offsets in a
file, such as those of a `FileRange`, are offsets in these bytes. An array in a file of JSON is read as lines of JSON.
"""

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from ohlol.utils.errors import InputError, shorten
from ohlol.utils.files import JSON_LIMIT
from ohlol.utils.translation import translate

STDIN = "-"
"""The path that means standard input."""
COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
"""The endings of compressed files."""
BLOCK = 1 << 16
"""Bytes that are decompressed or decoded at once."""
MAX_RATIO, FREE_BYTES = 200, 1 << 24
"""A file may decompress to as many times its size, and to `FREE_BYTES` in any case; texts and tables compress less."""
XZ_MEMORY = 1 << 28
"""Bytes that the decoder of xz may take; `xz -9` needs a quarter of it."""
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks of the encodings that are recognized by them; that of UTF-32 begins as that of UTF-16 does."""
UTF8_CHARACTERS = 8
"""Characters beyond ASCII at the start of a file that show that it is UTF-8 where all are valid."""
CANDIDATES = ("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1252", "cp1250", "cp1251", "koi8_r")
"""Encodings that are guessed, the more frequent first."""
HALF_WIDTH = re.compile("[\uff61-\uff9f]{2}")
"""Katakana of half the width, which Shift JIS makes of bytes of other encodings and which texts hardly hold."""
SAMPLE = 1 << 16
"""Bytes from which an encoding is guessed."""
ARRAY_SUFFIX = ".json"
"""The ending of files that may hold one array, each element of which is read as a line."""
SPACE = re.compile(r"[ \t\r\n]*")
"""White space between the elements of JSON."""
SHOWN = 40
"""Characters of a line that a message shows in an encoding that is guessed."""
TIE = 0.02
"""Difference of the disorder of two readings, in [0, 1], that decides nothing."""


def name_of(path: object) -> str:
    """A file as messages name it."""
    return "stdin" if str(path) == STDIN else str(path)


def compression_of(path: str | Path) -> str | None:
    """The compression that the name of a file shows; None for another file and for standard input."""
    return COMPRESSIONS.get(Path(path).suffix.lower())


def without_compression(path: str | Path) -> Path:
    """A path without the ending of a compression.

    >>> without_compression("words.csv.gz").name, without_compression("words.csv").name
    ('words.csv', 'words.csv')
    """
    return Path(path).with_suffix("") if compression_of(path) else Path(path)


def check_encoding(name: str) -> None:
    """Check that an encoding of text exists; raises InputError."""
    try:
        codecs.getincrementaldecoder(name)
        bytes(4).decode(name)
    except (LookupError, ValueError):  # ValueError: a name with a zero byte; LookupError: also a codec of bytes
        pass
    else:
        return
    raise InputError(
        "`encoding` is {name}; give one that Python knows, such as gb18030 or cp1252", name=shorten(repr(name))
    )


def open_utf8(path: str | Path, encoding: str | None = None) -> BinaryIO:
    """Open a file as a stream of UTF-8 bytes that can be sought; a byte order mark of UTF-8 stays in it.

    Args:
        path: the file; "-" is standard input, which is not decompressed and should not be closed.
        encoding: its encoding; without one it is UTF-8, or UTF-16 or UTF-32 where it has the mark of these.

    Raises:
        OSError: it cannot be opened.
        InputError: standard input is closed. Reading raises it where the file is damaged, decompresses to too much, or
            does not have its encoding, and where a package is missing.
    """
    if encoding is not None and codecs.lookup(encoding).name in ("utf-8", "utf-8-sig"):
        encoding = None
    if compression_of(path) is None and encoding is None:
        handle = _open_bytes(path)
        peek = getattr(handle, "peek", None)
        start = b"" if peek is None else peek(4)
        if _encoding_of_mark(start) is None and not _is_array(path, start):
            return handle
        if str(path) != STDIN:
            handle.close()
    return io.BufferedReader(_Converted(lambda: _convert(path, encoding)), BLOCK)


def is_converted(handle: BinaryIO) -> bool:
    """Whether the bytes of a stream are not those of the file, so that seeking reads what is before."""
    return isinstance(getattr(handle, "raw", None), _Converted)


class _Converted(io.RawIOBase):
    """A stream of the blocks of a conversion, which starts again where the stream is sought backward."""

    def __init__(self, start: Callable[[], Iterator[bytes]]) -> None:
        self._start = start
        self._blocks, self._rest, self._position = start(), b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read at least one byte, or none at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = block
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        self._position += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to an offset from the start, from here, or from the end, by reading what is before."""
        if whence == io.SEEK_END:
            while self.read(BLOCK):
                pass
        target = offset + (0 if whence == io.SEEK_SET else self._position)
        if target < self._position:
            self._blocks, self._rest, self._position = self._start(), b"", 0
        while self._position < target and self.read(min(BLOCK, target - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position


def _open_bytes(path: str | Path) -> BinaryIO:
    if str(path) != STDIN:
        return Path(path).open("rb")
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - where it is closed
        raise InputError("standard input is closed; give a file")
    return sys.stdin.buffer


def _convert(path: str | Path, encoding: str | None) -> Iterator[bytes]:
    """The UTF-8 bytes of a file, some at a time."""
    blocks = _decompress(Path(path)) if compression_of(path) else _read(path)
    start = next(blocks, b"")
    marked = _encoding_of_mark(start)
    if encoding is None or marked is not None:
        encoding = marked
    blocks = chain([start], blocks)
    if encoding is not None:
        _check_not_utf8(start, encoding, name_of(path))
        blocks = _decode(blocks, encoding, name_of(path))
        start = next(blocks, b"")
        blocks = chain([start], blocks)
    return iter([array_lines(_join(blocks, name_of(path)), name_of(path))]) if _is_array(path, start) else blocks


def _join(blocks: Iterator[bytes], file: str) -> bytes:
    """The bytes of a file that holds an array of JSON; raises InputError where they are more than `JSON_LIMIT`."""
    joined = bytearray()
    for block in blocks:
        joined += block
        if len(joined) > JSON_LIMIT:
            raise InputError(
                "{file}: an array of JSON with more than {limit} bytes; write one element a line, in a file that ends "
                "in .jsonl",
                file=file,
                limit=JSON_LIMIT,
            )
    return bytes(joined)


def _is_array(path: str | Path, start: bytes) -> bool:
    """Whether a file may hold one array of JSON, by its name and its start."""
    if without_compression(path).suffix.lower() != ARRAY_SUFFIX:
        return False
    return start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def array_lines(raw: bytes, file: str) -> bytes:
    """The elements of an array of JSON as lines; the same bytes where they are more than one array, or not UTF-8.

    An element is on the line on which it begins, or on the next one that is free where several begin on one.

    Raises:
        InputError: the array is not JSON, or has no end.

    >>> array_lines(b'[{"a": 1}, {"a":\\n 2}]', "a.json")
    b'{"a": 1}\\n{"a":  2}\\n'
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw  # a reader says where
    decoder, lines, written = json.JSONDecoder(), list[str](), 0
    at, counted, line = text.index("[") + 1, 0, 0
    try:
        while True:
            at = SPACE.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess] - it matches nothing, too
            if not lines and text.startswith("]", at):
                break
            end = decoder.raw_decode(text, at)[1]
            line, counted = line + text.count("\n", counted, at), at
            lines.append("\n" * (line - written) + re.sub(r"[\r\n]", " ", text[at:end]) + "\n")
            written = max(line, written) + 1
            at = SPACE.match(text, end).end()  # pyright: ignore[reportOptionalMemberAccess]
            if text.startswith("]", at):
                break
            if not text.startswith(",", at):
                ended = at == len(text)
                why = translate("the array has no end") if ended else translate("a comma is missing")
                raise json.JSONDecodeError(why, text, at)
            at += 1
    except json.JSONDecodeError as error:
        raise InputError(
            "{file}:{line}: not JSON ({why}), in an array of objects", file=file, line=error.lineno, why=error.msg
        ) from None
    except (ValueError, RecursionError):
        why = translate("a value out of bounds")
        raise InputError("{file}: not JSON ({why}), in an array of objects", file=file, why=why) from None
    return raw if text[at + 1 :].strip() else "".join(lines).encode()


def _read(path: str | Path) -> Iterator[bytes]:
    handle: Any = _open_bytes(path)
    try:
        while block := handle.read1(BLOCK):
            yield block
    finally:
        if str(path) != STDIN:
            handle.close()


def _decompress(path: Path) -> Iterator[bytes]:
    """The content of a compressed file, some bytes at a time, which are counted."""
    kind, arrow_error = compression_of(path), ()
    if kind == "zstd":
        try:
            arrow: Any = import_module("pyarrow")
        except ImportError:
            raise InputError("{path}: zstd needs pyarrow; pip install 'ohlol[arrow]'", path=path) from None
        arrow_error = (arrow.ArrowException,)
    total = 0
    with path.open("rb") as file:
        limit = max(FREE_BYTES, MAX_RATIO * os.fstat(file.fileno()).st_size)
        try:
            for block in _blocks(file, kind):
                total += len(block)
                if total > limit:
                    raise InputError(
                        "{path}: decompresses to more than {limit} bytes; if it should, decompress it first",
                        path=path,
                        limit=limit,
                    )
                yield block
        except EOFError:
            raise InputError("{path}: is damaged: the {kind} data end too early", path=path, kind=kind) from None
        except (OSError, zlib.error, lzma.LZMAError, *arrow_error) as error:
            raise InputError(
                "{path}: is damaged, or not compressed with {kind} ({error})",
                path=path,
                kind=kind,
                error=shorten(str(error)),
            ) from None


def _blocks(file: BinaryIO, kind: str | None) -> Iterator[bytes]:
    if kind == "bzip2":
        return _unpack(file, bz2.BZ2Decompressor)
    if kind == "xz":
        return _unpack(file, lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY))
    stream: Any = gzip.GzipFile(fileobj=file)
    if kind == "zstd":
        stream = import_module("pyarrow").CompressedInputStream(file, "zstd")
    return iter(lambda: stream.read(BLOCK), b"")


def _unpack(file: BinaryIO, new: Callable[[], Any]) -> Iterator[bytes]:
    """The content of one compressed stream after another, with zero bytes between them; raises EOFError."""
    decompressor = new()
    while True:
        raw = b""
        if decompressor.eof:
            raw = decompressor.unused_data.lstrip(b"\0")
            while not raw:
                block = file.read(BLOCK)
                if not block:
                    return
                raw = block.lstrip(b"\0")
            decompressor = new()
        elif decompressor.needs_input:
            raw = file.read(BLOCK)
            if not raw:
                raise EOFError
        if block := decompressor.decompress(raw, BLOCK):
            yield block


def _encoding_of_mark(start: bytes) -> str | None:
    return next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), None)


def _check_not_utf8(start: bytes, encoding: str, file: str) -> None:
    """Refuse to decode UTF-8 as another encoding, which often succeeds; raises InputError."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return
    if start.startswith(codecs.BOM_UTF8) or sum(char > "\x7f" for char in text) >= UTF8_CHARACTERS:
        raise InputError(
            "{file}: is UTF-8, and would be read as {encoding}; leave `encoding` out", file=file, encoding=encoding
        )


def _decode(blocks: Iterator[bytes], encoding: str, file: str) -> Iterator[bytes]:
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    for block in chain(blocks, [None]):
        try:
            text = decoder.decode(block or b"", block is None)
            utf8 = text.encode("utf-8")
        except UnicodeError as error:
            problem = translate("it cannot be decoded")
            if isinstance(error, UnicodeDecodeError):
                line += error.object[: error.start].decode(encoding, "ignore").count("\n")
                problem = translate("byte 0x{object:02x} has no meaning there", object=error.object[error.start])
            raise InputError(
                "{file}:{line}: is not {encoding}: {problem}; choose another `encoding`",
                file=file,
                line=line,
                encoding=encoding,
                problem=problem,
            ) from None
        line += text.count("\n")
        yield utf8


def describe_encoding(raw: bytes) -> str:
    """What to do with bytes that are not UTF-8, as a message ends: how they read in the encodings that they may have.

    Args:
        raw: bytes from the start of a line on.
    """
    line = raw.split(b"\n", 1)[0]
    readings: dict[str, str] = {}
    for encoding in guess_encodings(raw[:SAMPLE]):
        readings.setdefault(shorten(line.decode(encoding, "replace").strip(), SHOWN), encoding)
    if not readings:
        return translate("convert the file with iconv -f ENCODING -t UTF-8, or give its `encoding`")
    read_as = translate(", or as ").join(f"{encoding}: {text!r}" for text, encoding in list(readings.items())[:2])
    *_, last = list(readings.values())[:2]
    first = next(iter(readings.values()))
    return translate("it reads as {read_as}; give `encoding={first}`", read_as=read_as, first=first) + translate(
        " or `encoding={last}`", last=last
    ) * (last != first)


def guess_encodings(raw: bytes) -> list[str]:
    """The encodings that bytes may have, the most probable first; several where nothing decides between them."""
    from charset_normalizer import from_bytes

    matches = from_bytes(raw, cp_isolation=list(CANDIDATES), preemptive_behaviour=False)
    ranked: list[tuple[float, float, int, str]] = []
    for match in matches:
        names = [name for name in CANDIDATES if name in match.could_be_from_charset]
        if names and HALF_WIDTH.search(str(match)) is None:
            ranked.append((match.chaos, -match.coherence, CANDIDATES.index(names[0]), names[0]))
    if not ranked:
        return []
    best = min(ranked)
    tied = [entry for entry in ranked if entry[0] <= best[0] + TIE and entry[1] <= best[1] + TIE]
    return [name for *_, name in sorted(tied, key=lambda entry: entry[2])]
