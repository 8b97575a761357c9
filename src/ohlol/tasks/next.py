"""The task `next`: the symbol that follows, at each step of a text."""

import math

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.targets import TargetKind
from ohlol.tasks.base import Task, register
from ohlol.tasks.metrics import LabelMetrics, Metrics

LARGEST_EXPONENT = 700.0
"""exp() of more overflows, and JSON has no number for that."""


class NextMetrics(LabelMetrics):
    """Bits a symbol and perplexity."""

    @property
    def main_metric(self) -> str:
        """Bits a symbol."""
        return "bits"

    def metrics(self) -> Metrics:
        """Bits a symbol, perplexity, accuracy and loss."""
        loss = self.mean_loss
        perplexity = math.exp(min(loss, LARGEST_EXPONENT))
        return {"bits": loss / math.log(2), "perplexity": perplexity, "accuracy": self.accuracy, "loss": loss}


def default_settings(level: str) -> tuple[ModelSettings, TrainSettings]:
    """Settings that were measured on the data of docs/results.md."""
    model = ModelSettings(hidden_size=512, embedding_size=64, dropout=0.3)
    return model, TrainSettings(epochs=8, batch_size=32, bptt=64, lr=3e-3)


def search_space(level: str) -> tuple[str, ...]:
    """Ranges around the defaults."""
    return (
        "cell=gru,lstm",
        "num_layers=1:2",
        "lr=5e-4:1e-2:log",
        "hidden_size=128:768:64",
        "embedding_size=16:128:8",
        "dropout=0:0.6:0.05",
        "embedding_dropout=0:0.4:0.05",
    )


register(
    Task(
        name="next",
        targets=TargetKind(shifted=True),
        metrics=NextMetrics,
        defaults=default_settings,
        search_space=search_space,
        usage='ohlol generate {run} --prompt "TEXT"',
        weights_per_step=0.2,
    )
)
