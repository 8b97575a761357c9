"""Step graphs: their parts, and that their values and gradients are those of torch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ohlol.cells.step_graph import build_step_graph
from ohlol.cells.step_lowering import StepGraph
from ohlol.cells.step_trace import UnsupportedStepError, run_operations, trace_step
from ohlol.cells.step_values import Leaves, evaluate

F64 = torch.float64
I, H = 3, 6
torch.manual_seed(0)
WEIGHTS = {
    "W": torch.randn(H, H, dtype=F64),
    "U": torch.randn(I, H, dtype=F64),
    "V": torch.randn(I + H, 2 * H, dtype=F64),
    "b": torch.randn(H, dtype=F64),
    "s": torch.randn((), dtype=F64),
}


def read(step: Callable[[Any, Tensor, Tensor], Tensor]) -> StepGraph:
    trace = trace_step(lambda w, x, states: step(w, x, states[0]), WEIGHTS, I, [H], F64)
    return build_step_graph(trace, trace.result, [trace.result])


def leaves_of(graph: StepGraph, weights: Any, x: Tensor, h: Tensor) -> Leaves:
    values = {i: weights[name] for i, name in enumerate(graph.trace.weights)}
    values.update(graph.trace.constants)
    values[graph.trace.x] = x
    run_operations(graph.weight_operations, values, len(x))
    run_operations(graph.input_operations, values, len(x))
    return Leaves(
        [values[leaf.value].reshape(len(x), -1) for leaf in graph.inputs],
        [values[leaf.value].reshape(-1) for leaf in graph.vectors],
        [values[leaf.value].t() if leaf.transposed else values[leaf.value] for leaf in graph.matrices],
        [h],
    )


STEPS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "linear": lambda w, x, h: torch.tanh(F.linear(x, w["U"].t(), w["b"]) + h @ w["W"]),
    "concatenated": lambda w, x, h: F.glu(torch.cat([x, h], 1) @ w["V"], 1),
    "addmm": lambda w, x, h: torch.addmm(w["b"], h, w["W"], beta=0.5, alpha=2),
    "activations": lambda w, x, h: (
        F.silu(h) + F.softplus(h) + F.elu(h) + F.hardsigmoid(h) + F.hardswish(h) + F.gelu(h) + F.mish(h)
        + F.gelu(h, approximate="tanh") + F.leaky_relu(h) + F.logsigmoid(h) + F.relu6(h) + F.selu(h) + F.softsign(h)
        + F.tanhshrink(h) + F.relu(h) + F.celu(h, 0.7) + F.hardtanh(h)
    ),
    "functions": lambda w, x, h: (
        h.exp() + h.abs().log() + h.abs().sqrt() + (h * h + 1).rsqrt() + h.sin() * h.cos() + h.erf() + h.sign()
        + h.expm1() + h.abs().log1p() + 1 / (2 + h.square()) + h**3 + h.abs() ** 1.7 + (-h) + (h * h + 1).reciprocal()
    ),
    "arithmetic": lambda w, x, h: torch.add(h, x @ w["U"], alpha=0.3) / (2 + h.abs()) - 3 * h * w["s"] + (1 - h) / 7,
    "comparisons": lambda w, x, h: torch.where(h > 0.1, h, 0.5 * h) + torch.maximum(h, w["b"]) - torch.minimum(
        h, x @ w["U"]) + h.clamp(-0.5, 0.6) + h.clamp(min=0) + (h >= 0) * h + torch.where((h < 1) & (h != 0), h, 0.0),
    "lerp": lambda w, x, h: torch.lerp(h, x @ w["U"], torch.sigmoid(h)) + torch.addcmul(h, h, w["b"], value=0.2),
    "layer_norm": lambda w, x, h: F.layer_norm(h @ w["W"], (H,), w["b"], w["b"]) + F.layer_norm(h, (H,)),
    "rms_norm": lambda w, x, h: F.rms_norm(h @ w["W"], (H,), w["b"]),
    "softmax": lambda w, x, h: F.softmax(h @ w["W"], -1) + F.log_softmax(h, 1),
    "reductions": lambda w, x, h: h * h.mean(1, keepdim=True) + h.sum(-1, keepdim=True) + h.amax(1, keepdim=True)
    + h * h.sum(1).unsqueeze(1),
    "normalize": lambda w, x, h: F.normalize(h) + h / h.square().sum(1, keepdim=True).sqrt(),
    "slices": lambda w, x, h: torch.cat([h[:, 4:] * h[:, :2], h[:, 1:3], (h @ w["W"])[:, -2:]], 1),
    "split_then_whole": lambda w, x, h: F.layer_norm(torch.cat(h.split([2, 4], 1)[::-1], 1), (H,)) * h[:, :1],
    "views_of_weights": lambda w, x, h: h @ w["V"][I:, :H] + h @ w["V"][I:].chunk(2, 1)[1] + w["W"].diagonal() * h,
    "weights_only": lambda w, x, h: h @ torch.linalg.matrix_exp(w["W"] * 0.1) + torch.softmax(w["b"], 0),
    "detached": lambda w, x, h: h.detach() * torch.tanh(h) + x.detach() @ w["U"],
    "input_only": lambda w, x, h: torch.tanh(x @ w["U"]),
    "expanded": lambda w, x, h: h + h[:, :1].expand(-1, H) * (x @ w["U"]).sum(1, keepdim=True).expand(len(x), H),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_values_and_derivatives_are_those_of_torch(name: str) -> None:
    step = STEPS[name]
    graph = read(step)
    generator = torch.Generator().manual_seed(2)
    x, h, g = (torch.randn(4, n, generator=generator, dtype=F64, requires_grad=n != H + 0) for n in (I, H, H))
    h.requires_grad_()
    weights = {n: w.clone().requires_grad_() for n, w in WEIGHTS.items()}
    expected = step(weights, x, h)
    pieces = evaluate(graph.next_states[0], leaves_of(graph, weights, x, h))
    result = torch.cat(pieces, 1)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    leaves = [x, h, *weights.values()]
    ours, theirs = (torch.autograd.grad((r * g).sum(), leaves, allow_unused=True) for r in (result, expected))
    for a, b in zip(ours, theirs, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(*(zero if g is None else g for g in (a, b)), rtol=1e-7, atol=1e-7)


def test_an_lstm_is_four_products_and_no_slice() -> None:
    def step(w: Any, x: Tensor, h: Tensor) -> Tensor:
        a, b = (torch.cat([x, h], 1) @ w["V"]).chunk(2, 1)
        return torch.sigmoid(a) * torch.tanh(b)

    graph = read(step)
    products = [v for v in graph.builder.values if v.op == "matmul"]
    assert [(p.args[0].op, p.width) for p in products] == [("input", H), ("state", H)] * 2
    assert len(graph.matrices) == len(graph.inputs) == 1
    assert not graph.weight_operations
    assert not graph.input_operations


def test_parts_of_weights_are_read_in_place() -> None:
    def step(w: Any, x: Tensor, h: Tensor) -> Tensor:
        return h @ w["W"].t().chunk(2, 1)[1][:, :H] + x @ w["V"].t()[:H, 1 : 1 + I].t() * w["b"]

    wide = {**WEIGHTS, "W": torch.randn(2 * H, H, dtype=F64)}
    trace = trace_step(lambda w, x, states: step(w, x, states[0]), wide, I, [H], F64)
    graph = build_step_graph(trace, trace.result, [trace.result])
    assert not graph.weight_operations
    x, h = torch.randn(4, I, dtype=F64), torch.randn(4, H, dtype=F64)
    leaves = leaves_of(graph, wide, x, h)
    torch.testing.assert_close(evaluate(graph.next_states[0], leaves)[0], step(wide, x, h))


def test_torch_computes_operations_on_the_input_that_have_no_kernel() -> None:
    graph = read(lambda w, x, h: torch.tanh(x.cumsum(1) @ w["U"] + h))
    assert [o.name for o in graph.input_operations] == ["aten::cumsum"]
    assert [v.op for v in graph.builder.values] == ["input", "matmul", "state", "add", "tanh"]


@pytest.mark.parametrize(
    "step",
    [
        lambda w, x, h: torch.exp(-x[:, 0]).unsqueeze(1) * h,
        lambda w, x, h: torch.where((x[:, -1] > 0)[:, None], h, h.tanh()),
        lambda w, x, h: h * x.select(-1, 1)[:, None] + x.sum(1)[:, None],
        lambda w, x, h: h * torch.stack([x[:, 0], x[:, 1]], 1).mean(1, keepdim=True) + x.unbind(-1)[2].unsqueeze(-1),
    ],
)
def test_columns_of_the_input_are_numbers_of_each_row(step: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
    """Such as the time since the step before, or a mask."""
    graph = read(step)
    x, h = torch.randn(4, I, dtype=F64), torch.randn(4, H, dtype=F64)
    pieces = evaluate(graph.next_states[0], leaves_of(graph, WEIGHTS, x, h))
    torch.testing.assert_close(torch.cat(pieces, 1), step(WEIGHTS, x, h))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda w, x, h: h + (x - x.sum(0)) @ w["U"], "the batch is not the first axis: aten.sum at"),
        (lambda w, x, h: h + (x - x[:1]) @ w["U"], "the batch is not the first axis: aten.slice at"),
        (lambda w, x, h: h * torch.stack([x, x], -3)[0, :, :1], "the batch is not the first axis: aten.stack at"),
        (lambda w, x, h: h * x.unsqueeze(0)[0, :, :1], "the batch is not the first axis: aten.unsqueeze at"),
        (lambda w, x, h: h.cumsum(1), "no kernel: aten.cumsum at .*test_step_graph.py:"),
        (lambda w, x, h: h - h.mean(0), "not along the features.*aten.mean at"),
        (lambda w, x, h: h @ h.t() @ h, "aten.t at"),
        (lambda w, x, h: h.t().softmax(0).t(), "aten.t at"),
        (lambda w, x, h: h.flip(1), "aten.flip at"),
        (lambda w, x, h: h.view(len(h), 2, 3).sum(1).repeat(1, 2), "it changes the shape.*aten.view at"),
        (lambda w, x, h: h + (x - x.mean(0)) @ w["U"], "the batch is not the first axis: aten.mean at"),
        (lambda w, x, h: h + x.cumsum(0) @ w["U"], "rows of the input may depend on each other: aten.cumsum at"),
        (lambda w, x, h: (h.float() + 1).double(), "changes the dtype"),
        (lambda w, x, h: h + (x * len(x)) @ w["U"], "the batch size is an argument: aten.mul at"),
        (lambda w, x, h: h + torch.full((), len(x), dtype=F64), "the batch size is an argument: aten.full at"),
        (lambda w, x, h: h * len(h), "not a tensor of floats.*aten.mul at"),
        (lambda w, x, h: h[:, :3], "a state has shape"),
        (lambda w, x, h: h[:, ::2].repeat_interleave(2, 1), "step is not 1|aten.slice"),
    ],
)
def test_steps_that_have_no_graph(step: Callable[[Any, Tensor, Tensor], Tensor], message: str) -> None:
    with pytest.raises(UnsupportedStepError, match=message):
        read(step)
