"""The gated recurrent unit with the reset gate before the product."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module

from ohlol.cells.base import CellSpec, OnnxVariant, Weights, register
from ohlol.cells.gru import GRU
from ohlol.cells.initial_values import draw_uniform


class ResetGRUCell(Module):
    """A GRU that resets the hidden state before it is multiplied with the weights, not after, as torch's GRU does.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation",
    EMNLP 2014.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 3 * hidden_size)
        self.hh = Linear(hidden_size, 2 * hidden_size, bias=False)
        self.hn = Linear(hidden_size, hidden_size, bias=False)
        draw_uniform(self, hidden_size)

    def forward(self, x: Float[Tensor, "B I"], h: Float[Tensor, "B H"]) -> Tensor:
        """One step: the next h (B, H)."""
        x_r, x_z, x_n = self.ih(x).chunk(3, dim=-1)
        h_r, h_z = self.hh(h).chunk(2, dim=-1)
        r = torch.sigmoid(x_r + h_r)  # reset gate
        z = torch.sigmoid(x_z + h_z)  # update gate
        n = torch.tanh(x_n + self.hn(r * h))  # candidate for the hidden state
        return (1 - z) * n + z * h


def _read_onnx(weights: Weights, _peepholes: Tensor) -> dict[str, Tensor]:
    """The parameters from those of an ONNX GRU: its two biases are added to the same sum."""
    H = weights.W_hh.size(1)
    return {
        "ih.weight": weights.W_ih,
        "ih.bias": weights.bias,
        "hh.weight": weights.W_hh[: 2 * H],
        "hn.weight": weights.W_hh[2 * H :],
    }


RESET_GRU = register(
    CellSpec(
        name="reset_gru",
        module=ResetGRUCell,
        recurrent_weights=("hh.weight", "hn.weight"),
        equation=(
            "r  = sigmoid(W_ir x + b_r + W_hr h)",
            "z  = sigmoid(W_iz x + b_z + W_hz h)",
            "n  = tanh(W_in x + b_n + W_hn (r * h))",
            "h' = (1 - z) * n + z * h",
        ),
        onnx_variant=OnnxVariant(GRU, _read_onnx, attributes={"linear_before_reset": 0}),
        bounded=True,
    )
)
