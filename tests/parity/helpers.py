"""Compare a layer of torch, the same layer of ohlol, and the equations of the cell on the same inputs and weights."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ohlol import cells, nn, ops

from .tolerances import assert_same

CELLS = tuple(name for name, spec in cells.CELLS.items() if spec.kernel is not None)
VARIANTS_AND_THREADS = [
    pytest.param(name, threads, marks=[pytest.mark.slow] if place else [])
    for place, name in enumerate(ops.available())
    for threads in ((3,) if place else (1, 2, 3))
]
"""Instruction sets and threads: how work is split does not depend on the instruction set, so one number is enough."""


@dataclass(frozen=True)
class Case:
    cell: str
    T: int = 5
    B: int = 3
    inputs: int = 5
    H: int = 17
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    batch_first: bool = False
    dtype: torch.dtype = torch.float64
    lengths: tuple[int, ...] = ()
    enforce_sorted: bool = False
    state: bool = True
    unbatched: bool = False

    def layers(self) -> tuple[torch.nn.RNNBase, torch.nn.RNNBase]:
        """The layer of torch and that of ohlol, with the same weights."""
        spec = cells.CELLS[self.cell]
        assert spec.torch_layer is not None
        classes: tuple[Any, ...] = (spec.torch_layer, nn.LAYER_CLASSES[spec.torch_layer])
        layers = [
            layer_class(
                self.inputs, self.H, self.num_layers, bias=self.bias, batch_first=self.batch_first,
                bidirectional=self.bidirectional, dtype=self.dtype, **spec.torch_options,
            )
            for layer_class in classes
        ]  # fmt: skip
        layers[1].load_state_dict(layers[0].state_dict())
        return layers[0], layers[1]

    def tensors(self) -> list[Tensor]:
        """The input x and, with `state`, the initial state."""
        if self.unbatched:
            shape, middle = (self.T, self.inputs), ()
        else:
            shape, middle = ((self.B, self.T) if self.batch_first else (self.T, self.B)) + (self.inputs,), (self.B,)
        tensors = [torch.randn(shape, dtype=self.dtype)]
        if self.state:
            rows = self.num_layers * (2 if self.bidirectional else 1)
            tensors.append(torch.randn(rows, *middle, self.H, dtype=self.dtype))
            if self.cell == "lstm":
                tensors.append(torch.randn(rows, *middle, self.H, dtype=self.dtype))
        return tensors


def call(case: Case, layer: torch.nn.Module, tensors: list[Tensor]) -> list[Tensor]:
    """The layer's output and final state as a flat list."""
    x, *state = tensors
    hx = None if not state else tuple(state) if case.cell == "lstm" else state[0]
    inputs: Tensor | PackedSequence = x
    if case.lengths:
        inputs = pack_padded_sequence(x, torch.tensor(case.lengths), case.batch_first, case.enforce_sorted)
    if isinstance(layer, (nn.RNN, nn.GRU, nn.LSTM)):
        backend = nn.explain_backend(layer, inputs, hx)
        assert backend.startswith("kernel"), backend
    out, final = layer(inputs, hx)
    if isinstance(out, PackedSequence):
        out = out.data
    return [out, *(final if isinstance(final, tuple) else (final,))]


def names(case: Case, layer: torch.nn.Module) -> list[str]:
    states = ("h", "c") if case.cell == "lstm" else ("h",)
    finals = [f"{s}_n" for s in states]
    starts = [f"d {s}_0" for s in states] if case.state else []
    return ["output", *finals, "d x", *starts, *(f"d {n}" for n, _ in layer.named_parameters())]


def outputs_and_gradients(case: Case, layer: torch.nn.Module, tensors: list[Tensor]) -> list[Tensor]:
    """Output, final state, and the gradients of a random linear combination of both for all inputs and weights."""
    tensors = [t.clone().requires_grad_() for t in tensors]
    results = call(case, layer, tensors)
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(r.shape, generator=generator, dtype=r.dtype) for r in results]
    grads = torch.autograd.grad(results, [*tensors, *layer.parameters()], weights)
    return [*results, *grads]


def check(case: Case) -> None:
    """Compare the layer of ohlol with that of torch: outputs, states and gradients, also without autograd."""
    torch.manual_seed(3)
    torch_layer, layer = case.layers()
    tensors = case.tensors()
    expected = outputs_and_gradients(case, torch_layer, tensors)
    results = outputs_and_gradients(case, layer, tensors)
    for name, a, b in zip(names(case, layer), results, expected, strict=True):
        assert_same(name, a, b, case.dtype)
    with torch.no_grad():
        inferred = call(case, layer, tensors)
    for name, a, b in zip(names(case, layer), inferred, results, strict=False):
        assert_same(f"inferred {name}", a, b, case.dtype)


class ReferenceLayer(torch.nn.Module):
    """The same layer by the equations of `ohlol.cells`, one sequence of the batch at a time."""

    def __init__(self, case: Case, layer: torch.nn.RNNBase) -> None:
        super().__init__()
        self.case, self.weights = case, torch.nn.ParameterList(p.detach().clone() for p in layer.parameters())

    def forward(self, x: Tensor, hx: Tensor | tuple[Tensor, ...] | None) -> tuple[Tensor, Tensor | tuple[Tensor, ...]]:
        case, per, D = self.case, 4 if self.case.bias else 2, 2 if self.case.bidirectional else 1
        states = hx if isinstance(hx, tuple) else (hx,) if hx is not None else None
        if case.batch_first:
            x = x.transpose(0, 1)
        T, B = x.shape[:2]
        lengths = case.lengths or (T,) * B
        tops, finals = [], []
        for b, length in enumerate(lengths):
            below, last = x[:length, b : b + 1], []
            for layer in range(case.num_layers):
                sides = []
                for d in range(D):
                    k = layer * D + d
                    weights = cells.Weights(*self.weights[k * per : (k + 1) * per])
                    count = len(cells.CELLS[case.cell].states)
                    state = tuple(x.new_zeros(1, case.H) for _ in range(count))
                    if states is not None:
                        state = tuple(s[k, b : b + 1] for s in states)
                    inputs = below.flip(0) if d else below
                    out, final = cells.unroll(case.cell, inputs, state=state, weights=weights)
                    sides.append(out.flip(0) if d else out)
                    last.append(final)
                below = torch.cat(sides, -1)
            tops.append(below)
            finals.append([torch.stack(parts) for parts in zip(*last, strict=True)])
        final = tuple(torch.cat(parts, 1) for parts in zip(*finals, strict=True))
        if case.lengths:
            order = sorted(range(B), key=lambda b: -lengths[b])
            steps = [torch.cat([tops[b][t] for b in order if lengths[b] > t]) for t in range(T)]
            return torch.cat(steps), final
        out = torch.cat(tops, 1)
        return (out.transpose(0, 1) if case.batch_first else out), final


def check_equations(case: Case) -> None:
    """Compare the layer of ohlol in its dtype with the equations in float64."""
    torch.manual_seed(5)
    torch_layer, layer = replace(case, dtype=torch.float64).layers()
    layer = layer.to(case.dtype)
    torch_layer = torch_layer.to(case.dtype).double()  # the same weights, rounded
    tensors = case.tensors()
    reference = ReferenceLayer(case, torch_layer)
    expected = outputs_and_gradients_of_reference(case, reference, [t.double() for t in tensors])
    results = outputs_and_gradients(case, layer, tensors)
    for name, a, b in zip(names(case, layer), results, expected, strict=True):
        assert_same(name, a, b, case.dtype)


def outputs_and_gradients_of_reference(case: Case, reference: ReferenceLayer, tensors: list[Tensor]) -> list[Tensor]:
    """`outputs_and_gradients` of padded input, with the linear combination drawn in the dtype under test."""
    tensors = [t.clone().requires_grad_() for t in tensors]
    x, *state = tensors
    out, final = reference(x, tuple(state) if state else None)
    results = [out, *final]
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(r.shape, generator=generator, dtype=case.dtype).double() for r in results]
    return [*results, *torch.autograd.grad(results, [*tensors, *reference.weights], weights)]
