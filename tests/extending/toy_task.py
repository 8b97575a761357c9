"""A task added by one module: a label for each step, judged by the recall of the label that is recognized worst."""

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.targets import TargetKind
from ohlol.tasks import Task, register
from ohlol.tasks.metrics import ConfusionMetrics, Metrics


class LowestRecall(ConfusionMetrics):
    """The lowest recall of a label, and accuracy."""

    @property
    def main_metric(self) -> str:
        """The metric that selects the best weights."""
        return "lowest_recall"

    def metrics(self) -> Metrics:
        """Lowest recall, accuracy and loss."""
        occurs = self.matrix.sum(axis=1) > 0
        recalls = self.matrix.diagonal()[occurs] / self.matrix.sum(axis=1)[occurs]
        return {"lowest_recall": float(recalls.min()), "accuracy": self.accuracy, "loss": self.mean_loss}


def default_settings(level: str) -> tuple[ModelSettings, TrainSettings]:
    """A small bidirectional GRU."""
    model = ModelSettings(cell="gru", hidden_size=12, embedding_size=8, bidirectional=True)
    return model, TrainSettings(epochs=20, batch_size=8, lr=1e-2, class_weights="balanced")


def search_space(level: str) -> tuple[str, ...]:
    """Ranges around the defaults."""
    return ("hidden_size=8:32:8", "lr=1e-3:1e-1:log")


register(
    Task(
        name="rarest",
        targets=TargetKind(),
        metrics=LowestRecall,
        defaults=default_settings,
        search_space=search_space,
        usage='ohlol predict {run} "TEXT"',
    )
)
