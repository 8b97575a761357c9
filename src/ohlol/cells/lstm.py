"""The long short-term memory."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ohlol.cells.base import CellSpec, Gate, OnnxOperator, State, Weights, register


def lstm_step(x: Float[Tensor, "B I"], *, state: State, weights: Weights) -> State:
    """One step of the long short-term memory with a forget gate and no peepholes.

    Source: Hochreiter and Schmidhuber (1997); forget gate from Gers, Schmidhuber and Cummins (2000).
    """
    h, c = state
    W_ih, W_hh, b_ih, b_hh = weights
    i, f, g, o = (linear(x, W_ih, b_ih) + linear(h, W_hh, b_hh)).chunk(4, dim=-1)
    i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)  # input, forget and output gates
    g = torch.tanh(g)  # candidate for the cell state
    c = f * c + i * g
    return o * torch.tanh(c), c


LSTM = register(
    CellSpec(
        name="lstm",
        step=lstm_step,
        gates=(Gate("i", "sigmoid"), Gate("f", "sigmoid"), Gate("g", "tanh"), Gate("o", "sigmoid")),
        states=("h", "c"),
        adds_state=True,
        equation=(
            "i  = sigmoid(W_ii x + b_ii + W_hi h + b_hi)",
            "f  = sigmoid(W_if x + b_if + W_hf h + b_hf)",
            "g  = tanh(W_ig x + b_ig + W_hg h + b_hg)",
            "o  = sigmoid(W_io x + b_io + W_ho h + b_ho)",
            "c' = f * c + i * g",
            "h' = o * tanh(c')",
        ),
        torch_layer=torch.nn.LSTM,
        torch_cell=torch.nn.LSTMCell,
        kernel="lstm",
        onnx=OnnxOperator("LSTM", gate_order=("i", "o", "f", "g"), activations=("Sigmoid", "Tanh", "Tanh")),
        bounded=True,
    )
)
