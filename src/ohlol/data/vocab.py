"""Vocabularies: symbols and their ids."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, SupportsIndex, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

UNK = "<unk>"
"""The symbol that replaces those that training did not hold, or held too rarely."""


class UnknownSymbol(KeyError):  # noqa: N818 - it names what it carries
    """A symbol is not in a vocabulary without `UNK`; `position` is its index in the sequence, from 0."""

    def __init__(self, symbol: str, position: int) -> None:
        super().__init__(symbol, position)
        self.symbol = symbol
        self.position = position

    def __str__(self) -> str:
        return f"{self.symbol!r} at step {self.position} is not in the vocabulary"


CODES = 0x110000
"""The number of code points."""


def code_points(text: str) -> NDArray[np.uint32]:
    """The code points of a string, (T,); a lone surrogate counts as one."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def pair_keys(codes: NDArray[np.uint32]) -> NDArray[np.int64]:
    """A key for each pair of neighbours in a string, (T - 1,); the pair is `chr(key // CODES) + chr(key % CODES)`."""
    return codes[:-1].astype(np.int64) * CODES + codes[1:]


@dataclass(frozen=True, repr=False)
class Vocab:
    """An immutable list of distinct symbols; the id of a symbol is its index in the list.

    >>> vocab = Vocab.build(["hello", "ohlol"], unk=False)
    >>> vocab.symbols, vocab.encode("hello").tolist()
    (('e', 'h', 'l', 'o'), [1, 0, 2, 2, 3])
    """

    symbols: tuple[str, ...]
    """`UNK` first, if the vocabulary has it."""
    counts: tuple[int, ...]
    """How often each occurs in the training data."""
    _ids: dict[str, int] = field(init=False, compare=False)
    _char_codes: NDArray[np.uint32] = field(init=False, compare=False)
    _char_ids: NDArray[np.int32] = field(init=False, compare=False)
    _pair_keys: NDArray[np.int64] = field(init=False, compare=False)
    _pair_ids: NDArray[np.int32] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(ids) != len(self.symbols):
            raise ValueError("the vocabulary has a symbol twice")
        if len(self.counts) != len(self.symbols):
            raise ValueError(f"{len(self.counts)} counts for {len(self.symbols)} symbols")
        if ids.get(UNK, 0) != 0:
            raise ValueError(f"{UNK} has the id {ids[UNK]}; it must be the first symbol")
        chars = [symbol for symbol in self.symbols if len(symbol) == 1]
        codes = code_points("".join(chars))
        order = np.argsort(codes)
        pairs = [symbol for symbol in self.symbols if len(symbol) == 2]
        keys = pair_keys(code_points("".join(pairs)))[::2]
        by_key = np.argsort(keys)
        object.__setattr__(self, "_pair_keys", keys[by_key])
        object.__setattr__(self, "_pair_ids", np.array([ids[pair] for pair in pairs], dtype=np.int32)[by_key])
        object.__setattr__(self, "_ids", ids)
        object.__setattr__(self, "_char_codes", codes[order])
        object.__setattr__(self, "_char_ids", np.array([ids[char] for char in chars], dtype=np.int32)[order])

    @classmethod
    def build(cls, sequences: Iterable[Sequence[str]], *, unk: bool, min_count: int = 1) -> "Vocab":
        """Count the symbols of sequences and sort them by code point, after `UNK`.

        Args:
            sequences: strings, each a sequence of its characters, or lists of words.
            unk: whether the vocabulary has `UNK`. A literal "<unk>" in a sequence is that symbol.
            min_count: symbols that occur less often are left out and counted as `UNK`.

        Raises:
            ValueError: `min_count` leaves symbols out and the vocabulary has no `UNK`.
        """
        counts: Counter[str] = Counter()
        for sequence in sequences:
            counts.update(sequence)
        return cls.from_counts(counts, unk=unk, min_count=min_count)

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], *, unk: bool, min_count: int = 1) -> "Vocab":
        """The same from counts of symbols; a symbol with a count of 0 is kept where `unk` is False."""
        if min_count > 1 and not unk:
            raise ValueError(f"min_count is {min_count}, which needs unk=True")
        kept = Counter(counts)
        if unk or UNK in kept:
            rare = [symbol for symbol, count in kept.items() if count < min_count and symbol != UNK]
            kept[UNK] += sum(kept.pop(symbol) for symbol in rare)
        symbols = sorted(kept, key=lambda symbol: (symbol != UNK, symbol))
        return cls(tuple(symbols), tuple(kept[symbol] for symbol in symbols))

    def union(self, other: "Vocab") -> "Vocab":
        """The symbols of both, each with the higher of its two counts; the union with one of them changes nothing."""
        counts = dict(zip(other.symbols, other.counts, strict=True))
        for symbol, count in zip(self.symbols, self.counts, strict=True):
            counts[symbol] = max(count, counts.get(symbol, 0))
        symbols = sorted(counts, key=lambda symbol: (symbol != UNK, symbol))
        return Vocab(tuple(symbols), tuple(counts[symbol] for symbol in symbols))

    @property
    def unk(self) -> int | None:
        """The id of `UNK`, which is 0; None where the vocabulary does not have it."""
        return self._ids.get(UNK)

    def encode(self, symbols: Sequence[str]) -> NDArray[np.int32]:
        """The ids of a sequence, (T,).

        Raises:
            UnknownSymbol: a symbol is not in the vocabulary, which has no `UNK`.
        """
        ids = self._encode_characters(symbols) if isinstance(symbols, str) else self._encode_words(symbols)
        missing = np.flatnonzero(ids < 0)
        if len(missing):
            if self.unk is None:
                position = int(missing[0])
                raise UnknownSymbol(symbols[position], position)
            ids[missing] = self.unk
        return ids

    def _encode_characters(self, text: str) -> NDArray[np.int32]:
        codes = code_points(text)
        if not len(self._char_codes):
            return np.full(len(codes), -1, dtype=np.int32)
        index = np.minimum(np.searchsorted(self._char_codes, codes), len(self._char_codes) - 1)
        return np.where(self._char_codes[index] == codes, self._char_ids[index], np.int32(-1))

    def encode_pairs(self, text: str) -> NDArray[np.int32]:
        """The ids of the pairs of neighbours in a string, (T - 1,); that of `UNK` for a pair not in the vocabulary."""
        keys = pair_keys(code_points(text))
        if not len(self._pair_keys):
            return np.full(len(keys), self.unk, dtype=np.int32)
        index = np.minimum(np.searchsorted(self._pair_keys, keys), len(self._pair_keys) - 1)
        return np.where(self._pair_keys[index] == keys, self._pair_ids[index], np.int32(self.unk or 0))

    def _encode_words(self, words: Sequence[str]) -> NDArray[np.int32]:
        return np.fromiter((self._ids.get(word, -1) for word in words), dtype=np.int32, count=len(words))

    def table(self, dtype: DTypeLike) -> NDArray[Any]:
        """The id of every code point, (CODES,): `table[code_points(text)]` encodes a long text fast.

        Raises:
            ValueError: the vocabulary has no `UNK` for code points that it does not hold.
        """
        if self.unk is None:
            raise ValueError("a table needs <unk> for code points that are not in the vocabulary")
        table = np.full(CODES, self.unk, dtype)
        table[self._char_codes] = self._char_ids
        return table

    def decode(self, ids: Iterable[SupportsIndex]) -> list[str]:
        """The symbols of a sequence of ids.

        Raises:
            IndexError: an id is negative or not below `len(self)`.
        """
        symbols: list[str] = []
        for number in ids:
            index = number.__index__()
            if not 0 <= index < len(self.symbols):
                raise IndexError(f"id {index} is outside 0..{len(self.symbols) - 1}")
            symbols.append(self.symbols[index])
        return symbols

    def unknown(self, symbols: Sequence[str]) -> list[str]:
        """The symbols of a sequence that are not in the vocabulary, each once, in order."""
        return [symbol for symbol in dict.fromkeys(symbols) if symbol not in self._ids]

    def __len__(self) -> int:
        return len(self.symbols)

    def find(self, symbol: str) -> int | None:
        """The id of a symbol; None where it is not in the vocabulary."""
        return self._ids.get(symbol)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def __repr__(self) -> str:
        return f"Vocab({len(self.symbols)} symbols)"

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON data."""
        return {"symbols": list(self.symbols), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, data: object) -> "Vocab":
        """The reverse of `to_json`.

        Raises:
            InputError: the data are not a vocabulary.
        """
        if not isinstance(data, dict):
            raise InputError('a vocabulary must be an object {"symbols": [...], "counts": [...]}')
        fields = cast("dict[str, Any]", data)
        symbols, counts = fields.get("symbols"), fields.get("counts")
        if not isinstance(symbols, list) or not all(isinstance(entry, str) for entry in cast("list[object]", symbols)):
            raise InputError('"symbols" of a vocabulary must be a list of strings')
        if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in cast("list[Any]", counts)):
            raise InputError('"counts" of a vocabulary must be a list of whole numbers, none negative')
        try:
            return cls(tuple(cast("list[str]", symbols)), tuple(cast("list[int]", counts)))
        except ValueError as error:
            raise InputError("not a vocabulary: {error}", error=error) from None


def list_symbols(vocab: Vocab) -> str:
    """The first symbols of a vocabulary, for a message."""
    return translate(
        "the {count} seen are {symbols}", count=len(vocab), symbols=" ".join(map(repr, vocab.symbols[:12]))
    ) + " ..." * (len(vocab) > 12)
