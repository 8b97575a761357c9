"""The task `next_row`: the next row of a series of numbers, at each step, such as in a stream."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.codec import Codec
from ohlol.data.targets import TargetKind
from ohlol.tasks.base import Task, register, search_space_of_series
from ohlol.tasks.metrics import MetricAccumulator, Metrics


class NextRowMetrics(MetricAccumulator):
    """Root mean squared and mean absolute error, of each column in its own units, then the mean over the columns."""

    summed = (*MetricAccumulator.summed, "absolute", "squared")

    def __init__(self, codec: Codec):
        super().__init__(codec)
        assert codec.target_scale is not None
        self.scale = codec.target_scale
        self.absolute = np.zeros(len(codec.target_columns))
        self.squared = np.zeros(len(codec.target_columns))

    @property
    def main_metric(self) -> str:
        """The root mean squared error."""
        return "rmse"

    def add(self, targets: NDArray[Any], predictions: NDArray[Any], sequences: Sequence[NDArray[np.int64]]) -> None:
        """Add a batch of scaled rows, (S, F) each."""
        errors = self.scale.undo(predictions) - self.scale.undo(targets)
        self.absolute += np.abs(errors).sum(axis=0)
        self.squared += (errors**2).sum(axis=0)
        self.sequences += len(sequences)

    def metrics(self) -> Metrics:
        """RMSE, MAE and loss."""
        return {
            "rmse": float(np.sqrt(self.squared / self.predictions).mean()),
            "mae": float((self.absolute / self.predictions).mean()),
            "loss": self.mean_loss,
        }


def default_settings(level: str) -> tuple[ModelSettings, TrainSettings]:
    """Settings that were measured on the data of docs/results.md."""
    model = ModelSettings(cell="gru", hidden_size=64, head="regression")
    return model, TrainSettings(epochs=20, batch_size=16, bptt=64, lr=3e-3)


register(
    Task(
        name="next_row",
        targets=TargetKind(shifted=True, numeric=True),
        metrics=NextRowMetrics,
        defaults=default_settings,
        search_space=search_space_of_series,
        usage="ohlol predict {run} FILE",
    )
)
