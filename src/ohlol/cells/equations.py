"""The equations of every recurrent cell, in plain PyTorch; knows nothing of layers, batches of text, speed or files.

Everything else in ohlol is held against this file. A step function takes the input of one time step and the state of
the step before, and returns the state of this step. The state is a tuple whose first entry is the hidden state `h`,
which is also the step's output. Gates are stacked along the first axis of the weights in the order torch uses, so the
tensors of a `torch.nn` module can be passed as they are.

Shapes: B batch, T time steps, I input size, H hidden size, G gates (1 RNN, 3 GRU, 4 LSTM).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

State = tuple[Tensor, ...]


class Weights(NamedTuple):
    """The parameters of one cell; the biases may be None, which leaves their term out."""

    W_ih: Float[Tensor, "GH I"]
    W_hh: Float[Tensor, "GH H"]
    b_ih: Float[Tensor, " GH"] | None = None
    b_hh: Float[Tensor, " GH"] | None = None


def rnn_tanh(x: Float[Tensor, "B I"], *, state: State, weights: Weights) -> State:
    """One step of the simple (Elman) RNN with tanh.

    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990); two biases as in `torch.nn.RNNCell`.
    """
    (h,) = state
    W_ih, W_hh, b_ih, b_hh = weights
    return (torch.tanh(linear(x, W_ih, b_ih) + linear(h, W_hh, b_hh)),)


def rnn_relu(x: Float[Tensor, "B I"], *, state: State, weights: Weights) -> State:
    """One step of the simple RNN with a rectifier.

    Source: Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified linear units" (2015).
    """
    (h,) = state
    W_ih, W_hh, b_ih, b_hh = weights
    return (torch.relu(linear(x, W_ih, b_ih) + linear(h, W_hh, b_hh)),)


def gru(x: Float[Tensor, "B I"], *, state: State, weights: Weights) -> State:
    """One step of the gated recurrent unit, the reset gate applied after the matrix product as torch and cuDNN do.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014), in the form of cuDNN.
    """
    (h,) = state
    W_ih, W_hh, b_ih, b_hh = weights
    x_r, x_z, x_n = linear(x, W_ih, b_ih).chunk(3, dim=-1)
    h_r, h_z, h_n = linear(h, W_hh, b_hh).chunk(3, dim=-1)
    r = torch.sigmoid(x_r + h_r)  # reset gate
    z = torch.sigmoid(x_z + h_z)  # update gate
    n = torch.tanh(x_n + r * h_n)  # new state proposed
    return ((1 - z) * n + z * h,)


def lstm(x: Float[Tensor, "B I"], *, state: State, weights: Weights) -> State:
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


@dataclass(frozen=True)
class Cell:
    """What the rest of the house needs to know of a cell: its step, the names of its gates and states, its equation."""

    step: Callable[..., State]
    gates: tuple[str, ...]
    states: tuple[str, ...]
    equation: tuple[str, ...]


CELLS: dict[str, Cell] = {
    "rnn_tanh": Cell(rnn_tanh, ("h",), ("h",), ("h' = tanh(W_ih x + b_ih + W_hh h + b_hh)",)),
    "rnn_relu": Cell(rnn_relu, ("h",), ("h",), ("h' = relu(W_ih x + b_ih + W_hh h + b_hh)",)),
    "gru": Cell(
        gru,
        ("r", "z", "n"),
        ("h",),
        (
            "r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)",
            "z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)",
            "n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))",
            "h' = (1 - z) * n + z * h",
        ),
    ),
    "lstm": Cell(
        lstm,
        ("i", "f", "g", "o"),
        ("h", "c"),
        (
            "i  = sigmoid(W_ii x + b_ii + W_hi h + b_hi)",
            "f  = sigmoid(W_if x + b_if + W_hf h + b_hf)",
            "g  = tanh(W_ig x + b_ig + W_hg h + b_hg)",
            "o  = sigmoid(W_io x + b_io + W_ho h + b_ho)",
            "c' = f * c + i * g",
            "h' = o * tanh(c')",
        ),
    ),
}


def unroll(
    cell: str, x: Float[Tensor, "T B I"], *, state: State, weights: Weights
) -> tuple[Float[Tensor, "T B H"], State]:
    """Run a cell over a whole sequence, one step after the other.

    Args:
        cell: a key of `CELLS`: "rnn_tanh", "rnn_relu", "gru" or "lstm".
        x: the inputs, time first.
        state: the state before the first step: `(h,)`, or `(h, c)` for the LSTM, each (B, H).
        weights: the cell's parameters.

    Returns:
        The hidden state after every step, (T, B, H), and the state after the last one.

    Raises:
        KeyError: the cell is not in the table.

    >>> weights = Weights(torch.zeros(2, 4), torch.zeros(2, 2))
    >>> output, (h,) = unroll("rnn_tanh", torch.ones(3, 1, 4), state=(torch.zeros(1, 2),), weights=weights)
    >>> output.shape, h.shape
    (torch.Size([3, 1, 2]), torch.Size([1, 2]))
    """
    step = CELLS[cell].step
    hidden: list[Tensor] = []
    for x_t in x:
        state = step(x_t, state=state, weights=weights)
        hidden.append(state[0])
    if not hidden:
        return state[0].new_empty(0, *state[0].shape), state
    return torch.stack(hidden), state
