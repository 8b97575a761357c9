"""A report on packing equals what torch packs and computes, for every layer, direction, order and layout."""

import json
from typing import Any

import pytest
import torch
from helpers import pairs_of
from torch.nn.utils.rnn import pack_padded_sequence

from ohlol.explain.packing import MAX_LENGTH, MAX_SEQUENCES, PADDING, PackedShapes
from ohlol.explain.shapes import shapes
from ohlol.utils.errors import InputError

LAYERS = ("rnn", "gru", "lstm")
LENGTHS = [(5, 3, 2), (2, 5, 3), (1,), (3, 3), (1, 1, 4, 4, 2)]


def packing(kind: str, lengths: tuple[int, ...], **options: Any) -> PackedShapes:
    report = shapes(kind, lengths=lengths, **options)
    assert isinstance(report, PackedShapes)
    return report


def step_names(lengths: tuple[int, ...]) -> list[list[str]]:
    return [[f"{chr(ord('a') + b)}{t + 1}" for t in range(length)] for b, length in enumerate(lengths)]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_the_letters_are_those_of_torch(lengths: tuple[int, ...], batch_first: bool) -> None:
    report = packing("rnn", lengths, batch_first=batch_first)
    numbers = torch.arange(1, len(lengths) * max(lengths) + 1).view(len(lengths), -1)
    names = {int(numbers[b, t]): name for b, row in enumerate(step_names(lengths)) for t, name in enumerate(row)}
    is_sorted = list(lengths) == sorted(lengths, reverse=True)
    packed = pack_padded_sequence(numbers, torch.tensor(lengths), batch_first=True, enforce_sorted=is_sorted)
    assert report.data == tuple(names[int(number)] for number in packed.data)
    assert report.batch_sizes == tuple(packed.batch_sizes.tolist())
    for mine, theirs in (
        (report.sorted_indices, packed.sorted_indices),
        (report.unsorted_indices, packed.unsorted_indices),
    ):
        assert mine == (None if theirs is None else tuple(theirs.tolist()))
    padded = list(zip(*report.padded, strict=True)) if not batch_first else report.padded
    assert [[name for name in row if name != PADDING] for row in padded] == step_names(lengths)
    assert all(len(row) == max(lengths) for row in padded)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_the_loop_reads_every_step_once(lengths: tuple[int, ...]) -> None:
    report = packing("gru", lengths)
    assert [name for step in report.steps for name in step.steps] == list(report.data)
    assert sorted(name for step in report.steps for name in step.ended) == list(report.names)
    for step in report.steps:
        assert (step.last - step.first, len(step.alive)) == (report.batch_sizes[step.t],) * 2
        assert step.steps == tuple(f"{name}{step.t + 1}" for name in step.alive)
        assert all(lengths[report.names.index(name)] == step.t + 1 for name in step.ended)


@pytest.mark.parametrize(
    ("kind", "lengths", "num_layers", "bidirectional", "batch_first", "bias"),
    pairs_of(LAYERS, LENGTHS, (1, 3), *[(False, True)] * 3),
)
def test_every_claim_holds(
    kind: str, lengths: tuple[int, ...], num_layers: int, bidirectional: bool, batch_first: bool, bias: bool
) -> None:
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
    report = packing(kind, lengths, input_size=3, hidden_size=4, **options)
    assert all(equality.holds for equality in report.loop)
    assert all(end.equality.holds for end in report.ends)
    assert len(report.ends) == len(lengths) * (1 + bidirectional)
    shape_of = {tensor.name: tensor for tensor in report.tensors}
    for tensor in report.tensors:
        letters = eval(tensor.letters, {}, report.sizes)
        assert letters == tensor.shape
    assert shape_of["packed.data"].shape == (sum(lengths), 3)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_numbers_without_packing(kind: str) -> None:
    """Only the longest sequence ends in the same state; output is right before the padding, in one direction."""
    for final in packing(kind, (2, 5, 3), num_layers=2).finals:
        assert (final.difference > 1e-3) == (final.length < 5)
        assert final.output_difference < 1e-12
        assert (final.packed != pytest.approx(final.unpacked, abs=1e-12)) == (final.length < 5)
    for final in packing(kind, (2, 5, 3), bidirectional=True, batch_first=True).finals:
        assert (final.output_difference > 1e-3) == (final.length < 5 and final.direction == "backward")
    for final in packing(kind, (2, 5, 3), bidirectional=True, num_layers=2).finals:
        assert (final.output_difference > 1e-12) == (final.length < 5)
    assert all(final.difference == 0 for final in packing(kind, (4, 4)).finals)


def test_the_numbers_are_those_of_a_layer_of_torch() -> None:
    report = packing("gru", (2, 5, 3), seed=3)
    torch.manual_seed(3)
    layer = torch.nn.GRU(4, 2, dtype=torch.float64)
    sequences = [torch.randn(length, 4, dtype=torch.float64) for length in (2, 5, 3)]
    padded = torch.nn.utils.rnn.pad_sequence(sequences)
    for b, sequence in enumerate(sequences):
        assert report.finals[b].packed == pytest.approx(layer(sequence)[1][0].tolist(), abs=1e-12)
        assert report.finals[b].unpacked == pytest.approx(layer(padded)[1][0, b].tolist(), abs=1e-12)


def test_wrong_calls() -> None:
    unsorted, is_sorted = packing("rnn", (2, 5, 3)), packing("rnn", (5, 3, 2))
    assert packing("rnn", (1,)).wrong_batch_first is None
    assert is_sorted.wrong_batch_first is not None
    assert unsorted.wrong_batch_first is not None
    assert unsorted.wrong_order is not None
    assert "must be sorted in decreasing order" in (unsorted.wrong_order.error or "")
    assert is_sorted.wrong_order is None
    assert "Expected `len(lengths)` to be equal to batch_size" in (is_sorted.wrong_batch_first.error or "")
    # torch takes the first three rows of an axis of five and reads fewer steps, without an error
    assert unsorted.wrong_batch_first.error is None
    assert unsorted.wrong_batch_first.result == (8, 4)


def test_json_round_trip() -> None:
    data = packing("lstm", (2, 5, 3), bidirectional=True).to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["sorted_indices"] == [1, 2, 0]
    assert data["steps"][1]["ended"] == ["a"]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("rnn", {"lengths": []}, "`lengths` has 0 lengths; the pictures show 1 to 7 sequences"),
        ("rnn", {"lengths": [1] * (MAX_SEQUENCES + 1)}, "`lengths` has 8 lengths"),
        ("rnn", {"lengths": [3, 0]}, "`lengths` has 0; a length is 1 to 16"),
        ("rnn", {"lengths": [MAX_LENGTH + 1]}, "`lengths` has 17; a length is 1 to 16"),
        ("rnn", {"lengths": [3], "seq_len": 3}, "`seq_len` follows from `lengths`"),
        ("rnn", {"lengths": [3], "batch_size": 1}, "`batch_size` follows from `lengths`"),
        ("rnncell", {"lengths": [3]}, "`lengths` is for layers; rnncell is one step of one layer: use rnn instead"),
    ],
)
def test_lengths_that_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        shapes(kind, **options)
    assert str(caught.value).startswith(message)
