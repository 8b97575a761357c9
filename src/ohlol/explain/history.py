"""What a network computes after each epoch of its training, from the snapshots of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ohlol.checkpoint import metrics_log, snapshots
from ohlol.checkpoint.weights import load_weights
from ohlol.explain.saliency import Saliency, compute_saliency
from ohlol.explain.trace import Trace, trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import InputError


@dataclass(frozen=True)
class Frame:
    """The trace of one sequence after one epoch."""

    epoch: int
    """Number of finished epochs; 0 before the first training step."""
    trace: Trace
    saliency: Saliency | None = None
    is_best: bool = False
    """Whether the run kept the weights of this epoch as the best."""


def load_epoch(model: TrainedModel, epoch: int) -> TrainedModel:
    """Load the model as it was after an epoch.

    Raises:
        InputError: the run has no snapshot of the epoch, or the snapshot cannot be read.
    """
    if model.run is None:
        raise InputError("`epoch` needs a run directory with snapshots")
    network = SequenceModel(model.network.settings, model.network.sizes)
    load_weights(network, snapshots.load(model.run, epoch, network), str(model.run / snapshots.DIRECTORY))
    return replace(model, network=network.eval())


def trace_epochs(
    model: TrainedModel,
    sequence: Any,
    *,
    target: str | Sequence[str] | None = None,
    max_frames: int = 64,
) -> tuple[Frame, ...]:
    """Trace one sequence with the weights of every snapshot, in order; empty where the run has no snapshots.

    Args:
        model: the model of a run directory.
        sequence: the input.
        target: the correct labels, as for `ohlol.explain.trace.trace`.
        max_frames: the maximum number of frames: the first, the best and the last, and others evenly spaced.

    Raises:
        InputError: a snapshot cannot be read, or the sequence does not fit the model.
    """
    epochs = snapshots.list_epochs(model.run) if model.run is not None else []
    if model.run is None or not epochs:
        return ()
    best = [line["epoch"] for line in metrics_log.read_metrics(model.run) if line.get("best") is True][-1:]
    frames: list[Frame] = []
    for epoch in _select(epochs, [e for e in best if e in epochs], max_frames):
        at_epoch = load_epoch(model, epoch)
        epoch_trace = trace(at_epoch, sequence, target=target)
        frames.append(Frame(epoch, epoch_trace, compute_saliency(at_epoch, sequence), [epoch] == best))
    return tuple(frames)


def _select(epochs: list[int], required: list[int], count: int) -> list[int]:
    """Select at most `count` epochs, evenly spaced, with the first, the last and the required ones.

    >>> _select([0, 1, 2, 3, 4, 5, 6, 7, 8], [7], 4)
    [0, 3, 7, 8]
    """
    if len(epochs) <= count:
        return epochs
    selected = {epochs[-1], *required, epochs[0]}
    for k in range(1, count - 1):
        if len(selected) < count:
            selected.add(epochs[round(k * (len(epochs) - 1) / (count - 1))])
    return sorted(selected)
