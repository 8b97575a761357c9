"""A whole model by the equations of its cell alone, unrolled over the time steps, with gradients.

Independent of the codec and of the kernels it is compared with.

Shapes: T steps, I input size, H hidden size, D directions, K outputs, N predictions (T, or 1 for `classify`).
"""

from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ohlol import cells
from ohlol.models.sequence_model import SequenceModel
from ohlol.nn import CellLoop, Recurrent


@dataclass(frozen=True)
class UnrolledLayer:
    """One layer and direction of `unroll_model`, as tensors with gradients."""

    layer: int
    direction: int
    weights: cells.Weights
    inputs: Tensor
    """(T, I)."""
    before: list[cells.State]
    after: list[cells.State]


def weights_of(network: SequenceModel, layer: int, direction: int, dtype: torch.dtype = torch.float64) -> cells.Weights:
    """The weights of one layer and direction, detached."""
    suffix, owner = f"_l{layer}" + "_reverse" * direction, network.layers
    if isinstance(owner, CellLoop):
        suffix, owner = "", owner.cell
    elif isinstance(owner, Recurrent):
        suffix, owner = "", owner.cells[layer * network.directions + direction]
    weights = cells.Weights.of(owner, suffix)
    return cells.Weights._make(None if w is None else w.detach().to(dtype) for w in weights)


def unroll_model(network: SequenceModel, x: Float[Tensor, "T I"]) -> tuple[Tensor, list[UnrolledLayer]]:
    """The logits (N, K) of one sequence of vectors by the equations alone, and every layer and direction."""
    settings, cell = network.settings, cells.CELLS[network.settings.cell]
    T, layers = len(x), list[UnrolledLayer]()
    for layer in range(settings.num_layers):
        outputs: list[Tensor] = []
        for direction in range(1 + settings.bidirectional):
            weights = weights_of(network, layer, direction, x.dtype)
            state = tuple(x.new_zeros(1, settings.hidden_size) for _ in cell.states)
            before, after, rows = [state] * T, [state] * T, x.split(1)  # (T, I) -> T times (1, I)
            for t in reversed(range(T)) if direction else range(T):
                before[t] = state
                state = after[t] = cell.step(rows[t], state=state, weights=weights)
            layers.append(UnrolledLayer(layer, direction, weights, x, before, after))
            outputs.append(torch.cat([s[0] for s in after]))
        x = torch.cat(outputs, dim=1)  # D times (T, H) -> (T, D*H)
    if network.sizes.per_sequence:
        ends = [last.after[0 if last.direction else -1][0] for last in layers if last.layer == settings.num_layers - 1]
        x = torch.cat(ends, dim=1)  # D times (1, H) -> (1, D*H)
    head = deepcopy(network.head).to(x.dtype).requires_grad_(False)
    return head(x), layers
