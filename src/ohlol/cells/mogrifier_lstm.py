"""The Mogrifier LSTM."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class MogrifierLSTMCell(Module):
    """An LSTM whose input and hidden state gate each other in five rounds before each step.

    Source: Melis, Kočiský and Blunsom, "Mogrifier LSTM", ICLR 2020, with matrices of full rank.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.q1, self.q3, self.q5 = (Linear(hidden_size, input_size, bias=False) for _ in range(3))
        self.r2, self.r4 = (Linear(input_size, hidden_size, bias=False) for _ in range(2))
        self.ih = Linear(input_size, 4 * hidden_size)
        self.hh = Linear(hidden_size, 4 * hidden_size, bias=False)
        draw_uniform(self, hidden_size)

    def forward(self, x: Float[Tensor, "B I"], state: tuple[Float[Tensor, "B H"], ...]) -> tuple[Tensor, Tensor]:
        """One step: the next h and c, each (B, H)."""
        h, c = state
        x = 2 * torch.sigmoid(self.q1(h)) * x
        h = 2 * torch.sigmoid(self.r2(x)) * h
        x = 2 * torch.sigmoid(self.q3(h)) * x
        h = 2 * torch.sigmoid(self.r4(x)) * h
        x = 2 * torch.sigmoid(self.q5(h)) * x
        i, f, g, o = (self.ih(x) + self.hh(h)).chunk(4, dim=-1)
        i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)  # input, forget and output gates
        g = torch.tanh(g)  # candidate for the cell state
        c = f * c + i * g
        return o * torch.tanh(c), c


MOGRIFIER_LSTM = register(
    CellSpec(
        name="mogrifier_lstm",
        module=MogrifierLSTMCell,
        recurrent_weights=("hh.weight",),
        states=("h", "c"),
        equation=(
            "x1 = 2 * sigmoid(W_q1 h) * x",
            "h2 = 2 * sigmoid(W_r2 x1) * h",
            "x3 = 2 * sigmoid(W_q3 h2) * x1",
            "h4 = 2 * sigmoid(W_r4 x3) * h2",
            "x5 = 2 * sigmoid(W_q5 h4) * x3",
            "i  = sigmoid(W_ii x5 + b_i + W_hi h4)",
            "f  = sigmoid(W_if x5 + b_f + W_hf h4)",
            "g  = tanh(W_ig x5 + b_g + W_hg h4)",
            "o  = sigmoid(W_io x5 + b_o + W_ho h4)",
            "c' = f * c + i * g",
            "h' = o * tanh(c')",
        ),
        bounded=True,
    )
)
