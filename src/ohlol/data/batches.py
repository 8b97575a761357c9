"""Encoded sequences as packed batches; the order of an epoch is a pure function of its seed.

A packed batch holds the steps of its sequences without padding: the first step of every sequence, then the second of
those that have one, and so on, the longest sequence first. `batch_sizes[t]` is the number of sequences that have a step
t. This is the layout of torch's PackedSequence. B sequences, T steps of the longest, S steps in all.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.data.mapped import Values, in_memory
from ohlol.utils.errors import InputError

SORT_POOL_BATCHES = 64
"""Batches that are sorted by length together: more of them have more equal lengths, fewer a more random order."""
SHUFFLE_BLOCK = 1 << 10
"""Sequences in a block, which stay together when the blocks of a corpus are shuffled."""
ORIGINS = 12
"""Rows from which a horizon is forecast in training and validation, in as many rows as the horizon has, at least."""
SHUFFLE_WINDOW = 1 << 20
"""Sequences in a shuffle window, some of the shuffled blocks; its sequences are then shuffled one by one."""


@dataclass(frozen=True)
class Ragged:
    """Many sequences in one flat array: sequence i is `values[offsets[i]:offsets[i + 1]]`."""

    values: Values
    offsets: Values

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each sequence, (n,)."""
        return np.diff(in_memory(self.offsets))

    def bounds(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The starts and the lengths of some sequences, (n,) each.

        Raises:
            InputError: one has no steps or a negative length, since the file of offsets is damaged.
        """
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        if len(rows) and lengths.min() < 1:
            raise InputError(
                "{offsets}: damaged: its values do not increase", offsets=getattr(self.offsets, "name", "offsets")
            )
        return starts, lengths


@dataclass(frozen=True)
class Dataset:
    """Encoded sequences: ids or rows of numbers, targets and, for words, their characters."""

    inputs: Ragged
    """Ids (N,) int64, or numbers (N, I) float32."""
    targets: Values | None = None
    """One for each step, (N,) or (N, F), in the order of `inputs.values`; or one for each sequence, (n,).

    A set of K labels is a row of 0 and 1, (n, K + 1), whose last number counts labels that training did not see."""
    per_sequence: bool = False
    """Whether a sequence has one target, instead of one at each step."""
    word_ids: Values | None = None
    """For each step, (N,), the row of its word in `word_chars`."""
    word_chars: Ragged | None = None
    """The character ids of each distinct word."""
    bigrams: Values | None = None
    """The ids of the pairs that each symbol forms with the symbols before and after it, (N, 2)."""
    contexts: NDArray[np.float32] | None = None
    """The states of language models at each step, (N, C), where they were computed in advance."""
    statics: Values | None = None
    """The static columns of each sequence, (n, C) float32."""

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def steps(self) -> int:
        """Time steps of all sequences."""
        return len(self.inputs.values)


@dataclass(frozen=True)
class WordCharBatch:
    """The distinct words of a batch as packed characters, and which of them is at each step."""

    chars: NDArray[np.int64]
    batch_sizes: NDArray[np.int64]
    word_ids: NDArray[np.int64]
    """(S,): the row of the word at each step, the longest word first."""


@dataclass(frozen=True)
class Batch:
    """One packed batch."""

    inputs: NDArray[Any]
    """(S,) ids or (S, I) numbers."""
    batch_sizes: NDArray[np.int64]
    """(T,)."""
    rows: NDArray[np.int64]
    """(B,): the indices of the sequences in the data set."""
    targets: NDArray[Any] | None = None
    """(S,), (S, F), (B,) or, where a target is a set of K labels, (B, K + 1); (N, F) of the steps `predicted`."""
    predicted: NDArray[np.int64] | None = None
    """The steps that have a prediction, (N,); None for all."""
    word_chars: WordCharBatch | None = None
    bigrams: NDArray[np.int64] | None = None
    """(S, 2)."""
    contexts: NDArray[np.float32] | None = None
    """(S, C)."""
    statics: NDArray[np.float32] | None = None
    """The static columns of each sequence, (B, C)."""
    continues_previous: bool = False
    """Whether these sequences continue those of the previous batch."""
    positions: NDArray[np.int64] | None = None
    """The positions of its steps in the whole batch of all processes, (S,); None where it is the whole batch."""
    total: int = 0
    """Steps of the whole batch."""
    is_filler: bool = False
    """Whether the batch does not count: it repeats a sequence of another process, or it has no targets."""


def fingerprint(*parts: Dataset | None) -> str:
    """The SHA-256 of encoded data, which changes when the data change."""
    digest = hashlib.sha256()
    for part in parts:
        arrays: list[Values | None] = []
        if part is not None:
            for ragged in (part.inputs, part.word_chars):
                arrays += [ragged.values, ragged.offsets] if ragged is not None else []
            arrays += [part.targets, part.word_ids, part.bigrams]
            arrays += [part.statics] if part.statics is not None else []
        for values in arrays:
            digest.update(b"," if values is None else np.ascontiguousarray(in_memory(values)).data)
        digest.update(b"|")
    return digest.hexdigest()


def pack(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The positions of the steps of a packed batch in the flat array.

    Args:
        starts: positions of the first steps, (B,).
        lengths: at least 1 each and not increasing, (B,).

    Returns:
        Positions (S,) and batch sizes (T,).

    >>> pack(np.array([10, 20]), np.array([3, 1]))
    (array([10, 20, 11, 12]), array([2, 1, 1]))
    """
    batch_sizes = len(lengths) - np.searchsorted(lengths[::-1], np.arange(lengths[0]), side="right")
    step = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
    first = np.repeat(np.cumsum(batch_sizes) - batch_sizes, batch_sizes)
    return starts[np.arange(len(step)) - first] + step, batch_sizes


def pack_words(word_ids: NDArray[np.int64], word_chars: Ragged) -> WordCharBatch:
    """The characters of the words of a batch as a packed batch, in which each distinct word is packed once."""
    distinct, inverse = np.unique(word_ids, return_inverse=True)
    starts, lengths = word_chars.bounds(distinct)
    order = np.argsort(-lengths, kind="stable")
    positions, batch_sizes = pack(starts[order], lengths[order])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return WordCharBatch(word_chars.values[positions].astype(np.int64), batch_sizes, rank[inverse])


Share = tuple[int, int]
"""The rank of a process and the number of processes."""
SINGLE_SHARE: Share = (0, 1)
"""The share of a process that trains alone: every sequence."""


def gather(
    data: Dataset, rows: NDArray[np.int64], share: Share = SINGLE_SHARE, *, horizon: int = 0, first: int = 0
) -> Batch:
    """Pack sequences, longest first; ties keep their order. Each of n processes gets every n-th sequence.

    Args:
        data: the sequences.
        rows: the indices of those that are packed.
        share: the rank of this process, and how many there are.
        horizon: of the targets, where only the steps of `choose_origins` are predicted; 0 for all steps.
        first: as there.
    """
    starts, lengths = data.inputs.bounds(rows)
    order = np.argsort(-lengths, kind="stable")
    rows = rows[order]
    positions, batch_sizes = pack(starts[order], lengths[order])
    batch = Batch(positions, batch_sizes, rows, total=len(positions))
    batch = _shared(batch, share)
    targets = None
    if data.targets is not None and horizon:
        steps, targets = choose_origins(data.targets, batch.inputs, batch.batch_sizes, horizon, first)
        batch = replace(batch, predicted=steps, is_filler=batch.is_filler or not np.isfinite(targets).any())
    elif data.targets is not None:
        targets = data.targets[batch.rows if data.per_sequence else batch.inputs]
    return _filled(data, batch, targets)


def choose_origins(
    targets: Values, positions: NDArray[np.int64], batch_sizes: NDArray[np.int64], horizon: int, first: int = 0
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The steps of a packed batch from which a horizon is forecast, (N,), and their targets, (N, F*h).

    They are those that have a target. The targets of neighbouring steps of a long horizon are nearly the same, so that
    one in several says as much in less time.

    Args:
        targets: of all steps of the data, NaN where one is missing.
        positions: of the steps of the batch in the data, (S,).
        batch_sizes: (T,).
        horizon: h.
        first: the first step that is chosen where they are chosen at a distance; a distance more is the same.
    """
    distance = min(max(1, horizon // ORIGINS), len(batch_sizes))
    chosen = np.flatnonzero(np.repeat(np.arange(len(batch_sizes)) % distance == first % distance, batch_sizes))
    values = targets[positions[chosen]]
    has_target = np.isfinite(values).any(axis=1)
    return (chosen[has_target], values[has_target]) if has_target.any() else (chosen, values)


def time_chunks(data: Dataset, rows: NDArray[np.int64], length: int) -> Iterator[Batch]:
    """Some sequences from their starts, in chunks of at most `length` steps, each of which continues the one before.

    They are packed longest first; the sequences of a chunk are the first of those of the chunk before it.
    """
    starts, lengths = data.inputs.bounds(rows)
    order = np.argsort(-lengths, kind="stable")
    starts, lengths, rows = starts[order], lengths[order], rows[order]
    for first in range(0, int(lengths[0]), length):
        active = int((lengths > first).sum())
        positions, batch_sizes = pack(starts[:active] + first, np.minimum(lengths[:active] - first, length))
        batch = Batch(positions, batch_sizes, rows[:active], continues_previous=first > 0, total=len(positions))
        yield _filled(data, batch, None)


def _shared(batch: Batch, share: Share) -> Batch:
    """The part of a batch of positions that one process takes: the sequences rank, rank + size and so on.

    Taken in the order of length, the sequences of all processes have about the same lengths.
    """
    rank, size = share
    if size == 1:
        return batch
    is_filler = len(batch.rows) <= rank
    if is_filler:  # every process must take part in the step: this one takes the first sequence, which does not count
        rank, size = 0, len(batch.rows)
    first = np.repeat(np.cumsum(batch.batch_sizes) - batch.batch_sizes, batch.batch_sizes)
    positions = np.flatnonzero((np.arange(batch.total) - first) % size == rank)
    batch_sizes = (batch.batch_sizes - rank + size - 1) // size
    return replace(
        batch,
        inputs=batch.inputs[positions],
        batch_sizes=batch_sizes[batch_sizes > 0],
        rows=batch.rows[rank::size],
        positions=positions,
        is_filler=is_filler,
    )


def _filled(data: Dataset, batch: Batch, targets: NDArray[Any] | None) -> Batch:
    """Replace positions by values; ids become int64, as torch expects."""
    positions = batch.inputs
    words = None
    if data.word_ids is not None and data.word_chars is not None:
        words = pack_words(_wide(data.word_ids[positions]), data.word_chars)
    bigrams = _wide(data.bigrams[positions]) if data.bigrams is not None else None
    targets = None if targets is None else _wide(targets)
    return replace(
        batch,
        inputs=_wide(data.inputs.values[positions]),
        targets=targets,
        word_chars=words,
        bigrams=bigrams,
        contexts=None if data.contexts is None else data.contexts[positions],
        statics=None if data.statics is None else data.statics[batch.rows],
    )


def _wide(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.int64, copy=False) if values.dtype.kind in "iu" else values


@dataclass(frozen=True)
class Buckets:
    """An epoch over separate sequences, as batches of about equal length in a random order.

    The sequences are shuffled and divided into pools; each pool is sorted by length and cut into batches, and the
    batches are shuffled. The order is a pure function of the seed, which includes the epoch. With more than
    `shuffle_window` sequences, blocks of `block` consecutive sequences are shuffled first, and the sequences of one
    window of blocks after another are shuffled as above: the order and the lengths of all sequences need not be in
    memory, and reads are local. Without a seed the sequences of a window are sorted by length, longest first.
    """

    data: Dataset
    batch_size: int
    seed: tuple[int, ...] | None = None
    share: Share = SINGLE_SHARE
    block: int = SHUFFLE_BLOCK
    shuffle_window: int = SHUFFLE_WINDOW
    """A multiple of `block`."""
    horizon: int = 0
    """Of the targets, where only some steps are predicted: other ones in each batch, with a seed."""

    def __post_init__(self) -> None:
        blocks = np.arange(len(self.data) // self.block)
        if self.seed is not None and len(self.data) > self.shuffle_window:
            blocks = np.random.default_rng((*self.seed, BLOCK_SHUFFLE_SEED)).permutation(len(blocks))
        object.__setattr__(self, "_blocks", blocks)
        object.__setattr__(self, "_window", (-1, []))

    def __len__(self) -> int:
        full, rest = divmod(len(self.data), self.shuffle_window)
        return full * -(-self.shuffle_window // self.batch_size) + -(-rest // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        window, number = divmod(index, -(-self.shuffle_window // self.batch_size))
        cached, chunks = self._window  # pyright: ignore[reportAttributeAccessIssue]
        if cached != window:
            chunks = self._chunks(window)
            object.__setattr__(self, "_window", (window, chunks))
        first = 0
        if self.horizon and self.seed is not None:
            first = int(np.random.default_rng((*self.seed, index, ORIGIN_SEED)).integers(self.horizon))
        return gather(self.data, chunks[number], self.share, horizon=self.horizon, first=first)

    def _rows(self, window: int) -> NDArray[np.int64]:
        """The sequences of a window, in the order of the corpus; those that fill no block are in the last window."""
        blocks: NDArray[np.int64] = self._blocks  # pyright: ignore[reportAttributeAccessIssue]
        per_window = self.shuffle_window // self.block
        in_window = np.sort(blocks[window * per_window : (window + 1) * per_window])
        rows = (in_window[:, None] * self.block + np.arange(self.block)).ravel()
        if (window + 1) * self.shuffle_window > len(self.data):
            rows = np.concatenate([rows, np.arange(len(blocks) * self.block, len(self.data))])
        return rows

    def _chunks(self, window: int) -> list[NDArray[np.int64]]:
        rows = self._rows(window)
        lengths = self.data.inputs.bounds(rows)[1]
        if self.seed is None:
            order = np.argsort(-lengths, kind="stable")
            return np.array_split(rows[order], range(self.batch_size, len(order), self.batch_size))
        rng = np.random.default_rng((*self.seed, window))  # for the first window the same as without its number
        order = rng.permutation(len(rows))
        pool = self.batch_size * SORT_POOL_BATCHES
        chunks: list[NDArray[np.int64]] = []
        for start in range(0, len(order), pool):
            pooled = order[start : start + pool]
            by_length = rows[pooled[np.argsort(-lengths[pooled], kind="stable")]]
            chunks += np.array_split(by_length, range(self.batch_size, len(by_length), self.batch_size))
        return [chunks[i] for i in rng.permutation(len(chunks))]


ORIGIN_SEED = 2
"""The last part of the seed that chooses the steps that are predicted; that of `BatchLoader` is 1."""
BLOCK_SHUFFLE_SEED = 1 << 31
"""The last part of the seed that shuffles the blocks; for the sequences of a window it is the number of the window,
which is smaller."""


@dataclass(frozen=True)
class ContiguousBatches:
    """An epoch over one long sequence, read as B parallel streams in chunks of T steps; the target is the next symbol.

    The flat array is cut into B stretches of equal length, the last shorter by less than B; every symbol but the first
    is a target once. Chunk k + 1 continues chunk k: the caller carries the state from one to the next.
    """

    data: Dataset
    batch_size: int
    bptt: int
    share: Share = SINGLE_SHARE
    outputs: int | None = None
    """Ids from this one on are inputs only: where one follows, the target is <unk>, which is 0."""

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
        batch = Batch(
            positions, batch_sizes, np.arange(len(starts)), continues_previous=index > 0, total=len(positions)
        )
        batch = _shared(batch, self.share)
        targets = self.data.inputs.values[batch.inputs + 1]
        if self.outputs is not None:
            targets = np.where(targets < self.outputs, targets, 0)
        return _filled(self.data, batch, targets)


def bptt_windows(data: Dataset, length: int, phase: int) -> Dataset:
    """Cut every sequence into windows of at most `length` steps, the first of `phase` steps (0 to length - 1).

    For series longer than the number of steps that are backpropagated through; values are not copied.
    """
    offsets = in_memory(data.inputs.offsets)
    first, ends = offsets[:-1] + (phase or length), offsets[1:]
    counts = np.maximum(-(-(ends - first) // length), 0) + 1
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    cuts = np.minimum(np.repeat(first, counts) + number * length, np.repeat(ends, counts))
    return replace(data, inputs=Ragged(data.inputs.values, np.concatenate([offsets[:1], cuts])))


def with_unknowns(
    ids: NDArray[Any],
    keep: NDArray[np.float64],
    unknown: NDArray[np.int64],
    rng: np.random.Generator,
    positions: NDArray[np.int64] | None = None,
    total: int = 0,
) -> NDArray[np.int64]:
    """Replace each id by unknown[id] with probability 1 - keep[id], so that <unk> is trained on rare symbols.

    Source: Kiperwasser and Goldberg, "Simple and accurate dependency parsing using bidirectional LSTM feature
    representations", TACL 4 (2016), with keep = n / (n + a).

    Where the ids are part of a batch of `total` steps, at `positions`, random numbers are drawn for the whole batch.
    """
    draws = rng.random(len(ids)) if positions is None else rng.random(total)[positions]
    return np.where(draws < keep[ids], ids, unknown[ids])
