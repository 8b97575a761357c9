"""What a model says after one more symbol: label, probabilities or a forecast; knows nothing of states or of sequences.

Shapes: K scores, F columns to forecast.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ohlol.data.codec import Codec
from ohlol.utils.errors import InputError


class Scores:
    """The scores of one call, (n, K), and their softmax once somebody asks for it."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        self._chances: Tensor | None = None

    @property
    def chances(self) -> Float[Tensor, "n K"]:
        """The softmax of each row."""
        if self._chances is None:
            self._chances = torch.softmax(self.scores, dim=1)
        return self._chances


class Step:
    """What a model says after one more symbol; its numbers are made when they are asked for."""

    __slots__ = ("_best", "_codec", "_of", "_row", "unknown")

    def __init__(self, codec: Codec, of: Scores, row: int, best: int, unknown: bool) -> None:
        self._codec, self._of, self._row, self._best = codec, of, row, best
        self.unknown = unknown
        """Whether the symbol was read as <unk>."""

    @property
    def scores(self) -> Float[Tensor, " K"]:
        """The network's own scores, before the softmax; for `forecast` the row in units of the scale."""
        return self._of.scores[self._row]

    @property
    def label(self) -> str:
        """The symbol's label; for `next` the likeliest to follow, never <unk>; for `classify` the class so far.

        Raises:
            InputError: a forecast has no label.
        """
        return self._names()[self._best]

    @property
    def probability(self) -> float:
        """Of the label, 0..1."""
        return float(self._of.chances[self._row, self._best])

    @property
    def probabilities(self) -> Float[Tensor, " K"]:
        """Of every label, in the order of the model's vocabulary."""
        self._names()
        return self._of.chances[self._row]

    def best(self, n: int = 5) -> list[tuple[str, float]]:
        """The n likeliest labels with their probabilities, best first; for `next` without <unk>."""
        names, unk = self._names(), never(self._codec)
        top = self.probabilities.topk(min(max(n, 1) + (unk is not None), len(names)))
        found = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return [(names[i], p) for i, p in found if i != unk][: max(n, 1)]

    @property
    def row(self) -> NDArray[np.float64]:
        """`forecast`: the next row of the target columns in their own units, (F,).

        Raises:
            InputError: the model forecasts nothing.
        """
        if self._codec.target_scale is None:
            raise InputError(f"a model of task {self._codec.task} forecasts no row: use .label")
        return self._codec.target_scale.undo(self.scores.numpy())

    def _names(self) -> tuple[str, ...]:
        if self._codec.labels is None:
            raise InputError("a forecast has no label: use .row")
        return self._codec.labels.symbols

    def __repr__(self) -> str:
        if self._codec.labels is None:
            return f"Step(row={self.row.tolist()})"
        return f"Step(label={self.label!r}, probability={self.probability:.4f})"


def never(codec: Codec) -> int | None:
    """The symbol that is never said to follow: <unk>, for task `next`."""
    return codec.symbols.unk if codec.task == "next" and codec.symbols is not None else None


def likeliest(scores: Tensor, but: int | None) -> list[int]:
    """The place of the highest score in each row, one place left out."""
    if but is not None:
        scores = scores.clone()
        scores[:, but] = -torch.inf
    return scores.argmax(dim=1).tolist()
