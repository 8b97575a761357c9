"""Recurrent layers and cells as subclasses of torch's own."""

from ohlol.nn.layers import (
    CELLS,
    GRU,
    LAYERS,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    RNNCell,
    accelerate,
    explain_backend,
    over_symbols,
)

__all__ = [
    "CELLS",
    "GRU",
    "LAYERS",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "accelerate",
    "explain_backend",
    "over_symbols",
]
