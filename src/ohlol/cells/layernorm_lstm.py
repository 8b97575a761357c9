"""The LSTM with layer normalization."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class LayerNormLSTMCell(Module):
    """An LSTM that normalizes its two products and its cell state.

    Source: Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450 (2016); their three biases of the gates, which
    are only ever added, are one here.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 4 * hidden_size, bias=False)
        self.hh = Linear(hidden_size, 4 * hidden_size, bias=False)
        draw_uniform(self, hidden_size)
        self.norm_ih, self.norm_hh = LayerNorm(4 * hidden_size), LayerNorm(4 * hidden_size, bias=False)
        self.norm_c = LayerNorm(hidden_size)

    def forward(
        self, x: Float[Tensor, "B I"], state: tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]
    ) -> tuple[Tensor, Tensor]:
        """One step: the next h and c, each (B, H)."""
        h, c = state
        i, f, g, o = (self.norm_ih(self.ih(x)) + self.norm_hh(self.hh(h))).chunk(4, dim=-1)
        i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)  # input, forget and output gates
        g = torch.tanh(g)  # candidate for the cell state
        c = f * c + i * g
        return o * torch.tanh(self.norm_c(c)), c


LAYERNORM_LSTM = register(
    CellSpec(
        name="layernorm_lstm",
        module=LayerNormLSTMCell,
        recurrent_weights=("hh.weight",),
        states=("h", "c"),
        equation=(
            "[i~, f~, g~, o~] = LN([W_ii, W_if, W_ig, W_io] x) + LN([W_hi, W_hf, W_hg, W_ho] h) + b",
            "i  = sigmoid(i~)",
            "f  = sigmoid(f~)",
            "g  = tanh(g~)",
            "o  = sigmoid(o~)",
            "c' = f * c + i * g",
            "h' = o * tanh(LN(c'))",
        ),
        bounded=True,
    )
)
