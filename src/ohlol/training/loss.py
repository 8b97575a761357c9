"""The loss of a batch, how much it weighs, and which symbols are read as <unk> in training."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.config import TrainSettings
from ohlol.data.batches import Batch, Dataset
from ohlol.data.codec import Codec
from ohlol.data.targets import TARGET_KINDS
from ohlol.models.heads import LossOptions
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.devices import CPU
from ohlol.utils.errors import InputError


class Loss(NamedTuple):
    """The loss of a batch, or of one process's part of it."""

    mean: Tensor
    divisor: float
    """What it was divided by: `mean * divisor` of the parts add up to those of the whole."""
    weight: float
    """How much it weighs in the epoch's mean."""


class BatchLoss:
    """The loss of a model's head under some settings.

    Args:
        model: whose head defines the loss.
        settings: its reduction, label smoothing and class weights.
        codec: how frequent each label is.
        device: where the loss is computed.
    """

    def __init__(self, model: SequenceModel, settings: TrainSettings, codec: Codec, device: torch.device = CPU):
        self.model, self.settings = model, settings
        weights = _class_weights(settings, codec)
        self._weights_in_numpy = None if weights is None else weights.double().numpy()
        self.weights = None if weights is None else weights.to(device)

    def __call__(self, batch: Batch, logits: Tensor, targets: Tensor) -> Loss:
        """The loss of a batch, given its logits (N, K) and, on the same device, its targets."""
        return self._reduce(batch, self.model.head.loss(logits, targets, self._sizes(batch), self._options(logits)))

    def of_inputs(self, batch: Batch, inputs: Tensor, targets: Tensor) -> Loss:
        """The loss of a batch, given the inputs of the head (N, W), where the logits are the head's of these."""
        loss = self.model.head.loss_of_inputs(inputs, targets, self._sizes(batch), self._options(inputs))
        return self._reduce(batch, loss)

    def _sizes(self, batch: Batch) -> Tensor | None:
        return self.model.prediction_sizes(torch.from_numpy(batch.batch_sizes))

    def _options(self, like: Tensor) -> LossOptions:
        settings, weights = self.settings, None if self.weights is None else self.weights.to(like)
        return LossOptions(weights, settings.label_smoothing, settings.loss_reduction)

    def _reduce(self, batch: Batch, loss: Tensor) -> Loss:
        assert batch.targets is not None
        predictions, sequences = float(len(batch.targets)), float(len(batch.rows))
        if self.settings.loss_reduction == "sum":
            return Loss(loss / sequences, sequences, sequences)
        weights = self._weights_in_numpy
        divisor = predictions if weights is None else float(weights[batch.targets].sum())
        return Loss(loss, divisor, predictions)


def _class_weights(settings: TrainSettings, codec: Codec) -> Tensor | None:
    if settings.class_weights == "none" or not TARGET_KINDS[codec.task].has_labels:
        return None
    if TARGET_KINDS[codec.task].multiple:
        raise InputError(
            "`class_weights` weighs the one label of a prediction, and task {task} predicts a set", task=codec.task
        )
    assert codec.labels is not None
    counts = np.maximum(np.array(codec.labels.counts, np.float64), 1)
    return torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32)


def keep_probabilities(settings: TrainSettings, codec: Codec) -> NDArray[np.float64] | None:
    """For each symbol the probability that training reads it as itself instead of <unk>; None where all are."""
    vocab = codec.symbols
    if vocab is None or vocab.unk is None or not settings.unk_probability:
        return None
    counts = np.array(vocab.counts, np.float64)
    strength = settings.unk_probability / (1 - settings.unk_probability)
    keep = counts / (counts + strength)
    keep[vocab.unk] = 1.0
    return np.concatenate([keep, np.ones(len(codec.unknown_ids) - len(keep))])  # words with a vector are unknown


SAMPLED_ROWS = 1 << 15
"""Rows of the training data to which the head is fitted before training."""


def sample_forecasts(data: Dataset, base: int) -> tuple[Tensor, Tensor]:
    """The targets and the forecasts in the first columns of the input, in rows all over the data, (n, base) each."""
    assert data.targets is not None
    rows = np.linspace(0, data.steps - 1, min(data.steps, SAMPLED_ROWS)).astype(np.int64)
    parts = data.targets[rows], data.inputs.values[rows][:, :base]
    targets, forecasts = (torch.from_numpy(np.asarray(part, np.float32)) for part in parts)
    return targets, forecasts
