"""Heads that give a distribution of each number, trained by its negative log-likelihood.

Shapes: N predictions, K numbers of each, P parameters of a distribution, Q quantile levels.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from ohlol.models.heads.base import LEVELS, MEAN_LOSS, LinearHead, LossOptions, normal_scores

LEAST_SCALE = 1e-3
"""The smallest scale, so that the density of numbers without any error is finite."""


class DistributionHead(LinearHead):
    """A linear layer that gives the parameters of K distributions; the first one is the median, the second the scale.

    The scale is a softplus of its logit, as in Salinas et al., "DeepAR", International Journal of Forecasting 36
    (2020).
    """

    numeric = True
    levels = LEVELS
    parameters_of_each: ClassVar[int]
    """P."""

    def __init__(self, width: int, outputs: int):
        super().__init__(width, outputs * self.parameters_of_each)
        self.outputs = outputs

    @property
    def projection(self) -> None:
        """None: a graph of ONNX holds the linear layer alone, and what it gives are no numbers of the data yet."""
        return None

    @abstractmethod
    def distribution(self, logits: Tensor) -> Distribution:
        """The distributions of the numbers, (N, K)."""

    @abstractmethod
    def initial_parameters(self, targets: Tensor, base: Tensor) -> Tensor:
        """The biases (K, P) of distributions that are fitted to targets (n, K) around a base, NaN where one is missing.

        Those of numbers that the base is added to are around 0.
        """

    def split(self, logits: Tensor) -> tuple[Tensor, ...]:
        """The logits of each parameter, (N, K) each."""
        return logits.unflatten(1, (self.outputs, self.parameters_of_each)).unbind(2)

    def add(self, logits: Tensor, base: Tensor) -> Tensor:
        """The distributions moved by the numbers of `base`, (N, K*P)."""
        location, *others = self.split(logits)
        return torch.stack([location + base, *others], dim=2).flatten(1)

    def start_from(self, targets: Tensor, base: Tensor) -> None:
        """Begin with the distribution of the targets (n, K) around the base, whatever the hidden state is."""
        with torch.no_grad():
            self.weight.zero_()
            self.bias.copy_(self.initial_parameters(targets, base).flatten())

    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """The negative log-likelihood in nats, its mean over the K numbers; reduced over the N predictions.

        A missing number, NaN, has no loss.
        """
        is_missing = torch.isnan(targets)
        distribution = self.distribution(logits)
        numbers = torch.where(is_missing, distribution.mean.detach(), targets.to(logits.dtype))
        losses = -distribution.log_prob(numbers).masked_fill(is_missing, 0.0).mean(dim=1).to(logits.dtype)
        return losses if options.reduction == "none" else losses.mean() if options.reduction == "mean" else losses.sum()

    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The medians, (N, K)."""
        return self.split(logits)[0]

    def quantiles(self, logits: Tensor) -> Tensor:
        """The quantiles, (N, K, Q)."""
        return self.at_scores(logits, normal_scores(LEVELS, logits).expand(len(logits), self.outputs, -1))

    @abstractmethod
    def at_scores(self, logits: Tensor, scores: Tensor) -> Tensor:
        """The numbers with given normal scores, (N, K, P) as the scores, by the quantile function."""

    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """Raise TypeError: numbers have no probabilities."""
        raise TypeError("a head of distributions has no probabilities of labels")


def scale_of(logits: Tensor) -> Tensor:
    """Positive scales."""
    return softplus(logits) + LEAST_SCALE


def logits_of_scale(scales: Tensor) -> Tensor:
    """The reverse of `scale_of`; of a scale that is smaller than the least one, or missing, those of a small one or 1.

    >>> round(float(scale_of(logits_of_scale(torch.tensor(0.5)))), 6)
    0.5
    """
    return inverse_softplus(torch.nan_to_num(scales, nan=1.0) - LEAST_SCALE)


def inverse_softplus(values: Tensor) -> Tensor:
    """The numbers whose softplus is `values`, each of which counts as at least `LEAST_SCALE`."""
    values = values.clamp(min=LEAST_SCALE)
    return values + torch.log(-torch.expm1(-values))
