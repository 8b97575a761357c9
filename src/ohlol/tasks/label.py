"""The task `label`: a label for each step of a sequence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.codec import Codec
from ohlol.data.spans import UNSEEN, is_span_scheme, spans_of
from ohlol.data.targets import TargetKind
from ohlol.tasks.base import Task, register
from ohlol.tasks.metrics import ConfusionMetrics, Metrics, ratio


class StepLabelMetrics(ConfusionMetrics):
    """Accuracy of labels and of whole sequences; where the labels mark spans, precision, recall and F1 of spans."""

    summed = (*ConfusionMetrics.summed, "correct_sequences", "target_spans", "predicted_spans", "correct_spans")

    def __init__(self, codec: Codec):
        super().__init__(codec)
        self.marks_spans = is_span_scheme(self.labels)
        self.correct_sequences = 0
        self.target_spans = self.predicted_spans = self.correct_spans = 0

    @property
    def main_metric(self) -> str:
        """F1 of spans where the labels mark spans, otherwise accuracy."""
        return "span_f1" if self.marks_spans else "accuracy"

    def add(self, targets: NDArray[Any], predictions: NDArray[Any], sequences: Sequence[NDArray[np.int64]]) -> None:
        """Add a batch of labels, (S,) each."""
        super().add(targets, predictions, sequences)
        for steps in sequences:
            self._add_sequence(targets[steps], predictions[steps])

    def _add_sequence(self, targets: NDArray[Any], predictions: NDArray[Any]) -> None:
        self.correct_sequences += bool((targets == predictions).all())
        if self.marks_spans:
            names = (*self.labels, UNSEEN)
            expected = set(spans_of([names[i] for i in targets]))
            predicted = set(spans_of([self.labels[i] for i in predictions]))
            self.target_spans += len(expected)
            self.predicted_spans += len(predicted)
            self.correct_spans += len(expected & predicted)

    def metrics(self) -> Metrics:
        """Spans where there are any, accuracy, sequence accuracy and loss."""
        spans: Metrics = {}
        if self.marks_spans:
            spans = {
                "span_f1": ratio(2 * self.correct_spans, self.predicted_spans + self.target_spans),
                "span_precision": ratio(self.correct_spans, self.predicted_spans),
                "span_recall": ratio(self.correct_spans, self.target_spans),
            }
        sequence_accuracy = ratio(self.correct_sequences, self.sequences)
        return {**spans, "accuracy": self.accuracy, "sequence_accuracy": sequence_accuracy, "loss": self.mean_loss}


def default_settings(level: str) -> tuple[ModelSettings, TrainSettings]:
    """Settings that were measured on the data of docs/results.md."""
    if level == "word":
        model = ModelSettings(
            hidden_size=200,
            bidirectional=True,
            embedding_size=100,
            char_rnn_size=64,
            dropout=0.5,
            embedding_dropout=0.4,
        )
        return model, TrainSettings(epochs=15, batch_size=32, lr=2e-3)
    model = ModelSettings(
        hidden_size=200, bidirectional=True, embedding_size=64, bigram_size=64, dropout=0.4, embedding_dropout=0.4
    )
    return model, TrainSettings(epochs=12, batch_size=32, lr=2e-3)


def search_space(level: str) -> tuple[str, ...]:
    """Ranges around the defaults."""
    return (
        "cell=gru,lstm",
        "num_layers=1:2",
        "lr=5e-4:1e-2:log",
        "hidden_size=64:384:8",
        "embedding_size=32:160:4" if level == "word" else "embedding_size=16:128:8",
        "dropout=0:0.7:0.05",
        "embedding_dropout=0:0.6:0.05",
    )


register(
    Task(
        name="label",
        targets=TargetKind(),
        metrics=StepLabelMetrics,
        defaults=default_settings,
        search_space=search_space,
        usage='ohlol predict {run} "TEXT"',
        span_head="crf",
    )
)
