"""Encoded sequences become packed batches, and an epoch's order a pure function of its seed; knows nothing of symbols.

A packed batch holds the steps of its sequences with no padding: first the first step of every sequence, then the
second of those that have one, and so on, longest sequence first. `batch_sizes[t]` says how many sequences have a step
t. This is the layout of torch's PackedSequence. B sequences, T steps of the longest, S steps in all.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

POOL = 64
"""Batches sorted by length together: more waste less time on ragged ends, fewer leave more chance in the order."""


@dataclass(frozen=True)
class Ragged:
    """Many sequences in one flat array: sequence i is `values[offsets[i]:offsets[i + 1]]`."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How long each sequence is, (n,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Dataset:
    """Sequences ready for a model: ids (or rows of numbers), targets, and for word models how each word is spelled."""

    inputs: Ragged
    """Ids (N,) int64, or numbers (N, I) float32."""
    targets: NDArray[Any] | None = None
    """One a step (N,) or (N, F), laid out as `inputs.values`; or, with `whole`, one a sequence (n,)."""
    whole: bool = False
    """Whether a target belongs to a whole sequence."""
    forms: NDArray[np.int64] | None = None
    """For each step, (N,), the row of its word in `spellings`."""
    spellings: Ragged | None = None
    """The character ids of every different word."""
    bigrams: NDArray[np.int64] | None = None
    """The ids of the pairs each symbol forms with the one before it and the one after it, (N, 2)."""

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def steps(self) -> int:
        """Time steps of all sequences together."""
        return len(self.inputs.values)


@dataclass(frozen=True)
class Spelling:
    """The different words of a batch as packed characters, and which of them stands at each step."""

    chars: NDArray[np.int64]
    batch_sizes: NDArray[np.int64]
    forms: NDArray[np.int64]
    """(S,): the row, longest word first, of the word at each step."""


@dataclass(frozen=True)
class Batch:
    """One packed batch."""

    inputs: NDArray[Any]
    """(S,) ids or (S, I) numbers."""
    batch_sizes: NDArray[np.int64]
    """(T,)."""
    rows: NDArray[np.int64]
    """(B,): which sequences of the data set these are."""
    targets: NDArray[Any] | None = None
    """(S,), (S, F) or (B,)."""
    spelling: Spelling | None = None
    bigrams: NDArray[np.int64] | None = None
    """(S, 2)."""
    carried: bool = False
    """Whether these sequences go on where those of the batch before stopped."""


def fingerprint(*parts: Dataset | None) -> str:
    """The SHA-256 of encoded data, by which a change of the data is told."""
    digest = hashlib.sha256()
    for part in parts:
        arrays: list[NDArray[Any] | None] = []
        if part is not None:
            for ragged in (part.inputs, part.spellings):
                arrays += [ragged.values, ragged.offsets] if ragged is not None else []
            arrays += [part.targets, part.forms, part.bigrams]
        for values in arrays:
            digest.update(b"," if values is None else np.ascontiguousarray(values).data)
        digest.update(b"|")
    return digest.hexdigest()


def pack(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each step of a packed batch lies in the flat array.

    Args:
        starts: where each sequence begins, (B,).
        lengths: their lengths, all at least 1 and none longer than the one before, (B,).

    Returns:
        Positions (S,) and batch sizes (T,).

    >>> pack(np.array([10, 20]), np.array([3, 1]))
    (array([10, 20, 11, 12]), array([2, 1, 1]))
    """
    batch_sizes = len(lengths) - np.searchsorted(lengths[::-1], np.arange(lengths[0]), side="right")
    step = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
    first = np.repeat(np.cumsum(batch_sizes) - batch_sizes, batch_sizes)
    return starts[np.arange(len(step)) - first] + step, batch_sizes


def spell(forms: NDArray[np.int64], spellings: Ragged) -> Spelling:
    """The spelling of the words at each step, every different word once."""
    different, inverse = np.unique(forms, return_inverse=True)
    lengths = spellings.lengths[different]
    order = np.argsort(-lengths, kind="stable")
    positions, batch_sizes = pack(spellings.offsets[different[order]], lengths[order])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Spelling(spellings.values[positions].astype(np.int64), batch_sizes, rank[inverse])


def gather(data: Dataset, rows: NDArray[np.int64]) -> Batch:
    """Pack the given sequences, longest first; ties keep their order."""
    rows = rows[np.argsort(-data.inputs.lengths[rows], kind="stable")]
    positions, batch_sizes = pack(data.inputs.offsets[rows], data.inputs.lengths[rows])
    targets = data.targets
    if targets is not None:
        targets = targets[rows if data.whole else positions]
    return _batch(data, positions, batch_sizes, rows, targets)


def _batch(
    data: Dataset,
    positions: NDArray[np.int64],
    batch_sizes: NDArray[np.int64],
    rows: NDArray[np.int64],
    targets: NDArray[Any] | None,
    carried: bool = False,
) -> Batch:
    spelling = None
    if data.forms is not None and data.spellings is not None:
        spelling = spell(data.forms[positions], data.spellings)
    bigrams = data.bigrams[positions] if data.bigrams is not None else None
    return Batch(data.inputs.values[positions], batch_sizes, rows, targets, spelling, bigrams, carried)


@dataclass(frozen=True)
class Buckets:
    """An epoch over separate sequences, as batches of about equal length in an order of chance.

    The sequences are shuffled, cut into pools, sorted by length in each, cut into batches, and these shuffled: a
    pure function of the seed, which holds the epoch. Without a seed the sequences come longest first.
    """

    data: Dataset
    batch_size: int
    seed: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        lengths = self.data.inputs.lengths
        if self.seed is None:
            order = np.argsort(-lengths, kind="stable")
            chunks = np.array_split(order, range(self.batch_size, len(order), self.batch_size))
        else:
            rng = np.random.default_rng(self.seed)
            order = rng.permutation(len(lengths))
            pool = self.batch_size * POOL
            chunks: list[NDArray[np.int64]] = []
            for start in range(0, len(order), pool):
                rows = order[start : start + pool]
                rows = rows[np.argsort(-lengths[rows], kind="stable")]
                chunks += np.array_split(rows, range(self.batch_size, len(rows), self.batch_size))
            chunks = [chunks[i] for i in rng.permutation(len(chunks))]
        object.__setattr__(self, "_chunks", chunks)

    def __len__(self) -> int:
        return len(self._chunks)  # pyright: ignore[reportAttributeAccessIssue]

    def __getitem__(self, index: int) -> Batch:
        return gather(self.data, self._chunks[index])  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class Streams:
    """An epoch over one long sequence, read as B parallel streams in chunks of T steps; the target is the next symbol.

    The flat array is cut into B stretches of equal length, the last shorter by less than B, so every symbol but the
    first is a target once. Chunk k + 1 goes on where chunk k stopped: the caller carries the state from one to the
    next.
    """

    data: Dataset
    batch_size: int
    bptt: int

    @property
    def _stretch(self) -> int:
        return -(-(self.data.steps - 1) // self.batch_size)

    def __len__(self) -> int:
        return -(-self._stretch // self.bptt)

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        stretch, total = self._stretch, self.data.steps - 1
        first = index * self.bptt
        starts = np.arange(0, total, stretch, dtype=np.int64)
        ends = np.minimum(np.minimum(starts + stretch, total), starts + first + self.bptt)
        starts = starts + first
        starts, ends = starts[starts < ends], ends[starts < ends]
        positions, batch_sizes = pack(starts, ends - starts)
        targets = self.data.inputs.values[positions + 1]
        return _batch(self.data, positions, batch_sizes, np.arange(len(starts)), targets, carried=index > 0)


def windows(data: Dataset, length: int, phase: int) -> Dataset:
    """Cut every sequence into windows of at most `length` steps, the first of them `phase` steps (0 to length - 1).

    For training on series longer than what is to be backpropagated through; the values are not copied.
    """
    offsets = [0]
    for start, end in zip(data.inputs.offsets[:-1].tolist(), data.inputs.offsets[1:].tolist(), strict=True):
        first = start + phase if phase else start + length
        offsets += [*range(first, end, length), end]
    return replace(data, inputs=Ragged(data.inputs.values, np.array(offsets, np.int64)))


def with_unknowns(
    ids: NDArray[Any], keep: NDArray[np.float64], unk: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Replace each id by `unk` with probability 1 - keep[id], so that <unk> is trained on what is rare.

    Source: Kiperwasser and Goldberg, "Simple and accurate dependency parsing using bidirectional LSTM feature
    representations", TACL 4 (2016), with keep = n / (n + a).
    """
    return np.where(rng.random(len(ids)) < keep[ids], ids, unk)
