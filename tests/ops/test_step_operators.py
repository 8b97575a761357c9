"""The registered operators of the vector machine against `run_step`."""

from typing import Any

import pytest
import torch
from torch import Tensor
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


@pytest.fixture
def step() -> tuple[CompiledStep, dict[str, Tensor]]:
    torch.manual_seed(0)
    cell = PlainGRU(3, 5).double()
    return read_cell(cell, find_interface(cell, 3), 3, F64), weights_of(cell)


def results(run: Any, leaves: list[Tensor]) -> list[Tensor]:
    """What a call returns, and first and second gradients."""
    out, final = run()
    loss = out.square().sum() + sum(f.square().sum() for f in final)
    first = torch.autograd.grad(loss, leaves, create_graph=True)
    again = torch.autograd.grad(loss, leaves, retain_graph=True)
    return [out, *final, *again, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("save", [False, True])
@pytest.mark.parametrize("rows", ROWS)
def test_results_and_gradients(step: Any, rows: PackedRows, save: bool, ahead: bool) -> None:
    compiled, weights = step
    x = torch.randn(rows.S, 3, dtype=F64, requires_grad=True)
    state = (torch.randn(3, 5, dtype=F64, requires_grad=True),)
    leaves = [x, *state, *weights.values()]
    found = [
        results(lambda: run_step_operator(compiled, weights, x, state, rows, ahead=ahead, save=save), leaves),
        results(lambda: run_step(compiled, weights, x, state, rows), leaves),
    ]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batched", ["x", "weights"])
@pytest.mark.parametrize("rows", ROWS)
def test_vmap(step: Any, rows: PackedRows, batched: str) -> None:
    compiled, weights = step
    x = torch.randn(*((4,) if batched == "x" else ()), rows.S, 3, dtype=F64, requires_grad=True)
    many = {n: torch.randn(4, *w.shape, dtype=F64, requires_grad=True) for n, w in weights.items()}
    weights = weights if batched == "x" else many

    def run(x: Tensor, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        out, (h,) = run_step_operator(compiled, weights, x, None, rows, ahead=False, save=True)
        return out, h

    together = torch.vmap(run, in_dims=(0, None) if batched == "x" else (None, 0))(x, weights)
    alone = [
        run(x[n], weights) if batched == "x" else run(x, {name: w[n] for name, w in weights.items()}) for n in range(4)
    ]
    stacked = [torch.stack(parts) for parts in zip(*alone, strict=True)]
    leaves = [x, *weights.values()]
    grads = [torch.autograd.grad(sum(r.square().sum() for r in each), leaves) for each in (together, stacked)]
    for a, b in zip((*together, *grads[0]), (*stacked, *grads[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_torch_finds_no_fault(step: Any) -> None:
    compiled, _ = step
    tensors = [torch.randn(shape, dtype=F64, requires_grad=True) for shape in _shapes(compiled)]
    arguments = (tensors, None, write_step(compiled.graph), 4, 3, 12, False, False, [True] * len(tensors))
    torch.library.opcheck(torch.ops.ohlol.step_recurrence.default, arguments)
    plain = [t.detach() for t in tensors]
    torch.library.opcheck(torch.ops.ohlol.step_recurrence_forward.default, (plain, *arguments[1:]))
    *results, kept = torch.ops.ohlol.step_recurrence_forward(plain, *arguments[1:])
    torch.library.opcheck(torch.ops.ohlol.step_recurrence_backward.default, (results, plain, kept, *arguments[1:]))


def _shapes(step: CompiledStep) -> list[tuple[int, ...]]:
    graph = step.graph
    matrices = [(m.width, m.rows) if m.transposed else (m.rows, m.width) for m in graph.matrices]
    return [
        *((12, leaf.width) for leaf in graph.inputs),
        *((leaf.width,) for leaf in graph.vectors),
        *matrices,
        *((3, width) for width in graph.state_widths),
    ]


def test_wrong_tensors_are_refused(step: Any) -> None:
    compiled, _ = step
    tensors = [torch.randn(shape, dtype=F64) for shape in _shapes(compiled)]
    text = write_step(compiled.graph)

    def run(tensors: list[Tensor], T: int = 4, B: int = 3, S: int = 12, sizes: Any = None) -> Any:
        return torch.ops.ohlol.step_recurrence(tensors, sizes, text, T, B, S, False, False, [])

    assert len(run(tensors)) == bool(compiled.out_width) + 1
    for arguments, message in (
        (([tensors[0][1:], *tensors[1:]],), "the tensors have shapes"),
        (([t.half() for t in tensors],), "the kernels support float32 and float64"),
        (([tensors[0].float(), *tensors[1:]],), "dtype"),
        ((tensors, 5), "5 steps of 3 sequences do not have 12 rows"),
        ((tensors, 4, 3, 12, torch.tensor([3, 3, 3, 2])), "do not have 12 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            run(*arguments)
