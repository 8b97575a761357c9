"""Reading pretrained word vectors: word2vec (text and binary), GloVe, fastText .vec, safetensors, objects in memory.

A file is read once, a word at a time, and only the vectors of the words that are kept are parsed and held. What is in a
file is not trusted; a pickle, which could run code, is never loaded.
"""

import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ohlol.config import MAX_SIZE
from ohlol.data.lines import BINARY, STDIN, nfc, quote
from ohlol.data.opening import SAMPLE, open_utf8
from ohlol.data.vocab import UNK, Vocab
from ohlol.data.word_vectors import WordVectors
from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError, InputWarning, describe_error
from ohlol.utils.translation import join_list, join_phrases, message_id, translate

LINE_LIMIT = 1 << 25
"""Bytes of the longest line of a text file: MAX_SIZE numbers of 32 characters."""
WORD_LIMIT = 1 << 12
"""Bytes of the longest word of a binary file."""
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
"""Bytes that no text holds, and hardly any binary vector lacks."""
PICKLE_VERSIONS = tuple(b"\x80" + bytes([version]) for version in range(2, 6))
"""How pickles begin."""
FASTTEXT_MODEL = b"\xba\x16\x4f\x2f"
"""How a model of fastText begins."""
FORMATS = message_id("word2vec (text or binary), GloVe, fastText .vec or safetensors")
IN_MEMORY = message_id("vectors in memory")
"""What stands for the name of a file where the vectors are an object."""

Parse = Callable[[], NDArray[np.float32]]


@dataclass(frozen=True)
class VectorSource:
    """Words and their vectors, one after the other."""

    name: str
    size: int
    """The numbers of each vector."""
    rows: Iterator[tuple[bytes | str, Parse, int]]
    """A word, its vector when it is called, and its line or its number from 1."""
    has_lines: bool = False

    def place(self, number: int) -> str:
        """A word as messages name it."""
        return (
            translate("{name}:{number}", name=self.name, number=number)
            if self.has_lines
            else translate("{name}: word {number:,}", name=self.name, number=number)
        )


def read_vectors(vectors: Any, symbols: Vocab, limit: int) -> WordVectors:
    """The vectors of the words of a vocabulary, and of the first `limit` words of a file.

    A word of the vocabulary has the vector of the same word or, where there is none, of one that differs from it in
    case; the vectors of both are kept. The vector of `UNK`, if the file has one, is that of all words that have none.

    Args:
        vectors: the name of a file, gensim's `KeyedVectors`, a mapping of words to arrays, or a data frame whose index
            are the words.
        symbols: the words of the training data.
        limit: words that are kept in addition.

    Raises:
        InputError: the file cannot be read as vectors, or has none of the words of the training data.
    """
    with ExitStack() as files:
        source = _open_file(str(vectors), files) if isinstance(vectors, str | Path) else _open_object(vectors)
        needed = {form for word in symbols.symbols for form in (word, word.casefold())}
        return _select(source, needed, symbols, limit)


def _select(source: VectorSource, needed: set[str], symbols: Vocab, limit: int) -> WordVectors:
    kept: dict[str, None] = {}
    table = bytearray(4 * source.size)  # the vector of words that have none comes first
    skipped: Counter[str] = Counter()
    first = ""

    for index, (raw, parse, number) in enumerate(source.rows):
        word, problem = _decode(raw)
        if not problem and index >= limit and word not in needed and word.casefold() not in needed and word != UNK:
            continue
        vector = None
        if word in kept:
            problem = translate("a word that occurs before")
        if not problem:
            try:
                vector = parse()
            except (ValueError, TypeError) as error:
                raise InputError(
                    "{number}: is not a vector of numbers: {error}",
                    number=source.place(number),
                    error=describe_error(error),
                ) from None
            if vector.shape != (source.size,):
                raise InputError(
                    "{number}: a vector of shape {shape}, and not of {size}",
                    number=source.place(number),
                    shape=vector.shape,
                    size=source.size,
                )
            problem = "" if np.isfinite(vector).all() else translate("a number that is not finite")
        if problem or vector is None:
            skipped[problem] += 1
            first = first or source.place(number)
        elif word == UNK:
            table[: vector.nbytes] = vector.tobytes()
        else:
            kept[word] = None
            table += vector.tobytes()
    if skipped:
        reasons = join_phrases(
            translate("{count:,} with {reason}", count=count, reason=reason) for reason, count in skipped.items()
        )
        warnings.warn(
            translate(
                "{first}: skipped as the first of {total:,} words: {reasons}",
                first=first,
                total=skipped.total(),
                reasons=reasons,
            ),
            InputWarning,
            2,
        )
    vectors = WordVectors.of(kept, np.frombuffer(table, "<f4").reshape(-1, source.size))
    if not vectors.rows_of(symbols.symbols).any():
        raise InputError(
            "{source}: has a vector for none of the {count:,} words of the training data",
            source=source.name,
            count=len(symbols),
        )
    return vectors


def _decode(raw: bytes | str) -> tuple[str, str]:
    """A word as symbols are compared, and why it is skipped."""
    try:
        word = raw.decode() if isinstance(raw, bytes) else raw
        word.encode()
    except UnicodeError:
        return "", translate("a word that is not UTF-8")
    return (nfc(word), "") if word and not word.isspace() else ("", translate("an empty word"))


def _open_file(path: str, files: ExitStack) -> VectorSource:
    """The vectors of a file, which is recognized by how it begins.

    Raises:
        InputError: it cannot be read, or is of no format that is read.
    """
    if path == STDIN:
        raise InputError("`vectors` cannot be read from standard input; give a file")
    try:
        if Path(path).suffix.lower() == ".safetensors":
            return _open_safetensors(path, files)
        file = files.enter_context(open_utf8(path))
        start = file.read(SAMPLE)
        file.seek(0)
    except OSError as error:
        raise InputError(
            "{path}: cannot be read: {error}", path=path, error=error.strerror or describe_error(error)
        ) from None
    if start.startswith(PICKLE_VERSIONS):
        raise InputError(
            "{path}: is a pickle, which can run code and is never loaded; if gensim wrote it, convert it "
            'with KeyedVectors.load({name!r}).save_word2vec_format("vectors.bin", binary=True)',
            path=path,
            name=Path(path).name,
        )
    if start.startswith(FASTTEXT_MODEL):
        raise InputError("{path}: is a model of fastText; give its file of vectors, which ends in .vec", path=path)
    if start.startswith(b"PK\x03\x04"):
        raise InputError("{path}: is a zip archive; unpack it first", path=path)
    for magic, what in BINARY.items():
        if start.startswith(magic):
            raise InputError("{path}: is {what}", path=path, what=what)
    line, _, rest = start.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    fields = line.split()
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        count, size = (parse_digits(field.decode()) for field in fields)
        if count is None or size is None or not 1 <= size <= MAX_SIZE:
            raise InputError(
                "{path}:1: {line} is not a count of words and the size of their vectors",
                path=path,
                line=quote(line.decode()),
            )
        file.readline()
        if CONTROL.search(rest) and not _is_row(rest.partition(b"\n")[0], size):
            return VectorSource(path, size, _binary_rows(file, path, count, size))
        return VectorSource(path, size, _text_rows(file, path, size, count), has_lines=True)
    size = _count_numbers(fields)
    if not size or CONTROL.search(line):
        raise InputError(
            "{path}:1: is not a word with a vector; the formats are {formats}", path=path, formats=translate(FORMATS)
        )
    return VectorSource(path, size, _text_rows(file, path, size, None), has_lines=True)


def _is_row(line: bytes, size: int) -> bool:
    """Whether a line is a word and `size` numbers."""
    return _count_numbers(line.rsplit(None, size)) == size


def _count_numbers(fields: list[bytes]) -> int:
    """How many fields at the end of a line are numbers; the first is a word."""
    count = 0
    while count < len(fields) - 1 and _is_number(fields[-1 - count]):
        count += 1
    return count


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _text_rows(file: BinaryIO, name: str, size: int, count: int | None) -> Iterator[tuple[bytes, Parse, int]]:
    """The rows of a text file; a word may contain spaces, as some of GloVe do.

    Args:
        file: the file, after its header.
        name: of the file, for messages.
        size: the numbers of each vector.
        count: the words that the header says; None without a header.
    """
    line, words = int(count is not None), 0
    while raw := file.readline(LINE_LIMIT):
        line += 1
        if len(raw) == LINE_LIMIT:
            raise InputError(
                "{name}:{line}: a line of more than {line_limit:,} bytes; the formats are {formats}",
                name=name,
                line=line,
                line_limit=LINE_LIMIT,
                formats=translate(FORMATS),
            )
        fields = (raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw).rsplit(None, size)
        if not fields:
            continue
        if len(fields) == size and raw[:1].isspace():
            fields = [b"", *fields]
        if len(fields) <= size:
            raise InputError(
                "{name}:{line}: {count} numbers, and the vectors of this file have {size}",
                name=name,
                line=line,
                count=len(fields) - 1,
                size=size,
            )
        word = fields[0]
        if b" " in word and _is_number(word.rsplit(None, 1)[-1]):
            raise InputError(
                "{name}:{line}: more than {size} numbers, the size of the vectors of this file",
                name=name,
                line=line,
                size=size,
            )
        words += 1
        yield word, partial(np.array, fields[1:], np.float32), line
    _check_count(name, words, count)


def _check_count(name: str, words: int, count: int | None) -> None:
    """Check the number of words of a file against its header; raises InputError."""
    if count is not None and words != count:
        truncated = translate("it is truncated") if words < count else translate("its header is wrong")
        raise InputError(
            "{name}: has {words:,} words, and its header says {count:,}: {truncated}",
            name=name,
            words=words,
            count=count,
            truncated=truncated,
        )


def _binary_rows(file: BinaryIO, name: str, count: int, size: int) -> Iterator[tuple[bytes, Parse, int]]:
    """The rows of a binary file of word2vec: a word, a space, and a vector of float32."""
    block, start = b"", 0
    length = 4 * size
    for number in range(1, count + 1):
        space = block.find(b" ", start)
        while space < 0 or len(block) < space + 1 + length:
            if space < 0 and len(block) - start > WORD_LIMIT:
                raise InputError(
                    "{name}: word {number:,}: no space within {word_limit:,} bytes: it is damaged",
                    name=name,
                    number=number,
                    word_limit=WORD_LIMIT,
                )
            more = file.read(max(SAMPLE, length))
            if not more:
                raise InputError(
                    "{name}: ends within word {number:,} of {count:,}: it is truncated",
                    name=name,
                    number=number,
                    count=count,
                )
            block, start = block[start:] + more, 0
            space = block.find(b" ")
        if space - start > WORD_LIMIT:
            raise InputError(
                "{name}: word {number:,}: no space within {word_limit:,} bytes: it is damaged",
                name=name,
                number=number,
                word_limit=WORD_LIMIT,
            )
        word = block[start:space].lstrip(b"\n")
        yield word, partial(np.frombuffer, block, "<f4", size, space + 1), number
        start = space + 1 + length
    if (block[start:] + file.read(SAMPLE)).strip(b"\n"):
        raise InputError(
            "{name}: has more than the {count:,} words that its header says: its header is wrong",
            name=name,
            count=count,
        )


def _open_safetensors(path: str, files: ExitStack) -> VectorSource:
    """The vectors of a safetensors file: `vectors` (R, E), and `words`, R lines of UTF-8 as bytes."""
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = files.enter_context(safe_open(path, framework="np"))
        if {"vectors", "words"} - set(file.keys()):
            raise InputError(
                "{path}: has the tensors {file}; it must have `vectors`, of two axes, and `words`, the bytes "
                "of as many lines",
                path=path,
                file=join_list(sorted(file.keys()))[:200],
            )
        words, vectors = file.get_tensor("words"), file.get_slice("vectors")
        shape = tuple(vectors.get_shape())
    except (SafetensorError, TypeError) as error:  # TypeError: a type that numpy does not have
        raise InputError("{path}: cannot be read: {error}", path=path, error=describe_error(error)) from None
    raw = words.tobytes() if words.dtype == np.uint8 else b""
    count = raw.removesuffix(b"\n").count(b"\n") + bool(raw)
    if len(shape) != 2 or not 1 <= shape[1] <= MAX_SIZE or count != shape[0]:
        raise InputError(
            "{path}: has {count:,} words, and vectors of shape {shape}; there must be one for each",
            path=path,
            count=count,
            shape=shape,
        )

    def parse(row: int) -> NDArray[np.float32]:
        try:
            return np.asarray(vectors[row : row + 1][0], np.float32)
        except SafetensorError as error:
            raise ValueError(str(error)) from None

    lines = (line.rstrip(b"\r\n") for line in io.BytesIO(raw))
    return VectorSource(path, shape[1], ((line, partial(parse, i), i + 1) for i, line in enumerate(lines)))


def _open_object(vectors: Any) -> VectorSource:
    """The vectors of an object in memory.

    Raises:
        InputError: it is none of those that are known, or is empty.
    """
    if hasattr(vectors, "wv"):  # a model of gensim
        vectors = vectors.wv
    if hasattr(vectors, "index_to_key") and hasattr(vectors, "vectors"):
        words, rows = list(vectors.index_to_key), vectors.vectors
    elif isinstance(vectors, Mapping):
        mapping = cast("Mapping[Any, Any]", vectors)
        words, rows = list(mapping), list(mapping.values())
    elif hasattr(vectors, "index") and hasattr(vectors, "to_numpy"):
        words, rows = list(vectors.index), vectors.to_numpy()
    else:
        raise InputError(
            "`vectors` is of type {type}; give a file, gensim's KeyedVectors, a dict of words and "
            "arrays, or a data frame with the words as its index",
            type=type(vectors).__name__,
        )
    odd = next((word for word in words if not isinstance(word, str)), None)
    if not words or len(words) != len(rows) or odd is not None:
        problem = (
            translate("the word {odd}, which is not a string", odd=quote(odd))
            if odd is not None
            else translate("{count} words", count=len(words))
        )
        raise InputError(
            "`vectors` has {problem}, and {count} vectors; give a vector for each word",
            problem=problem,
            count=len(rows),
        )
    size = len(rows[0]) if hasattr(rows[0], "__len__") else 0
    if not 1 <= size <= MAX_SIZE:
        raise InputError("`vectors` has no array of numbers for the word {words}", words=quote(words[0]))
    return VectorSource(
        IN_MEMORY,
        size,
        (
            (word, partial(np.asarray, rows[i], np.float32), i + 1)
            for i, word in enumerate(cast("Iterable[str]", words))
        ),
    )
