"""The equations of every recurrent cell."""

from ohlol.cells.equations import (
    CELLS,
    Cell,
    State,
    Weights,
    gru,
    lstm,
    rnn_relu,
    rnn_tanh,
    unroll,
)

__all__ = [
    "CELLS",
    "Cell",
    "State",
    "Weights",
    "gru",
    "lstm",
    "rnn_relu",
    "rnn_tanh",
    "unroll",
]
