"""Reference values for a loss: those of guessing, its sum over a sequence, and its lower bound."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.checkpoint.run_config import RunConfig
from ohlol.data.codec import Codec
from ohlol.models.heads import HEADS
from ohlol.tasks.metrics import MetricAccumulator, Metrics, ReportMetrics


@dataclass(frozen=True)
class Baselines:
    """A loss and its reference values, which are means over the predictions.

    Values are in nats; for numbers they are squared errors in scaled units.
    """

    loss: float
    count: int
    """Number of predictions the loss is the mean of."""
    labels: int
    """K, the number of labels; 0 for numbers."""
    uniform: float | None
    """Loss of a guess that gives every label the same probability, ln K, or 0.5 in sets of labels, ln 2.

    For numbers it is that of the training mean, 1.

    None where the loss of numbers is not the squared error."""
    frequencies: float | None = None
    """Loss of a guess that gives each label its share of the training data; None for numbers.

    In sets of labels it is its share of the sets that were measured."""
    summed: float | None = None
    """The loss summed over a sequence of mean length, where training sums it."""
    lower_bound: float | None = None
    """The lower bound of the loss where the logits are hidden states in [-1, 1]: ln(1 + (K - 1) e^-2)."""
    multiple: bool = False
    """Whether a prediction is a set of labels."""

    @property
    def learned(self) -> bool:
        """Whether the model is better than guessing."""
        return all(self.loss < guess for guess in (self.uniform, self.frequencies) if guess is not None)


def compute_baselines(config: RunConfig, codec: Codec, accumulator: MetricAccumulator) -> Baselines:
    """The reference values for the loss of a model.

    Args:
        config: of the run.
        codec: fitted to the training data; it holds the frequencies of the labels.
        accumulator: the counts of the evaluation. The frequencies are compared with the targets it counted or, where
            it has no confusion matrix, with those of the training data.
    """
    loss, count = accumulator.mean_loss, accumulator.predictions - accumulator.unseen
    if codec.labels is None:
        is_squared = HEADS[config.model.head].loss_unit == "squared_error"
        return Baselines(loss, count, 0, 1.0 if is_squared else None)
    if isinstance(accumulator, ReportMetrics) and codec.kind.multiple:
        report = accumulator.report()
        shares = np.array([scores.support for scores in report.classes]) / max(report.support, 1)
        frequencies = float(_entropies(shares).sum()) / len(codec.labels)
        return Baselines(loss, count, len(codec.labels), math.log(2), frequencies, multiple=True)
    counts = np.array(codec.labels.counts, np.float64)
    targets: NDArray[Any] = counts if accumulator.confusion is None else accumulator.confusion.sum(axis=1)
    if codec.labels == codec.symbols:  # one vocabulary for both sides, as in the tutorial, counts both
        counts = targets.astype(np.float64)
    K, summed = len(counts), None
    if config.training.loss_reduction == "sum":
        summed = loss * count / max(accumulator.sequences, 1)
    lower_bound = math.log1p((K - 1) * math.exp(-2)) if HEADS[config.model.head].is_identity else None
    frequencies = cross_entropy(targets, counts)
    return Baselines(loss, count, K, math.log(K), frequencies, summed, lower_bound)


def _entropies(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean loss, in nats, of guessing that a label is there with the probability of its share, for each label."""
    inside = shares[(shares > 0) & (shares < 1)]
    return -(inside * np.log(inside) + (1 - inside) * np.log1p(-inside))


def cross_entropy(targets: NDArray[Any], counts: NDArray[Any]) -> float:
    """The mean loss, in nats, of a guess that gives each label its share of `counts`.

    Where a target has a count of zero, every count is increased by one.

    Args:
        targets: how often each label is the target, (K,).
        counts: how often each label was counted in training, (K,).

    >>> round(cross_entropy(np.array([1, 2, 2]), np.array([1, 2, 2])), 4)
    1.0549
    """
    occurs = targets > 0
    if (counts[occurs] == 0).any():
        counts = counts + 1
    return float(-(targets[occurs] * np.log(counts[occurs] / counts.sum())).sum() / max(targets.sum(), 1))


def evaluate_persistence(series: Iterable[NDArray[np.float64]]) -> Metrics:
    """The errors of the forecast that the next row equals this one, in the units of the data."""
    errors = np.concatenate([np.diff(rows, axis=0) for rows in series])
    return {
        "rmse": float(np.sqrt((errors**2).mean(axis=0)).mean()),
        "mae": float(np.abs(errors).mean(axis=0).mean()),
    }
