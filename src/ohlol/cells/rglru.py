"""The real-gated linear recurrent unit."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module, Parameter
from torch.nn.functional import softplus

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class RGLRUCell(Module):
    """A linear recurrence whose decay a and input are gated by the input; at first a is 0.9 to 0.999 where r is 1.

    Source: De et al., "Griffin: mixing gated linear recurrences with local attention for efficient language models",
    arXiv:2402.19427 (2024), with the linear layer before it.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.linear, self.gates = Linear(input_size, hidden_size), Linear(hidden_size, 2 * hidden_size)
        draw_uniform(self, hidden_size)
        a = torch.empty(hidden_size).uniform_(0.9, 0.999)
        self.Lambda = Parameter(torch.log(torch.expm1(-torch.log(a) / 8)))  # the inverse of the equation

    def forward(self, x: Float[Tensor, "B I"], h: Float[Tensor, "B H"]) -> Tensor:
        """One step: the next h (B, H)."""
        u = self.linear(x)
        r, i = torch.sigmoid(self.gates(u)).chunk(2, dim=-1)  # recurrence and input gates
        log_a = -8 * softplus(self.Lambda) * r
        a = torch.exp(log_a)
        square = torch.clamp(-torch.expm1(2 * log_a), min=1e-12)  # 1 - a^2; sqrt has no finite derivative at 0
        return a * h + torch.sqrt(square) * (i * u)


RGLRU = register(
    CellSpec(
        name="rglru",
        module=RGLRUCell,
        equation=(
            "u  = W x + b",
            "r  = sigmoid(W_r u + b_r)",
            "i  = sigmoid(W_i u + b_i)",
            "a  = exp(-8 softplus(Lambda) * r)",
            "h' = a * h + sqrt(1 - a^2) * (i * u)",
        ),
    )
)
