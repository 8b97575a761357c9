"""The update gate RNN."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class UGRNNCell(Module):
    """A simple RNN with one gate, which chooses between the old state and the new; its bias is larger by 1 at first.

    Source: Collins, Sohl-Dickstein and Sussillo, "Capacity and trainability in recurrent neural networks", ICLR 2017.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 2 * hidden_size)
        self.hh = Linear(hidden_size, 2 * hidden_size, bias=False)
        draw_uniform(self, hidden_size)
        with torch.no_grad():
            self.ih.bias[:hidden_size] += 1

    def forward(self, x: Float[Tensor, "B I"], h: Float[Tensor, "B H"]) -> Tensor:
        """One step: the next h (B, H)."""
        g, n = (self.ih(x) + self.hh(h)).chunk(2, dim=-1)
        g = torch.sigmoid(g)  # update gate
        n = torch.tanh(n)  # candidate for the hidden state
        return g * h + (1 - g) * n


UGRNN = register(
    CellSpec(
        name="ugrnn",
        module=UGRNNCell,
        recurrent_weights=("hh.weight",),
        equation=(
            "g  = sigmoid(W_ig x + b_g + W_hg h)",
            "n  = tanh(W_in x + b_n + W_hn h)",
            "h' = g * h + (1 - g) * n",
        ),
        bounded=True,
    )
)
