"""The task `classify`: one label for a whole sequence of symbols or numbers."""

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.targets import TargetKind
from ohlol.tasks.base import Task, register
from ohlol.tasks.metrics import ConfusionMetrics, Metrics


class ClassifyMetrics(ConfusionMetrics):
    """Accuracy and macro F1."""

    def metrics(self) -> Metrics:
        """Accuracy, macro F1 and loss."""
        return {"accuracy": self.accuracy, "macro_f1": self.macro_f1(), "loss": self.mean_loss}


def default_settings(level: str) -> tuple[ModelSettings, TrainSettings]:
    """Settings that were measured on the data of docs/results.md."""
    if not level:
        model = ModelSettings(cell="gru", hidden_size=64, bidirectional=True, dropout=0.3)
        return model, TrainSettings(epochs=30, batch_size=16, lr=2e-3)
    model = ModelSettings(
        cell="gru", hidden_size=128, bidirectional=True, embedding_size=64, dropout=0.4, embedding_dropout=0.2
    )
    return model, TrainSettings(epochs=15, batch_size=64, lr=3e-3)


def search_space(level: str) -> tuple[str, ...]:
    """Ranges around the defaults."""
    if not level:
        return (
            "cell=gru,lstm",
            "num_layers=1:2",
            "lr=5e-4:1e-2:log",
            "hidden_size=16:128:8",
            "dropout=0:0.6:0.05",
        )
    return (
        "cell=gru,lstm",
        "num_layers=1:2",
        "lr=5e-4:1e-2:log",
        "hidden_size=32:256:8",
        "embedding_size=16:128:8",
        "dropout=0:0.7:0.05",
        "embedding_dropout=0:0.6:0.05",
    )


register(
    Task(
        name="classify",
        targets=TargetKind(per_sequence=True),
        metrics=ClassifyMetrics,
        defaults=default_settings,
        search_space=search_space,
        usage="ohlol predict {run} {input}",
    )
)
