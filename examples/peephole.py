"""An LSTM with peepholes, as a PyTorch module: `ohlol train --cell examples.peephole:Peephole`."""

import torch
from torch import Tensor


class Peephole(torch.nn.Module):
    """One step: x (B, I) and the state, h and c (B, H) each, to the next state.

    Source: Gers and Schmidhuber, "Recurrent nets that time and count" (2000).
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.gates = torch.nn.Linear(input_size + hidden_size, 4 * hidden_size)
        self.peepholes = torch.nn.Parameter(torch.zeros(3, hidden_size))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The next h and c."""
        h, c = state
        p_i, p_f, p_o = self.peepholes
        i, f, g, o = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
        return h, c
