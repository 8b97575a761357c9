"""The kernels refuse tensors whose addresses they cannot read, and accept the rest."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ohlol import ops
from ohlol.ops.validation import find_unreadable, packed_batch, weight_shapes

needs_kernels = pytest.mark.skipif(not ops.available(), reason="the compiled kernels are not installed")
SPEC = ops.LayerSpec("gru", bias=False)


def weights() -> list[Tensor]:
    return [torch.zeros(12, 3), torch.zeros(12, 4)]


@pytest.mark.parametrize(
    ("sizes", "S", "B"),
    [
        ([3, 2, 2], 7, 3),
        ([4], 4, 4),
        ([10, 10, 10], 20, 0),
        ([3, 2], 20, 0),
        ([10, -5, 15], 20, 0),
        ([2, 4, 6, 8], 20, 0),
        ([3, 0], 3, 0),
        ([2**62, 2**62, 2**62, 2**62], 0, 0),
        ([], 0, 0),
    ],
)
@needs_kernels
def test_packed_batch_returns_the_first_size_or_0(sizes: list[int], S: int, B: int) -> None:
    assert packed_batch(torch.tensor(sizes, dtype=torch.int64), S) == B


@pytest.mark.parametrize(
    "batch_sizes",
    [
        [3, 2],
        None,
        torch.tensor([3, 2], dtype=torch.int32),
        torch.tensor([[3, 2]]),
        torch.tensor([3, 9, 2, 9])[::2],
        torch.tensor([3, 2], device="meta"),
    ],
)
@needs_kernels
def test_batch_sizes_that_the_kernels_cannot_read(batch_sizes: Any) -> None:
    assert packed_batch(batch_sizes, 5) == 0


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.zeros(2), ""),
        (torch.zeros(2, dtype=torch.float64), "dtype torch.float64"),
        (torch.zeros(2, device="meta"), "on meta"),
        (torch.zeros(2).to_sparse(), "layout torch.sparse_coo"),
        (None, "NoneType"),
    ],
)
def test_unreadable_tensors_are_reported_with_the_reason(tensor: Any, reason: str) -> None:
    assert reason in find_unreadable(tensor, torch.float32)
    assert bool(reason) == bool(find_unreadable(tensor, torch.float32))


@pytest.mark.parametrize("layer_class", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
@pytest.mark.parametrize("bias", [False, True])
def test_weight_shapes_are_those_of_torch(layer_class: Any, bias: bool) -> None:
    layer = layer_class(5, 3, 2, bidirectional=True, bias=bias)
    shapes = weight_shapes(layer_class.__name__.lower(), 5, 3, 2, 2, bias)
    assert shapes == [tuple(p.shape) for p in layer.parameters()]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.zeros(5, 2, 4)}, ValueError, "x has 4 features; the weights expect 3"),
        ({"x": torch.zeros(5, 3)}, ValueError, "x has shape .*; expected 3 axes"),
        ({"x": torch.zeros(0, 2, 3)}, ValueError, "none of them empty"),
        ({"x": torch.zeros(5, 2, 3, dtype=torch.float64)}, ValueError, "x: a tensor has dtype torch.float64"),
        ({"x": torch.zeros(5, 2, dtype=torch.bool)}, TypeError, "ids have dtype torch.bool; they must be int64"),
        ({"h_0": torch.zeros(1, 3, 4)}, ValueError, r"h_0 has shape \(1, 3, 4\); expected \(1, 2, 4\)"),
        ({"h_0": torch.zeros(1, 2, 4, device="meta")}, ValueError, "h_0: a tensor is on meta"),
        ({"c_0": torch.zeros(1, 2, 4)}, ValueError, "the cell gru has no cell state"),
        ({"weights": [torch.zeros(12, 3)]}, ValueError, "there are 1 weights; expected 2"),
        ({"weights": [torch.zeros(12, 3), torch.zeros(12, 5)]}, ValueError, "a weight has shape"),
        ({"weights": [torch.zeros(12, 3).half(), torch.zeros(12, 4).half()]}, ValueError, "float32 and float64"),
        ({"x": torch.zeros(5, 3), "batch_sizes": torch.tensor([3, 3])}, ValueError, "add up to the 5 rows of x"),
        ({"spec": SPEC._replace(directions=3)}, ValueError, "directions is 3"),
    ],
)
@needs_kernels
def test_calls_that_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    valid: dict[str, Any] = {"x": torch.zeros(5, 2, 3), "h_0": None, "c_0": None, "weights": weights(), "spec": SPEC}
    assert ops.recurrence(**valid)[0].shape == (5, 2, 4)
    with pytest.raises(error, match=message):
        ops.recurrence(**{**valid, **arguments})


@needs_kernels
def test_ids_are_checked_with_every_table() -> None:
    tables = [torch.zeros(9, 12), torch.zeros(12, 4), torch.zeros(7, 12), torch.zeros(12, 4)]
    spec = SPEC._replace(directions=2)
    assert ops.recurrence(torch.full((2, 1), 6), None, None, tables, spec)[0].shape == (2, 1, 8)
    for id in (7, 10**6, -1):
        with pytest.raises(IndexError, match=f"id {id} has no row in a table of 7 symbols"):
            ops.recurrence(torch.full((2, 1), id), None, None, tables, spec)


@pytest.mark.parametrize(
    ("table", "head", "message"),
    [
        (torch.zeros(7, 11), None, "table has shape"),
        (torch.zeros(7, 12, dtype=torch.float64), None, "table: a tensor has dtype torch.float64"),
        (torch.zeros(0, 12), None, "table has shape"),
        (None, (torch.zeros(7, 5), None), "head has shape"),
        (None, (torch.zeros(7, 4), torch.zeros(6)), "7 logits and 6 biases"),
    ],
)
@needs_kernels
def test_steppers_refuse_tables_and_heads(table: Any, head: Any, message: str) -> None:
    for stepper in (ops.SequenceStepper, ops.BatchStepper):
        with pytest.raises(ValueError, match=message):
            stepper(weights(), SPEC, table, head)
        with pytest.raises(ValueError, match="a weight has shape"):
            stepper([torch.zeros(12, 3), torch.zeros(8, 4)], SPEC)


@needs_kernels
def test_steps_refuse_what_they_cannot_read() -> None:
    stepper = ops.SequenceStepper(weights(), SPEC)
    for x in (torch.zeros(4), torch.zeros(3, device="meta"), torch.zeros(6)[::2], torch.zeros(3).double()):
        with pytest.raises(ValueError, match="a step reads 3 numbers"):
            stepper.step(x)
    state: Any = stepper
    with pytest.raises(AttributeError):
        state.h = torch.zeros(1, 4)  # the steps write to the memory of the first one
    batch = ops.BatchStepper(weights(), SPEC)
    with pytest.raises(ValueError, match="states are"):
        batch.step([0], torch.zeros(1, 3), torch.zeros(2, 1, 4, device="meta"))
    by_id = ops.SequenceStepper(weights(), SPEC, torch.zeros(7, 12))
    for id in (-1, 7, 10**6):
        with pytest.raises(IndexError, match=f"id {id} is out of range: there are 7"):
            by_id.step(id)
    for x in (torch.zeros(0), torch.tensor(True), torch.tensor(1)):
        with pytest.raises(ValueError, match="a step reads"):
            by_id.step(x)
    with pytest.raises(TypeError, match="each id must be an int, got bool"):
        by_id.step(True)
    with pytest.raises(ValueError, match="there is no table"):
        stepper.step(0)


@needs_kernels
def test_generation_refuses_first_ids_that_do_not_exist() -> None:
    stepper = ops.SequenceStepper(weights(), SPEC, torch.zeros(7, 12), (torch.zeros(7, 4), None))
    for first in (-1, 7):
        with pytest.raises(IndexError, match=f"id {first} is out of range"):
            stepper.generate(first, 3)
    with pytest.raises(TypeError, match="each id must be an int, got bool"):
        stepper.generate(True, 3)


@pytest.mark.parametrize(
    ("slots", "ids", "error", "message"),
    [
        ([0, 0], [1, 2], ValueError, "a slot occurs twice"),
        ([2, 0, 2], [1, 2, 3], ValueError, "a slot occurs twice"),
        ([0, 3], [1, 2], IndexError, "slot 3 is out of range: there are 3"),
        ([-1, 0], [1, 2], IndexError, "slot -1 is out of range"),
        ([0, 1 << 70], [1, 2], IndexError, "slot .* is out of range"),
        ([], [], ValueError, "there are no slots"),
        ([True], [1], TypeError, "each slot must be an int, got bool"),
        ([0, 1.0], [1, 2], TypeError, "each slot must be an int, got float, int"),
        (torch.tensor([True, False]), [1, 2], TypeError, "each slot must be an int, got Tensor"),
        (torch.tensor([0, 1]), [1, 2], TypeError, "each slot must be an int, got Tensor"),
        ([0, 1], [1, 7], IndexError, "id 7 is out of range: there are 7"),
        ([0, 1], [-1, 1], IndexError, "id -1 is out of range"),
        ([0, 1], [True, False], TypeError, "each id must be an int, got bool"),
        ([0, 1], [torch.tensor(True), 1], TypeError, "each id must be an int, got Tensor, int"),
        ([0, 1], torch.tensor([True, False]), ValueError, "a step reads"),
        ([0, 1], torch.tensor([0, 1]), ValueError, "a step reads"),
        ([0, 1], [1], ValueError, "1 ids for 2 sequences"),
    ],
)
@needs_kernels
def test_batches_refuse_slots_and_ids(slots: Any, ids: Any, error: type[Exception], message: str) -> None:
    """Nothing advances: a slot that occurs twice would be advanced twice from the same state."""
    batch = ops.BatchStepper(weights(), SPEC, torch.zeros(7, 12))
    h = torch.zeros(3, 1, 4)
    with pytest.raises(error, match=message):
        batch.step(slots, ids, h)
    assert not h.any()


@needs_kernels
def test_batch_without_a_table_refuses_ids() -> None:
    with pytest.raises(ValueError, match="there is no table"):
        ops.BatchStepper(weights(), SPEC).step([0], [0], torch.zeros(1, 1, 4))
