"""Snapshots: the weights after each epoch, in `snapshots/`.

`00000.safetensors` holds the weights before the first step, `00007.safetensors` those after the seventh epoch. A
snapshot is written before the saved state of its epoch, so a run that was killed and resumed has all of them.
"""

import re
from pathlib import Path

from torch import Tensor

from ohlol.checkpoint.weights import check_weights, get_weights, read_tensors, write_tensors
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import InputError
from ohlol.utils.files import write_error
from ohlol.utils.translation import translate

DIRECTORY = "snapshots"


def save(run: Path, epoch: int, model: SequenceModel) -> None:
    """Write the weights after an epoch; raises InputError where they cannot be written."""
    directory = _checked_directory(run)
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(directory, error) from None
    write_tensors(_path(run, epoch), get_weights(model), {"format": "pt"})


def list_epochs(run: Path) -> list[int]:
    """The epochs with a snapshot, in order."""
    names = [re.fullmatch(r"(\d{5,9})\.safetensors", path.name) for path in (run / DIRECTORY).glob("*")]
    return sorted({int(name[1]) for name in names if name})


def load(run: Path, epoch: int, model: SequenceModel) -> dict[str, Tensor]:
    """The weights after an epoch.

    Args:
        run: the run directory.
        epoch: number of completed epochs; 0 for the weights before the first step.
        model: the model whose names and shapes the weights must have; it is not changed.

    Raises:
        InputError: there is no such snapshot, or it is damaged, or it does not fit the model.
    """
    epochs = list_epochs(run)
    if epoch not in epochs:
        available = (
            translate("epochs {first} to {last}", first=epochs[0], last=epochs[-1])
            if epochs
            else translate("none: train with `snapshots` to keep them")
        )
        raise InputError(
            "{run}: there is no snapshot of epoch {epoch}; there are {available}",
            run=run,
            epoch=epoch,
            available=available,
        )
    path, expected = _path(run, epoch), get_weights(model)
    weights = read_tensors(path, sum(t.nbytes for t in expected.values()))[0]
    check_weights(weights, expected, str(path))
    return weights


def clear(run: Path) -> None:
    """Remove all snapshots, and no other file; raises OSError."""
    if not (run / DIRECTORY).exists():
        return
    directory = _checked_directory(run)
    for path in directory.glob("*.safetensors*"):
        path.unlink()


def _checked_directory(run: Path) -> Path:
    """The directory of the snapshots; raises InputError where it is a symbolic link."""
    directory = run / DIRECTORY
    if directory.is_symlink():
        raise InputError("{path}: is a symbolic link; nothing is written through one", path=directory)
    return directory


def _path(run: Path, epoch: int) -> Path:
    return run / DIRECTORY / f"{epoch:05}.safetensors"
