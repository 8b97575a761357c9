"""RNN, GRU and LSTM with zoneout, recurrent dropout and weight drop.

Weight drop changes the weights of a call and nothing else. Zoneout and recurrent dropout change the step, so the layer
runs as `Recurrent` over the equation of its cell, with the parameters of the layer.
"""

# pyright: reportPrivateUsage=false
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ohlol.cells import CELLS, CellSpec, State, Weights
from ohlol.nn.recurrent import Recurrent
from ohlol.nn.regularization import Regularization


class _LayerCell(torch.nn.Module):
    """The cell of one layer in one direction; the parameters are those of the layer."""

    def __init__(self, spec: CellSpec, input_size: int, hidden_size: int):
        super().__init__()
        self.spec, self.input_size = spec, input_size
        self.state_sizes = (hidden_size,) * len(spec.states)

    def bind(self, layer: torch.nn.RNNBase, suffix: str) -> None:
        """Use the parameters of a layer, such as those that end in "_l0_reverse"."""
        for name, weight in Weights.of(layer, suffix)._asdict().items():
            self._parameters[name] = weight

    def forward(self, x: Tensor, state: State) -> State:
        """One step."""
        weights = Weights._make(self._parameters[name] for name in Weights._fields)
        assert self.spec.step is not None
        return self.spec.step(x, state=state, weights=weights)


def run_regularized(
    layer: torch.nn.RNNBase, regularization: Regularization, cell: str, locked_dropout: bool, input: Any, hx: Any
) -> Any:
    """The forward pass of a layer with zoneout or recurrent dropout.

    Args:
        layer: the layer.
        regularization: the options.
        cell: the name of its cell.
        locked_dropout: whether the dropout between layers has the same mask at all steps.
        input: as the layer takes it.
        hx: likewise.

    Returns:
        What the layer returns.
    """
    spec = CELLS[cell]
    D, H = 2 if layer.bidirectional else 1, layer.hidden_size
    suffixes = [f"_l{k}{'_reverse' * d}" for k in range(layer.num_layers) for d in range(D)]
    recurrent: Recurrent | None = next(iter(layer.__dict__.get("_recurrent", ())), None)
    if recurrent is None:
        numbers = iter(range(len(suffixes)))

        def make_cell(input_size: int) -> _LayerCell:
            made = _LayerCell(spec, input_size, H)
            made.bind(layer, suffixes[next(numbers)])
            return made

        recurrent = Recurrent(
            make_cell, layer.num_layers, layer.bidirectional, layer.dropout if layer.num_layers > 1 else 0.0,
            layer.batch_first, input_size=layer.input_size, zoneout=regularization.zoneout,
            recurrent_dropout=regularization.recurrent_dropout, locked_dropout=locked_dropout,
        )  # fmt: skip
        layer.__dict__["_recurrent"] = [recurrent]  # in a list, since it is no part of the layer's own state
    recurrent.training = layer.training
    for made, suffix in zip(recurrent.cells, suffixes, strict=True):
        assert isinstance(made, _LayerCell)
        made.bind(layer, suffix)
    is_pair = len(spec.states) > 1
    out, final = recurrent(input, hx if hx is None or is_pair else (hx,))
    return out, final if is_pair else final[0]


@contextmanager
def drop_recurrent_weights(layer: torch.nn.RNNBase, p: float) -> Generator[None]:
    """Within it, the recurrent weights of a layer are those of `Regularization.drop_weights`.

    Raises:
        RuntimeError: one of them is not a parameter of the layer, but computed by a parametrization.
    """
    parameters: dict[str, Any] = layer._parameters
    names = [name for name in layer._flat_weights_names if name.startswith("weight_hh")]
    if missing := [name for name in names if name not in parameters]:
        raise RuntimeError(f"weight_dropout needs a parameter {missing[0]}, and a parametrization computes it")
    kept = {name: parameters[name] for name in names}
    parameters.update(Regularization(weight_dropout=dict.fromkeys(names, p)).drop_weights(kept))
    try:
        yield
    finally:
        parameters.update(kept)
        layer._update_flat_weights()
