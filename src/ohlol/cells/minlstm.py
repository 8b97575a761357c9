"""The minimal LSTM, whose gates depend on the input only."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module
from torch.nn.functional import logsigmoid

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class MinLSTMCell(Module):
    """An LSTM whose gates and candidate depend on the input only; forget and input gates are scaled to the sum 1.

    Source: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, "Were RNNs all we needed?", arXiv:2410.01201 (2024).
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 3 * hidden_size)
        draw_uniform(self, hidden_size)

    def forward(self, x: Float[Tensor, "B I"], h: Float[Tensor, "B H"]) -> Tensor:
        """One step: the next h (B, H)."""
        f, i, n = self.ih(x).chunk(3, dim=-1)
        f = torch.sigmoid(logsigmoid(f) - logsigmoid(i))  # f / (f + i), also where both are 0 in this precision
        return f * h + (1 - f) * n


MINLSTM = register(
    CellSpec(
        name="minlstm",
        module=MinLSTMCell,
        equation=(
            "f  = sigmoid(W_f x + b_f)",
            "i  = sigmoid(W_i x + b_i)",
            "n  = W_n x + b_n",
            "h' = f / (f + i) * h + i / (f + i) * n",
        ),
    )
)
