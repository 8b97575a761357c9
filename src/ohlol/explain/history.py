"""What a network worked out at each epoch of its training, from a run's snapshots; knows nothing of how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ohlol.checkpoint import metrics_log, snapshots
from ohlol.checkpoint.weights import load_weights
from ohlol.explain.saliency import Memory, memory
from ohlol.explain.trace import Trace, trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import InputError


@dataclass(frozen=True)
class Frame:
    """One moment of the training."""

    epoch: int
    """Epochs that were over; 0 before the first step."""
    trace: Trace
    memory: Memory | None = None
    best: bool = False
    """Whether its weights are those that the run kept as the best."""


def at_epoch(model: TrainedModel, epoch: int) -> TrainedModel:
    """The model as it was after an epoch.

    Raises:
        InputError: the run kept no snapshot of it, or it cannot be read.
    """
    if model.run is None:
        raise InputError("--epoch needs a run directory with snapshots")
    network = SequenceModel(model.network.settings, model.network.sizes)
    load_weights(network, snapshots.load(model.run, epoch, network), str(model.run / snapshots.DIRECTORY))
    return replace(model, network=network.eval())


def frames(
    model: TrainedModel, sequence: str | Sequence[str], *, target: str | Sequence[str] | None = None, most: int = 64
) -> tuple[Frame, ...]:
    """One sequence at the epochs whose weights were kept, in order; none where the run kept none.

    Args:
        model: of a run directory.
        sequence: what it reads.
        target: what should come out, as for `ohlol.explain.trace.trace`.
        most: frames at most: the first, the best and the last, and others evenly between.

    Raises:
        InputError: a snapshot cannot be read, or the sequence does not fit the model.
    """
    epochs = snapshots.list_epochs(model.run) if model.run is not None else []
    if model.run is None or not epochs:
        return ()
    best = [line["epoch"] for line in metrics_log.read_metrics(model.run) if line.get("best") is True][-1:]
    made: list[Frame] = []
    for epoch in _thinned(epochs, [e for e in best if e in epochs], most):
        then = at_epoch(model, epoch)
        made.append(Frame(epoch, trace(then, sequence, target=target), memory(then, sequence), [epoch] == best))
    return tuple(made)


def _thinned(epochs: list[int], needed: list[int], most: int) -> list[int]:
    """At most so many epochs, evenly spaced, both ends and those needed among them.

    >>> _thinned([0, 1, 2, 3, 4, 5, 6, 7, 8], [7], 4)
    [0, 3, 7, 8]
    """
    if len(epochs) <= most:
        return epochs
    kept = {epochs[-1], *needed, epochs[0]}
    for k in range(1, most - 1):
        if len(kept) < most:
            kept.add(epochs[round(k * (len(epochs) - 1) / (most - 1))])
    return sorted(kept)
