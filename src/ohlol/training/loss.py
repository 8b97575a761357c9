"""What training makes smaller: the loss of a batch, and how much it weighs; knows nothing of optimizers or epochs."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from ohlol.config import TrainSettings
from ohlol.data.batches import Batch
from ohlol.data.codec import Codec
from ohlol.utils.devices import CPU


class Loss(NamedTuple):
    """The loss of a batch, or of one process's part of it."""

    mean: Tensor
    divisor: float
    """What it was divided by: `mean * divisor` of the parts add up to those of the whole."""
    weight: float
    """How much it weighs in the epoch's mean."""


class Objective:
    """The loss of a task under some settings."""

    def __init__(self, task: str, settings: TrainSettings, codec: Codec, device: torch.device = CPU):
        self.task, self.settings = task, settings
        self.weights = _class_weights(task, settings, codec)
        self._counted = None if self.weights is None else self.weights.double().numpy()
        self.weights = None if self.weights is None else self.weights.to(device)

    def __call__(self, batch: Batch, scores: Tensor, wanted: Tensor) -> Loss:
        """The loss of a batch, given its scores (S, K) or (B, K) and, where they are, its targets."""
        steps, sequences = float(len(wanted)), float(len(batch.rows))
        if self.task == "forecast":
            return Loss(mse_loss(scores, wanted.to(scores.dtype)), steps, steps)
        settings = self.settings
        weights = None if self.weights is None else self.weights.to(scores)
        loss = cross_entropy(
            scores,
            wanted,
            weight=weights,
            label_smoothing=settings.label_smoothing,
            reduction="mean" if settings.loss == "mean" else "sum",
        )
        if settings.loss == "sum":
            return Loss(loss / sequences, sequences, sequences)
        divisor = steps if self._counted is None else float(self._counted[batch.targets].sum())
        return Loss(loss, divisor, steps)


def _class_weights(task: str, settings: TrainSettings, codec: Codec) -> Tensor | None:
    if settings.class_weights == "none" or task not in ("label", "classify"):
        return None
    assert codec.labels is not None
    counts = np.maximum(np.array(codec.labels.counts, np.float64), 1)
    return torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32)


def kept_as_itself(settings: TrainSettings, codec: Codec) -> NDArray[np.float64] | None:
    """For each symbol the probability that it is read as itself in training; None where all are."""
    vocab = codec.symbols
    if vocab is None or vocab.unk is None or not settings.unknown:
        return None
    counts = np.array(vocab.counts, np.float64)
    keep = counts / (counts + settings.unknown)
    keep[vocab.unk] = 1.0
    return keep
