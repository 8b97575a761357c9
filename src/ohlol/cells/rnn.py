"""The simple RNN, with tanh or a rectifier."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ohlol.cells.base import CellSpec, Gate, OnnxOperator, State, Weights, register


def rnn_step(x: Float[Tensor, "B I"], *, state: State, weights: Weights) -> State:
    """One step of the simple (Elman) RNN with tanh.

    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990); two biases as in `torch.nn.RNNCell`.
    """
    (h,) = state
    W_ih, W_hh, b_ih, b_hh = weights
    return (torch.tanh(linear(x, W_ih, b_ih) + linear(h, W_hh, b_hh)),)


def rnn_relu_step(x: Float[Tensor, "B I"], *, state: State, weights: Weights) -> State:
    """One step of the simple RNN with a rectifier.

    Source: Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified linear units" (2015).
    """
    (h,) = state
    W_ih, W_hh, b_ih, b_hh = weights
    return (torch.relu(linear(x, W_ih, b_ih) + linear(h, W_hh, b_hh)),)


RNN = register(
    CellSpec(
        name="rnn",
        step=rnn_step,
        gates=(Gate("h", "tanh"),),  # the new state itself, which counts as the only gate
        states=("h",),
        equation=("h' = tanh(W_ih x + b_ih + W_hh h + b_hh)",),
        torch_layer=torch.nn.RNN,
        torch_cell=torch.nn.RNNCell,
        torch_options={"nonlinearity": "tanh"},
        kernel="rnn",
        onnx=OnnxOperator("RNN", gate_order=("h",), activations=("Tanh",)),
        bounded=True,
    )
)

RNN_RELU = register(
    CellSpec(
        name="rnn_relu",
        step=rnn_relu_step,
        gates=(Gate("h", "relu"),),
        states=("h",),
        equation=("h' = relu(W_ih x + b_ih + W_hh h + b_hh)",),
        torch_layer=torch.nn.RNN,
        torch_cell=torch.nn.RNNCell,
        torch_options={"nonlinearity": "relu"},
        kernel="rnn_relu",
        onnx=OnnxOperator("RNN", gate_order=("h",), activations=("Relu",), default_activations=False),
    )
)
