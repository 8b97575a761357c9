"""The registered operators of the vector machine against `run_step`."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from user_cells import PlainGRU

from ohlol.cells.step_text import write_step
from ohlol.nn.cell_interface import find_interface, weights_of
from ohlol.nn.cell_step import read_cell
from ohlol.ops import run_step_operator
from ohlol.ops.step_recurrence import CompiledStep, PackedRows, run_step

F64 = torch.float64
ROWS = [
    PackedRows(4, 3, 12, None),
    PackedRows(4, 3, 12, None, True),
    PackedRows(3, 3, 6, torch.tensor([3, 2, 1])),
]
Directions = list[tuple[CompiledStep, dict[str, Tensor]]]


class OutputFromInput(torch.nn.Module):
    """A cell whose output does not depend on the state, so that its step does not compute it."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.state_sizes = input_size, hidden_size
        self.cell = PlainGRU(input_size, hidden_size)
        self.out = torch.nn.Linear(input_size, 2)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.out(x), self.cell(x, h)


class DoubledInput(PlainGRU):
    """A cell that computes something of the input, a tensor of its own."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return super().forward(2.0 * torch.cumsum(x, -1), h)


def read(cell: torch.nn.Module) -> tuple[CompiledStep, dict[str, Tensor]]:
    cell = cell.double()
    return read_cell(cell, find_interface(cell, 3), 3, F64), weights_of(cell)


@pytest.fixture(params=["one", "two", "without output", "own inputs"])
def directions(request: Any) -> Directions:
    torch.manual_seed(0)
    kind = {"without output": OutputFromInput, "own inputs": DoubledInput}.get(request.param, PlainGRU)
    return [read(kind(3, 5)) for _ in range(1 if request.param == "one" else 2)]


@pytest.fixture
def step() -> CompiledStep:
    torch.manual_seed(0)
    return read(PlainGRU(3, 5))[0]


def run_operator(directions: Directions, x: Tensor, states: Any, rows: PackedRows, **options: bool) -> Any:
    steps, weights = zip(*directions, strict=True)
    return run_step_operator(steps, weights, x, states, rows, **options)


def run_each(directions: Directions, x: Tensor, states: Any, rows: PackedRows) -> Any:
    """The same by `run_step`."""
    ways = rows, rows._replace(reverse=not rows.reverse)
    calls = [run_step(*call, x, state, way) for call, state, way in zip(directions, states, ways, strict=False)]
    return torch.cat([out for out, _ in calls], 1), [final for _, final in calls]


def results(run: Any, leaves: list[Tensor]) -> list[Tensor]:
    """What a call returns, and first and second gradients."""
    out, final = run()
    final = [state for own in final for state in own]
    loss = out.square().sum() + sum(f.square().sum() for f in final)
    first = torch.autograd.grad(loss, leaves, create_graph=True)
    again = torch.autograd.grad(loss, leaves, retain_graph=True)
    return [out, *final, *again, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("save", [False, True])
@pytest.mark.parametrize("rows", ROWS)
def test_results_and_gradients(directions: Directions, rows: PackedRows, save: bool, ahead: bool) -> None:
    x = torch.randn(rows.S, 3, dtype=F64, requires_grad=True)
    states = [(torch.randn(3, 5, dtype=F64, requires_grad=True),) for _ in directions]
    leaves = [x, *(h for (h,) in states), *(w for _, weights in directions for w in weights.values())]
    found = [
        results(lambda: run_operator(directions, x, states, rows, ahead=ahead, save=save), leaves),
        results(lambda: run_each(directions, x, states, rows), leaves),
    ]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_directions_are_one_call(directions: Directions) -> None:
    """Unless each has inputs of its own, or an output that torch computes."""
    x = torch.randn(12, 3, dtype=F64)
    traced = make_fx(lambda x: run_operator(directions, x, [None] * len(directions), ROWS[0], ahead=False, save=True))(
        x
    )
    calls = [node for node in traced.graph.nodes if node.target is torch.ops.ohlol.step_recurrence_forward.default]
    has_own = any(not step.graph.out or step.graph.input_operations for step, _ in directions)
    assert len(calls) == (2 if has_own else 1)


@pytest.mark.parametrize("batched", ["x", "weights"])
@pytest.mark.parametrize("rows", ROWS)
def test_vmap(directions: Directions, rows: PackedRows, batched: str) -> None:
    x = torch.randn(*((4,) if batched == "x" else ()), rows.S, 3, dtype=F64, requires_grad=True)
    steps = [step for step, _ in directions]
    one = [weights for _, weights in directions]
    many = [{n: torch.randn(4, *w.shape, dtype=F64, requires_grad=True) for n, w in own.items()} for own in one]
    weights = one if batched == "x" else many

    def run(x: Tensor, weights: list[dict[str, Tensor]]) -> list[Tensor]:
        paired = list(zip(steps, weights, strict=True))
        out, final = run_operator(paired, x, [None] * len(steps), rows, ahead=False, save=True)
        return [out, *(h for own in final for h in own)]

    together = torch.vmap(run, in_dims=(0, None) if batched == "x" else (None, 0))(x, weights)
    alone = [
        run(x[n], weights) if batched == "x" else run(x, [{name: w[n] for name, w in own.items()} for own in weights])
        for n in range(4)
    ]
    stacked = [torch.stack(parts) for parts in zip(*alone, strict=True)]
    leaves = [x, *(w for own in weights for w in own.values())]
    grads = [torch.autograd.grad(sum(r.square().sum() for r in each), leaves) for each in (together, stacked)]
    for a, b in zip((*together, *grads[0]), (*stacked, *grads[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2])
def test_torch_finds_no_fault(step: CompiledStep, count: int) -> None:
    tensors = [tensor.requires_grad_() for tensor in _tensors(step, count)]
    texts = [write_step(step.graph)] * count
    arguments = (tensors, None, texts, 4, 3, 12, False, False, [True] * len(tensors))
    torch.library.opcheck(torch.ops.ohlol.step_recurrence.default, arguments)
    plain = [t.detach() for t in tensors]
    torch.library.opcheck(torch.ops.ohlol.step_recurrence_forward.default, (plain, *arguments[1:]))
    results = torch.ops.ohlol.step_recurrence_forward(plain, *arguments[1:])
    results, kept = results[:-count], results[-count:]
    torch.library.opcheck(torch.ops.ohlol.step_recurrence_backward.default, (results, plain, kept, *arguments[1:]))


def _tensors(step: CompiledStep, count: int) -> list[Tensor]:
    graph = step.graph
    inputs = [(12, leaf.width) for leaf in graph.inputs]
    own = [
        *((leaf.width,) for leaf in graph.vectors),
        *((m.width, m.rows) if m.transposed else (m.rows, m.width) for m in graph.matrices),
        *((3, width) for width in graph.state_widths),
    ]
    return [torch.randn(shape, dtype=F64) for shape in inputs + own * count]


def test_wrong_tensors_are_refused(step: CompiledStep) -> None:
    tensors = _tensors(step, 1)
    text = write_step(step.graph)

    def run(tensors: list[Tensor], T: int = 4, B: int = 3, S: int = 12, sizes: Any = None, count: int = 1) -> Any:
        return torch.ops.ohlol.step_recurrence(tensors, sizes, [text] * count, T, B, S, False, False, [])

    assert len(run(tensors)) == bool(step.out_width) + 1
    for arguments, message in (
        (([tensors[0][1:], *tensors[1:]],), "the tensors have shapes"),
        ((tensors[:-1],), "the tensors have shapes"),
        (([*tensors, tensors[-1]],), "the tensors have shapes"),
        ((tensors, 4, 3, 12, None, 2), "the tensors have shapes"),
        ((tensors, 4, 3, 12, None, 3), "one step, or two"),
        (([t.half() for t in tensors],), "the kernels support float32 and float64"),
        (([tensors[0].float(), *tensors[1:]],), "dtype"),
        ((tensors, 5), "5 steps of 3 sequences do not have 12 rows"),
        ((tensors, 4, 3, 12, torch.tensor([3, 3, 3, 2])), "do not have 12 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            run(*arguments)
