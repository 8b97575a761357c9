"""Compare `Recurrent` with the same cell in a loop of torch: outputs, final states and every gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from user_cells import KERNEL_CELLS

from ohlol import nn
from ohlol.cells.unroll import unroll_packed

from .tolerances import assert_same


@dataclass(frozen=True)
class RecurrentCase:
    cell: str
    T: int = 5
    B: int = 3
    inputs: int = 5
    H: int = 17
    num_layers: int = 1
    bidirectional: bool = False
    batch_first: bool = False
    dtype: torch.dtype = torch.float64
    lengths: tuple[int, ...] = ()
    state: bool = True
    frozen: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    def layer(self) -> nn.Recurrent:
        cell_class, sizes = KERNEL_CELLS[self.cell]
        layer = nn.Recurrent(
            lambda size: cell_class(size, self.H, **dict(self.options)), self.num_layers, self.bidirectional,
            batch_first=self.batch_first, input_size=self.inputs, state_sizes=sizes(self.H),
        ).to(self.dtype)  # fmt: skip
        if self.frozen:
            for parameter in list(layer.parameters())[::2]:
                parameter.requires_grad_(False)
        return layer

    def tensors(self, layer: nn.Recurrent) -> list[Tensor]:
        """The input and, with `state`, the initial states."""
        shape = (self.B, self.T) if self.batch_first else (self.T, self.B)
        tensors = [torch.randn(*shape, self.inputs, dtype=self.dtype)]
        if self.state:
            L = self.num_layers * (2 if self.bidirectional else 1)
            sizes = layer._interfaces[0].state_sizes
            tensors += [0.5 * torch.randn(L, self.B, size, dtype=self.dtype) for size in sizes]
        return tensors


def call(case: RecurrentCase, layer: nn.Recurrent, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Output and final states of the layer, which must run in the kernels."""
    x, *states = tensors
    inputs: Tensor | PackedSequence = x
    if case.lengths:
        inputs = pack_padded_sequence(x, torch.tensor(case.lengths), case.batch_first, enforce_sorted=False)
    hx = layer._interfaces[0].pack(states) if states else None
    backend = nn.explain_backend(layer, inputs, hx)
    assert backend.startswith("kernel"), backend
    out, final = layer(inputs, hx)
    if isinstance(out, PackedSequence):
        out = out.data
    return [out, *(final if isinstance(final, tuple) else (final,))]


def loop(case: RecurrentCase, layer: nn.Recurrent, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same by calling the cells."""
    x, *states = tensors
    interface = layer._interfaces[0]
    if case.batch_first:
        x = x.transpose(0, 1)
    lengths = torch.tensor(case.lengths or (case.T,) * case.B)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    L = len(layer.cells)
    if not states:
        states = [x.new_zeros(L, case.B, size) for size in interface.state_sizes]
    rows, sizes, finals = packed.data, packed.batch_sizes.tolist(), []
    D = 2 if case.bidirectional else 1
    for k in range(0, L, D):
        outs = []
        for d in range(D):
            cell, inputs, unpack = layer.cells[k + d], rows, layer._interfaces[k + d].unpack

            def step(at: slice, state: Any, cell: Any = cell, inputs: Tensor = inputs, unpack: Any = unpack) -> Any:
                return unpack(cell(inputs[at], interface.pack(state)))

            out, last = unroll_packed(step, sizes, tuple(s[k + d][order] for s in states), d == 1)
            outs.append(out)
            finals.append([s[back] for s in last])
        rows = torch.cat(outs, 1)
    if not case.lengths:
        rows = rows.view(case.T, case.B, -1)[:, back]
        rows = rows.transpose(0, 1) if case.batch_first else rows
    return [rows, *(torch.stack(parts) for parts in zip(*finals, strict=True))]


def results_and_gradients(
    run: Any, case: RecurrentCase, layer: nn.Recurrent, tensors: Sequence[Tensor]
) -> dict[str, Tensor]:
    tensors = [t.clone().requires_grad_() for t in tensors]
    results = run(case, layer, tensors)
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(r.shape, generator=generator, dtype=r.dtype) for r in results]
    parameters = {n: p for n, p in layer.named_parameters() if p.requires_grad}
    leaves = [*tensors, *parameters.values()]
    grads = torch.autograd.grad(results, leaves, weights, allow_unused=True)
    names = [*(f"result {i}" for i in range(len(results))), *(f"d tensor {i}" for i in range(len(tensors)))]
    names += [f"d {n}" for n in parameters]
    zeros = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, grads, strict=True)]
    return dict(zip(names, [*results, *zeros], strict=True))


def check(case: RecurrentCase) -> None:
    """Compare results and gradients, and results without gradients."""
    torch.manual_seed(3)
    layer = case.layer()
    tensors = case.tensors(layer)
    check_layer(case, layer, tensors)


def check_layer(case: RecurrentCase, layer: nn.Recurrent, tensors: Sequence[Tensor]) -> None:
    expected = results_and_gradients(loop, case, layer, tensors)
    results = results_and_gradients(call, case, layer, tensors)
    for name, value in expected.items():
        assert_same(name, results[name], value, case.dtype)
    with torch.no_grad():
        inferred = call(case, layer, tensors)
    for i, value in enumerate(inferred):
        assert_same(f"inferred result {i}", value, results[f"result {i}"], case.dtype)
