"""The recurrence over whole sequences and single steps, on the compiled kernels."""

from ohlol.ops.backend import available, implementation, select, selected
from ohlol.ops.gather import embedding_table, one_hot_table
from ohlol.ops.operators import run_operator
from ohlol.ops.recurrence import recurrence
from ohlol.ops.step_operators import run_step_operator
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
    "run_operator",
    "run_step_operator",
    "select",
    "selected",
    "torch_recurrence",
]
