"""The task `regress`: one number for a whole sequence of symbols or numbers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.codec import Codec
from ohlol.data.targets import TargetKind
from ohlol.tasks import classify
from ohlol.tasks.base import Task, register
from ohlol.tasks.metrics import MetricAccumulator, Metrics, ratio


class RegressMetrics(MetricAccumulator):
    """Root mean squared and mean absolute error in the unit of the target, of the model and of the training mean."""

    summed = (*MetricAccumulator.summed, "errors", "errors_of_mean")

    def __init__(self, codec: Codec):
        super().__init__(codec)
        assert codec.target_scale is not None
        self.scale = codec.target_scale
        self.errors = np.zeros(2)
        """The sums of the squared and of the absolute errors."""
        self.errors_of_mean = np.zeros(2)
        """The same where each prediction is the mean of the training data."""

    @property
    def main_metric(self) -> str:
        """The root mean squared error."""
        return "rmse"

    def add(self, targets: NDArray[Any], predictions: NDArray[Any], sequences: Sequence[NDArray[np.int64]]) -> None:
        """Add a batch of scaled numbers, (B, 1) each."""
        expected = self.scale.undo(targets)
        for sums, values in ((self.errors, self.scale.undo(predictions)), (self.errors_of_mean, self.scale.mean)):
            error = np.abs(values - expected)
            sums += ((error**2).sum(), error.sum())
        self.sequences += len(sequences)

    def metrics(self) -> Metrics:
        """RMSE, MAE and loss."""
        return {**self._rates(self.errors), "loss": self.mean_loss}

    def baseline(self) -> Metrics:
        """RMSE and MAE of always predicting the mean of the training data."""
        return self._rates(self.errors_of_mean)

    def _rates(self, sums: NDArray[np.float64]) -> Metrics:
        squared, absolute = (ratio(float(total), self.sequences) for total in sums)
        return {"rmse": float(np.sqrt(squared)), "mae": absolute}


def default_settings(level: str) -> tuple[ModelSettings, TrainSettings]:
    """Those of `classify`, with a head of numbers."""
    model, training = classify.default_settings(level)
    return replace(model, head="regression"), training


register(
    Task(
        name="regress",
        targets=TargetKind(per_sequence=True, quantity=True),
        metrics=RegressMetrics,
        defaults=default_settings,
        search_space=classify.search_space,
        usage="ohlol predict {run} {input}",
    )
)
