"""The gated recurrent unit."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ohlol.cells.base import CellSpec, Gate, OnnxOperator, State, Weights, register


def gru_step(x: Float[Tensor, "B I"], *, state: State, weights: Weights) -> State:
    """One step of the gated recurrent unit; the reset gate is applied after the matrix product, as in torch and cuDNN.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014), in the form of cuDNN.
    """
    (h,) = state
    W_ih, W_hh, b_ih, b_hh = weights
    x_r, x_z, x_n = linear(x, W_ih, b_ih).chunk(3, dim=-1)
    h_r, h_z, h_n = linear(h, W_hh, b_hh).chunk(3, dim=-1)
    r = torch.sigmoid(x_r + h_r)  # reset gate
    z = torch.sigmoid(x_z + h_z)  # update gate
    n = torch.tanh(x_n + r * h_n)  # candidate for the hidden state
    return ((1 - z) * n + z * h,)


GRU = register(
    CellSpec(
        name="gru",
        step=gru_step,
        gates=(Gate("r", "sigmoid"), Gate("z", "sigmoid"), Gate("n", "tanh", reset_by="r")),
        states=("h",),
        adds_state=True,
        equation=(
            "r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)",
            "z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)",
            "n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))",
            "h' = (1 - z) * n + z * h",
        ),
        torch_layer=torch.nn.GRU,
        torch_cell=torch.nn.GRUCell,
        kernel="gru",
        onnx=OnnxOperator(
            "GRU",
            gate_order=("z", "r", "n"),
            activations=("Sigmoid", "Tanh"),
            attributes={"linear_before_reset": 1},  # the reset gate after the matrix product, as above
        ),
        bounded=True,
    )
)
