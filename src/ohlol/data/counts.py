"""The counts of symbols and the moments of numbers to which a codec is fitted.

They may be gathered from parts of the data and joined; the result is bit for bit that of the whole.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ohlol.data.raw_data import RawData
from ohlol.data.vocab import CODES, code_points, pair_keys
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list

EDGE = "\n"
"""Stands before the first and after the last symbol of a sequence; labelled characters never include a line end."""
NO_CHARACTER = "\uffff"
"""A code point that is not a character in Unicode and occurs in no text."""
BLOCK_ROWS = 1 << 16
"""Rows whose mean and variance are computed at once."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance of some rows of numbers, and how many there were."""

    rows: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @staticmethod
    def of(rows: NDArray[np.float64]) -> "Moments":
        """The moments of rows (T, F)."""
        return Moments(len(rows), rows.mean(axis=0), rows.var(axis=0))

    def joined(self, other: "Moments") -> "Moments":
        """The moments of both sets of rows together.

        Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37
        (1983).
        """
        rows = self.rows + other.rows
        share, difference = other.rows / rows, other.mean - self.mean
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * difference**2
        return Moments(rows, self.mean + share * difference, variance)


@dataclass
class RunningMoments:
    """The moments of a series that is added in parts; they do not depend on where it is divided."""

    total: Moments | None = None
    pending: list[NDArray[np.float64]] = field(default_factory=list[NDArray[np.float64]])
    """Rows not yet in `total`, less than `BLOCK_ROWS`."""

    def add(self, part: NDArray[np.float64]) -> "RunningMoments":
        """Add the rows that follow."""
        self.pending.append(part)
        while sum(map(len, self.pending)) >= BLOCK_ROWS:
            rows = np.concatenate(self.pending)
            self._join(rows[:BLOCK_ROWS])
            self.pending = [rows[BLOCK_ROWS:]]
        return self

    def _join(self, rows: NDArray[np.float64]) -> None:
        self.total = Moments.of(rows) if self.total is None else self.total.joined(Moments.of(rows))

    def moments(self) -> Moments:
        """The moments of all rows, at least one; nothing is added afterwards."""
        if sum(map(len, self.pending)):
            self._join(np.concatenate(self.pending))
        assert self.total is not None
        return self.total


@dataclass
class Counts:
    """The statistics to which a codec is fitted."""

    symbols: Counter[str] = field(default_factory=Counter[str])
    labels: Counter[str] = field(default_factory=Counter[str])
    bigrams: Counter[str] = field(default_factory=Counter[str])
    inputs: Moments | None = None
    targets: Moments | None = None
    columns: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()

    @staticmethod
    def of(data: RawData, *, with_bigrams: bool = False) -> "Counts":
        """The statistics of data.

        Args:
            data: the data.
            with_bigrams: whether pairs of neighbouring characters are counted too.
        """
        counts = Counts()
        if data.kind.numeric:
            for series in zip(as_numbers(data.inputs), as_numbers(data.targets), strict=True):
                inputs, targets = (RunningMoments().add(rows).moments() for rows in series)
                names = data.columns, data.target_columns
                counts.join(Counts(inputs=inputs, targets=targets, columns=names[0], target_columns=names[1]))
            return counts
        if data.kind.rows:
            counts.columns = data.columns
            counts.inputs = RunningMoments().add(np.concatenate(as_numbers(data.inputs))).moments()
        sequences = () if data.kind.rows else as_symbols(data.inputs)
        counts.symbols.update(concatenate(sequences))
        if with_bigrams:
            keys, times = np.unique(pair_keys(code_points(with_edges(sequences))), return_counts=True)
            pairs = (chr(key // CODES) + chr(key % CODES) for key in keys.tolist())
            counts.bigrams.update(dict(zip(pairs, times.tolist(), strict=True)))
        targets: Any = data.targets or ()
        if data.kind.quantity:
            counts.target_columns = data.target_columns
            counts.targets = RunningMoments().add(as_column(targets)).moments() if len(targets) else None
            return counts
        counts.labels.update(targets if data.kind.has_one_label else concatenate(targets))
        return counts

    def join(self, other: "Counts") -> None:
        """Add the statistics of other data; raises InputError where they have other columns."""
        for counter, addition in (
            (self.symbols, other.symbols),
            (self.labels, other.labels),
            (self.bigrams, other.bigrams),
        ):
            counter.update(addition)
        if other.targets is None:
            return
        if self.targets is None:
            self.inputs, self.targets = other.inputs, other.targets
            self.columns, self.target_columns = other.columns, other.target_columns
            return
        if (self.columns, self.target_columns) != (other.columns, other.target_columns):
            raise InputError(
                "files with different columns: {columns}, and {others}",
                columns=join_list(self.columns),
                others=join_list(other.columns),
            )
        self.targets = self.targets.joined(other.targets)
        if self.inputs is not None and other.inputs is not None:
            self.inputs = self.inputs.joined(other.inputs)


def with_edges(sequences: Sequence[Sequence[str]]) -> str:
    """Sequences of characters, strings or lists, as one text with `EDGE` before, between and after them.

    Its pairs of neighbours are those of all sequences in order, N + 1 for a sequence of N characters. In a list,
    `NO_CHARACTER` stands for an entry that is not a single character.
    """
    texts = (s if isinstance(s, str) else "".join(c if len(c) == 1 else NO_CHARACTER for c in s) for s in sequences)
    return EDGE + "".join(f"{text}{EDGE}" for text in texts)


def concatenate(sequences: Sequence[Sequence[str]]) -> Sequence[str]:
    """The symbols of all sequences in order; a string where all sequences are strings."""
    if all(isinstance(sequence, str) for sequence in sequences):
        return "".join(cast("Sequence[str]", sequences))
    return list(chain.from_iterable(sequences))


def as_symbols(sequences: Any) -> Sequence[Sequence[str]]:
    """The inputs or targets of raw data, which are symbols."""
    return sequences


def as_numbers(series: Any) -> Sequence[NDArray[np.float64]]:
    """The inputs or targets of raw data, which are numbers."""
    return series


def as_column(numbers: Any) -> NDArray[np.float64]:
    """The targets of raw data that are a number for each of n sequences, (n, 1)."""
    return np.array(numbers, np.float64).reshape(-1, 1)
