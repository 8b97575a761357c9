"""A task: the expected labels or numbers of a sequence, the metrics of predictions, and the default settings."""

from collections.abc import Callable
from dataclasses import dataclass

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.codec import Codec
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.tasks.metrics import MetricAccumulator
from ohlol.utils.registry import Registry


@dataclass(frozen=True)
class Task:
    """A task, as the rest of the package uses it."""

    name: str
    """The value of the setting `task`."""
    targets: TargetKind
    """The kind of the targets, by which data are split, encoded and batched."""
    metrics: Callable[[Codec], MetricAccumulator]
    """Creates the metric accumulator."""
    defaults: Callable[[str], tuple[ModelSettings, TrainSettings]]
    """The settings for a file alone, by the level of its symbols, "char" or "word", or "" for rows of numbers.

    The head is the same for all."""
    search_space: Callable[[str], tuple[str, ...]]
    """The ranges that `tune` searches by default, by level as in `defaults`, as its `search` takes them."""
    usage: str
    """The command that uses a model of this task, for the model card.

    `{run}` stands for its directory, `{input}` for a text or, where it reads numbers, a file."""
    min_steps: int = 3000
    """Steps of the optimizer that little data are trained for at least, within `max_epochs`."""
    max_epochs: int = 200
    """The most epochs for that."""
    weights_per_step: float = 0.0
    """Weights for each step of the training data below which a model has no dropout by default: it does not overfit."""
    span_head: str | None = None
    """The head of the default settings where labels mark spans, if that is another one."""

    @property
    def head(self) -> str:
        """The name of the head of the default settings."""
        return self.defaults("char")[0].head

    @property
    def trains_in_windows(self) -> bool:
        """Whether long sequences are trained by truncated backpropagation through time, `bptt` steps at once."""
        return self.targets.shifted or self.targets.horizon


def search_space_of_series(level: str) -> tuple[str, ...]:
    """Ranges around the defaults of tasks that forecast rows of numbers."""
    return ("cell=rnn,gru,lstm", "num_layers=1:2", "lr=5e-4:1e-2:log", "hidden_size=16:128:8", "dropout=0:0.4:0.05")


TASKS: Registry[Task] = Registry("task", package="ohlol.tasks")
"""The tasks by name."""


def register(task: Task) -> None:
    """Add a task, also for the data package, which asks for the kind of its targets.

    Raises:
        ValueError: another task has its name.
    """
    TASKS.add(task.name, task)
    TARGET_KINDS.add(task.name, task.targets)
