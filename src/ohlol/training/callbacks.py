"""What a caller may watch of a run as it trains; knows nothing of how it is shown."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ohlol.tasks.metrics import MetricAccumulator, Metrics

if TYPE_CHECKING:
    from ohlol.training.trainer import Trainer


@dataclass(frozen=True)
class Epoch:
    """What there is to say after an epoch."""

    number: int
    epochs: int
    step: int
    loss: float
    """Mean training loss over the epoch's steps, in nats, or summed over the steps where `loss_reduction` is "sum"."""
    metrics: Metrics
    best: bool
    lr: float
    symbols: int
    seconds: float
    predictions: tuple[list[str], ...] = ()
    """The labels chosen in training, where the whole data are one small batch."""
    skipped: int = 0
    """Steps skipped since their loss or gradient was no number."""
    spikes: int = 0
    """Steps whose loss stood far above the mean."""
    overflows: int = 0
    """Steps that fp16 left out, since their scaled gradient was no number; the scale is smaller then."""


class Reporter(Protocol):
    """What a caller may watch."""

    def start(self, trainer: "Trainer") -> None:
        """Before the first step."""
        ...

    def step(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """After step `done` of the `total` of an epoch (from 0)."""
        ...

    def epoch(self, epoch: Epoch) -> None:
        """After an epoch and its evaluation."""
        ...

    def finish(self, trainer: "Trainer", accumulator: MetricAccumulator) -> None:
        """At the end, when the best weights were measured once more."""
        ...


class Silent:
    """A reporter that says nothing."""

    def start(self, trainer: "Trainer") -> None:
        """Say nothing."""

    def step(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Say nothing."""

    def epoch(self, epoch: Epoch) -> None:
        """Say nothing."""

    def finish(self, trainer: "Trainer", accumulator: MetricAccumulator) -> None:
        """Say nothing."""
