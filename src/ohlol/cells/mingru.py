"""The minimal GRU, whose gate depends on the input only."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class MinGRUCell(Module):
    """A GRU whose gate and candidate depend on the input only, so that its steps are an average with known weights.

    Source: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, "Were RNNs all we needed?", arXiv:2410.01201 (2024).
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 2 * hidden_size)
        draw_uniform(self, hidden_size)

    def forward(self, x: Float[Tensor, "B I"], h: Float[Tensor, "B H"]) -> Tensor:
        """One step: the next h (B, H)."""
        z, n = self.ih(x).chunk(2, dim=-1)
        z = torch.sigmoid(z)  # update gate
        return (1 - z) * h + z * n


MINGRU = register(
    CellSpec(
        name="mingru",
        module=MinGRUCell,
        equation=(
            "z  = sigmoid(W_z x + b_z)",
            "n  = W_n x + b_n",
            "h' = (1 - z) * h + z * n",
        ),
    )
)
