"""The head `negative_binomial`: a distribution of counts, whole numbers from 0 on.

The mean is a factor times the mean that is forecast without the network, and the dispersion a factor divided by its
root; both factors are a softplus of their logit. So one network serves series of any size.

Source: Salinas et al., "DeepAR", International Journal of Forecasting 36 (2020), sections 3.2 and 3.3.

Shapes: N predictions, K counts of each.
"""

import math

import torch
from torch import Tensor
from torch.distributions import NegativeBinomial
from torch.nn.functional import softplus

from ohlol.models.heads.base import LARGEST_SCORE, register
from ohlol.models.heads.distribution import DistributionHead, inverse_softplus

INITIAL_DISPERSIONS = tuple(10 ** (step / 4) for step in range(-12, 7))
"""Factors of the dispersion that are compared with the counts, from 0.001 to 30."""
INITIAL_MEANS = (0.05, 20.0)
"""Bounds of the first factor of the mean."""
SAMPLED_COUNTS = 1 << 12
"""Rows with which the first dispersion is found."""
LOG_DISPERSION = 20.0
"""The logarithm of a dispersion stays within so much of 0, where the distribution is a Poisson distribution."""
SUMMED = 512
"""Counts below which probabilities are added up; beyond the distribution is approximated."""
SMALLEST_LOG = -600.0
"""Logarithm of the smallest probability with which the sum begins."""
HALVINGS = 60
"""Steps of the bisection that finds a quantile of the gamma distribution."""


class NegativeBinomialHead(DistributionHead):
    """Mean and dispersion of K counts; the variance is mean + dispersion mean^2.

    The logits are the logarithms of both. The prediction is the median, and quantiles are whole numbers.
    """

    counts = True
    parameters_of_each = 2

    def forward(self, hidden: Tensor) -> Tensor:
        """The logits (N, K*2) of hidden states (N, W)."""
        return softplus(super().forward(hidden)).clamp(min=torch.finfo(hidden.dtype).tiny).log()

    def add(self, logits: Tensor, base: Tensor) -> Tensor:
        """The distributions for the means exp(base), (N, K*2): the logits are those for a mean of 1."""
        mean, dispersion = self.split(logits)
        return torch.stack([mean + base, dispersion - base / 2], dim=2).flatten(1)

    def distribution(self, logits: Tensor) -> NegativeBinomial:
        """The distributions, (N, K), in float64: log-gamma functions of large numbers are subtracted."""
        mean, dispersion = (parameter.double() for parameter in self.split(logits))
        dispersion = dispersion.clamp(-LOG_DISPERSION, LOG_DISPERSION)
        return NegativeBinomial(torch.exp(-dispersion), logits=mean + dispersion, validate_args=False)

    def initial_parameters(self, targets: Tensor, base: Tensor) -> Tensor:
        """The factor between counts and means, and the dispersion under which the counts are most probable."""
        targets, base = (rows[:: math.ceil(len(rows) / SAMPLED_COUNTS)] for rows in (targets, base))
        is_missing = torch.isnan(targets)
        counts, means = targets.nan_to_num(), base.exp().masked_fill(is_missing, 0.0)
        factor = (counts.sum(dim=0) / means.sum(dim=0)).nan_to_num(nan=1.0).clamp(*INITIAL_MEANS)
        logits = torch.stack([factor.log(), torch.zeros_like(factor)], dim=1).flatten()
        logits = self.add(logits.expand(len(counts), -1), base)
        step = logits.new_tensor([0.0, 1.0]).repeat(self.outputs)
        likelihoods = [
            self.distribution(logits + step * math.log(value)).log_prob(counts).masked_fill(is_missing, 0.0).sum(dim=0)
            for value in INITIAL_DISPERSIONS
        ]
        dispersion = factor.new_tensor(INITIAL_DISPERSIONS)[torch.stack(likelihoods).argmax(dim=0)]
        return inverse_softplus(torch.stack([factor, dispersion], dim=1))

    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The medians, (N, K)."""
        return self.at_scores(logits, logits.new_zeros(len(logits), self.outputs, 1)).squeeze(2)

    def at_scores(self, logits: Tensor, scores: Tensor) -> Tensor:
        """The least counts below or at which there is the probability Phi(score), (N, K, P) as the scores."""
        mean, dispersion = (parameter.unsqueeze(2) for parameter in self._moments(logits))
        return count_quantiles(torch.special.ndtr(scores.double()), mean, dispersion).to(logits.dtype)

    def scores_of(self, logits: Tensor, numbers: Tensor) -> Tensor:
        """The normal scores of counts, (N, K): of the probability of less and half of that of the count itself."""
        counts = numbers.to(logits.device, torch.float64)
        scores = torch.special.ndtri(middle_levels(counts.nan_to_num(), *self._moments(logits)))
        return scores.clamp(-LARGEST_SCORE, LARGEST_SCORE).masked_fill(counts.isnan(), torch.nan).to(logits.dtype)

    def _moments(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and dispersion, (N, K) each, in float64."""
        distribution = self.distribution(logits)
        return distribution.mean, 1 / distribution.total_count


def count_quantiles(levels: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    """The quantiles of negative binomial distributions, whole numbers in float64; the arguments are broadcast.

    Below `SUMMED` they are exact. Beyond, the distribution is that of a shifted gamma variable with the same mean,
    variance and skewness, rounded.

    >>> count_quantiles(torch.tensor([0.1, 0.5, 0.9]), torch.tensor(2.0), torch.tensor(0.5)).tolist()
    [0.0, 1.0, 5.0]
    """
    levels, mean, dispersion = torch.broadcast_tensors(levels.double(), mean.double(), dispersion.double())
    probability, ratio = _probability_of_zero(mean, dispersion)
    total, counts, k = probability.clone(), torch.zeros_like(mean), 0
    is_small = probability > 0
    is_below = is_small & (total < levels)
    while k < SUMMED and bool(is_below.any()):
        probability = probability * ratio * (1 + k * dispersion) / (k + 1)
        k += 1
        counts += is_below
        total += probability
        is_below = is_small & (total < levels)
    is_left = is_below | ~is_small
    if bool(is_left.any()):
        shape, scale, shift = _shifted_gamma(mean[is_left], dispersion[is_left])
        found = torch.ceil(shift + scale * _gamma_quantiles(levels[is_left], shape) - 0.5)
        counts[is_left] = torch.maximum(found, torch.where(is_small[is_left], SUMMED, 0.0))
    return counts


def middle_levels(counts: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    """P(Y < count) + P(Y = count) / 2 of negative binomial distributions, float64; the arguments are broadcast.

    As `count_quantiles`, exact below `SUMMED`.

    >>> middle_levels(torch.tensor(0.0), torch.tensor(2.0), torch.tensor(0.5)).item()
    0.125
    """
    counts, mean, dispersion = torch.broadcast_tensors(counts.double(), mean.double(), dispersion.double())
    probability, ratio = _probability_of_zero(mean, dispersion)
    is_small = (probability > 0) & (counts < SUMMED)
    levels = torch.zeros_like(mean)
    last = int(counts[is_small].max()) if bool(is_small.any()) else -1
    for k in range(last + 1):
        levels += probability * ((k < counts) + 0.5 * (k == counts))
        probability = probability * ratio * (1 + k * dispersion) / (k + 1)
    is_large = ~is_small
    if bool(is_large.any()):
        shape, scale, shift = _shifted_gamma(mean[is_large], dispersion[is_large])
        levels[is_large] = torch.special.gammainc(shape, ((counts[is_large] - shift) / scale).clamp(min=0.0))
    return levels


def _probability_of_zero(mean: Tensor, dispersion: Tensor) -> tuple[Tensor, Tensor]:
    """P(Y = 0), 0 where it is too small to begin with, and mean / (1 + dispersion mean)."""
    logarithm = -torch.log1p(dispersion * mean) / dispersion
    is_small = logarithm > SMALLEST_LOG
    return torch.where(is_small, torch.exp(logarithm), 0.0), mean / (1 + dispersion * mean)


def _shifted_gamma(mean: Tensor, dispersion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape, scale and shift of the gamma distribution with the mean, the variance and the skewness of counts."""
    deviation = torch.sqrt(mean * (1 + dispersion * mean))
    skewness = (1 + 2 * dispersion * mean) / deviation
    shape, scale = 4 / skewness**2, deviation * skewness / 2
    return shape, scale, mean - shape * scale


def _gamma_quantiles(levels: Tensor, shape: Tensor) -> Tensor:
    """The quantiles of gamma distributions with the scale 1, by bisection."""
    low, high = torch.zeros_like(shape), shape + 10 * torch.sqrt(shape) + 50
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_below = torch.special.gammainc(shape, middle) < levels
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return high


register("negative_binomial", NegativeBinomialHead)
