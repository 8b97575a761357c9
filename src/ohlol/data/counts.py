"""What a codec is learned from: symbols counted and moments of numbers, piece by piece; knows nothing of ids.

What was gathered from parts is to the bit what it is of the whole.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ohlol.data.sequences import Corpus
from ohlol.data.vocab import CODES, code_points, pair_keys
from ohlol.utils.errors import InputError

EDGE = "\n"
"""The neighbour of a sequence's first and last symbol; no sequence of characters to label holds a line end."""
NONE = "\uffff"
"""A code point that Unicode keeps from being a character: no text holds it."""
AT_ONCE = 1 << 16
"""Rows of which mean and variance are taken at once."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance of some rows of numbers, and how many there were."""

    rows: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @staticmethod
    def of(rows: NDArray[np.float64]) -> "Moments":
        """Those of rows (T, F)."""
        return Moments(len(rows), rows.mean(axis=0), rows.var(axis=0))

    def joined(self, other: "Moments") -> "Moments":
        """Those of both together.

        Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37
        (1983).
        """
        rows = self.rows + other.rows
        share, apart = other.rows / rows, other.mean - self.mean
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * apart**2
        return Moments(rows, self.mean + share * apart, variance)


@dataclass
class Running:
    """The moments of a series that comes in parts: to the bit what they are of any other parts of it."""

    found: Moments | None = None
    left: list[NDArray[np.float64]] = field(default_factory=list[NDArray[np.float64]])
    """What has come since, less than `AT_ONCE` rows."""

    def add(self, part: NDArray[np.float64]) -> "Running":
        """Add the rows that come next."""
        self.left.append(part)
        while sum(map(len, self.left)) >= AT_ONCE:
            rows = np.concatenate(self.left)
            self._take(rows[:AT_ONCE])
            self.left = [rows[AT_ONCE:]]
        return self

    def _take(self, rows: NDArray[np.float64]) -> None:
        self.found = Moments.of(rows) if self.found is None else self.found.joined(Moments.of(rows))

    def moments(self) -> Moments:
        """Those of all rows, of which there is one at least; nothing is added after."""
        if sum(map(len, self.left)):
            self._take(np.concatenate(self.left))
        assert self.found is not None
        return self.found


@dataclass
class Counts:
    """What a codec is learned from; it may be gathered piece by piece and joined."""

    symbols: Counter[str] = field(default_factory=Counter[str])
    labels: Counter[str] = field(default_factory=Counter[str])
    bigrams: Counter[str] = field(default_factory=Counter[str])
    inputs: Moments | None = None
    targets: Moments | None = None
    columns: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()

    @staticmethod
    def of(corpus: Corpus, *, paired: bool = False) -> "Counts":
        """Those of a corpus.

        Args:
            corpus: the data.
            paired: whether pairs of neighbouring characters are counted too.
        """
        counts = Counts()
        if corpus.task == "forecast":
            names = corpus.columns, corpus.target_columns
            for both in zip(numbers_of(corpus.inputs), numbers_of(corpus.targets), strict=True):
                inputs, targets = (Running().add(rows).moments() for rows in both)
                counts.join(Counts(inputs=inputs, targets=targets, columns=names[0], target_columns=names[1]))
            return counts
        sequences = symbols_of(corpus.inputs)
        counts.symbols.update(chained(sequences))
        if paired:
            keys, times = np.unique(pair_keys(code_points(edged(sequences))), return_counts=True)
            pairs = (chr(key // CODES) + chr(key % CODES) for key in keys.tolist())
            counts.bigrams.update(dict(zip(pairs, times.tolist(), strict=True)))
        targets: Any = corpus.targets or ()
        counts.labels.update(targets if corpus.task == "classify" else chained(targets))
        return counts

    def join(self, other: "Counts") -> None:
        """Add those of other data. Raises InputError where their columns are others."""
        for mine, theirs in (
            (self.symbols, other.symbols),
            (self.labels, other.labels),
            (self.bigrams, other.bigrams),
        ):
            mine.update(theirs)
        if other.inputs is None or other.targets is None:
            return
        if self.inputs is None or self.targets is None:
            self.inputs, self.targets = other.inputs, other.targets
            self.columns, self.target_columns = other.columns, other.target_columns
            return
        if (self.columns, self.target_columns) != (other.columns, other.target_columns):
            raise InputError(f"files with other columns: {', '.join(self.columns)}, and {', '.join(other.columns)}")
        self.inputs, self.targets = self.inputs.joined(other.inputs), self.targets.joined(other.targets)


def edged(sequences: Sequence[Sequence[str]]) -> str:
    """Sequences of characters, strings or lists, as one text, an edge before, between and behind them.

    Its pairs of neighbours are those of all sequences, one after the other: N + 1 of one of N characters.
    In a list `NONE` stands for what is no single character.
    """
    texts = (s if isinstance(s, str) else "".join(c if len(c) == 1 else NONE for c in s) for s in sequences)
    return EDGE + "".join(f"{text}{EDGE}" for text in texts)


def chained(sequences: Sequence[Sequence[str]]) -> Sequence[str]:
    """The symbols of all sequences, one after the other; a string where all are."""
    if all(isinstance(sequence, str) for sequence in sequences):
        return "".join(cast("Sequence[str]", sequences))
    return list(chain.from_iterable(sequences))


def symbols_of(sequences: Any) -> Sequence[Sequence[str]]:
    """The sequences of a corpus, which are of symbols."""
    return sequences


def numbers_of(series: Any) -> Sequence[NDArray[np.float64]]:
    """The sequences of a corpus, which are of numbers."""
    return series
