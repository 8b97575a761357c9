"""Run a layer of torch, a layer of ours and the equations on the same numbers and hold the results together."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ohlol import cells, nn

from .tolerances import assert_same

CELLS = tuple(name for name, spec in cells.CELLS.items() if spec.kernel is not None)


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
        """Torch's layer and ours, with the same weights."""
        spec = cells.CELLS[self.cell]
        assert spec.torch_layer is not None
        classes: tuple[Any, ...] = (spec.torch_layer, nn.LAYER_CLASSES[spec.torch_layer])
        made = [
            layer_class(
                self.inputs, self.H, self.num_layers, bias=self.bias, batch_first=self.batch_first,
                bidirectional=self.bidirectional, dtype=self.dtype, **spec.torch_options,
            )
            for layer_class in classes
        ]  # fmt: skip
        made[1].load_state_dict(made[0].state_dict())
        return made[0], made[1]

    def tensors(self) -> list[Tensor]:
        """x and, if wanted, the initial state."""
        if self.unbatched:
            shape, middle = (self.T, self.inputs), ()
        else:
            shape, middle = ((self.B, self.T) if self.batch_first else (self.T, self.B)) + (self.inputs,), (self.B,)
        made = [torch.randn(shape, dtype=self.dtype)]
        if self.state:
            rows = self.num_layers * (2 if self.bidirectional else 1)
            made.append(torch.randn(rows, *middle, self.H, dtype=self.dtype))
            if self.cell == "lstm":
                made.append(torch.randn(rows, *middle, self.H, dtype=self.dtype))
        return made


def call(case: Case, layer: torch.nn.Module, tensors: list[Tensor]) -> list[Tensor]:
    """The layer's output and final state as a flat list."""
    x, *state = tensors
    hx = None if not state else tuple(state) if case.cell == "lstm" else state[0]
    given = x
    if case.lengths:
        given = pack_padded_sequence(x, torch.tensor(case.lengths), case.batch_first, case.enforce_sorted)
    if isinstance(layer, (nn.RNN, nn.GRU, nn.LSTM)):
        told = nn.explain_backend(layer, given, hx)
        assert told.startswith("kernel"), told
    out, final = layer(given, hx)
    if isinstance(out, PackedSequence):
        out = out.data
    return [out, *(final if isinstance(final, tuple) else (final,))]


def names(case: Case, layer: torch.nn.Module) -> list[str]:
    states = ("h", "c") if case.cell == "lstm" else ("h",)
    finals = [f"{s}_n" for s in states]
    starts = [f"d {s}_0" for s in states] if case.state else []
    return ["output", *finals, "d x", *starts, *(f"d {n}" for n, _ in layer.named_parameters())]


def everything(case: Case, layer: torch.nn.Module, tensors: list[Tensor]) -> list[Tensor]:
    """Outputs, final state, and the gradients of a random weighting of all of them to all inputs and weights."""
    tensors = [t.clone().requires_grad_() for t in tensors]
    results = call(case, layer, tensors)
    seeded = torch.Generator().manual_seed(7)
    weights = [torch.randn(r.shape, generator=seeded, dtype=r.dtype) for r in results]
    grads = torch.autograd.grad(results, [*tensors, *layer.parameters()], weights)
    return [*results, *grads]


def check(case: Case) -> None:
    """Ours against torch's: outputs, states, every gradient, and inference without gradients."""
    torch.manual_seed(3)
    theirs, ours = case.layers()
    tensors = case.tensors()
    expected, found = everything(case, theirs, tensors), everything(case, ours, tensors)
    for name, a, b in zip(names(case, theirs), found, expected, strict=True):
        assert_same(name, a, b, case.dtype)
    with torch.no_grad():
        inferred = call(case, ours, tensors)
    for name, a, b in zip(names(case, theirs), inferred, found, strict=False):
        assert_same(f"inferred {name}", a, b, case.dtype)


class Oracle(torch.nn.Module):
    """The same layer out of cells.py, each sequence of the batch for itself."""

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
                    given = below.flip(0) if d else below
                    out, final = cells.unroll(case.cell, given, state=state, weights=weights)
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
    """Ours in its dtype against cells.py in float64."""
    torch.manual_seed(5)
    theirs, ours = replace(case, dtype=torch.float64).layers()
    ours = ours.to(case.dtype)
    theirs = theirs.to(case.dtype).double()  # the same numbers, rounded
    tensors = case.tensors()
    exact = [t.double() for t in tensors]
    tensors_of = Oracle(case, theirs)
    expected = everything_of_oracle(case, tensors_of, exact)
    for name, a, b in zip(names(case, theirs), everything(case, ours, tensors), expected, strict=True):
        assert_same(name, a, b, case.dtype)


def everything_of_oracle(case: Case, oracle: Oracle, tensors: list[Tensor]) -> list[Tensor]:
    """As `everything`; the oracle takes padded input, and the weighting is drawn in the dtype under test."""
    tensors = [t.clone().requires_grad_() for t in tensors]
    x, *state = tensors
    out, final = oracle(x, tuple(state) if state else None)
    results = [out, *final]
    seeded = torch.Generator().manual_seed(7)
    weights = [torch.randn(r.shape, generator=seeded, dtype=case.dtype).double() for r in results]
    return [*results, *torch.autograd.grad(results, [*tensors, *oracle.weights], weights)]
