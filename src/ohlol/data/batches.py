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

from ohlol.data.mapped import Values, in_memory
from ohlol.utils.errors import InputError

POOL = 64
"""Batches sorted by length together: more waste less time on ragged ends, fewer leave more chance in the order."""
BLOCK, WINDOW = 1 << 10, 1 << 20
"""Sequences that stay together when the blocks of a corpus are shuffled, and those that are then shuffled singly."""


@dataclass(frozen=True)
class Ragged:
    """Many sequences in one flat array: sequence i is `values[offsets[i]:offsets[i + 1]]`."""

    values: Values
    offsets: Values

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How long each sequence is, (n,)."""
        return np.diff(in_memory(self.offsets))

    def spans(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where some sequences start and how long they are, (n,) each.

        Raises:
            InputError: one ends before it starts, or is empty: the file of offsets is damaged.
        """
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        if len(rows) and lengths.min() < 1:
            raise InputError(f"{getattr(self.offsets, 'name', 'offsets')}: damaged: its numbers do not grow")
        return starts, lengths


@dataclass(frozen=True)
class Dataset:
    """Sequences ready for a model: ids (or rows of numbers), targets, and for word models how each word is spelled."""

    inputs: Ragged
    """Ids (N,) int64, or numbers (N, I) float32."""
    targets: Values | None = None
    """One a step (N,) or (N, F), laid out as `inputs.values`; or, with `whole`, one a sequence (n,)."""
    whole: bool = False
    """Whether a target belongs to a whole sequence."""
    forms: Values | None = None
    """For each step, (N,), the row of its word in `spellings`."""
    spellings: Ragged | None = None
    """The character ids of every different word."""
    bigrams: Values | None = None
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
    places: NDArray[np.int64] | None = None
    """Where its steps stand in the whole batch of all processes, (S,); None where it is the whole."""
    total: int = 0
    """Steps of the whole batch."""
    empty: bool = False
    """Whether the whole batch has fewer sequences than there are processes, and this is another's, to be counted as
    nothing."""


def fingerprint(*parts: Dataset | None) -> str:
    """The SHA-256 of encoded data, by which a change of the data is told."""
    digest = hashlib.sha256()
    for part in parts:
        arrays: list[Values | None] = []
        if part is not None:
            for ragged in (part.inputs, part.spellings):
                arrays += [ragged.values, ragged.offsets] if ragged is not None else []
            arrays += [part.targets, part.forms, part.bigrams]
        for values in arrays:
            digest.update(b"," if values is None else np.ascontiguousarray(in_memory(values)).data)
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
    starts, lengths = spellings.spans(different)
    order = np.argsort(-lengths, kind="stable")
    positions, batch_sizes = pack(starts[order], lengths[order])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Spelling(spellings.values[positions].astype(np.int64), batch_sizes, rank[inverse])


Share = tuple[int, int]
"""Which process this is, from 0, and how many there are."""
ALONE: Share = (0, 1)


def gather(data: Dataset, rows: NDArray[np.int64], share: Share = ALONE) -> Batch:
    """Pack the given sequences, longest first; ties keep their order. Of several processes each gets every n-th."""
    starts, lengths = data.inputs.spans(rows)
    order = np.argsort(-lengths, kind="stable")
    rows = rows[order]
    positions, batch_sizes = pack(starts[order], lengths[order])
    batch = Batch(positions, batch_sizes, rows, total=len(positions))
    batch = _shared(batch, share)
    targets = None
    if data.targets is not None:
        targets = data.targets[batch.rows if data.whole else batch.inputs]
    return _filled(data, batch, targets)


def _shared(batch: Batch, share: Share) -> Batch:
    """The part of a batch of positions that is one process's: the sequences rank, rank + size and so on.

    They are as long as those of the others to within one place in the order of length, and end from the last on.
    """
    rank, size = share
    if size == 1:
        return batch
    empty = len(batch.rows) <= rank
    if empty:  # there is nothing for it to do, but it must take part in the step: with the first, counted as nothing
        rank, size = 0, len(batch.rows)
    first = np.repeat(np.cumsum(batch.batch_sizes) - batch.batch_sizes, batch.batch_sizes)
    places = np.flatnonzero((np.arange(batch.total) - first) % size == rank)
    batch_sizes = (batch.batch_sizes - rank + size - 1) // size
    return replace(
        batch,
        inputs=batch.inputs[places],
        batch_sizes=batch_sizes[batch_sizes > 0],
        rows=batch.rows[rank::size],
        places=places,
        empty=empty,
    )


def _filled(data: Dataset, batch: Batch, targets: NDArray[Any] | None) -> Batch:
    """The values in the place of their positions, ids as torch wants them."""
    positions = batch.inputs
    spelling = None
    if data.forms is not None and data.spellings is not None:
        spelling = spell(_wide(data.forms[positions]), data.spellings)
    bigrams = _wide(data.bigrams[positions]) if data.bigrams is not None else None
    wanted = None if targets is None else _wide(targets)
    return replace(
        batch, inputs=_wide(data.inputs.values[positions]), targets=wanted, spelling=spelling, bigrams=bigrams
    )


def _wide(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.int64, copy=False) if values.dtype.kind in "iu" else values


@dataclass(frozen=True)
class Buckets:
    """An epoch over separate sequences, as batches of about equal length in an order of chance.

    The sequences are shuffled, cut into pools, sorted by length in each, cut into batches, and these shuffled: a
    pure function of the seed, which holds the epoch. Of more than `window` sequences the blocks of `block` neighbours
    are shuffled first, and this is done to one window of blocks after the other, so that neither the order nor the
    lengths of all need to be known, and what is read lies together. Without a seed the sequences of a window come
    longest first.
    """

    data: Dataset
    batch_size: int
    seed: tuple[int, ...] | None = None
    share: Share = ALONE
    block: int = BLOCK
    window: int = WINDOW
    """A multiple of `block`."""

    def __post_init__(self) -> None:
        blocks = np.arange(len(self.data) // self.block)
        if self.seed is not None and len(self.data) > self.window:
            blocks = np.random.default_rng((*self.seed, SHUFFLE)).permutation(len(blocks))
        object.__setattr__(self, "_blocks", blocks)
        object.__setattr__(self, "_window", (-1, []))

    def __len__(self) -> int:
        full, rest = divmod(len(self.data), self.window)
        return full * -(-self.window // self.batch_size) + -(-rest // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        window, number = divmod(index, -(-self.window // self.batch_size))
        at, chunks = self._window  # pyright: ignore[reportAttributeAccessIssue]
        if at != window:
            chunks = self._chunks(window)
            object.__setattr__(self, "_window", (window, chunks))
        return gather(self.data, chunks[number], self.share)

    def _rows(self, window: int) -> NDArray[np.int64]:
        """The sequences of a window, in the order of the corpus; what fills no block comes last of all."""
        blocks: NDArray[np.int64] = self._blocks  # pyright: ignore[reportAttributeAccessIssue]
        per_window = self.window // self.block
        mine = np.sort(blocks[window * per_window : (window + 1) * per_window])
        rows = (mine[:, None] * self.block + np.arange(self.block)).ravel()
        if (window + 1) * self.window > len(self.data):
            rows = np.concatenate([rows, np.arange(len(blocks) * self.block, len(self.data))])
        return rows

    def _chunks(self, window: int) -> list[NDArray[np.int64]]:
        rows = self._rows(window)
        lengths = self.data.inputs.spans(rows)[1]
        if self.seed is None:
            order = np.argsort(-lengths, kind="stable")
            return np.array_split(rows[order], range(self.batch_size, len(order), self.batch_size))
        rng = np.random.default_rng((*self.seed, window))  # for the first window the same as without its number
        order = rng.permutation(len(rows))
        pool = self.batch_size * POOL
        chunks: list[NDArray[np.int64]] = []
        for start in range(0, len(order), pool):
            some = order[start : start + pool]
            some = rows[some[np.argsort(-lengths[some], kind="stable")]]
            chunks += np.array_split(some, range(self.batch_size, len(some), self.batch_size))
        return [chunks[i] for i in rng.permutation(len(chunks))]


SHUFFLE = 1 << 31
"""Beyond the number of any window: what tells the shuffle of the blocks from that of a window's sequences."""


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
    share: Share = ALONE

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
        batch = Batch(positions, batch_sizes, np.arange(len(starts)), carried=index > 0, total=len(positions))
        batch = _shared(batch, self.share)
        return _filled(self.data, batch, self.data.inputs.values[batch.inputs + 1])


def windows(data: Dataset, length: int, phase: int) -> Dataset:
    """Cut every sequence into windows of at most `length` steps, the first of them `phase` steps (0 to length - 1).

    For training on series longer than what is to be backpropagated through; the values are not copied.
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
    unk: int,
    rng: np.random.Generator,
    places: NDArray[np.int64] | None = None,
    total: int = 0,
) -> NDArray[np.int64]:
    """Replace each id by `unk` with probability 1 - keep[id], so that <unk> is trained on what is rare.

    Source: Kiperwasser and Goldberg, "Simple and accurate dependency parsing using bidirectional LSTM feature
    representations", TACL 4 (2016), with keep = n / (n + a).

    Where the ids are part of a batch of `total` steps, at `places`, chance is that of the whole batch.
    """
    chance = rng.random(len(ids)) if places is None else rng.random(total)[places]
    return np.where(chance < keep[ids], ids, unk)
