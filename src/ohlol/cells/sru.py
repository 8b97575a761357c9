"""The simple recurrent unit."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module, Parameter

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class SRUCell(Module):
    """Products with the input only; the gates see the cell state, each unit its own, and the output bypasses it.

    Source: Lei, Zhang, Wang, Dai and Artzi, "Simple recurrent units for highly parallelizable recurrence", EMNLP 2018;
    the bypass is a product with weights, as they have it where input and cell state differ in width.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 4 * hidden_size, bias=False)
        self.v, self.b = Parameter(torch.empty(2, hidden_size)), Parameter(torch.empty(2, hidden_size))
        draw_uniform(self, hidden_size)

    def forward(self, x: Float[Tensor, "B I"], c: Float[Tensor, "B H"]) -> tuple[Tensor, Tensor]:
        """One step: the output h and the next state c, each (B, H)."""
        (v_f, v_r), (b_f, b_r) = self.v, self.b
        n, f, r, s = self.ih(x).chunk(4, dim=-1)
        f = torch.sigmoid(f + v_f * c + b_f)  # forget gate
        r = torch.sigmoid(r + v_r * c + b_r)  # reset gate, of the old cell state
        c = f * c + (1 - f) * n
        return r * c + (1 - r) * s, c


SRU = register(
    CellSpec(
        name="sru",
        module=SRUCell,
        states=("c",),
        equation=(
            "f  = sigmoid(W_f x + v_f * c + b_f)",
            "r  = sigmoid(W_r x + v_r * c + b_r)",
            "c' = f * c + (1 - f) * W_n x",
            "h  = r * c' + (1 - r) * W_s x",
        ),
    )
)
