"""The equations of every recurrent cell, in plain PyTorch, and what the package knows about each.

Everything else in ohlol is compared with these equations. Gates are stacked along the first axis of the weights in the
order torch uses, so the tensors of a `torch.nn` module can be passed as they are. A new cell is one module that calls
`register(CellSpec(...))`; `import_cell` registers a class of the user.
"""

# isort: off
from ohlol.cells import rnn as rnn, gru as gru, lstm as lstm  # registered in this order
from ohlol.cells import peephole_lstm as peephole_lstm, coupled_lstm as coupled_lstm, layernorm_lstm as layernorm_lstm
from ohlol.cells import mogrifier_lstm as mogrifier_lstm
from ohlol.cells import reset_gru as reset_gru, mgu as mgu, ugrnn as ugrnn, indrnn as indrnn, slstm as slstm
from ohlol.cells import mingru as mingru, minlstm as minlstm, sru as sru, rglru as rglru

# isort: on
from ohlol.cells.base import (
    CELLS,
    PARAMETER_NAMES,
    CellSpec,
    Gate,
    OnnxOperator,
    OnnxVariant,
    State,
    Weights,
    name_states,
    register,
    torch_cells,
)
from ohlol.cells.imported import check_cell_name, import_cell, select_cell
from ohlol.cells.unroll import unroll

__all__ = [
    "CELLS",
    "PARAMETER_NAMES",
    "CellSpec",
    "Gate",
    "OnnxOperator",
    "OnnxVariant",
    "State",
    "Weights",
    "check_cell_name",
    "import_cell",
    "name_states",
    "register",
    "select_cell",
    "torch_cells",
    "unroll",
]
