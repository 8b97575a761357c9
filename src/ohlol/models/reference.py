"""A whole model by the equations of its cell alone, unrolled over the time steps, with gradients.

Independent of the codec and of the kernels it is compared with.

Shapes: T steps, I input size, H hidden size, O output size of a cell, D directions, K outputs, N predictions (T, or 1
for `classify`).
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ohlol import cells
from ohlol.models.sequence_model import SequenceModel
from ohlol.nn import CellLoop, Recurrent
from ohlol.utils.errors import InputError, describe_user_error

CallCell = Callable[[torch.nn.Module, Tensor, Any], Any]
"""Calls a cell that is a module of an input (1, I) and its state."""
_Step = Callable[[Tensor, cells.State], tuple[Tensor, cells.State]]


@dataclass(frozen=True)
class UnrolledLayer:
    """One layer and direction of `unroll_model`, as tensors with gradients."""

    layer: int
    direction: int
    weights: cells.Weights | None
    """None for a cell that is a module."""
    inputs: Tensor
    """(T, I)."""
    outputs: list[Tensor]
    """Each (1, O)."""
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


def call_cell(cell: torch.nn.Module, x: Tensor, state: Any) -> Any:
    """Call a cell."""
    return cell(x, state)


def unroll_model(
    network: SequenceModel, x: Float[Tensor, "T I"], call: CallCell = call_cell
) -> tuple[Tensor, list[UnrolledLayer]]:
    """The logits (N, K) of one sequence of vectors by the equations alone, and every layer and direction.

    A cell that is a module runs in a loop over the steps, as a copy in the dtype of the vectors.

    Args:
        network: the model.
        x: the vectors.
        call: calls a cell that is a module; a direction is called T times, one layer after the other.

    Raises:
        InputError: a cell that is a module cannot run in the dtype of the vectors.
    """
    settings = network.settings
    base = x[:, : network.sizes.base]
    T, layers = len(x), list[UnrolledLayer]()
    for layer in range(settings.num_layers):
        outputs: list[Tensor] = []
        for direction in range(1 + settings.bidirectional):
            step, weights = _make_step(network, layer, direction, x.dtype, call)
            state = tuple(x.new_zeros(1, size) for size in network.state_sizes)
            before, after, rows = [state] * T, [state] * T, x.split(1)  # (T, I) -> T times (1, I)
            outs = list(rows)
            for t in reversed(range(T)) if direction else range(T):
                before[t] = state
                outs[t], state = step(rows[t], state)
                after[t] = state
            layers.append(UnrolledLayer(layer, direction, weights, x, outs, before, after))
            outputs.append(torch.cat(outs))
        x = torch.cat(outputs, dim=1)  # D times (T, O) -> (T, D*O)
    if network.pooling is not None:
        x, _ = deepcopy(network.pooling).to(x.dtype).requires_grad_(False).pool(x)
    elif network.sizes.per_sequence:
        ends = [last.outputs[-1 - last.direction * (T - 1)] for last in layers if last.layer == settings.num_layers - 1]
        x = torch.cat(ends, dim=1)  # D times (1, O) -> (1, D*O)
    head = deepcopy(network.head).to(x.dtype).requires_grad_(False)
    logits = head(x)
    return head.add(logits, base) if network.sizes.base else logits, layers


def _make_step(
    network: SequenceModel, layer: int, direction: int, dtype: torch.dtype, call: CallCell
) -> tuple[_Step, cells.Weights | None]:
    """A step of one layer and direction, from input and state to output and state, and its weights."""
    spec, layers = cells.CELLS[network.settings.cell], network.layers
    if (step_function := spec.step) is not None:
        weights = weights_of(network, layer, direction, dtype)

        def run_equations(x: Tensor, state: cells.State) -> tuple[Tensor, cells.State]:
            state = step_function(x, state=state, weights=weights)
            return state[0], state

        return run_equations, weights
    assert isinstance(layers, Recurrent)
    interface = layers.interface
    cell = deepcopy(layers.cells[layer * network.directions + direction]).to(dtype).requires_grad_(False).eval()

    def run_module(x: Tensor, state: cells.State) -> tuple[Tensor, cells.State]:
        try:
            return interface.unpack(call(cell, x, interface.pack(state)))
        except Exception as error:
            raise InputError(
                "`cell` {name} cannot run in {dtype}: {error}",
                name=spec.name,
                dtype=dtype,
                error=describe_user_error(error),
            ) from error

    return run_module, None
