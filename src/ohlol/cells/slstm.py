"""The sLSTM, an LSTM with exponential gates."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Linear, Module
from torch.nn.functional import logsigmoid

from ohlol.cells.base import CellSpec, register
from ohlol.cells.initial_values import draw_uniform


class SLSTMCell(Module):
    """An LSTM with an exponential input gate: n sums the gates, and m keeps their exponents from growing.

    Source: Beck et al., "xLSTM: extended long short-term memory", NeurIPS 2024, with one head and forget biases of 3 to
    6 as in the authors' code. n is at least 1 after the first step.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 4 * hidden_size)
        self.hh = Linear(hidden_size, 4 * hidden_size, bias=False)
        draw_uniform(self, hidden_size)
        with torch.no_grad():
            self.ih.bias[hidden_size : 2 * hidden_size] = torch.linspace(3, 6, hidden_size)

    def forward(self, x: Float[Tensor, "B I"], state: tuple[Float[Tensor, "B H"], ...]) -> tuple[Tensor, ...]:
        """One step: the next h, c, n and m, each (B, H)."""
        h, c, n, m = state
        log_i, f, z, o = (self.ih(x) + self.hh(h)).chunk(4, dim=-1)
        z, o = torch.tanh(z), torch.sigmoid(o)  # candidate for the cell state, output gate
        log_f = logsigmoid(f) + torch.where(n > 0, m, log_i)  # m begins at minus infinity, n at 0
        m = torch.maximum(log_f, log_i)
        i, f = torch.exp(log_i - m), torch.exp(log_f - m)  # input and forget gates, divided by exp(m)
        c, n = f * c + i * z, f * n + i
        return o * c / n, c, n, m


SLSTM = register(
    CellSpec(
        name="slstm",
        module=SLSTMCell,
        recurrent_weights=("hh.weight",),
        states=("h", "c", "n", "m"),
        equation=(
            "i~ = W_ii x + b_i + W_hi h",
            "f~ = log(sigmoid(W_if x + b_f + W_hf h))",
            "z  = tanh(W_iz x + b_z + W_hz h)",
            "o  = sigmoid(W_io x + b_o + W_ho h)",
            "m' = max(f~ + m, i~)",
            "i  = exp(i~ - m')",
            "f  = exp(f~ + m - m')",
            "c' = f * c + i * z",
            "n' = f * n + i",
            "h' = o * c' / n'",
        ),
    )
)
