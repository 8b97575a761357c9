"""The minimal gated unit."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class MGUCell(Module):
    """A GRU with one gate, which both resets and updates.

    Source: Zhou, Wu, Zhang and Zhou, "Minimal gated unit for recurrent neural networks", International Journal of
    Automation and Computing 13 (2016).
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 2 * hidden_size)
        self.hf = Linear(hidden_size, hidden_size, bias=False)
        self.hn = Linear(hidden_size, hidden_size, bias=False)
        draw_uniform(self, hidden_size)

    def forward(self, x: Float[Tensor, "B I"], h: Float[Tensor, "B H"]) -> Tensor:
        """One step: the next h (B, H)."""
        x_f, x_n = self.ih(x).chunk(2, dim=-1)
        f = torch.sigmoid(x_f + self.hf(h))  # forget gate
        n = torch.tanh(x_n + self.hn(f * h))  # candidate for the hidden state
        return (1 - f) * h + f * n


MGU = register(
    CellSpec(
        name="mgu",
        module=MGUCell,
        recurrent_weights=("hf.weight", "hn.weight"),
        equation=(
            "f  = sigmoid(W_if x + b_f + W_hf h)",
            "n  = tanh(W_in x + b_n + W_hn (f * h))",
            "h' = (1 - f) * h + f * n",
        ),
        bounded=True,
    )
)
