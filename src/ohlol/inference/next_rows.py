"""The next rows of a series: each predicted row is read as the next input.

Shapes: T rows, I input columns, F target columns.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol.data.codec import Codec
from ohlol.data.raw_data import RawData
from ohlol.models.inputs import PackedInputs
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.devices import disable_tf32, to_device, to_numpy
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list


@torch.no_grad()
def next_rows(network: SequenceModel, codec: Codec, data: RawData, steps: int) -> NDArray[np.float64]:
    """The rows that follow a series.

    Args:
        network: a model of numbers, in evaluation mode.
        codec: the codec of the model.
        data: one series, (T, I), in its own units.
        steps: how many rows; more than one needs targets that are the inputs.

    Returns:
        (steps, F) rows of the target columns in their own units.

    Raises:
        InputError: the columns are not those of training, or `steps` is out of its range.
    """
    check_steps(codec, steps)
    assert codec.scale is not None
    assert codec.target_scale is not None
    codec.check_columns(data.columns, data.places[0].file)
    rows: list[NDArray[np.float64]] = []
    x = to_device(codec.scale.apply(np.asarray(data.inputs[0], np.float64)), network.device)
    state = None
    for _ in range(steps):
        with disable_tf32(network.device):
            logits, state = network(PackedInputs(x, torch.ones(len(x), dtype=torch.int64)), state)
        x = network.head.decode(logits[-1:])
        rows.append(codec.target_scale.undo(to_numpy(x[0])))
    return np.stack(rows)


def check_steps(codec: Codec, steps: int) -> None:
    """Raise InputError where a model cannot forecast so many rows."""
    if steps < 1:
        raise InputError("`steps` is {steps}; it must be at least 1", steps=steps)
    if steps > 1 and codec.columns != codec.target_columns:
        raise InputError(
            "`steps` is {steps}; it must be 1, since only targets that are the inputs can be read as the "
            "next row, and this model forecasts {target_columns} from {columns}",
            steps=steps,
            target_columns=join_list(codec.target_columns),
            columns=join_list(codec.columns),
        )
