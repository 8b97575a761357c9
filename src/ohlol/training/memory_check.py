"""The memory that a training needs at least, compared with the free memory before anything is allocated.

Without this check the system would kill the process, or the device fail in the middle of a step.
"""

import numpy as np
import torch

from ohlol.cells import CELLS
from ohlol.checkpoint import run_config
from ohlol.checkpoint.run_config import RunConfig
from ohlol.data.batches import SHUFFLE_WINDOW, Dataset
from ohlol.tasks import TASKS
from ohlol.utils import devices, environment
from ohlol.utils.errors import TooLarge
from ohlol.utils.translation import translate

BYTES_PER_PARAMETER = 16
"""A weight, its gradient and an optimizer's two moments, four bytes each."""


def check_memory(config: RunConfig, data: Dataset, device: torch.device) -> None:
    """Refuse what cannot fit into the memory of a device; raises TooLarge, which names the settings to lower."""
    cpu = device.type == "cpu"
    free = environment.get_free_memory() if cpu else devices.get_free_memory(device)
    if free is None:
        return
    model, training, on = config.model, config.training, "" if cpu else translate(" on {device}", device=device)
    network = run_config.build_meta_model(config)
    parameters = sum(p.numel() for p in network.parameters())
    model_bytes = parameters * BYTES_PER_PARAMETER
    if model_bytes > free:
        raise TooLarge(
            "the model would have {parameters:,} parameters and take {model_bytes} to train, and {free} are "
            "free{on}: a smaller `hidden_size` (here {hidden_size}), `num_layers` or `embedding_size` helps",
            parameters=parameters,
            model_bytes=_gib(model_bytes),
            free=_gib(free),
            on=on,
            hidden_size=model.hidden_size,
        )
    in_windows = TASKS[config.task].trains_in_windows
    steps = min(data.steps, training.batch_size * training.bptt)
    if not in_windows:
        lengths = data.inputs.bounds(np.arange(min(len(data), SHUFFLE_WINDOW)))[1]  # enough of a large corpus
        steps = int(np.sort(lengths)[-training.batch_size :].sum())
    # kept of each step for the backward pass, at least: the output and the gates
    numbers_per_cell = network.output_size + model.hidden_size * len(CELLS[model.cell].gates)
    numbers_per_step = model.num_layers * network.directions * numbers_per_cell
    logits = 0 if config.sizes.per_sequence else steps
    if cpu and training.precision == "fp32":
        logits = network.head.rows_in_memory(logits)
    batch_bytes = (steps * numbers_per_step + 2 * logits * config.sizes.outputs) * 4
    if model_bytes + batch_bytes > free:
        raise TooLarge(
            "the largest batch has {steps:,} steps and takes {batch_bytes} in addition to the model's {model_bytes}, "
            "and {free} are free{on}: a smaller `batch_size` (here {batch_size}){bptt} helps most, then `hidden_size`",
            steps=steps,
            batch_bytes=_gib(batch_bytes),
            model_bytes=_gib(model_bytes),
            free=_gib(free),
            on=on,
            batch_size=training.batch_size,
            bptt=translate(" or `bptt` (here {bptt})", bptt=training.bptt) if in_windows else "",
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
