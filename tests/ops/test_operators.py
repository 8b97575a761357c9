"""The registered operators of the recurrence against `recurrence` and against one call for each entry of a `vmap`."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ohlol.ops import LayerSpec, recurrence, run_operator

F64 = torch.float64
LAYERS = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
SPECS = [LayerSpec(cell, *options) for cell in LAYERS for options in ((1, 1), (2, 2), (2, 1, False, True))]


def case(spec: LayerSpec) -> tuple[Tensor, list[Any], list[Tensor]]:
    """An input, the states and the weights, which require gradients."""
    layer = LAYERS[spec.cell](3, 4, spec.num_layers, bias=spec.bias, bidirectional=spec.directions == 2, dtype=F64)
    states = [torch.randn(spec.num_layers * spec.directions, 2, 4, dtype=F64, requires_grad=True) for _ in "hc"]
    x = torch.randn((2, 5, 3) if spec.batch_first else (5, 2, 3), dtype=F64, requires_grad=True)
    return x, states if spec.cell == "lstm" else [states[0], None], list(layer.parameters())


def gradients(results: tuple[Tensor, ...], leaves: list[Any], **options: Any) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sum((r.square().sum() for r in results), torch.zeros(())), leaves, **options)


@pytest.mark.parametrize("save", [True, False])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_results_and_gradients(spec: LayerSpec, save: bool) -> None:
    torch.manual_seed(0)
    x, states, weights = case(spec)
    leaves = [leaf for leaf in (x, *states, *weights) if leaf is not None]
    found = []
    for results in (run_operator(x, *states, weights, spec, save=save), recurrence(x, *states, weights, spec)):
        first = gradients(results, leaves, create_graph=True)
        found.append([*results, *gradients(results, leaves, retain_graph=True), *first, *gradients(first, leaves)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_packed_rows_and_dropout() -> None:
    torch.manual_seed(0)
    spec = LayerSpec("gru", 2, 1, dropout=0.5)
    _, _, weights = case(spec._replace(dropout=0.0))
    x, sizes = torch.randn(6, 3, dtype=F64, requires_grad=True), torch.tensor([3, 2, 1])
    found = []
    for run in (lambda: run_operator(x, None, None, weights, spec, sizes, save=False),
                lambda: recurrence(x, None, None, weights, spec, sizes)):  # fmt: skip
        torch.manual_seed(4)
        results = run()
        found.append([*results, *gradients(results, [x, *weights])])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("spec", [SPECS[1], SPECS[5], SPECS[6]], ids=str)
def test_torch_finds_no_fault(spec: LayerSpec) -> None:
    """Shapes without numbers, the schema, gradients, and the same in a graph with dynamic shapes."""
    torch.manual_seed(0)
    x, states, weights = case(spec)
    torch.library.opcheck(torch.ops.ohlol.recurrence.default, (x, *states, weights, None, *spec, True))
    detached = [None if s is None else s.detach() for s in states], [w.detach() for w in weights]
    inputs = (x.detach(), *detached[0], detached[1], None, *spec, True)
    torch.library.opcheck(torch.ops.ohlol.recurrence_forward.default, inputs)
    out, *_, saved = torch.ops.ohlol.recurrence_forward(*inputs)
    needs = [True, True, spec.cell == "lstm", *[True] * len(weights)]
    arguments = (out, None, None, x.detach(), *detached[0], detached[1], None, out, saved, needs, *spec)
    torch.library.opcheck(torch.ops.ohlol.recurrence_backward.default, arguments)


@pytest.mark.parametrize("batched", ["x", "state", "weights", "x and weights"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_vmap(spec: LayerSpec, batched: str) -> None:
    torch.manual_seed(0)
    x, (h_0, c_0), weights = case(spec)
    N = 3
    xs = torch.randn(*x.shape, N, dtype=F64, requires_grad=True) if "x" in batched else x
    h_0s = torch.randn(N, *h_0.shape, dtype=F64, requires_grad=True) if "state" in batched else h_0
    many = (
        [torch.randn(N, *w.shape, dtype=F64, requires_grad=True) for w in weights] if "weights" in batched else weights
    )
    dims = (-1 if "x" in batched else None, 0 if "state" in batched else None, 0 if "weights" in batched else None)

    def run(x: Tensor, h_0: Tensor, weights: list[Tensor]) -> tuple[Tensor, ...]:
        return run_operator(x, h_0, c_0, weights, spec, save=True)

    together = torch.vmap(run, in_dims=dims)(xs, h_0s, many)
    alone = [
        run(
            xs[..., n] if "x" in batched else xs,
            h_0s[n] if "state" in batched else h_0s,
            [w[n] for w in many] if "weights" in batched else many,
        )
        for n in range(N)
    ]
    stacked = [torch.stack(parts) for parts in zip(*alone, strict=True)]
    leaves = [xs, h_0s, *many]
    for a, b in zip(
        (*together, *gradients(together, leaves)), (*stacked, *gradients(tuple(stacked), leaves)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_vmap_of_packed_rows_and_of_dropout() -> None:
    torch.manual_seed(0)
    spec = LayerSpec("gru")
    _, _, weights = case(spec)
    x, sizes = torch.randn(4, 6, 3, dtype=F64), torch.tensor([3, 2, 1])
    out = torch.vmap(lambda v: run_operator(v, None, None, weights, spec, sizes, save=False)[0])(x)
    assert torch.equal(out, torch.stack([recurrence(v, None, None, weights, spec, sizes)[0] for v in x]))
    spec = LayerSpec("gru", 2, dropout=0.5)
    _, _, weights = case(spec._replace(dropout=0.0))
    with pytest.raises(RuntimeError, match="vmap of the recurrence with dropout"):
        torch.vmap(lambda v: run_operator(v, None, None, weights, spec, save=False)[0])(x[:, None])


def test_autocast_keeps_the_kernels_in_float32() -> None:
    spec = LayerSpec("gru")
    layer = torch.nn.GRU(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = run_operator(torch.ones(5, 2, 3).bfloat16(), None, None, list(layer.parameters()), spec, save=True)
    assert out.dtype is torch.float32


def test_wrong_tensors_are_refused() -> None:
    spec = LayerSpec("lstm")
    x, _, weights = case(spec)
    x, weights = x.detach(), [w.detach() for w in weights]
    with pytest.raises(ValueError, match="x has 2 features"):
        run_operator(x[..., :2], None, None, weights, spec, save=True)
    out, _, _, saved = torch.ops.ohlol.recurrence_forward(x, None, None, weights, None, *spec, True)
    needs = [True, False, False, *[True] * 4]

    def backward(grad: Tensor, out: Tensor, saved: Tensor | None, options: Any = spec) -> Any:
        return torch.ops.ohlol.recurrence_backward(
            grad, None, None, x, None, None, weights, None, out, saved, needs, *options
        )

    assert len(backward(out, out, saved)) == 5
    for a, b in zip(backward(out, out, saved), backward(out, out, None), strict=True):
        assert torch.equal(a, b)  # the forward pass has run again
    last = needs.pop()
    with pytest.raises(ValueError, match="needs has 6 values; expected 7"):
        backward(out, out, saved)
    needs.append(last)
    for arguments, message in (
        ((out[1:], out, saved), "a gradient has shape"),
        ((out, out[1:], saved), "out has shape"),
        ((out, out, saved[1:]), "saved has shape"),
        ((out, out, saved.float()), "saved: a tensor has dtype"),
        ((out, out, None, spec._replace(dropout=0.5)), "cannot be drawn again"),
    ):
        with pytest.raises(ValueError, match=message):
            backward(*arguments)
