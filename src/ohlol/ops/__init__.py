"""The recurrence over a whole sequence, and the compiled kernels behind it."""

from ohlol.ops.backend import available, implementation, select, selected
from ohlol.ops.gather import embedding_table, one_hot_table
from ohlol.ops.recurrence import recurrence
from ohlol.ops.stream import StepMany, Stream
from ohlol.ops.torch_path import Spec, torch_recurrence

__all__ = [
    "Spec",
    "StepMany",
    "Stream",
    "available",
    "embedding_table",
    "implementation",
    "one_hot_table",
    "recurrence",
    "select",
    "selected",
    "torch_recurrence",
]
