"""Pretrained word vectors as a run keeps them: the words, and a table of their vectors that is mapped into memory.

Shapes: R words, E size of a vector.
"""

import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.config import MAX_SIZE
from ohlol.data.mapped import map_array
from ohlol.data.vocab import UNK
from ohlol.utils.errors import InputError
from ohlol.utils.files import write_bytes
from ohlol.utils.translation import translate

TABLE = "vectors.npy"
"""The file of the table, beside the vocab.json with the words."""
DIGEST = re.compile("[0-9a-f]{64}", re.ASCII)
Table = NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class WordVectors:
    """Distinct words, none of them `UNK`, and a vector for each.

    The table is not part of `vocab.json`, which has its checksum: it is None until `read_table` maps it.
    """

    words: tuple[str, ...]
    size: int
    """E."""
    sha256: str
    """The SHA-256 of the numbers of the table, float32 and little-endian."""
    table: Table | None = field(default=None, compare=False)
    """(1 + R, E): row 0 is the vector of words that are not in `words`, row i + 1 that of word i."""

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The row of each word and, where that is none, of its lower case."""
        rows: dict[str, int] = {}
        for row, word in enumerate(self.words, 1):
            rows.setdefault(word.casefold(), row)
        return rows | {word: row for row, word in enumerate(self.words, 1)}

    @staticmethod
    def of(words: Iterable[str], table: Table) -> "WordVectors":
        """The vectors of words, whose rows follow that of unknown words."""
        return WordVectors(tuple(words), table.shape[1], _digest(table), table)

    def find(self, word: str) -> int:
        """The row of a word, or else of it in lower case, or else of the first word that differs in case; or 0."""
        return self._rows.get(word) or self._rows.get(word.casefold(), 0)

    def __repr__(self) -> str:
        return f"WordVectors({len(self.words)} words, {self.size} numbers each)"

    def rows_of(self, words: Iterable[str]) -> NDArray[np.int64]:
        """The row of each word, (n,), as `find`; that of `UNK` is 0."""
        return np.array([0 if word == UNK else self.find(word) for word in words], np.int64)

    def to_json(self) -> dict[str, Any]:
        """The words, and what identifies the table, as JSON data."""
        return {"size": self.size, "sha256": self.sha256, "words": list(self.words)}

    @staticmethod
    def from_json(data: Any) -> "WordVectors":
        """The inverse of `to_json`, without the table.

        Raises:
            KeyError, TypeError, ValueError: not what `to_json` writes.
        """
        words, size, sha256 = data["words"], data["size"], data["sha256"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise TypeError('"words" of vectors must be a list of strings')
        if len(set(words)) < len(words) or UNK in words:
            raise ValueError(f"the vectors have a word twice, or {UNK}")
        if type(size) is not int or not 1 <= size <= MAX_SIZE or not DIGEST.fullmatch(sha256):
            raise ValueError("the size or the checksum of the vectors is out of range")
        return WordVectors(tuple(words), size, sha256)


def write_table(folder: Path, vectors: WordVectors) -> None:
    """Write the table, as `write_bytes` does."""
    assert vectors.table is not None
    file = io.BytesIO()
    np.lib.format.write_array(file, vectors.table, allow_pickle=False)
    write_bytes(folder / TABLE, file.getvalue())


def read_table(folder: Path, vectors: WordVectors) -> WordVectors:
    """The vectors with their table, mapped into memory.

    Raises:
        InputError: the file is missing, damaged, or the table of other vectors.
    """
    path = (folder / TABLE).resolve()  # links in a run are followed
    shape = (1 + len(vectors.words), vectors.size)
    table = map_array(path, {np.dtype("<f4")}, shape, translate("train the run again"), writable=True)
    if _digest(table) != vectors.sha256:
        raise InputError("{path}: damaged: it does not match its checksum in vocab.json", path=path)
    return replace(vectors, table=table)


def _digest(table: Table) -> str:
    return hashlib.sha256(np.ascontiguousarray(table, "<f4").data).hexdigest()
