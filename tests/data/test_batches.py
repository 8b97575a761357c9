"""Packing is invertible, an epoch has every sequence once, and its order is a function of its seed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from ohlol.data.batches import (
    Buckets,
    ContiguousBatches,
    Dataset,
    Ragged,
    bptt_windows,
    gather,
    pack,
    pack_words,
    with_unknowns,
)
from ohlol.data.mapped import Chain
from ohlol.evaluation.evaluate import prediction_indices

lengths_of = st.lists(st.integers(1, 9), min_size=1, max_size=30)


def ragged(lengths: list[int]) -> Ragged:
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    return Ragged(np.arange(offsets[-1], dtype=np.int64), offsets)


def dataset(lengths: list[int], *, whole: bool = False) -> Dataset:
    inputs = ragged(lengths)
    targets = np.arange(len(lengths)) * 7 if whole else inputs.values * 10
    return Dataset(inputs, targets, whole)


@given(lengths_of)
def test_pack_and_unpack_are_inverse(lengths: list[int]) -> None:
    data = dataset(lengths)
    batch = gather(data, np.arange(len(lengths)))
    assert sorted(batch.rows.tolist()) == list(range(len(lengths)))
    assert batch.targets is not None
    for row, steps in zip(batch.rows, prediction_indices(batch, per_sequence=False), strict=True):
        start, end = data.inputs.offsets[row : row + 2]
        assert batch.inputs[steps].tolist() == list(range(start, end))
        assert batch.targets[steps].tolist() == [10 * v for v in range(start, end)]


@given(lengths_of)
def test_pack_has_the_layout_of_torch(lengths: list[int]) -> None:
    lengths = sorted(lengths, reverse=True)
    data = ragged(lengths)
    positions, batch_sizes = pack(data.offsets[:-1], data.lengths)
    parts = [torch.from_numpy(data.values[a:b]) for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)]
    theirs = pack_sequence(parts)
    assert positions.tolist() == theirs.data.tolist()
    assert batch_sizes.tolist() == theirs.batch_sizes.tolist()


@given(lengths_of, st.integers(1, 7), st.none() | st.tuples(st.integers(0, 99), st.integers(0, 9)))
def test_an_epoch_has_every_sequence_once(lengths: list[int], size: int, seed: tuple[int, int] | None) -> None:
    batches = Buckets(dataset(lengths), size, seed)
    found = [batches[i] for i in range(len(batches))]
    assert sorted(np.concatenate([b.rows for b in found]).tolist()) == list(range(len(lengths)))
    assert sorted(np.concatenate([b.inputs for b in found]).tolist()) == list(range(sum(lengths)))
    assert max(len(b.rows) for b in found) <= size
    assert len(found) == -(-len(lengths) // size)
    assert not any(b.continues_previous for b in found)


def order_of(batches: Buckets) -> list[list[int]]:
    return [batches[i].rows.tolist() for i in range(len(batches))]


def test_the_order_is_a_function_of_the_seed() -> None:
    data = dataset(np.random.default_rng(0).integers(1, 20, 200).tolist())
    assert order_of(Buckets(data, 8, (3, 1))) == order_of(Buckets(data, 8, (3, 1)))
    assert order_of(Buckets(data, 8, (3, 1))) != order_of(Buckets(data, 8, (3, 2)))
    assert order_of(Buckets(data, 8, (3, 1))) != order_of(Buckets(data, 8, (4, 1)))


def test_buckets_have_similar_lengths_in_random_order() -> None:
    lengths = np.random.default_rng(1).integers(1, 60, 400).tolist()
    batches = Buckets(dataset(lengths), 10, (0, 0))
    found = [batches[i] for i in range(len(batches))]
    spread = [max(lengths[r] for r in b.rows) - min(lengths[r] for r in b.rows) for b in found]
    longest = [len(b.batch_sizes) for b in found]
    assert np.mean(spread) < 4  # of 60 at random it would be over 40
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_without_a_seed_the_longest_are_first() -> None:
    batches = Buckets(dataset([1, 5, 3, 5, 2]), 2)
    assert order_of(batches) == [[1, 3], [2, 4], [0]]


def test_targets_of_whole_sequences_follow_their_rows() -> None:
    batch = gather(dataset([2, 4, 3], whole=True), np.array([0, 1, 2]))
    assert batch.rows.tolist() == [1, 2, 0]
    assert batch.targets is not None
    assert batch.targets.tolist() == [7, 14, 0]


@given(st.integers(2, 120), st.integers(1, 9), st.integers(1, 11))
def test_streams_predict_every_symbol_but_the_first_once(total: int, streams: int, bptt: int) -> None:
    batches = ContiguousBatches(dataset([total]), streams, bptt)
    targets: list[int] = []
    ahead: dict[int, int] = {}  # of each stream, the symbol that its next chunk must begin with
    for index in range(len(batches)):
        batch = batches[index]
        assert batch.continues_previous == (index > 0)
        assert batch.targets is not None
        assert (batch.targets == batch.inputs + 1).all()
        assert len(batch.batch_sizes) <= bptt
        targets += batch.targets.tolist()
        assert batch.rows.tolist() == list(range(len(batch.rows)))  # streams end from the last on
        for row, steps in enumerate(prediction_indices(batch, per_sequence=False)):
            assert batch.inputs[steps].tolist() == list(range(batch.inputs[steps][0], batch.inputs[steps][-1] + 1))
            assert ahead.get(row, batch.inputs[steps][0]) == batch.inputs[steps][0]
            ahead[row] = int(batch.inputs[steps][-1]) + 1
    assert sorted(targets) == list(range(1, total))


def test_streams_end() -> None:
    batches = ContiguousBatches(dataset([10]), 2, 3)
    assert len(list(batches)) == len(batches)
    with pytest.raises(IndexError):
        batches[len(batches)]


@given(lengths_of, st.integers(1, 6), st.data())
def test_windows_cover_the_sequence(lengths: list[int], length: int, draw: st.DataObject) -> None:
    phase = draw.draw(st.integers(0, length - 1))
    data = dataset(lengths)
    cut = bptt_windows(data, length, phase)
    sizes = cut.inputs.lengths
    assert cut.inputs.offsets[0] == 0
    assert cut.inputs.offsets[-1] == sum(lengths)
    assert set(data.inputs.offsets) <= set(cut.inputs.offsets)  # no window spans two sequences
    assert sizes.min() >= 1
    assert sizes.max() <= length
    firsts = [sizes[np.flatnonzero(cut.inputs.offsets == start)[0]] for start in data.inputs.offsets[:-1]]
    assert firsts == [min(phase or length, n) for n in lengths]


@given(st.lists(st.text("abcxyz", min_size=1, max_size=6), min_size=1, max_size=8, unique=True), st.data())
def test_rows_of_characters_belong_to_their_words(words: list[str], draw: st.DataObject) -> None:
    word_ids = np.array(draw.draw(st.lists(st.integers(0, len(words) - 1), min_size=1, max_size=20)), np.int64)
    rows = [np.array([ord(c) for c in word]) for word in words]
    table = Ragged(np.concatenate(rows), np.cumsum([0, *map(len, rows)], dtype=np.int64))
    packed = pack_words(word_ids, table)
    first = np.cumsum(packed.batch_sizes) - packed.batch_sizes
    for form, row in zip(word_ids, packed.word_ids, strict=True):
        steps = [first[t] + row for t, size in enumerate(packed.batch_sizes) if row < size]
        assert "".join(chr(c) for c in packed.chars[steps]) == words[form]
    assert packed.batch_sizes[0] == len(set(word_ids.tolist()))  # every different word once


def test_unk_has_the_chosen_probability() -> None:
    ids = np.repeat([1, 2, 3], 20_000)
    made = with_unknowns(ids, np.array([1.0, 1.0, 0.0, 0.75]), np.zeros(4, np.int64), np.random.default_rng(0))
    assert (made[ids == 1] == 1).all()
    assert (made[ids == 2] == 0).all()
    assert (made[ids == 3] == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert set(made[ids == 3].tolist()) == {0, 3}
    again = with_unknowns(ids, np.array([1.0, 1.0, 0.0, 0.75]), np.zeros(4, np.int64), np.random.default_rng(0))
    assert (made == again).all()


def test_blocks_are_shuffled_and_every_sequence_comes_once() -> None:
    n = 1000
    data = Dataset(Ragged(Chain([np.arange(n)]), Chain([np.arange(n + 1)])))
    batches = Buckets(data, 8, (1, 2), block=16, shuffle_window=128)
    order = np.concatenate([batches[i].rows for i in range(len(batches))])
    assert sorted(order.tolist()) == list(range(n))
    first = order[:128] // 16  # a window holds whole blocks, which do not lie together
    assert len(set(first.tolist())) == 8
    assert set(first.tolist()) != set(range(8))
    assert (np.concatenate([batches[i].rows for i in (40, 3)]) == np.concatenate([order[320:328], order[24:32]])).all()
    other = Buckets(data, 8, (1, 3), block=16, shuffle_window=128)
    assert other[0].rows.tolist() != batches[0].rows.tolist()
