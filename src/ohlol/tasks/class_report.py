"""The report of predicted classes: precision, recall and F1 of each, their means, and how far probabilities are right.

Shapes: K classes, M bins of confidence.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.utils.html import to_html

BINS = 10
"""M, bins of equal width in which confidence is compared with accuracy."""


def confidence_bins(confidences: NDArray[Any], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Predictions by their confidence, (3, M): how many there are, the sum of their confidences, how many are correct.

    Bin m of 0..M-1 holds the confidences in (m / M, (m + 1) / M].

    Args:
        confidences: the probability of each predicted class, (N,).
        correct: whether it is the target, (N,).
    """
    bins = np.clip(np.ceil(confidences.astype(np.float64) * BINS).astype(np.int64) - 1, 0, BINS - 1)
    weights = (None, confidences, correct)
    return np.stack([np.bincount(bins, weight, BINS).astype(np.float64) for weight in weights])


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1, in 0..1, of one class or as a mean; a rate without any case is 0."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassScores(Scores):
    """The scores of one class."""

    label: str
    support: int
    """How often it is the target."""


@dataclass(frozen=True)
class Bin:
    """The predictions with a confidence in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    """Their mean confidence; 0 where there are none."""
    accuracy: float
    """The share that is correct; 0 where there are none."""


@dataclass(frozen=True)
class ClassReport:
    """The scores of every class that occurs among the targets or the predictions."""

    classes: tuple[ClassScores, ...]
    """The most frequent target first."""
    macro: Scores
    """The mean over the classes."""
    weighted: Scores
    """The mean over the classes, weighted by their support."""
    accuracy: float
    support: int
    """The number of predictions, with those for labels that training did not see."""
    bins: tuple[Bin, ...] = ()
    """Confidence and accuracy by bins of confidence; empty where confidences were not counted."""
    micro: Scores | None = None
    """The scores of all labels together, where a prediction is a set of them; of one label, all three are accuracy."""

    @staticmethod
    def of(
        labels: Sequence[str],
        matrix: NDArray[np.int64],
        predicted_for_unseen: NDArray[np.int64],
        confidences: NDArray[np.float64] | None = None,
    ) -> "ClassReport":
        """The report of some counts.

        Args:
            labels: the K classes.
            matrix: how often each target, a row, was predicted as each class, a column, (K, K).
            predicted_for_unseen: how often each class was predicted where training did not see the target, (K,).
            confidences: the sum of `confidence_bins`, (3, M).
        """
        correct, support = matrix.diagonal(), matrix.sum(axis=1)
        total = int(support.sum() + predicted_for_unseen.sum())
        accuracy = float(correct.sum() / total) if total else 0.0
        counts = (correct, matrix.sum(axis=0) + predicted_for_unseen, support)
        return ClassReport.of_counts(labels, counts, total, accuracy, confidences)

    @staticmethod
    def of_counts(
        labels: Sequence[str],
        counts: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
        total: int,
        accuracy: float,
        confidences: NDArray[np.float64] | None = None,
        micro: Scores | None = None,
    ) -> "ClassReport":
        """The report of the counts of each class.

        Args:
            labels: the K classes.
            counts: how often each class was predicted correctly, was predicted, and was the target, (K,) each.
            total: the number of predictions.
            accuracy: the share of them that is correct.
            confidences: the sum of `confidence_bins`, (3, M).
            micro: the scores of all labels of sets together.
        """
        correct, predicted, support = counts
        rates = [_ratios(correct, predicted), _ratios(correct, support), _ratios(2 * correct, predicted + support)]
        occurs = np.flatnonzero(predicted + support)
        order = occurs[np.argsort(-support[occurs], kind="stable")]
        classes = [
            ClassScores(float(rates[0][i]), float(rates[1][i]), float(rates[2][i]), labels[i], int(support[i]))
            for i in map(int, order)
        ]
        return ClassReport(
            tuple(classes),
            Scores(*(float(rate[occurs].mean()) if len(occurs) else 0.0 for rate in rates)),
            Scores(*(float(support @ rate) / max(int(support.sum()), 1) for rate in rates)),
            accuracy,
            total,
            () if confidences is None or not confidences.any() else _bins(confidences),
            micro,
        )

    @property
    def calibration_error(self) -> float | None:
        """The expected calibration error: the mean of |accuracy - confidence| over the bins, weighted by their counts.

        Source: Guo et al., "On calibration of modern neural networks", ICML (2017). None without `bins`.
        """
        if not self.bins:
            return None
        gaps = sum(bin.count * abs(bin.accuracy - bin.confidence) for bin in self.bins)
        return gaps / sum(bin.count for bin in self.bins)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "calibration_error": self.calibration_error}

    def _repr_html_(self) -> str:
        return to_html(self)


def _ratios(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """part / whole, or 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def _bins(counts: NDArray[np.float64]) -> tuple[Bin, ...]:
    confidence, accuracy = _ratios(counts[1], counts[0]), _ratios(counts[2], counts[0])
    return tuple(
        Bin(m / BINS, (m + 1) / BINS, int(counts[0, m]), float(confidence[m]), float(accuracy[m])) for m in range(BINS)
    )
