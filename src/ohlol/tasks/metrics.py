"""Metrics: counts gathered batch by batch, and the figures that follow from them.

A `MetricAccumulator` keeps counts only, so memory does not grow with the data. Rates are in 0..1, errors in the units
of the data.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ohlol.data.codec import Codec
from ohlol.tasks.class_report import BINS, ClassReport, confidence_bins

Metrics = dict[str, float]
"""The value of each metric, by its name."""
LOWER_IS_BETTER = {"bits", "perplexity", "rmse", "mae", "scaled_mae", "loss"}
"""Names of metrics of which less is better; of all others more is."""
RATES = {
    "accuracy",
    "sequence_accuracy",
    "span_f1",
    "span_precision",
    "span_recall",
    "macro_f1",
    "micro_f1",
    "subset_accuracy",
}
"""Names of metrics that are shown in per cent."""


class MetricAccumulator(ABC):
    """Counts from which the metrics of a task follow.

    Args:
        codec: of the model: its labels, or the scales of its numbers.
    """

    summed: ClassVar[tuple[str, ...]] = ("loss", "predictions", "sequences", "unseen")
    """Attributes that add up over processes: numbers or arrays."""

    def __init__(self, codec: Codec):
        self.loss = 0.0
        self.predictions = 0
        """The number of predictions: one for each step, or one for each sequence."""
        self.sequences = 0
        self.unseen = 0
        """Predictions whose target is a label that training did not see: K, the number of labels. They are wrong."""

    @property
    @abstractmethod
    def main_metric(self) -> str:
        """The name of the metric that decides which weights are best."""

    @property
    def confusion(self) -> NDArray[np.int64] | None:
        """How often each target, a row, was predicted as each label, a column, (K, K); None if that is not counted."""
        return None

    def add_loss(self, loss: float, predictions: int) -> None:
        """Add the sum of the losses of some predictions: in nats for labels, squared errors of scaled numbers."""
        self.loss += loss
        self.predictions += predictions

    @abstractmethod
    def add(self, targets: NDArray[Any], predictions: NDArray[Any], sequences: Sequence[NDArray[np.int64]]) -> None:
        """Add a batch.

        Args:
            targets: the expected labels, (N,), scaled numbers, (N, F), or sets of labels as in `Dataset`, (N, K + 1). A
                label that training did not see is K.
            predictions: the output of `Head.decode`.
            sequences: for each sequence of the batch the indices of its predictions.
        """

    def merge(self, total: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """Take the counts of several processes together: `total` sums an array over all of them."""
        for name in self.summed:
            value = getattr(self, name)
            merged = total(np.asarray(value))
            setattr(self, name, merged if isinstance(value, np.ndarray) else merged.item())

    @property
    def mean_loss(self) -> float:
        """The mean loss of a prediction: in nats for labels, the squared error of scaled numbers.

        Labels that training did not see have none and are left out.
        """
        return self.loss / max(self.predictions - self.unseen, 1)

    @abstractmethod
    def metrics(self) -> Metrics:
        """The metrics of what was added; "loss" is among them."""


class LabelMetrics(MetricAccumulator):
    """Counts of labels that were predicted correctly."""

    summed = (*MetricAccumulator.summed, "correct")

    def __init__(self, codec: Codec):
        super().__init__(codec)
        self.correct = 0

    @property
    def main_metric(self) -> str:
        """The share of correct predictions."""
        return "accuracy"

    def add(self, targets: NDArray[Any], predictions: NDArray[Any], sequences: Sequence[NDArray[np.int64]]) -> None:
        """Add a batch of labels, (N,) each."""
        self.correct += int((targets == predictions).sum())
        self.sequences += len(sequences)

    @property
    def accuracy(self) -> float:
        """The share of correct predictions."""
        return ratio(self.correct, self.predictions)

    def metrics(self) -> Metrics:
        """Accuracy and loss."""
        return {"accuracy": self.accuracy, "loss": self.mean_loss}


class ReportMetrics(MetricAccumulator):
    """Counts by label, with the probabilities of predicted labels."""

    summed = (*MetricAccumulator.summed, "confidences")

    def __init__(self, codec: Codec):
        super().__init__(codec)
        assert codec.labels is not None
        self.labels = codec.labels.symbols
        self.confidences = np.zeros((3, BINS))
        """Predicted labels by bins of confidence, as `confidence_bins` counts them."""

    @abstractmethod
    def add_confidences(
        self, targets: NDArray[Any], predictions: NDArray[Any], confidences: NDArray[np.floating[Any]]
    ) -> None:
        """Add the probability of each predicted label, (N,), or of all labels, (N, K), where predictions are sets.

        Args:
            targets: those of `add`.
            predictions: those of `add`.
            confidences: the probabilities.
        """

    @abstractmethod
    def report(self) -> ClassReport:
        """Precision, recall and F1 of each label, their means and the calibration."""

    def macro_f1(self) -> float:
        """The mean of the F1 of each label that occurs among the targets or the predictions."""
        return self.report().macro.f1


class ConfusionMetrics(LabelMetrics, ReportMetrics):
    """Counts of labels with confusion counts: how often each label was predicted for each target."""

    summed = (*LabelMetrics.summed, "matrix", "predicted_for_unseen", "confidences")

    def __init__(self, codec: Codec):
        super().__init__(codec)
        self.matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)
        self.predicted_for_unseen = np.zeros(len(self.labels), np.int64)
        """How often each label was predicted where training did not see the target, (K,)."""

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often each target, a row, was predicted as each label, a column, (K, K)."""
        return self.matrix

    def add(self, targets: NDArray[Any], predictions: NDArray[Any], sequences: Sequence[NDArray[np.int64]]) -> None:
        """Add a batch of labels, (N,) each."""
        super().add(targets, predictions, sequences)
        seen = targets < len(self.labels)
        np.add.at(self.matrix, (targets[seen], predictions[seen]), 1)
        np.add.at(self.predicted_for_unseen, predictions[~seen], 1)

    def add_confidences(
        self, targets: NDArray[Any], predictions: NDArray[Any], confidences: NDArray[np.floating[Any]]
    ) -> None:
        """As in `ReportMetrics`, (N,)."""
        self.confidences += confidence_bins(confidences, targets == predictions)

    def report(self) -> ClassReport:
        """Precision, recall and F1 of each label, their means and the calibration."""
        return ClassReport.of(self.labels, self.matrix, self.predicted_for_unseen, self.confidences)

    def confusions(self, limit: int = 10) -> list[tuple[str, str, int, float]]:
        """The most frequent mistakes: (target, prediction, how often, share of the target's occurrences)."""
        wrong = self.matrix.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
        mistakes: list[tuple[str, str, int, float]] = []
        for flat in order.tolist():
            i, j = divmod(flat, len(self.labels))
            if wrong[i, j]:
                share = float(wrong[i, j] / self.matrix[i].sum())
                mistakes.append((self.labels[i], self.labels[j], int(wrong[i, j]), share))
        return mistakes


def is_better(metrics: Metrics, best: Metrics | None, name: str) -> bool:
    """Whether metrics beat the best so far by the metric `name`, or equal it with less loss; NaN never does."""
    value = metrics[name]
    if math.isnan(value) or math.isnan(metrics["loss"]):
        return False
    if best is None or value == best[name]:
        return best is None or metrics["loss"] < best["loss"]
    return value < best[name] if name in LOWER_IS_BETTER else value > best[name]


def format_metrics(metrics: Metrics) -> str:
    """Metrics on one line, rates in per cent.

    >>> format_metrics({"accuracy": 0.93456, "loss": 0.25})
    'accuracy 93.46 %  loss 0.2500'
    """
    return "  ".join(_format(name, value) for name, value in metrics.items())


def _format(name: str, value: float) -> str:
    shown = f"{100 * value:.2f} %" if name in RATES else format_number(value)
    return f"{name.replace('_', ' ')} {shown}"


def format_number(value: float) -> str:
    """A loss or an error; the larger it is, the fewer decimals.

    >>> format_number(1.5), format_number(-0.0), format_number(12345.678)
    ('1.5000', '0.0000', '12345.7')
    """
    return f"{value:z.4f}" if abs(value) < 1e3 else f"{value:.1f}" if abs(value) < 1e6 else f"{value:.4g}"


def ratio(part: float, whole: float) -> float:
    """part / whole, or 0 if whole is 0."""
    return part / whole if whole else 0.0
