"""Cells of users that a model imports by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import user_cells
from torch import Tensor

from ohlol.cells import CELLS, import_cell


class TwoWidths(user_cells.TwoWidths):
    """It names the widths of its states, which cannot be guessed."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = (hidden_size, self.small)


class OneTensorState(user_cells.OneTensorState):
    """It names the width of its state, which cannot be guessed."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = 2 * hidden_size


class Cumulative(torch.nn.Module):
    """It runs in a loop: `cumsum` has no kernel."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih, self.hh = torch.nn.Linear(input_size, hidden_size), torch.nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x) + self.hh(h).cumsum(1))


class Branches(Cumulative):
    """Which lines run depends on the numbers."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        total = self.ih(x) + self.hh(h)
        if x[0, 0] > 0:
            h = torch.tanh(total)
        else:
            half = 0.5 * total
            h = torch.sigmoid(half)
        return h


class Single(Cumulative):
    """It cannot run in float64."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.fixed = [torch.eye(hidden_size)]

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x) + h @ self.fixed[0])


MODULE_CELLS: dict[str, str] = {
    "lstm": "user_cells:PlainLSTM",
    "gru": "user_cells:PlainGRU",
    "concatenated_gru": "user_cells:ConcatenatedGRU",
    "layer_norm_lstm": "user_cells:LayerNormLSTM",
    "two_widths": "module_cells:TwoWidths",
    "indrnn": "user_cells:IndRNN",
    "stabilized": "user_cells:Stabilized",
    "one_tensor": "module_cells:OneTensorState",
}
"""Cells that run in the kernels, by short names."""
OTHERS = ("module_cells:Cumulative", "module_cells:Branches", "module_cells:Single", "torch.nn:GRUCell")


@contextmanager
def imported() -> Iterator[dict[str, Any]]:
    """Import all of them, and remove them from the registry at the end of the block."""
    before = dict(CELLS)
    yield {name: import_cell(name) for name in (*MODULE_CELLS.values(), *OTHERS)}
    CELLS._members.clear()
    CELLS._members.update(before)
