"""The head `student_t`: a Student t distribution of each number, whose tails are as heavy as the data say.

Shapes: N predictions, K numbers of each.
"""

import math

import torch
from torch import Tensor
from torch.distributions import StudentT
from torch.nn.functional import softplus

from ohlol.models.heads.base import normal_scores, register
from ohlol.models.heads.distribution import DistributionHead, inverse_softplus, logits_of_scale, scale_of

LEAST_DF = 2.0
"""Degrees of freedom are above, so that the variance is finite."""
INITIAL_DF = (2.1, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 30.0, 60.0)
"""Degrees of freedom that are compared with the residuals."""


class StudentTHead(DistributionHead):
    """Location, scale and degrees of freedom of K numbers."""

    parameters_of_each = 3

    def distribution(self, logits: Tensor) -> StudentT:
        """The distributions, (N, K)."""
        location, scale, df = self.split(logits)
        return StudentT(_df_of(df), location, scale_of(scale), validate_args=False)

    def initial_parameters(self, targets: Tensor, base: Tensor) -> Tensor:
        """Those of the location 0 whose central intervals of 50 and 95 % hold as many of the residuals."""
        residuals = targets - base
        levels = torch.tensor([0.5, 0.95], dtype=residuals.dtype)
        half, most = torch.nanquantile(residuals.abs(), levels, dim=0)  # (K,) each
        dfs = torch.tensor(INITIAL_DF, dtype=torch.float64)
        bounds = student_quantiles(normal_scores([0.75, 0.975], dfs), dfs.unsqueeze(1)).to(residuals)
        ratios = torch.nan_to_num(most / half, nan=float(bounds[-1, 1] / bounds[-1, 0]))
        chosen = (ratios.unsqueeze(1) - bounds[:, 1] / bounds[:, 0]).abs().argmin(dim=1)
        scale = logits_of_scale(most / bounds[chosen, 1])
        df = inverse_softplus(dfs.to(residuals)[chosen] - LEAST_DF)
        return torch.stack([torch.zeros_like(scale), scale, df], dim=1)

    def at_scores(self, logits: Tensor, scores: Tensor) -> Tensor:
        """The quantiles of the t distribution."""
        location, scale, df = (parameter.unsqueeze(2) for parameter in self.split(logits))
        return location + scale_of(scale) * student_quantiles(scores, _df_of(df)).to(logits)


def _df_of(logits: Tensor) -> Tensor:
    return LEAST_DF + softplus(logits)


def student_quantiles(scores: Tensor, df: Tensor) -> Tensor:
    """The quantiles of the t distribution at the levels Phi(score), float64 in the broadcast shape of both.

    An expansion about the normal quantile in the middle, and one for the tails, with the names of the source; torch has
    neither this quantile function nor the incomplete beta function. The relative error is below 1e-5 from 3 degrees of
    freedom, and below 2e-3 down to 2.

    Source: Hill, "Algorithm 396: Student's t-quantiles", Communications of the ACM 13 (1970).

    >>> student_quantiles(torch.tensor([1.959964, 0.0]), torch.tensor(3.0)).round(decimals=3).tolist()
    [3.182, 0.0]
    """
    n, x = df.double(), -scores.double().abs()
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * torch.sqrt(a * (math.pi / 2)) * n
    y = (d * 2 * torch.special.ndtr(x)) ** (2 / n)
    c = torch.where(n < 5, c + 0.3 * (n - 4.5) * (x + 0.6), c)
    c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
    middle = (((((0.4 * x**2 + 6.3) * x**2 + 36) * x**2 + 94.5) / c - x**2 - 3) / b + 1) * x
    tail = 1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)
    tail = (tail * y - 1) * (n + 1) / (n + 2) + 1 / y
    return torch.sqrt(n * torch.where(y > 0.05 + a, torch.expm1(a * middle**2), tail)) * torch.sign(scores)


register("student_t", StudentTHead)
