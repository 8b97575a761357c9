"""The task `forecast`: the values of the steps that follow each row of a series, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.codec import Codec
from ohlol.data.targets import TargetKind
from ohlol.tasks.base import Task, register, search_space_of_series
from ohlol.tasks.metrics import MetricAccumulator, Metrics, ratio


class ForecastMetrics(MetricAccumulator):
    """The mean absolute error of the medians, over all steps of the horizon, in encoded units.

    The unit is the mean absolute seasonal difference of each series in the training data, of logarithms where these are
    encoded. `ohlol backtest` measures in the units of the data.

    Counts are not scaled, and their medians are often 0: the main metric is the loss, which the whole distribution
    decides.
    """

    summed = (*MetricAccumulator.summed, "absolute", "values")

    def __init__(self, codec: Codec):
        super().__init__(codec)
        self.is_count = codec.panel is not None and codec.panel.is_count
        self.absolute = 0.0
        self.values = 0.0
        """Numbers that were forecast and are not missing."""

    @property
    def main_metric(self) -> str:
        """The scaled error, or the loss of counts."""
        return "loss" if self.is_count else "scaled_mae"

    def add(self, targets: NDArray[Any], predictions: NDArray[Any], sequences: Sequence[NDArray[np.int64]]) -> None:
        """Add a batch of encoded numbers, (S, F*h) each, NaN where one is missing."""
        errors = np.abs(predictions.astype(np.float64) - targets)
        self.absolute += float(np.nansum(errors))
        self.values += float(np.isfinite(errors).sum())
        self.sequences += len(sequences)

    def metrics(self) -> Metrics:
        """The error and the loss."""
        name = "mae" if self.is_count else "scaled_mae"
        return {name: ratio(self.absolute, self.values), "loss": self.mean_loss}


def default_settings(level: str) -> tuple[ModelSettings, TrainSettings]:
    """Settings that were measured on the data of docs/results.md."""
    model = ModelSettings(cell="gru", hidden_size=64, dropout=0.2, head="quantile")
    return model, TrainSettings(epochs=10, batch_size=32, bptt=192, lr=2e-3, patience=10)


register(
    Task(
        name="forecast",
        targets=TargetKind(numeric=True, horizon=True),
        metrics=ForecastMetrics,
        defaults=default_settings,
        search_space=search_space_of_series,
        usage="ohlol predict {run} FILE",
        min_steps=1500,
        max_epochs=100,
    )
)
