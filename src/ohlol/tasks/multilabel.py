"""The task `multilabel`: a set of labels for a whole sequence, which may be empty."""

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
from ohlol.tasks.class_report import ClassReport, Scores, confidence_bins
from ohlol.tasks.metrics import Metrics, ReportMetrics, ratio


class MultilabelMetrics(ReportMetrics):
    """F1 of all labels together and as a mean over them, and the share of sets that are predicted exactly."""

    summed = (*ReportMetrics.summed, "correct", "predicted", "support", "unseen_labels", "correct_sets")

    def __init__(self, codec: Codec):
        super().__init__(codec)
        self.correct, self.predicted, self.support = np.zeros((3, len(self.labels)), np.int64)
        self.unseen_labels = 0
        """Labels of targets that training did not see, which are missed."""
        self.correct_sets = 0

    @property
    def main_metric(self) -> str:
        """The F1 of all labels together."""
        return "micro_f1"

    def add(self, targets: NDArray[Any], predictions: NDArray[Any], sequences: Sequence[NDArray[np.int64]]) -> None:
        """Add a batch of sets as rows of 0 and 1: (N, K + 1) targets, (N, K) predictions."""
        expected, unseen = targets[:, :-1], targets[:, -1]
        self.correct += (expected & predictions).sum(axis=0)
        self.predicted += predictions.sum(axis=0)
        self.support += expected.sum(axis=0)
        self.unseen_labels += int(unseen.sum())
        self.correct_sets += int(((expected == predictions).all(axis=1) & (unseen == 0)).sum())
        self.sequences += len(sequences)

    def add_confidences(
        self, targets: NDArray[Any], predictions: NDArray[Any], confidences: NDArray[np.floating[Any]]
    ) -> None:
        """As in `ReportMetrics`, (N, K); those of labels that are not predicted are not counted."""
        chosen = predictions.astype(bool)
        self.confidences += confidence_bins(confidences[chosen], targets[:, :-1][chosen] == 1)

    def micro(self) -> Scores:
        """Precision, recall and F1 of all labels together."""
        correct, predicted = int(self.correct.sum()), int(self.predicted.sum())
        expected = int(self.support.sum()) + self.unseen_labels
        return Scores(ratio(correct, predicted), ratio(correct, expected), ratio(2 * correct, predicted + expected))

    def report(self) -> ClassReport:
        """Precision, recall and F1 of each label, their means, and the calibration of the labels that are predicted."""
        return ClassReport.of_counts(
            self.labels,
            (self.correct, self.predicted, self.support),
            self.sequences,
            ratio(self.correct_sets, self.sequences),
            self.confidences,
            self.micro(),
        )

    def metrics(self) -> Metrics:
        """Micro and macro F1, subset accuracy and loss."""
        return {
            "micro_f1": self.micro().f1,
            "macro_f1": self.macro_f1(),
            "subset_accuracy": ratio(self.correct_sets, self.sequences),
            "loss": self.mean_loss,
        }


def default_settings(level: str) -> tuple[ModelSettings, TrainSettings]:
    """Those of `classify`, with a head of independent labels."""
    model, training = classify.default_settings(level)
    return replace(model, head="sigmoid"), training


register(
    Task(
        name="multilabel",
        targets=TargetKind(per_sequence=True, multiple=True),
        metrics=MultilabelMetrics,
        defaults=default_settings,
        search_space=classify.search_space,
        usage='ohlol predict {run} "TEXT"',
    )
)
