"""What a loss is worth: beside guessing, as a sum, and the floor under it; knows nothing of how one trains."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.checkpoint.run_config import RunConfig
from ohlol.data.codec import Codec
from ohlol.tasks.metrics import MetricAccumulator, Metrics


@dataclass(frozen=True)
class Baselines:
    """A measured loss and what to hold it against, of one answer, in nats; for forecast squares of scaled numbers."""

    loss: float
    count: int
    """Answers it is the mean of."""
    answers: int
    """K, the answers there are to choose from; 0 for forecast."""
    uniform: float
    """Of a guess that finds every answer equally likely, ln K; for forecast of the training data's mean, 1."""
    frequencies: float | None = None
    """Of a guess that gives each answer its share of the training data; None for forecast."""
    summed: float | None = None
    """The loss as its sum over a sequence of mean length, where training counts that."""
    floor: float | None = None
    """The least it can be where a hidden state between -1 and 1 is the scores: ln(1 + (K - 1) e^-2)."""

    @property
    def learned(self) -> bool:
        """Whether the model is better than guessing."""
        return self.loss < (self.uniform if self.frequencies is None else min(self.uniform, self.frequencies))


def baselines(config: RunConfig, codec: Codec, accumulator: MetricAccumulator) -> Baselines:
    """What the measured loss of a model is worth.

    Args:
        config: of the run.
        codec: learned from its training data; its counts are the frequencies.
        accumulator: of the evaluation. The frequencies are compared with the targets it counted; where it counts none
            one by one, as for `next`, with those of the training data.
    """
    loss = accumulator.mean_loss
    if codec.labels is None:
        return Baselines(loss, accumulator.steps, 0, 1.0)
    counts = np.array(codec.labels.counts, np.float64)
    measured: NDArray[Any] = counts if accumulator.confusion is None else accumulator.confusion.sum(axis=1)
    if codec.labels == codec.symbols:  # one vocabulary for both sides, as in the tutorial, counts both
        counts = measured.astype(np.float64)
    K, summed = len(counts), None
    if config.training.loss_reduction == "sum":
        summed = loss * accumulator.steps / max(accumulator.sequences, 1)
    floor = None if config.model.head != "identity" else math.log1p((K - 1) * math.exp(-2))
    return Baselines(loss, accumulator.steps, K, math.log(K), cross_entropy(measured, counts), summed, floor)


def cross_entropy(measured: NDArray[Any], counts: NDArray[Any]) -> float:
    """The mean loss, in nats, of giving each answer its share of `counts`, over answers that came `measured` times.

    Where an answer is measured that was never counted, every count is one more.

    >>> round(cross_entropy(np.array([1, 2, 2]), np.array([1, 2, 2])), 4)
    1.0549
    """
    there = measured > 0
    if (counts[there] == 0).any():
        counts = counts + 1
    return float(-(measured[there] * np.log(counts[there] / counts.sum())).sum() / max(measured.sum(), 1))


def persistence(series: Iterable[NDArray[np.float64]]) -> Metrics:
    """The errors of the simplest forecast, that the next row equals this one, in the data's units."""
    errors = np.concatenate([np.diff(rows, axis=0) for rows in series])
    return {
        "rmse": float(np.sqrt((errors**2).mean(axis=0)).mean()),
        "mae": float(np.abs(errors).mean(axis=0).mean()),
    }
