"""The head of a model: from hidden states to logits, and from logits to loss, predictions and probabilities.

Prediction takes labels from `decode` and alternatives from `n_best`. Training, evaluation, inference, streaming,
explanations, export and the server all use the head.

Shapes: N predictions (the S steps of a packed batch, or its B sequences), T time steps, W = D*H width of the hidden
state, K outputs (labels, symbols, or columns of numbers).
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from ohlol.utils.registry import Registry


class LossOptions(NamedTuple):
    """How a head weighs and reduces its loss; the names are those of `torch.nn.functional.cross_entropy`."""

    weight: Tensor | None = None
    """The weight of each label, (K,)."""
    label_smoothing: float = 0.0
    """Share of the target's probability spread over all labels, in [0, 1)."""
    reduction: str = "mean"
    """"mean" over the predictions, their "sum", or "none" for (N,)."""


MEAN_LOSS = LossOptions()


class Head(torch.nn.Module, ABC):
    """A module that turns the hidden states of the last layer into predictions.

    A subclass is constructed with `(width, outputs)`. `batch_sizes` (T,) says which predictions belong to one
    sequence, as in a `PackedSequence`; it is None where each sequence has one prediction.
    """

    numeric: ClassVar[bool] = False
    """Whether a prediction is a row of K numbers, instead of one of K labels."""
    levels: ClassVar[tuple[float, ...]] = (0.5,)
    """The levels of the quantiles that a numeric head gives; 0.5 alone where it gives one number."""
    loss_unit: ClassVar[str] = "loss"
    """What the loss of a prediction is: "loss" in nats, "squared_error" or "absolute_error" of scaled numbers."""
    is_identity: ClassVar[bool] = False
    """Whether the logits are the hidden states themselves."""
    decodes_by_argmax: ClassVar[bool] = False
    """Whether predictions are independent, `decode` is the argmax of their logits and `probabilities` is their softmax.

    The kernels compute both themselves."""

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.width, self.outputs = width, outputs

    @property
    def projection(self) -> tuple[Tensor, Tensor] | None:
        """Weight (K, W) and bias (K,), where the logits are a linear layer; the kernels and ONNX export compute it."""
        return None

    @abstractmethod
    def forward(self, hidden: Tensor) -> Tensor:
        """The logits (N, K) of hidden states (N, W)."""

    def add(self, logits: Tensor, base: Tensor) -> Tensor:
        """The logits (N, K) whose predictions are those of `logits` plus the numbers of `base`, (N, outputs)."""
        return logits + base

    def start_from(self, residuals: Tensor) -> None:
        """Set the initial weights of a head whose predictions are added to others.

        Args:
            residuals: what is left to predict, (n, outputs), NaN where it is missing.
        """
        del residuals

    @abstractmethod
    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """The loss of logits (N, K) against targets, (N,) labels or (N, K) numbers.

        Args:
            logits: the output of `forward`.
            targets: the expected labels, or the expected numbers.
            batch_sizes: which predictions belong to one sequence.
            options: class weights, label smoothing and reduction.
        """

    @abstractmethod
    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The predictions: labels (N,), or rows of numbers (N, K).

        A head whose labels depend on each other decodes the best sequence of labels, which may differ from the first
        label of `n_best`.
        """

    @abstractmethod
    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The probability of each label at each prediction, (N, K); a numeric head raises TypeError."""

    def quantiles(self, logits: Tensor) -> Tensor:
        """The quantiles of each number, (N, K, Q) for Q `levels`; a head that gives one number gives this one."""
        return self.decode(logits).unsqueeze(2)

    def n_best(self, logits: Tensor, n: int, batch_sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The alternatives of each prediction: the n most probable labels.

        Returns:
            Probabilities and labels, (N, n) each, best first.
        """
        probabilities = self.probabilities(logits, batch_sizes)
        best = probabilities.topk(min(n, probabilities.size(1)), dim=1)
        return best.values, best.indices


class LinearHead(Head):
    """A head whose logits are a linear layer over the hidden state."""

    def __init__(self, width: int, outputs: int):
        super().__init__(width, outputs)
        layer = torch.nn.Linear(width, outputs)
        self.weight, self.bias = layer.weight, layer.bias

    @property
    def projection(self) -> tuple[Tensor, Tensor]:
        """Weight (K, W) and bias (K,)."""
        return self.weight, self.bias

    def forward(self, hidden: Tensor) -> Tensor:
        """The logits (N, K) of hidden states (N, W)."""
        return linear(hidden, self.weight, self.bias)


class LabelHead(Head):
    """A head whose predictions are independent of each other: the softmax of the logits, trained by cross-entropy."""

    decodes_by_argmax = True

    def loss(  # noqa: D102
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        return cross_entropy(logits, targets, **options._asdict())

    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:  # noqa: D102
        return logits.argmax(dim=1)

    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:  # noqa: D102
        return torch.softmax(logits, dim=1)


HEADS: Registry[type[Head]] = Registry("head", package="ohlol.models.heads")
"""The class of each head by its name, the value of the setting `head`."""


def register(name: str, head: type[Head]) -> None:
    """Add a head under a name.

    Raises:
        ValueError: another head has this name.
    """
    HEADS.add(name, head)
