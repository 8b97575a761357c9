"""The LSTM with coupled input and forget gates."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module

from ohlol.cells.base import CellSpec, OnnxVariant, Weights, register
from ohlol.cells.initial_values import draw_uniform
from ohlol.cells.lstm import LSTM


class CoupledLSTMCell(Module):
    """An LSTM that forgets exactly as much as it takes in: its input gate is 1 - f.

    Source: Greff, Srivastava, Koutnik, Steunebrink and Schmidhuber, "LSTM: a search space odyssey", IEEE Transactions
    on Neural Networks and Learning Systems 28 (2017), there CIFG.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 3 * hidden_size)
        self.hh = Linear(hidden_size, 3 * hidden_size, bias=False)
        draw_uniform(self, hidden_size)

    def forward(
        self, x: Float[Tensor, "B I"], state: tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]
    ) -> tuple[Tensor, Tensor]:
        """One step: the next h and c, each (B, H)."""
        h, c = state
        f, g, o = (self.ih(x) + self.hh(h)).chunk(3, dim=-1)
        f, o = torch.sigmoid(f), torch.sigmoid(o)  # forget and output gates
        g = torch.tanh(g)  # candidate for the cell state
        c = f * c + (1 - f) * g
        return o * torch.tanh(c), c


def _read_onnx(weights: Weights, _peepholes: Tensor) -> dict[str, Tensor]:
    """The parameters from those of an ONNX LSTM: it computes the input gate i, and f = 1 - i = sigmoid(-sum of i)."""
    parameters = {"ih.weight": weights.W_ih, "ih.bias": weights.bias, "hh.weight": weights.W_hh}
    for name, tensor in parameters.items():
        i, _, g, o = tensor.chunk(4)
        parameters[name] = torch.cat([-i, g, o])
    return parameters


COUPLED_LSTM = register(
    CellSpec(
        name="coupled_lstm",
        module=CoupledLSTMCell,
        recurrent_weights=("hh.weight",),
        states=("h", "c"),
        equation=(
            "f  = sigmoid(W_if x + b_f + W_hf h)",
            "g  = tanh(W_ig x + b_g + W_hg h)",
            "o  = sigmoid(W_io x + b_o + W_ho h)",
            "c' = f * c + (1 - f) * g",
            "h' = o * tanh(c')",
        ),
        onnx_variant=OnnxVariant(LSTM, _read_onnx, attributes={"input_forget": 1}),
        bounded=True,
    )
)
