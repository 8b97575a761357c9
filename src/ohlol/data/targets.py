"""The kinds of targets: one for each step or sequence, labels or numbers, in the file or the next input."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ohlol.utils.registry import Registry


@dataclass(frozen=True)
class TargetKind:
    """The kind of the targets of a task, by which data are split, encoded and batched."""

    per_sequence: bool = False
    """Whether a sequence has one target, instead of one at each step."""
    shifted: bool = False
    """Whether the target of a step is the input of the next step, so that the data are their own targets."""
    numeric: bool = False
    """Whether inputs and targets, one at each step, are rows of numbers, instead of symbols."""
    quantity: bool = False
    """Whether the target of a sequence is a number."""
    multiple: bool = False
    """Whether the target of a sequence is a set of labels, which may be empty."""
    horizon: bool = False
    """Whether the targets of a step are the values of several steps that follow, in series of numbers."""
    rows: bool = False
    """Whether the sequences that have a label or a number each are rows of numbers: of data, not of a task."""

    def of_rows(self, is_rows: bool) -> "TargetKind":
        """The kind of data of a task, whose sequences are rows of numbers or symbols."""
        return replace(self, rows=is_rows and not self.numeric)

    @property
    def reads_numbers(self) -> bool:
        """Whether the inputs are rows of numbers."""
        return self.numeric or self.rows

    def labels_of(self, target: Any) -> Sequence[str]:
        """The labels of the target of one sequence: one for each step, one in all, or those of a set."""
        return [target] if self.has_one_label else target

    @property
    def has_labels(self) -> bool:
        """Whether targets are labels, which are read from the file and have a vocabulary of their own."""
        return self.is_supervised and not self.quantity

    @property
    def has_one_label(self) -> bool:
        """Whether the target of a sequence is one label."""
        return self.per_sequence and not (self.quantity or self.multiple)

    @property
    def is_supervised(self) -> bool:
        """Whether sequences of symbols have targets of their own, labels or numbers."""
        return not (self.shifted or self.numeric)

    @property
    def has_numbers(self) -> bool:
        """Whether the targets are numbers."""
        return self.numeric or self.quantity

    @property
    def continues_text(self) -> bool:
        """Whether the target is the symbol that follows."""
        return self.shifted and not self.numeric


TARGET_KINDS: Registry[TargetKind] = Registry("task", package="ohlol.tasks")
"""The kind of targets of each task, by the task's name; registering a task registers it here."""
COUNT_HEADS: Registry[bool] = Registry("head", package="ohlol.models.heads")
"""Whether a head is one of counts, by its name; registering a head registers it here."""
