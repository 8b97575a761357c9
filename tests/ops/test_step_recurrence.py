"""Steps drawn at random, in the kernels and with torch."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_steps import I, step_of, trees
from torch import Tensor

from ohlol import ops
from ohlol.cells.step_graph import build_step_graph
from ohlol.cells.step_trace import trace_step
from ohlol.ops import backend
from ohlol.ops.step_recurrence import CompiledStep, PackedRows, run_step, torch_step_recurrence

pytestmark = pytest.mark.skipif(not ops.available(), reason=backend.ABSENT)
F64 = torch.float64
MAX_ROWS = 4


batch_sizes = st.lists(st.integers(1, MAX_ROWS), min_size=1, max_size=3).map(lambda s: sorted(s, reverse=True))


@pytest.mark.slow
@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree_h=trees, tree_c=trees, H=st.sampled_from([1, 2, 5, 8, 17]), reverse=st.booleans(), sizes=batch_sizes)
def test_steps_drawn_at_random(tree_h: Any, tree_c: Any, H: int, reverse: bool, sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=F64).requires_grad_()

    weights = {"P": draw(I, H + 2), "U": draw(I, H), "W": draw(H, H), "b": draw(H), "s": draw()}
    trace = trace_step(step_of(tree_h, tree_c), weights, I, [H, H], F64)
    graph = build_step_graph(trace, trace.result[0], trace.result)
    compiled = CompiledStep(graph, F64)
    x, states = draw(sum(sizes), I), [draw(sizes[0], H), draw(sizes[0], H)]
    rows = PackedRows(len(sizes), sizes[0], sum(sizes), torch.tensor(sizes), reverse)
    backend.fill_with_nan(True)
    try:
        out, final = run_step(compiled, weights, x, states, rows)
        results = [out, *final]
        cotangents = [torch.randn(r.shape, generator=generator, dtype=F64) for r in results]
        leaves = [*weights.values(), x, *states]
        ours = gradients(results, leaves, cotangents)
    finally:
        backend.fill_with_nan(False)
    expected = run_with_torch(step_of(tree_h, tree_c), weights, x, states, sizes, reverse)
    for a, b in zip(results, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for a, b in zip(ours, gradients(expected, leaves, cotangents), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


def gradients(results: list[Tensor], leaves: list[Tensor], cotangents: list[Tensor]) -> list[Tensor]:
    pairs = [(r, c) for r, c in zip(results, cotangents, strict=True) if r.requires_grad]
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in leaves]
    grads = torch.autograd.grad([r for r, _ in pairs], leaves, [c for _, c in pairs], allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(grads, leaves, strict=True)]


def run_with_torch(
    step: Any, weights: dict[str, Tensor], x: Tensor, states: list[Tensor], sizes: list[int], reverse: bool
) -> list[Tensor]:
    """One sequence after the other."""
    starts = [sum(sizes[:t]) for t in range(len(sizes))]
    outs: dict[int, Tensor] = {}
    finals = []
    for b in range(sizes[0]):
        current = tuple(s[b : b + 1] for s in states)
        rows = [starts[t] + b for t in range(len(sizes)) if sizes[t] > b]
        for row in reversed(rows) if reverse else rows:
            current = step(weights, x[row : row + 1], current)
            outs[row] = current[0]
        finals.append(current)
    return [torch.cat([outs[row] for row in range(len(x))]), *map(torch.cat, zip(*finals, strict=True))]


def test_the_kernels_and_torch_compute_the_same_graph() -> None:
    torch.manual_seed(0)
    weights = {
        "P": torch.randn(I, 7),
        "U": torch.randn(I, 5),
        "W": torch.randn(5, 5),
        "b": torch.randn(5),
        "s": torch.ones(()),
    }
    tree = ("mul", ("sigmoid", ("add", ("hW",), ("xW",))), ("tanh", ("c",)))
    trace = trace_step(step_of(tree, tree), weights, I, [5, 5], torch.float32)
    graph = build_step_graph(trace, trace.result[0], trace.result)
    rows = PackedRows(3, 2, 6, None)
    x, states = torch.randn(6, I), [torch.randn(2, 5) for _ in range(2)]
    matrices = [weights[trace.weights[leaf.value]] for leaf in graph.matrices]
    step = CompiledStep(graph, torch.float32)
    expected = torch_step_recurrence(step, rows, [x, *matrices, *states])
    out, final = run_step(step, weights, x, states, rows)
    for a, b in zip((out, *final), expected, strict=True):
        torch.testing.assert_close(a, b)
