"""Hostile tensors: whatever a layer is given, it returns what torch's layer returns, or raises an error.

`OHLOL_HOSTILE` is the number of examples of each test; `make sanitize` runs 20,000 in all under the sanitizers.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ohlol import nn, ops

from .helpers import CELLS, Case
from .tolerances import assert_same

F64 = torch.float64
ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError)
"""What torch raises for tensors that do not fit; `MemoryError` and a crash are not among them."""
H, I = 6, 5

hostile = settings(
    max_examples=int(os.environ.get("OHLOL_HOSTILE", "150")),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def outcome(run: Callable[[], Any]) -> tuple[Tensor, ...] | Exception:
    """The tensors that a call returns, or its error."""
    try:
        return flatten(run())
    except ERRORS as error:
        return error


def flatten(result: Any) -> tuple[Tensor, ...]:
    if isinstance(result, Tensor):
        return (result,)
    if isinstance(result, PackedSequence):
        return (result.data,)
    return tuple(tensor for part in result for tensor in flatten(part))


def assert_as_torch(run: Callable[[torch.nn.RNNBase], Any], theirs: torch.nn.RNNBase, ours: torch.nn.RNNBase) -> None:
    """Torch's numbers, or an error; no numbers where torch has none."""
    actual = outcome(lambda: run(ours))
    with without_onednn():
        expected = outcome(lambda: run(theirs))
    if isinstance(actual, Exception):
        assert isinstance(expected, Exception), f"torch returns a result, we raise {actual!r}"
    else:
        assert not isinstance(expected, Exception), f"torch raises {expected!r}, we return a result"
        for a, b in zip(actual, expected, strict=True):
            assert_same("result", a, b, F64)


@contextmanager
def without_onednn() -> Iterator[None]:
    """Torch's LSTM by oneDNN does not check the shapes of the weights."""
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


def pair(cell: str, num_layers: int = 1, bidirectional: bool = False) -> tuple[torch.nn.RNNBase, torch.nn.RNNBase]:
    torch.manual_seed(1)
    return Case(cell, inputs=I, H=H, num_layers=num_layers, bidirectional=bidirectional).layers()


def tensor_of_shape(shape: tuple[int, ...], dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=F64).to(dtype)


shapes = st.lists(st.sampled_from([0, 1, 2, 3, I, H, 3 * H, 4 * H]), max_size=4).map(tuple)
dtypes = st.sampled_from([F64, torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64])
indices = st.lists(st.integers(-2, 6), max_size=6).map(lambda values: torch.tensor(values, dtype=torch.int64))
batch_sizes = st.one_of(
    st.lists(st.integers(-4, 10), min_size=1, max_size=6),
    st.lists(st.integers(1, 4), min_size=1, max_size=6).map(lambda sizes: sorted(sizes, reverse=True)),
)


@pytest.mark.parametrize("bidirectional", [False, True])
@hostile
@given(
    cell=st.sampled_from(CELLS), sizes=batch_sizes, missing=st.sampled_from([0, 0, 1, -1, 5]), with_grad=st.booleans()
)
def test_any_batch_sizes_give_the_result_or_error_of_torch(
    cell: str, sizes: list[int], missing: int, with_grad: bool, bidirectional: bool
) -> None:
    theirs, ours = pair(cell, 2, bidirectional)
    x = tensor_of_shape((max(sum(sizes) + missing, 0), I)).requires_grad_(with_grad)
    assert_as_torch(lambda layer: layer(PackedSequence(x, torch.tensor(sizes))), theirs, ours)


@hostile
@given(cell=st.sampled_from(CELLS), order=indices, back=indices, has_state=st.booleans())
def test_sorted_and_unsorted_indices(cell: str, order: Tensor, back: Tensor, has_state: bool) -> None:
    theirs, ours = pair(cell)
    packed = PackedSequence(tensor_of_shape((7, I)), torch.tensor([4, 2, 1]), order, back)
    h = tensor_of_shape((1, 4, H))
    state: Any = (h, h) if cell == "lstm" else h
    assert_as_torch(lambda layer: layer(packed, state if has_state else None), theirs, ours)


@hostile
@given(cell=st.sampled_from(CELLS), shape=shapes, h=shapes, dtype=dtypes, h_dtype=dtypes, packed=st.booleans())
def test_any_inputs_and_states_give_the_result_or_error_of_torch(
    cell: str, shape: tuple[int, ...], h: tuple[int, ...], dtype: torch.dtype, h_dtype: torch.dtype, packed: bool
) -> None:
    theirs, ours = pair(cell)
    x, state = tensor_of_shape(shape, dtype), tensor_of_shape(h, h_dtype)
    hx: Any = (state, state) if cell == "lstm" else state
    inputs = PackedSequence(x, torch.tensor([2, 1])) if packed else x
    assert_as_torch(lambda layer: layer(inputs), theirs, ours)
    assert_as_torch(lambda layer: layer(inputs, hx), theirs, ours)


@hostile
@given(cell=st.sampled_from(CELLS), name=st.sampled_from(["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l1"]),
       shape=shapes, dtype=dtypes, expanded=st.booleans(), late=st.booleans())  # fmt: skip
def test_replaced_weights(
    cell: str, name: str, shape: tuple[int, ...], dtype: torch.dtype, expanded: bool, late: bool
) -> None:
    """A weight of another shape, dtype or stride, before the call or between forward and backward."""
    theirs, ours = pair(cell, 2)
    if not dtype.is_floating_point:
        dtype = F64  # torch refuses the others as parameters
    weight = torch.ones((), dtype=dtype).expand(shape) if expanded else tensor_of_shape(shape, dtype)
    x = tensor_of_shape((3, 2, I))
    if late:
        out = ours(x)[0]
        getattr(ours, name).data = weight
        outcome(lambda: torch.autograd.grad(out.sum(), [p for n, p in ours.named_parameters() if n != name]))
        return
    for layer in (theirs, ours):
        getattr(layer, name).data = weight
    assert_as_torch(lambda layer: layer(x), theirs, ours)


@hostile
@given(
    cell=st.sampled_from(CELLS), start=st.integers(0, 4), strides=st.lists(st.integers(0, 7), min_size=3, max_size=3)
)
def test_any_strides_give_the_result_or_error_of_torch(cell: str, start: int, strides: list[int]) -> None:
    theirs, ours = pair(cell)
    x = tensor_of_shape((100,)).as_strided((4, 2, I), strides, start)
    assert_as_torch(lambda layer: layer(x), theirs, ours)


@hostile
@given(cell=st.sampled_from(CELLS), ids=st.lists(st.integers(-3, 8), min_size=1, max_size=12), dtype=dtypes,
       sizes=batch_sizes, dense=st.booleans())  # fmt: skip
def test_valid_ids_are_looked_up_and_others_refused(
    cell: str, ids: list[int], dtype: torch.dtype, sizes: list[int], dense: bool
) -> None:
    _, ours = pair(cell)
    symbols = torch.tensor(ids).to(dtype)
    packed = None if dense else torch.tensor(sizes)
    result = outcome(lambda: nn.over_symbols(ours, symbols[:, None] if dense else symbols, None, packed) or ())
    valid = dtype is torch.int64 and all(0 <= id < I for id in ids)
    if valid and dense and len(ids) >= I:
        assert not isinstance(result, Exception)
        one_hot = torch.nn.functional.one_hot(symbols, I).to(F64)
        for a, b in zip(result, flatten(ours(one_hot[:, None])), strict=True):
            assert_same("lookup", a, b, F64)
    elif not valid:
        assert isinstance(result, Exception) or not result


@hostile
@given(cell=st.sampled_from(CELLS), x=shapes, h=shapes, weight=st.integers(0, 3), shape=shapes, dtype=dtypes,
       sizes=st.none() | batch_sizes)  # fmt: skip
def test_recurrence_returns_a_result_or_an_error(
    cell: str,
    x: tuple[int, ...],
    h: tuple[int, ...],
    weight: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    sizes: Any,
) -> None:
    """The entry to the kernels: shapes that fit by chance have a result, all others an error."""
    _, ours = pair(cell)
    weights = [p.detach() for p in ours.parameters()]
    spec = ops.LayerSpec(cell)
    lengths = None if sizes is None else torch.tensor(sizes)
    valid = tensor_of_shape((3, 2, I))
    assert not isinstance(outcome(lambda: ops.recurrence(valid, None, None, weights, spec)), Exception)
    outcome(lambda: ops.recurrence(tensor_of_shape(x, dtype), None, None, weights, spec, lengths))
    if h != (1, 2, H):
        state = tensor_of_shape(h)
        assert isinstance(outcome(lambda: ops.recurrence(valid, state, None, weights, spec)), ValueError)
    if shape != weights[weight].shape:
        replaced = [*weights[:weight], tensor_of_shape(shape), *weights[weight + 1 :]]
        assert isinstance(outcome(lambda: ops.recurrence(valid, None, None, replaced, spec)), ValueError)


@hostile
@given(cell=st.sampled_from(CELLS), count=st.integers(1, 4), packed=st.booleans(), num_layers=st.integers(1, 2))
def test_batched_gradients(cell: str, count: int, packed: bool, num_layers: int) -> None:
    theirs, ours = pair(cell, num_layers)
    x = tensor_of_shape((7, I) if packed else (4, 2, I)).requires_grad_()

    def run(layer: torch.nn.RNNBase) -> Any:
        inputs = PackedSequence(x, torch.tensor([4, 2, 1])) if packed else x
        out = flatten(layer(inputs)[0])[0]
        grads = tensor_of_shape((count, *out.shape))
        return torch.autograd.grad(out, [x, *layer.parameters()], grads, is_grads_batched=True)

    assert_as_torch(run, theirs, ours)


def without_memory(tensor: Tensor, how: str) -> Tensor:
    """A zero tensor, as torch makes for gradients, or a tensor whose storage was freed, as sharding does."""
    if how == "zero":
        return torch._efficientzerotensor(tensor.shape, dtype=tensor.dtype)
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(0)
    return tensor


@hostile
@given(cell=st.sampled_from(CELLS), what=st.sampled_from(["x", "h", "weight_ih_l0", "weight_hh_l0", "bias_hh_l0"]),
       how=st.sampled_from(["zero", "freed"]), num_layers=st.integers(1, 2), bidirectional=st.booleans(),
       with_grad=st.booleans())  # fmt: skip
def test_tensors_without_memory(
    cell: str, what: str, how: str, num_layers: int, bidirectional: bool, with_grad: bool
) -> None:
    """A zero tensor is as good as zeros, though torch refuses some; a freed one is an error."""
    x, h = tensor_of_shape((4, 2, I)), tensor_of_shape((num_layers * (2 if bidirectional else 1), 2, H))

    def run(layer: torch.nn.RNNBase, how: str) -> Any:
        def replace(name: str, tensor: Tensor) -> Tensor:
            if name != what:
                return tensor
            return torch.zeros_like(tensor) if how == "zeros" else without_memory(tensor, how)

        for name, parameter in layer.named_parameters():
            parameter.data = replace(name, parameter.data)
        state = replace("h", h)
        with torch.set_grad_enabled(with_grad):
            return layer(replace("x", x), (state, state) if cell == "lstm" else state)

    theirs, ours = pair(cell, num_layers, bidirectional)
    actual, expected = outcome(lambda: run(ours, how)), outcome(lambda: run(theirs, "zeros"))
    if how == "freed":
        assert isinstance(actual, RuntimeError)
        return
    assert not isinstance(actual, Exception)
    assert not isinstance(expected, Exception)
    for a, b in zip(actual, expected, strict=True):
        assert_same("result", a, b, F64)


@hostile
@given(cell=st.sampled_from(CELLS), what=st.sampled_from(["x", "weight_hh_l0", "weight_ih_l0", "out", "grad"]),
       how=st.sampled_from(["zero", "freed"]), num_layers=st.integers(1, 2))  # fmt: skip
def test_tensors_without_memory_in_the_backward_pass(cell: str, what: str, how: str, num_layers: int) -> None:
    theirs, ours = pair(cell, num_layers)

    def run(layer: torch.nn.RNNBase) -> Any:
        x = tensor_of_shape((4, 2, I)).requires_grad_()
        out = layer(x)[0]
        grad = tensor_of_shape((4, 2, H))
        replaced = {"x": x, "out": out}.get(what, getattr(layer, what, None))
        if what == "grad":
            grad = without_memory(grad, how)
        elif how == "freed":
            replaced.untyped_storage().resize_(0)
        return torch.autograd.grad(out, [x, *layer.parameters()], grad)

    if what == "out" and how == "freed":
        outcome(lambda: run(ours))  # torch reads what a step kept, not the output
    else:
        assert_as_torch(run, theirs, ours)


ids_or_vectors = st.one_of(
    st.integers(-2, 8), st.booleans(), st.tuples(shapes, dtypes, st.sampled_from(["", "zero", "freed", "strided"]))
)


def step_input(drawn: Any) -> Any:
    """An id, or a tensor, possibly one that has no memory or is not contiguous."""
    if isinstance(drawn, int):
        return drawn
    shape, dtype, how = drawn
    tensor = tensor_of_shape(shape, dtype)
    if how == "strided":
        return tensor.expand(2, *shape).transpose(0, -1)[..., 0]
    return without_memory(tensor, how) if how else tensor


@hostile
@given(cell=st.sampled_from(CELLS), inputs=st.lists(ids_or_vectors, min_size=1, max_size=3), by_id=st.booleans(),
       num_layers=st.integers(1, 2))  # fmt: skip
def test_steps_return_the_result_of_the_layer_or_an_error(
    cell: str, inputs: list[Any], by_id: bool, num_layers: int
) -> None:
    _, ours = pair(cell, num_layers)
    weights = [p.detach() for p in ours.parameters()]
    table = ops.one_hot_table(weights[0]) if by_id else None
    stepper = ops.SequenceStepper(weights, ops.LayerSpec(cell, num_layers), table)
    read: list[Tensor] = []
    for drawn in inputs:
        x = step_input(drawn)
        result = outcome(lambda x=x: stepper.step(x))
        if isinstance(result, Exception):
            continue
        read.append(torch.eye(I, dtype=F64)[x] if by_id else x)
        assert_same("step", result[0], ours(torch.stack(read)[:, None])[0][-1, 0].detach(), F64)


slots = st.lists(st.one_of(st.integers(-1, 5), st.booleans()), max_size=4)


@hostile
@given(cell=st.sampled_from(CELLS), chosen=slots, ids=slots, h=shapes, how=st.sampled_from(["", "zero", "freed"]),
       dtype=dtypes, fits=st.booleans())  # fmt: skip
def test_steps_of_many_sequences(
    cell: str, chosen: list[int], ids: list[int], h: tuple[int, ...], how: str, dtype: torch.dtype, fits: bool
) -> None:
    """What does not fit is an error, and no state has changed then."""
    _, ours = pair(cell)
    weights = [p.detach() for p in ours.parameters()]
    stepper = ops.BatchStepper(weights, ops.LayerSpec(cell), ops.one_hot_table(weights[0]))
    state = torch.zeros(4, 1, H, dtype=F64) if fits else tensor_of_shape(h, dtype)
    state = without_memory(state, how) if how else state
    before = state.clone() if not how else state
    result = outcome(lambda: stepper.step(chosen, ids, state, state.clone() if cell == "lstm" and not how else None)[0])
    indices = [*chosen, *ids]
    valid = fits and not how and len(chosen) == len(ids) > 0 and len(set(chosen)) == len(chosen)
    valid = valid and all(type(i) is int for i in indices) and all(0 <= i < 4 for i in chosen)
    if valid and all(0 <= i < I for i in ids):
        assert not isinstance(result, Exception)
        x = torch.eye(I, dtype=F64)[torch.tensor(ids)][None]
        assert_same("step", result[0], ours(x)[0][0].detach(), F64)
    else:
        assert isinstance(result, Exception)
        assert how or torch.equal(state, before)
