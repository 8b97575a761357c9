"""The same recurrence on torch's own layers, for backward passes that the kernels cannot run, and for the tests.

Shapes: S rows (T*B, or the sum of the lengths), G gates, D directions, L layers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import embedding

from ohlol.cells import CELLS


class LayerSpec(NamedTuple):
    """The options of a stack of layers, as `torch.nn` has them."""

    cell: str
    """The name of a registered cell."""
    num_layers: int = 1
    directions: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    """Between layers; 0 unless training."""


class Rows(NamedTuple):
    """Where entry b of step t lies: row t * time_stride + b * batch_stride, or packed by batch_sizes."""

    T: int
    B: int
    S: int
    time_stride: int
    batch_stride: int
    batch_sizes: Tensor | None


def rows_of(spec: LayerSpec, x: Tensor, batch_sizes: Tensor | None) -> Rows:
    """The rows of x (T, B, ...), (B, T, ...) with `spec.batch_first`, or packed (S, ...)."""
    if batch_sizes is not None:
        return Rows(batch_sizes.size(0), int(batch_sizes[0]), x.size(0), 0, 1, batch_sizes)
    first, second = x.size(0), x.size(1)
    if spec.batch_first:
        return Rows(second, first, first * second, 1, second, None)
    return Rows(first, second, first * second, second, 1, None)


def replay_gradients(
    spec: LayerSpec,
    batch_sizes: Tensor | None,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    masks: Sequence[Tensor | None],
    needs: Sequence[bool],
    grad_outputs: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradients by a second forward pass of torch's own layers; differentiable where grad mode is on."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, so that each argument has a gradient of its own even if it is computed from another or passed twice.
        inputs = [None if t is None else t.view_as(t) for t in (x, h_0, c_0, *weights)]
        x, h_0, c_0, *weights = cast("list[Tensor]", inputs)
        outputs = torch_recurrence(spec, x, h_0, c_0, weights, batch_sizes, masks)
        differentiated = [t for t, need in zip(inputs, needs, strict=True) if need and t is not None]
        pairs = [(o, g) for o, g in zip(outputs, grad_outputs, strict=False) if g is not None]
        grads = iter(
            torch.autograd.grad(
                [o for o, _ in pairs],
                differentiated,
                [g for _, g in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
        )
    return [next(grads) if need and t is not None else None for t, need in zip(inputs, needs, strict=True)]


def torch_recurrence(
    spec: LayerSpec,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    batch_sizes: Tensor | None = None,
    masks: Sequence[Tensor | None] = (),
) -> tuple[Tensor, ...]:
    """The same as `recurrence`, on torch's own layers; `masks` are the dropout masks (S, D*H) of a forward pass."""
    cell = CELLS[spec.cell]
    assert cell.torch_mode is not None
    run = getattr(torch, cell.torch_mode.lower())
    has_cell_state = len(cell.states) > 1
    D, per, H = spec.directions, 4 if spec.bias else 2, weights[1].size(1)
    rows = rows_of(spec, x, batch_sizes)
    weights = list(weights)
    if not x.is_floating_point():
        # ids: the rows of the tables are the projections themselves, so the input weights become unit matrices
        GH = weights[1].size(0)
        x = torch.cat([embedding(x, weights[d * per]) for d in range(D)], -1)
        for d in range(D):
            weights[d * per] = torch.eye(GH * D, dtype=x.dtype)[d * GH : (d + 1) * GH]
    finals: list[list[Tensor]] = []
    for layer in range(spec.num_layers):
        zeros = torch.zeros(D, rows.B, H, dtype=x.dtype)
        rows_of_layer = slice(layer * D, (layer + 1) * D)
        state = tuple(zeros if s is None else s[rows_of_layer] for s in ((h_0, c_0) if has_cell_state else (h_0,)))
        hx = state if has_cell_state else state[0]
        layer_weights = weights[layer * D * per : (layer + 1) * D * per]
        options: tuple[Any, ...] = (layer_weights, spec.bias, 1, 0.0, False, D == 2)
        if batch_sizes is not None:
            x, *final = run(x, batch_sizes, hx, *options)
        else:
            x, *final = run(x, hx, *options, spec.batch_first)
        finals.append(final)
        mask = masks[layer] if layer < len(masks) else None
        if mask is not None:
            x = x * mask.view(x.shape)
    return (x, *(torch.cat(parts) for parts in zip(*finals, strict=True)))
