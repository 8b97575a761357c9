"""`Recurrent` with bf16 and int8 weights against the cell itself, whose products with weights are replaced by those of
`ohlol.ops.reduced_equations`.

In int8 a rounding of float32 may move a hidden state to the next integer, after which two right results differ by more
than roundings. So each step of the cell starts from the states that the kernels have computed before it.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peer_cells import PEER_CELLS, peer_layer
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode
from user_cells import KERNEL_CELLS, PlainGRU, PlainLSTM

from ohlol import cells, nn, ops
from ohlol.ops import backend
from ohlol.ops.reduced_equations import reduced_linear

from .helpers import VARIANTS_AND_THREADS
from .tolerances import REDUCED, assert_same

PRECISIONS = ("bf16", "int8")
SIZES = ((1, 1, 1), (3, 3, 257), (17, 7, 100), (64, 1, 64), (100, 32, 17), (257, 2, 3))
"""H, B and I."""
OWN_CELLS = tuple(name for name, spec in cells.CELLS.items() if spec.kernel is None)
CHANGES_ORDER = ("indrnn",)
"""Cells in which a product of the input is a term of a multiply-add: that of one step has one rounding less."""


class ReducedProducts(TorchDispatchMode):
    """Every product with a matrix has a reduced precision; one with a concatenation is one for each of its parts."""

    def __init__(self, precision: str):
        super().__init__()
        self.precision, self.parts = precision, dict[int, list[Tensor]]()
        self.kept: list[Tensor] = []

    def multiply(self, x: Tensor, W: Tensor) -> Tensor:
        total, at = None, 0
        for part in self.parts.get(id(x), [x]):
            product = reduced_linear(part, W[at : at + part.size(1)].t(), self.precision)
            total = product if total is None else total + product
            at += part.size(1)
        assert total is not None
        return total

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name
        if name == "aten::mm":
            return self.multiply(*args)
        if name == "aten::addmm":
            assert not kwargs
            return args[0] + self.multiply(args[1], args[2])
        result = function(*args, **(kwargs or {}))
        if name == "aten::cat":
            self.parts[id(result)] = args[0]
            self.kept.append(result)
        return result


def _as_tuple(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


@torch.no_grad()
def _check_steps(layer: nn.Recurrent, x: Tensor, precision: str) -> None:
    """Compare steps of a layer of one cell, from random states on, with the cell."""
    backend_name = nn.explain_backend(layer, x)
    assert backend_name == f"kernel ({ops.selected()}, {precision})"
    cell, interface = layer.cells[0], layer.interface
    state: Any = interface.pack([0.5 * torch.rand(1, x.size(1), size) for size in interface.state_sizes])
    for x_t in x:
        with ReducedProducts(precision):
            expected, after = interface.unpack(cell(x_t, interface.pack([s[0] for s in _as_tuple(state)])))
        out, state = layer(x_t[None], state)
        assert_same("output", out[0], expected, torch.float32)
        for ours, theirs in zip(_as_tuple(state), after, strict=True):
            assert_same("state", ours[0], theirs, torch.float32)


def _layer(name: str, inputs: int, H: int, precision: str) -> nn.Recurrent:
    cell_class, sizes = KERNEL_CELLS[name]
    layer = nn.Recurrent(cell_class(inputs, H), state_sizes=sizes(H))
    nn.quantize(layer, precision)
    return layer


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", KERNEL_CELLS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_steps_are_those_of_the_cell(every_variant: str, precision: str, name: str, size: tuple[int, int, int]) -> None:
    H, B, inputs = size
    _check_steps(_layer(name, inputs, H, precision), torch.randn(2, B, inputs), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", OWN_CELLS)
def test_steps_are_those_of_the_cells_of_the_package(precision: str, name: str) -> None:
    layer = nn.Recurrent(nn.make_cell(cells.CELLS[name], 9, 19), input_size=9)
    nn.quantize(layer, precision)
    _check_steps(layer, torch.randn(3, 5, 9), precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", PEER_CELLS)
def test_steps_are_those_of_peer_cells(precision: str, name: str) -> None:
    layer = peer_layer(name, 17, torch.float32)
    nn.quantize(layer, precision)
    _check_steps(layer, torch.randn(3, 5, 17), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", KERNEL_CELLS)
@pytest.mark.parametrize(("variant", "threads"), VARIANTS_AND_THREADS, indirect=["variant"])
@torch.no_grad()
def test_layouts_and_threads_give_the_results_of_single_steps(
    variant: str, threads: int, precision: str, name: str, threaded: None
) -> None:
    """Dense, packed, reversed and batch-first calls on several threads; in int8 the bits are the same."""
    for H, lengths in ((17, (5, 3, 3, 1)), (65, (4, 4)), (33, (3,) * 7 + (2,) * 44)):
        layer = _layer(name, 19, H, precision)
        x = torch.randn(lengths[0], len(lengths), 19)
        outputs: list[Tensor] = []
        state: Any = None
        for x_t in x:
            out, state = layer(x_t[None], state)
            outputs.append(out)
        alone = torch.cat(outputs)
        torch.set_num_threads(threads)
        packed = layer(pack_padded_sequence(x, torch.tensor(lengths)))[0]
        ragged, sizes = packed.data, packed.batch_sizes.tolist()
        dense, final = layer(x)
        layer.batch_first = True
        by_batch = layer(x.transpose(0, 1))[0].transpose(0, 1)
        layer.batch_first = False
        one = layer(x[:, :1])[0]
        torch.set_num_threads(1)
        pairs = [(dense, alone), (by_batch, alone), (one, alone[:, :1])]
        pairs += [(ragged, torch.cat([alone[t, :n] for t, n in enumerate(sizes)]))]
        pairs += list(zip(_as_tuple(final), _as_tuple(state), strict=True))
        for ours, theirs in pairs:
            assert_same(f"{name} {H}", ours, theirs, torch.float32)
            assert precision != "int8" or name in CHANGES_ORDER or torch.equal(ours, theirs)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["lstm", "two_widths"])
@torch.no_grad()
def test_a_stack_in_both_directions_is_its_cells_one_by_one(precision: str, name: str) -> None:
    cell_class, sizes = KERNEL_CELLS[name]
    stack = nn.Recurrent(
        lambda size: cell_class(size, 20), 2, bidirectional=True, input_size=9, state_sizes=sizes(20)
    )  # fmt: skip
    nn.quantize(stack, precision)
    x = torch.randn(6, 3, 9)
    states = [torch.rand(4, 3, size) for size in stack.interface.state_sizes]
    out, final = stack(x, tuple(states))
    ends: list[Sequence[Tensor]] = []
    for k in range(2):
        outputs: list[Tensor] = []
        for d in range(2):
            single = nn.Recurrent(stack.cells[2 * k + d], state_sizes=sizes(20))
            nn.quantize(single, precision)
            own = tuple(s[2 * k + d : 2 * k + d + 1] for s in states)
            one, end = single(x.flip(0) if d else x, own)
            outputs.append(one.flip(0) if d else one)
            ends.append(end)
        x = torch.cat(outputs, 2)
    assert_same("output", out, x, torch.float32)
    for i, state in enumerate(final):
        assert_same("state", state, torch.cat([end[i] for end in ends]), torch.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["lstm", "gru"])
@torch.no_grad()
def test_the_equations_of_torch_equal_the_built_in_layers(every_variant: str, precision: str, name: str) -> None:
    """A user's LSTM and GRU compute what the layers with kernels of their own do."""
    cell = {"lstm": PlainLSTM, "gru": PlainGRU}[name](9, 33)
    ours = nn.quantize(nn.Recurrent(cell, state_sizes=(33, 33) if name == "lstm" else 33), precision)
    built_in = {"lstm": nn.LSTM, "gru": nn.GRU}[name](9, 33)
    names = {"weight_ih_l0": "ih.weight", "weight_hh_l0": "hh.weight", "bias_ih_l0": "ih.bias", "bias_hh_l0": "hh.bias"}
    built_in.load_state_dict({name: cell.state_dict()[other] for name, other in names.items()})
    nn.quantize(built_in, precision)
    state: Any = None
    for x_t in torch.randn(4, 1, 5, 9):
        out = ours(x_t, state)[0]
        expected, state = built_in(x_t, state)
        assert_same("output", out, expected, torch.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["lstm", "gru"])
@torch.no_grad()
def test_the_distance_from_float32_is_bounded(precision: str, name: str) -> None:
    for T, B, H in ((50, 7, 64), (2, 32, 256), (2, 1, 512)):
        cell_class, sizes = KERNEL_CELLS[name]
        layer, x = nn.Recurrent(cell_class(H, H), state_sizes=sizes(H)), torch.randn(T, B, H)
        exact = layer(x)[0]
        reduced = nn.quantize(layer, precision)(x)[0]
        assert float((reduced - exact).abs().max()) <= REDUCED[precision] * max(1.0, float(exact.abs().max()))
        assert not torch.equal(reduced, exact)


@pytest.mark.parametrize("precision", PRECISIONS)
@torch.no_grad()
def test_reduced_products_serve_one_sequence_of_512_units(precision: str) -> None:
    """Three products with the state in each step, and three with the input for all steps at once."""
    assert backend.KERNEL is not None
    layer, x = nn.Recurrent(PlainGRU(512, 512), state_sizes=512), torch.randn(20, 1, 512)
    before = backend.KERNEL.reduced_products()
    layer(x)
    assert backend.KERNEL.reduced_products() == before
    nn.quantize(layer, precision)
    layer(x)
    assert backend.KERNEL.reduced_products() == before + 3 * 20 + 3
    layer(x[:1])
    assert backend.KERNEL.reduced_products() == before + 3 * 20 + 3 + 6


@torch.no_grad()
def test_numbers_that_are_not_finite_make_their_row_nan(every_variant: str) -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        layer, x = _layer("lstm", 5, 9, "int8"), torch.randn(3, 4, 5)
        clean = layer(x)[0]
        x[1, 2, 3] = value
        out = layer(x)[0]
        assert out[1:, 2].isnan().all()
        assert torch.equal(out[:, [0, 1, 3]], clean[:, [0, 1, 3]])
        layer.cells[0].ih.weight[0, 0] = value
        out = layer(torch.randn(1, 4, 5))[0]
        assert out[0, :, 0].isnan().all()
        assert out[0, :, 1:].isfinite().all()
