"""Recurrent layers and cells as subclasses of torch's own, and a layer over any cell."""

from ohlol.nn.conversion import accelerate, restore
from ohlol.nn.layers import (
    CELL_CLASSES,
    GRU,
    LAYER_CLASSES,
    LSTM,
    RNN,
    Accelerated,
    GRUCell,
    LSTMCell,
    RNNCell,
    explain_backend,
    over_symbols,
)
from ohlol.nn.loop import CellLoop, StepCell, make_cell
from ohlol.nn.quantization import quantize
from ohlol.nn.recurrent import Recurrent

__all__ = [
    "CELL_CLASSES",
    "GRU",
    "LAYER_CLASSES",
    "LSTM",
    "RNN",
    "Accelerated",
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
    "quantize",
    "restore",
]
