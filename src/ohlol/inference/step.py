"""The output of a model after one more symbol of a stream: a label with probabilities, or a row of a forecast.

Shapes: n sequences in a call, K outputs, F columns to forecast.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ohlol.data.codec import Codec
from ohlol.data.targets import TARGET_KINDS
from ohlol.models.heads import Head
from ohlol.utils.errors import InputError


class StepLogits:
    """The logits of one call, (n, K), and their probabilities, computed on first use."""

    def __init__(self, logits: Tensor, head: Head) -> None:
        self.logits, self._head = logits, head
        self._probabilities: Tensor | None = None

    @property
    def probabilities(self) -> Float[Tensor, "n K"]:
        """The probability of each label."""
        if self._probabilities is None:
            self._probabilities = self._head.probabilities(self.logits)
        return self._probabilities

    @property
    def numbers(self) -> Float[Tensor, "n F"]:
        """The predicted rows of a head of numbers, scaled."""
        return self._head.decode(self.logits)

    def members(self, row: int) -> list[int]:
        """The labels of the set that is predicted, the most probable first."""
        is_member = self._head.decode(self.logits[row : row + 1])[0].bool()
        order = self.probabilities[row].argsort(descending=True, stable=True)
        return order[is_member[order]].tolist()


class StreamOutput:
    """The output of a model after one more symbol; probabilities are computed on first use."""

    __slots__ = ("_best", "_codec", "_logits", "_row", "unknown")

    def __init__(self, codec: Codec, logits: StepLogits, row: int, best: int, unknown: bool) -> None:
        self._codec, self._logits, self._row, self._best = codec, logits, row, best
        self.unknown = unknown
        """Whether the symbol was read as <unk>."""

    @property
    def logits(self) -> Float[Tensor, " K"]:
        """The output of the head."""
        return self._logits.logits[self._row]

    @property
    def label(self) -> str:
        """The best label of the step.

        Where the target is the symbol that follows, it is never <unk>. Where a sequence has one label, it is the label
        of the symbols read so far.

        Raises:
            InputError: the model predicts numbers, or sets of labels.
        """
        if self.is_set:
            raise InputError("a model of task {task} predicts sets of labels: use `labels`", task=self._codec.task)
        return self._labels()[self._best]

    @property
    def is_set(self) -> bool:
        """Whether the model predicts sets of labels."""
        return self._codec.kind.multiple

    @property
    def labels(self) -> list[str]:
        """The label of the step, or the set of labels of the symbols read so far, the most probable first.

        Raises:
            InputError: the model predicts numbers.
        """
        names = self._labels()
        return [names[i] for i in self._logits.members(self._row)] if self.is_set else [self.label]

    @property
    def probability(self) -> float:
        """The probability of the label, 0..1, or of the most probable label of a set."""
        return float(self._logits.probabilities[self._row, self._best])

    @property
    def probabilities(self) -> Float[Tensor, " K"]:
        """The probability of every label, in the order of the model's vocabulary."""
        self._labels()
        return self._logits.probabilities[self._row]

    def best(self, n: int = 5) -> list[tuple[str, float]]:
        """The n most probable labels with their probabilities, best first, without one that is never predicted."""
        labels, excluded = self._labels(), excluded_label(self._codec)
        top = self.probabilities.topk(min(max(n, 1) + (excluded is not None), len(labels)))
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return [(labels[i], p) for i, p in pairs if i != excluded][: max(n, 1)]

    @property
    def row(self) -> NDArray[np.float64]:
        """The predicted row of the target columns in their own units, (F,).

        Raises:
            InputError: the model predicts labels.
        """
        if self._codec.target_scale is None:
            raise InputError("a model of task {task} predicts labels, not numbers: use `label`", task=self._codec.task)
        return self._codec.target_scale.undo(self._logits.numbers[self._row].numpy())

    def _labels(self) -> tuple[str, ...]:
        if self._codec.labels is None:
            raise InputError("a model of task {task} predicts numbers, not labels: use `row`", task=self._codec.task)
        return self._codec.labels.symbols

    def __repr__(self) -> str:
        if self._codec.labels is None:
            return f"StreamOutput(row={self.row.tolist()})"
        if self.is_set:
            return f"StreamOutput(labels={self.labels!r})"
        return f"StreamOutput(label={self.label!r}, probability={self.probability:.4f})"


def excluded_label(codec: Codec) -> int | None:
    """The id of the label that is never predicted: <unk>, where the target is the symbol that follows."""
    return codec.symbols.unk if codec.symbols is not None and TARGET_KINDS[codec.task].continues_text else None


def decode(head: Head, logits: Tensor, exclude: int | None) -> list[int]:
    """The best label of each row of logits (n, K), without an excluded one; zeros for a head of numbers."""
    if head.multiple:
        return logits.argmax(dim=1).tolist()
    if head.numeric:
        return [0] * len(logits)
    best = head.decode(logits)
    if exclude is not None and bool((best == exclude).any()):
        _, ids = head.n_best(logits, 2)
        second = torch.where(ids[:, 0] == exclude, ids[:, -1], ids[:, 0])
        best = torch.where(best == exclude, second, best)
    return best.tolist()
