"""A model with a module of each kind that `ohlol.accelerate` meets."""

import torch
from torch import Tensor

from ohlol import nn


class AllKinds(torch.nn.Module):
    """A layer, a cell, a user's cell and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.LSTM(3, 4)
        self.cell = torch.nn.GRUCell(4, 4)
        self.own = nn.Recurrent(torch.nn.RNNCell(4, 4))
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        output = self.own(self.layer(x)[0])[0]
        return self.head(output + self.cell(output[0]))
