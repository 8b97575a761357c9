"""Cells as users write them: plain modules with `forward(x, state)`."""

from typing import Any

import torch
from recurrent_speed import PlainGRU, PlainLSTM
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, Parameter
from torch.nn import functional as F


class ConcatenatedGRU(Module):
    """A GRU with the reset gate before the product, and one product with [x, h] for its gates."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.gates = Linear(input_size + hidden_size, 2 * hidden_size)
        self.candidate = Linear(input_size + hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        r, z = torch.sigmoid(self.gates(torch.cat([x, h], dim=1))).split(self.hidden_size, dim=1)
        n = torch.tanh(self.candidate(torch.cat([x, r * h], dim=1)))
        return torch.lerp(n, h, z)


class LayerNormLSTM(Module):
    """An LSTM whose gates and cell state are normalized."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 4 * hidden_size, bias=False)
        self.hh = Linear(hidden_size, 4 * hidden_size)
        self.norm, self.norm_c = LayerNorm(4 * hidden_size), LayerNorm(hidden_size)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i, f, g, o = self.norm(self.ih(x) + self.hh(h)).chunk(4, -1)
        c = self.norm_c(f.sigmoid() * c + i.sigmoid() * g.tanh())
        return o.sigmoid() * c.tanh(), c


class TwoWidths(Module):
    """States of different widths, an output that is neither, and softmax over the features."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.small = max(1, hidden_size // 3)
        self.project = Linear(input_size + self.small, hidden_size)
        self.shrink = Linear(hidden_size, self.small)
        self.out = Linear(hidden_size, hidden_size + 2)
        self.scale = Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        wide, small = state
        wide = F.softplus(self.project(torch.cat([x, small], 1))) * self.scale - 0.5 * wide
        attention = torch.softmax(self.shrink(wide), dim=-1)
        small = small * (1 - attention) + attention * wide.mean(-1, keepdim=True)
        return F.silu(self.out(wide)), (wide, small)


class IndRNN(Module):
    """No product with the state: a vector of recurrent weights."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, hidden_size)
        self.u = Parameter(torch.rand(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.relu(self.ih(x) + self.u * h)


class Stabilized(Module):
    """An sLSTM with stabilised exponential gates: four states, maximum, exponential and division."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 4 * hidden_size)
        self.hh = Linear(hidden_size, 4 * hidden_size, bias=False)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c, n, m = state
        z, i, f, o = (self.ih(x) + self.hh(h)).chunk(4, -1)
        f = F.logsigmoid(f)
        m_next = torch.maximum(f + m, i)
        i, f = torch.exp(i - m_next), torch.exp(f + m - m_next)
        c = f * c + i * torch.tanh(z)
        n = f * n + i
        return torch.sigmoid(o) * c / n.clamp(min=0.5), c, n, m_next


class OneTensorState(Module):
    """h and c side by side in one tensor."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.size = input_size, hidden_size
        self.gates = Linear(input_size + hidden_size, 3 * hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        h, c = state[:, : self.size], state[:, self.size :]
        f, g, o = self.gates(torch.cat((h, x), 1)).split(self.size, 1)
        c = f.sigmoid() * c + (1 - f.sigmoid()) * F.elu(g)
        return torch.cat([o.sigmoid() * F.gelu(c), c], dim=1)


KERNEL_CELLS: dict[str, tuple[Any, Any]] = {
    "lstm": (PlainLSTM, lambda H: (H, H)),
    "gru": (PlainGRU, lambda H: H),
    "concatenated_gru": (ConcatenatedGRU, lambda H: H),
    "layer_norm_lstm": (LayerNormLSTM, lambda H: (H, H)),
    "two_widths": (TwoWidths, lambda H: (H, max(1, H // 3))),
    "indrnn": (IndRNN, lambda H: H),
    "stabilized": (Stabilized, lambda H: (H, H, H, H)),
    "one_tensor": (OneTensorState, lambda H: 2 * H),
}
"""Cells that run in the kernels, and the widths of their states."""
