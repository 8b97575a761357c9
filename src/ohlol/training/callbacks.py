"""Callbacks: what is called while a run trains; `TensorBoard` writes its curves."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ohlol.checkpoint.resume_state import Progress
from ohlol.checkpoint.run_config import RunConfig
from ohlol.config import TrainSettings
from ohlol.data.batches import Dataset
from ohlol.data.codec import Codec
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks.metrics import MetricAccumulator, Metrics
from ohlol.training.optimizer import Optimizer
from ohlol.utils.distributed import Processes
from ohlol.utils.errors import InputError

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class Training(Protocol):
    """What a callback may read of the training that calls it."""

    config: RunConfig
    settings: TrainSettings
    codec: Codec
    model: SequenceModel
    optimizer: Optimizer
    processes: Processes
    progress: Progress
    main_metric: str
    """The metric that decides which weights are best."""

    @property
    def train(self) -> Dataset:
        """The data that are trained on."""
        ...

    @property
    def dev(self) -> Dataset | None:
        """The data that are evaluated; None where these are the training data."""
        ...

    @property
    def interpretation(self) -> str | None:
        """How the first file was read, and why; None where the run was resumed or there is no file."""
        ...

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        ...

    def stop(self) -> None:
        """End the run after its step: `fit` saves and raises `Interrupted`."""
        ...


@dataclass(frozen=True)
class Epoch:
    """The result of an epoch."""

    number: int
    """Counted from 1."""
    epochs: int
    """0 where only `minutes` end the training."""
    step: int
    loss: float
    """Mean training loss of the epoch: over its predictions, or over its sequences where `loss_reduction` is "sum".

    In nats; for numbers the squared error in scaled units."""
    metrics: Metrics
    best: bool
    """Whether these are the best weights so far."""
    lr: float
    symbols: int
    seconds: float
    predictions: tuple[list[str], ...] = ()
    """The labels predicted in training, where the whole data are one small batch."""
    skipped: int = 0
    """Steps skipped because their loss or gradient was not finite."""
    spikes: int = 0
    """Steps whose loss was far above the running mean."""
    overflows: int = 0
    """Steps that fp16 skipped because their scaled gradient was not finite; the scale is smaller afterwards."""


class Callback:
    """Called while a run trains; a subclass overrides what it needs. Only the main process calls its callbacks.

    >>> class Losses(Callback):
    ...     def on_epoch_end(self, epoch: Epoch) -> None:
    ...         print(f"{epoch.number}: {epoch.loss:.3f}, accuracy {epoch.metrics['accuracy']:.0%}")
    >>> from ohlol import fit
    >>> model = fit([("hello", "ohlol")], epochs=2, callbacks=[Losses()])
    1: 1.894, accuracy 20%
    2: 1.553, accuracy 20%
    """

    def on_train_begin(self, trainer: Training) -> None:
        """Called before the first step."""

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Called after step `done` of the `total` steps of an epoch, all counted from 1."""

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Called after an epoch and its evaluation."""

    def on_train_end(self, trainer: Training, accumulator: MetricAccumulator) -> None:
        """Called at the end, after the best weights were evaluated once more."""


class TensorBoard(Callback):
    """Writes the curves of a run to an event file of TensorBoard, with the names that they have in `metrics.jsonl`.

    Args:
        folder: of the event files, such as `runs/words/tensorboard`, which TensorBoard shows.

    Raises:
        InputError: the package tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        if find_spec("tensorboard") is None:
            raise InputError("`TensorBoard` needs the package tensorboard: pip install 'ohlol[tensorboard]'")
        self.folder = str(folder)
        self.writer: SummaryWriter | None = None

    def on_train_begin(self, trainer: Training) -> None:
        """Open the event file; in a run that is resumed it replaces what was written after the saved state."""
        from torch.utils.tensorboard.writer import SummaryWriter

        epoch = trainer.progress.epoch
        self.writer = SummaryWriter(self.folder, purge_step=epoch + 1 if epoch else None)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Write the training loss, the learning rate and the metrics at the number of the epoch."""
        assert self.writer is not None
        for name, value in {"train_loss": epoch.loss, "lr": epoch.lr, **epoch.metrics}.items():
            self.writer.add_scalar(name, value, epoch.number)
        self.writer.flush()

    def on_train_end(self, trainer: Training, accumulator: MetricAccumulator) -> None:
        """Close the event file."""
        del trainer, accumulator
        assert self.writer is not None
        self.writer.close()
