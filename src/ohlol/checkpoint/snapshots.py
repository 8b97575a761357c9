"""The weights after each epoch, kept beside the best ones in `snapshots/`; knows nothing of what they are for.

`00000.safetensors` holds the weights before the first step, `00007.safetensors` those after the seventh epoch. A file
is written before the state that says its epoch is over, so a run that was killed and goes on has all of them.
"""

import re
from pathlib import Path

from torch import Tensor

from ohlol.checkpoint.weights import check_weights, read_tensors, weights_of, write_tensors
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import InputError
from ohlol.utils.files import unwritten

FOLDER = "snapshots"


def save(run: Path, epoch: int, model: SequenceModel) -> None:
    """Keep the weights as they are after an epoch; raises InputError where they cannot be written."""
    folder = _own(run)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritten(folder, error) from None
    write_tensors(_path(run, epoch), weights_of(model), {"format": "pt"})


def kept(run: Path) -> list[int]:
    """The epochs whose weights are there, in order."""
    found = [re.fullmatch(r"(\d{5,9})\.safetensors", path.name) for path in (run / FOLDER).glob("*")]
    return sorted({int(name[1]) for name in found if name})


def load(run: Path, epoch: int, model: SequenceModel) -> dict[str, Tensor]:
    """The weights after an epoch, seen to be those of a model.

    Args:
        run: the run directory.
        epoch: how many were over; 0 for before the first.
        model: whose names and shapes they must have; it is not changed.

    Raises:
        InputError: they were not kept, or are damaged, or do not fit.
    """
    epochs = kept(run)
    if epoch not in epochs:
        there = f"epochs {epochs[0]} to {epochs[-1]}" if epochs else "none: `ohlol train --snapshots` keeps them"
        raise InputError(f"{run}: there is no snapshot of epoch {epoch}; there are {there}")
    path, expected = _path(run, epoch), weights_of(model)
    weights = read_tensors(path, sum(t.nbytes for t in expected.values()))[0]
    check_weights(weights, expected, str(path))
    return weights


def clear(run: Path) -> None:
    """Take away what an earlier run kept, and nothing else; raises OSError where that cannot be done."""
    if not (run / FOLDER).exists():
        return
    folder = _own(run)
    for path in folder.glob("*.safetensors*"):
        path.unlink()


def _own(run: Path) -> Path:
    """The folder; raises InputError where it leads out of the run."""
    folder = run / FOLDER
    if folder.is_symlink():
        raise InputError(f"{folder}: is a symbolic link; nothing is written through one")
    return folder


def _path(run: Path, epoch: int) -> Path:
    return run / FOLDER / f"{epoch:05}.safetensors"
