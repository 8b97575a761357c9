"""A minimal gated unit, as a user would add it: one module, registered when it is imported."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from ohlol.cells import CellSpec, Gate, State, Weights, register


def mgu_step(x: Tensor, *, state: State, weights: Weights) -> State:
    """One step of the minimal gated unit: x (B, I) and h (B, H) to the next h (B, H).

    Source: Zhou et al., "Minimal gated unit for recurrent neural networks" (2016), with the gate after the product.
    """
    (h,) = state
    W_ih, W_hh, b_ih, b_hh = weights
    x_f, x_n = linear(x, W_ih, b_ih).chunk(2, dim=-1)
    h_f, h_n = linear(h, W_hh, b_hh).chunk(2, dim=-1)
    f = torch.sigmoid(x_f + h_f)
    n = torch.tanh(x_n + f * h_n)
    return ((1 - f) * h + f * n,)


MGU = register(
    CellSpec(
        name="toy_mgu",
        step=mgu_step,
        gates=(Gate("f", "sigmoid"), Gate("n", "tanh", reset_by="f")),
        states=("h",),
        equation=(
            "f  = sigmoid(W_if x + b_if + W_hf h + b_hf)",
            "n  = tanh(W_in x + b_in + f * (W_hn h + b_hn))",
            "h' = (1 - f) * h + f * n",
        ),
    )
)
