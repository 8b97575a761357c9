"""What a training takes of memory, told before any of it is made; knows nothing of how one trains.

Where it cannot fit the system would end the process instead, or the device stop in the middle of a step.
"""

import numpy as np
import torch

from ohlol.checkpoint import run_config
from ohlol.checkpoint.run_config import RunConfig
from ohlol.data.batches import WINDOW, Dataset
from ohlol.tasks import TASKS
from ohlol.utils import devices, environment
from ohlol.utils.errors import TooLarge

BYTES_A_PARAMETER = 16
"""A weight, its gradient and an optimizer's two moments, four bytes each."""
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
"""What a layer keeps of each step for the backward pass, beside its output, in units of its hidden size; at least."""


def check(config: RunConfig, data: Dataset, device: torch.device) -> None:
    """Refuse what cannot fit into the memory of a device; raises TooLarge, which names the settings to lower."""
    cpu = device.type == "cpu"
    free = environment.get_free_memory() if cpu else devices.get_free_memory(device)
    if free is None:
        return
    model, training, on = config.model, config.training, "" if cpu else f" on {device}"
    numbers = sum(p.numel() for p in run_config.build_meta_model(config).parameters())
    needed = numbers * BYTES_A_PARAMETER
    if needed > free:
        raise TooLarge(
            f"the model would have {numbers:,} parameters and take {_gib(needed)} to train, and {_gib(free)} are "
            f"free{on}: a smaller `hidden_size` (here {model.hidden_size}), `num_layers` or `embedding_size` helps"
        )
    cut = TASKS[config.task].trains_in_windows
    steps = min(data.steps, training.batch_size * training.bptt)
    if not cut:
        lengths = data.inputs.spans(np.arange(min(len(data), WINDOW)))[1]  # of a corpus of any size a part tells enough
        steps = int(np.sort(lengths)[-training.batch_size :].sum())
    held = (
        model.num_layers * (1 + model.bidirectional) * model.hidden_size * (1 + GATES[model.cell.removesuffix("cell")])
    )
    kept = steps * (held + 2 * config.sizes.outputs * (not config.sizes.per_sequence)) * 4
    if needed + kept > free:
        raise TooLarge(
            f"the largest batch has {steps:,} steps and takes {_gib(kept)} beside the model's {_gib(needed)}, and "
            f"{_gib(free)} are free{on}: a smaller `batch_size` (here {training.batch_size})"
            f"{f' or `bptt` (here {training.bptt})' if cut else ''} helps most, then `hidden_size`"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
