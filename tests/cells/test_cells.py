"""The equations against torch.nn in float64: outputs, final states and every gradient."""

import doctest
import importlib
from dataclasses import replace
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from ohlol import cells
from ohlol.cells import Weights
from ohlol.explain.equivalence import matrix_products

TOLERANCE = 1e-12
KINDS = [name for name, spec in cells.CELLS.items() if spec.step is not None]
SIZES = [(1, 1, 1, 1), (3, 1, 4, 2), (5, 3, 1, 7), (7, 2, 9, 1), (11, 5, 3, 13)]  # T, B, I, H
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def torch_module(kind: str, I: int, H: int, *, bias: bool, layer: bool) -> torch.nn.Module:
    spec = cells.CELLS[kind]
    module: Any = spec.torch_layer if layer else spec.torch_cell
    torch.manual_seed(7)
    return module(I, H, bias=bias, dtype=torch.float64, **spec.torch_options)


def weights_of(module: torch.nn.Module, *, suffix: str = "") -> Weights:
    """Copies of the weights, so that the gradients of the two implementations are separate."""
    found = (getattr(module, name + suffix, None) for name in PARAMETERS)
    return Weights(*(None if p is None else p.detach().clone().requires_grad_() for p in found))


def leaves(*shape: int, count: int) -> tuple[Tensor, ...]:
    return tuple(torch.randn(*shape, dtype=torch.float64, requires_grad=True) for _ in range(count))


def copies(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(t.detach().clone().requires_grad_() for t in tensors)


def states_of(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def argument(state: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    return state if len(state) > 1 else state[0]


def assert_same(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=TOLERANCE, atol=TOLERANCE)


def gradients(results: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The gradients of a random linear combination of all results."""
    generator = torch.Generator().manual_seed(11)
    total = sum((r * torch.randn(r.shape, dtype=r.dtype, generator=generator)).sum() for r in results)
    return torch.autograd.grad(total, inputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_step_equals_torch_cell(kind: str, sizes: tuple[int, int, int, int], bias: bool) -> None:
    _, B, I, H = sizes
    module = torch_module(kind, I, H, bias=bias, layer=False)
    weights = weights_of(module)
    (x,) = leaves(B, I, count=1)
    state = leaves(B, H, count=len(cells.CELLS[kind].states))
    x_, state_ = x.detach().clone().requires_grad_(), copies(state)

    ours = cells.CELLS[kind].step(x, state=state, weights=weights)
    theirs = states_of(module(x_, argument(state_)))
    assert_same(ours, theirs)
    given = tuple(w for w in weights if w is not None)
    assert len(given) == len(list(module.parameters()))
    assert_same(
        gradients(ours, (x, *state, *given)),
        gradients(theirs, (x_, *state_, *module.parameters())),
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_unroll_equals_torch_layer(kind: str, sizes: tuple[int, int, int, int], bias: bool) -> None:
    T, B, I, H = sizes
    module = torch_module(kind, I, H, bias=bias, layer=True)
    weights = weights_of(module, suffix="_l0")
    (x,) = leaves(T, B, I, count=1)
    state = leaves(B, H, count=len(cells.CELLS[kind].states))
    x_, state_ = x.detach().clone().requires_grad_(), copies(state)

    output, last = cells.unroll(kind, x, state=state, weights=weights)
    output_, last_ = module(x_, argument(tuple(s.unsqueeze(0) for s in state_)))
    last_ = tuple(s.squeeze(0) for s in states_of(last_))
    assert_same((output, *last), (output_, *last_))
    given = tuple(w for w in weights if w is not None)
    assert_same(
        gradients((output, *last), (x, *state, *given)),
        gradients((output_, *last_), (x_, *state_, *module.parameters())),
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "rnn_relu"])  # relu has no derivative at 0
def test_gradcheck(kind: str, bias: bool) -> None:
    T, B, I, H = 3, 2, 3, 2
    weights = weights_of(torch_module(kind, I, H, bias=bias, layer=False))
    given = tuple(w for w in weights if w is not None)
    count = len(cells.CELLS[kind].states)

    def function(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        output, last = cells.unroll(kind, x, state=rest[:count], weights=Weights(*rest[count:]))
        return output, *last

    (x,) = leaves(T, B, I, count=1)
    assert torch.autograd.gradcheck(function, (x, *leaves(B, H, count=count), *given))


@pytest.mark.parametrize("kind", KINDS)
def test_zero_steps_keep_the_state(kind: str) -> None:
    weights = weights_of(torch_module(kind, 4, 2, bias=True, layer=False))
    state = leaves(3, 2, count=len(cells.CELLS[kind].states))
    output, last = cells.unroll(kind, torch.zeros(0, 3, 4, dtype=torch.float64), state=state, weights=weights)
    assert output.shape == (0, 3, 2)
    assert last is state


@pytest.mark.parametrize("kind", KINDS)
def test_table_agrees_with_the_weights(kind: str) -> None:
    cell, H = cells.CELLS[kind], 5
    module = torch_module(kind, 3, H, bias=True, layer=False)
    assert module.weight_ih.shape[0] == len(cell.gates) * H
    text = " ".join(cell.equation)
    for gate in cell.gates:
        assert all(f"{name}{gate.symbol}" in text for name in ("W_i", "W_h", "b_i", "b_h"))


def test_unknown_cell() -> None:
    with pytest.raises(KeyError):
        cells.unroll("elman", torch.zeros(1, 1, 1), state=(), weights=Weights(torch.zeros(1, 1), torch.zeros(1, 1)))


def test_shapes_are_checked_while_tests_run() -> None:
    weights = Weights(torch.zeros(2, 4), torch.zeros(2, 2))
    with pytest.raises(jaxtyping.TypeCheckError):
        cells.CELLS["rnn"].step(torch.zeros(3, 1, 4), state=(torch.zeros(1, 2),), weights=weights)


@pytest.mark.parametrize("kind", KINDS)
def test_equation_is_the_step_function(kind: str) -> None:
    spec, (T, B, I, H) = cells.CELLS[kind], (3, 2, 4, 5)
    weights = weights_of(torch_module(kind, I, H, bias=True, layer=False))
    x = torch.randn(T, B, I, dtype=torch.float64)
    output, last = matrix_products(spec, x, weights)
    state = tuple(torch.zeros(B, H, dtype=torch.float64) for _ in spec.states)
    output_, last_ = cells.unroll(kind, x, state=state, weights=weights)
    assert_same((output, *last), (output_, *last_))


@pytest.mark.parametrize("kind", KINDS)
def test_gates_have_the_activations_of_the_equation(kind: str) -> None:
    spec = cells.CELLS[kind]
    assert len(spec.equation) >= max(len(spec.gates), len(spec.states))
    for gate, line in zip(spec.gates, spec.equation, strict=False):
        assert f"= {gate.activation}(" in line
        assert (f"{gate.reset_by} * (W_h{gate.symbol} h" in line) is (gate.reset_by is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bounded_state_stays_within_its_bounds(kind: str) -> None:
    spec, H = cells.CELLS[kind], 4
    weights = Weights(*(20 * torch.randn(len(spec.gates) * H, H) for _ in range(2)))
    state = tuple(torch.zeros(2, H) for _ in spec.states)
    output, _ = cells.unroll(kind, 5 * torch.randn(30, 2, H), state=state, weights=weights)
    assert bool(output.abs().max() <= 1) is spec.bounded


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="registered already"):
        cells.register(replace(cells.CELLS["gru"]))
    assert cells.register(cells.CELLS["gru"]) is cells.CELLS["gru"]


def test_docstrings() -> None:
    result = doctest.testmod(importlib.import_module("ohlol.cells.unroll"))
    assert result.attempted > 0
    assert result.failed == 0
