"""The recurrence over whole sequences and single steps, on the compiled kernels."""

from ohlol.ops.backend import available, implementation, select, selected
from ohlol.ops.gather import embedding_table, one_hot_table
from ohlol.ops.recurrence import recurrence
from ohlol.ops.stepping import BatchStepper, SequenceStepper
from ohlol.ops.torch_path import LayerSpec, torch_recurrence

__all__ = [
    "BatchStepper",
    "LayerSpec",
    "SequenceStepper",
    "available",
    "embedding_table",
    "implementation",
    "one_hot_table",
    "recurrence",
    "select",
    "selected",
    "torch_recurrence",
]
