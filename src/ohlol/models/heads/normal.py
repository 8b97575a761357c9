"""The head `normal`: a normal distribution of each number.

Shapes: N predictions, K numbers of each.
"""

import torch
from torch import Tensor
from torch.distributions import Normal

from ohlol.models.heads.base import register
from ohlol.models.heads.distribution import DistributionHead, logits_of_scale, scale_of


class NormalHead(DistributionHead):
    """Mean and standard deviation of K numbers."""

    parameters_of_each = 2

    def distribution(self, logits: Tensor) -> Normal:
        """The distributions, (N, K)."""
        mean, scale = self.split(logits)
        return Normal(mean, scale_of(scale), validate_args=False)

    def initial_parameters(self, targets: Tensor, base: Tensor) -> Tensor:
        """Those of the mean 0 and the root mean square of the residuals."""
        scale = logits_of_scale(torch.nanmean((targets - base) ** 2, dim=0).sqrt())
        return torch.stack([torch.zeros_like(scale), scale], dim=1)

    def at_scores(self, logits: Tensor, scores: Tensor) -> Tensor:
        """The numbers so many standard deviations from the mean."""
        mean, scale = self.split(logits)
        return mean.unsqueeze(2) + scale_of(scale).unsqueeze(2) * scores


register("normal", NormalHead)
