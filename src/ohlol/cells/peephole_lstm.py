"""The LSTM with peepholes."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module, Parameter

from ohlol.cells.base import CellSpec, OnnxVariant, Weights, register
from ohlol.cells.initial_values import draw_uniform
from ohlol.cells.lstm import LSTM


class PeepholeLSTMCell(Module):
    """An LSTM whose gates also depend on the cell state, each unit on its own.

    Source: Gers, Schraudolph and Schmidhuber, "Learning precise timing with LSTM recurrent networks", JMLR 3 (2002).
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 4 * hidden_size)
        self.hh = Linear(hidden_size, 4 * hidden_size, bias=False)
        self.p = Parameter(torch.empty(3, hidden_size))
        draw_uniform(self, hidden_size)

    def forward(
        self, x: Float[Tensor, "B I"], state: tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]
    ) -> tuple[Tensor, Tensor]:
        """One step: the next h and c, each (B, H)."""
        h, c = state
        p_i, p_f, p_o = self.p
        i, f, g, o = (self.ih(x) + self.hh(h)).chunk(4, dim=-1)
        i = torch.sigmoid(i + p_i * c)  # input gate
        f = torch.sigmoid(f + p_f * c)  # forget gate
        g = torch.tanh(g)  # candidate for the cell state
        c = f * c + i * g
        o = torch.sigmoid(o + p_o * c)  # output gate, of the new cell state
        return o * torch.tanh(c), c


def _read_onnx(weights: Weights, peepholes: Tensor) -> dict[str, Tensor]:
    """The parameters from those of an ONNX LSTM, whose peepholes have the order i o f."""
    p_i, p_o, p_f = peepholes.chunk(3)
    return {
        "ih.weight": weights.W_ih,
        "ih.bias": weights.bias,
        "hh.weight": weights.W_hh,
        "p": torch.stack([p_i, p_f, p_o]),
    }


PEEPHOLE_LSTM = register(
    CellSpec(
        name="peephole_lstm",
        module=PeepholeLSTMCell,
        recurrent_weights=("hh.weight",),
        states=("h", "c"),
        equation=(
            "i  = sigmoid(W_ii x + b_i + W_hi h + p_i * c)",
            "f  = sigmoid(W_if x + b_f + W_hf h + p_f * c)",
            "g  = tanh(W_ig x + b_g + W_hg h)",
            "c' = f * c + i * g",
            "o  = sigmoid(W_io x + b_o + W_ho h + p_o * c')",
            "h' = o * tanh(c')",
        ),
        onnx_variant=OnnxVariant(LSTM, _read_onnx, has_peepholes=True),
        bounded=True,
    )
)
