"""Recurrent layers and cells as subclasses of torch's own, and a layer over any cell."""

from ohlol.nn.conversion import accelerate, restore
from ohlol.nn.layers import (
    CELL_CLASSES,
    GRU,
    LAYER_CLASSES,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    RNNCell,
    explain_backend,
    over_symbols,
)
from ohlol.nn.loop import CellLoop, StepCell, make_cell
from ohlol.nn.recurrent import Recurrent

__all__ = [
    "CELL_CLASSES",
    "GRU",
    "LAYER_CLASSES",
    "LSTM",
    "RNN",
    "CellLoop",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "StepCell",
    "accelerate",
    "explain_backend",
    "make_cell",
    "over_symbols",
    "restore",
]
