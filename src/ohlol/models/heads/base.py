"""The head of a model: from hidden states to logits, and from logits to loss, predictions and probabilities.

Prediction takes labels from `decode` and alternatives from `n_best`. Training, evaluation, inference, streaming,
explanations, export and the server all use the head.

Shapes: N predictions (the S steps of a packed batch, or its B sequences), T time steps, W = D*H width of the hidden
state, K outputs (labels, symbols, or columns of numbers), Q quantile levels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from ohlol.data.targets import COUNT_HEADS
from ohlol.ops.cross_entropy import cross_entropy
from ohlol.utils.registry import Registry

LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
"""The levels of heads that give quantiles: the median, and the bounds of the intervals of 50, 80, 90 and 95 %."""
LARGEST_SCORE = 3.0
"""The largest normal score of a number: beyond the outermost quantiles scores are extrapolated."""


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
    multiple: ClassVar[bool] = False
    """Whether a prediction is a set of K labels, each of which is there or not."""
    levels: ClassVar[tuple[float, ...]] = (0.5,)
    """The levels of the quantiles that a numeric head gives; 0.5 alone where it gives one number."""
    counts: ClassVar[bool] = False
    """Whether the numbers are counts: whole numbers from 0 on, in the units of the data.

    Of such a head the numbers of a base are logarithms of means."""
    loss_unit: ClassVar[str] = "loss"
    """What the loss of a prediction is: "loss" in nats, "squared_error" or "absolute_error" of scaled numbers."""
    is_identity: ClassVar[bool] = False
    """Whether the logits are the hidden states themselves."""
    decodes_by_argmax: ClassVar[bool] = False
    """Whether predictions are independent, `decode` is the argmax of their logits and `probabilities` is their softmax.

    The kernels compute both themselves."""
    structured: ClassVar[bool] = False
    """Whether the labels of a sequence depend on each other, so that it is decoded as a whole.

    Such a head needs a label for each step, has `best_sequences`, and is trained on BIOES where labels mark spans. Its
    loss has neither class weights nor label smoothing, and a stream cannot decode it."""
    decoder: ClassVar[tuple[str, ...]] = ()
    """The names of the parameters that decoding adds to the logits, which an ONNX graph has as outputs.

    Each has a buffer `possible_NAME` of its shape, which is 0 where the score stands for minus infinity."""

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.width, self.outputs = width, outputs

    def learn_labels(self, names: Sequence[str]) -> None:
        """Learn the names of the K labels, once before training; what a head derives from them belongs in a buffer."""

    @property
    def projection(self) -> tuple[Tensor, Tensor] | None:
        """Weight (K, W) and bias (K,), where the logits are a linear layer; the kernels and ONNX export compute it."""
        return None

    @abstractmethod
    def forward(self, hidden: Tensor) -> Tensor:
        """The logits (N, K) of hidden states (N, W)."""

    def add(self, logits: Tensor, base: Tensor) -> Tensor:
        """The logits (N, K) whose predictions are those of `logits` plus the numbers of `base`, (N, outputs).

        A head of counts multiplies instead: the base has the logarithms of means.
        """
        return logits + base

    def start_from(self, targets: Tensor, base: Tensor) -> None:
        """Set the initial weights of a head whose predictions are added to others.

        Args:
            targets: the numbers, (n, outputs), NaN where one is missing.
            base: what is added to, (n, outputs).
        """
        del targets, base

    @abstractmethod
    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """The loss of logits (N, K) against targets: (N,) labels, (N, K) numbers, or (N, K + 1) sets as in `Dataset`.

        Args:
            logits: the output of `forward`.
            targets: the expected labels, numbers or sets of labels.
            batch_sizes: which predictions belong to one sequence.
            options: class weights, label smoothing and reduction.
        """

    def loss_of_inputs(
        self, hidden: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """The loss of hidden states (N, W): that of their logits, which a head need not hold all at once."""
        return self.loss(self(hidden), targets, batch_sizes, options)

    def rows_in_memory(self, rows: int) -> int:
        """The rows of logits that `loss_of_inputs` holds at once, of so many rows, where the kernels compute it."""
        return rows

    def measure_inputs(
        self, hidden: Tensor, targets: Tensor, batch_sizes: Tensor | None = None
    ) -> tuple[Tensor | float, Tensor]:
        """The sum of the losses of hidden states (N, W) against targets that the head knows, and the predictions."""
        logits = self(hidden)
        return self.loss(logits, targets, batch_sizes, LossOptions(reduction="sum")), self.decode(logits, batch_sizes)

    @abstractmethod
    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The predictions: labels (N,), rows of numbers (N, K), or sets of labels as rows of 0 and 1 (N, K).

        A head whose labels depend on each other decodes the best sequence of labels, which may differ from the first
        label of `n_best`.
        """

    @abstractmethod
    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The probability of each label at each prediction, (N, K); a numeric head raises TypeError."""

    def quantiles(self, logits: Tensor) -> Tensor:
        """The quantiles of each number, (N, K, Q) for Q `levels`; a head that gives one number gives this one."""
        return self.decode(logits).unsqueeze(2)

    def at_scores(self, logits: Tensor, scores: Tensor) -> Tensor:
        """The numbers with given normal scores: the quantiles at the levels Phi(score), (N, K, P) as the scores.

        Between two of the `levels` a number is linear in its score; so it is beyond the outermost ones. A head has at
        least two levels for this.
        """
        quantiles = self.quantiles(logits).sort(dim=2).values
        known = normal_scores(self.levels, quantiles)
        left = (torch.searchsorted(known, scores.contiguous()) - 1).clamp(0, len(known) - 2)
        low, high = quantiles.gather(2, left), quantiles.gather(2, left + 1)
        return low + (high - low) * (scores - known[left]) / (known[left + 1] - known[left])

    def scores_of(self, logits: Tensor, numbers: Tensor) -> Tensor:
        """The normal scores of numbers, (N, K), by the same lines as `at_scores`; NaN where a number is missing."""
        quantiles = self.quantiles(logits).sort(dim=2).values
        known, numbers = normal_scores(self.levels, quantiles), numbers.to(quantiles.dtype).unsqueeze(2)
        left = ((quantiles < numbers).sum(dim=2, keepdim=True) - 1).clamp(0, len(known) - 2)
        low, high = quantiles.gather(2, left), quantiles.gather(2, left + 1)
        share = (numbers - low) / (high - low).clamp(min=torch.finfo(low.dtype).tiny)
        scores = known[left] + share * (known[left + 1] - known[left])
        return scores.squeeze(2).clamp(-LARGEST_SCORE, LARGEST_SCORE)

    def n_best(self, logits: Tensor, n: int, batch_sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The alternatives of each prediction: the n most probable labels.

        Returns:
            Probabilities and labels, (N, n) each, best first.
        """
        probabilities = self.probabilities(logits, batch_sizes)
        best = probabilities.topk(min(n, probabilities.size(1)), dim=1)
        return best.values, best.indices

    def best_sequences(self, logits: Tensor, n: int, batch_sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The n most probable sequences of labels; a head that is not `structured` raises TypeError.

        Returns:
            Labels (N, n) and the probabilities of the sequences (B, n), best first; a probability of 0 belongs to no
            sequence, where there are fewer.
        """
        raise TypeError("the labels of this head are independent of each other: use `n_best`")


class LinearHead(Head):
    """A head whose logits are a linear layer over the hidden state."""

    def __init__(self, width: int, outputs: int):
        super().__init__(width, outputs)
        layer = torch.nn.Linear(width, outputs)
        self.weight, self.bias = layer.weight, layer.bias

    @property
    def projection(self) -> tuple[Tensor, Tensor] | None:
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


def normal_scores(levels: Sequence[float], like: Tensor) -> Tensor:
    """The standard normal quantiles at some levels, (Q,), in the dtype and on the device of a tensor."""
    return torch.special.ndtri(torch.tensor(levels, dtype=torch.float64)).to(like)


HEADS: Registry[type[Head]] = Registry("head", package="ohlol.models.heads")
"""The class of each head by its name, the value of the setting `head`."""


def register(name: str, head: type[Head]) -> None:
    """Add a head under a name, also for the data package, which asks whether it is one of counts.

    Raises:
        ValueError: another head has this name.
    """
    HEADS.add(name, head)
    COUNT_HEADS.add(name, head.counts)
