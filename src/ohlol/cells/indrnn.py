"""The independently recurrent neural network."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module, Parameter

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class IndRNNCell(Module):
    """A simple RNN whose units depend on their own past only: one recurrent weight for each, between 0 and 1 at first.

    Source: Li, Li, Cook, Zhu and Gao, "Independently recurrent neural network (IndRNN): building a longer and deeper
    RNN", CVPR 2018.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, hidden_size)
        draw_uniform(self, hidden_size)
        self.u = Parameter(torch.rand(hidden_size))

    def forward(self, x: Float[Tensor, "B I"], h: Float[Tensor, "B H"]) -> Tensor:
        """One step: the next h (B, H)."""
        return torch.relu(self.ih(x) + self.u * h)


INDRNN = register(CellSpec(name="indrnn", module=IndRNNCell, equation=("h' = relu(W x + b + u * h)",)))
