"""The head `quantile`: several quantiles of each number, trained by the quantile loss.

Source: Koenker and Bassett, "Regression quantiles", Econometrica 46 (1978).

Shapes: N predictions, K numbers of each, Q quantile levels.
"""

import torch
from torch import Tensor

from ohlol.models.heads.base import MEAN_LOSS, LinearHead, LossOptions, register

LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.975)
"""The quantile levels: the median, and the bounds of the intervals of 40, 60, 80, 90 and 95 %."""
MEDIAN = LEVELS.index(0.5)


class QuantileHead(LinearHead):
    """A linear layer that gives the quantiles of K numbers; the prediction is the median."""

    numeric = True
    loss_unit = "quantile_loss"
    levels = LEVELS

    def __init__(self, width: int, outputs: int):
        super().__init__(width, outputs * len(LEVELS))
        self.outputs = outputs

    def add(self, logits: Tensor, base: Tensor) -> Tensor:
        """The quantiles of the sums, (N, K*Q)."""
        return logits + base.repeat_interleave(len(LEVELS), dim=1)

    def start_from(self, residuals: Tensor) -> None:
        """Begin with the quantiles of the residuals (n, K) around their median, whatever the hidden state is."""
        levels = torch.tensor(LEVELS, dtype=residuals.dtype)
        quantiles = torch.nan_to_num(torch.nanquantile(residuals, levels, dim=0))  # (Q, K)
        with torch.no_grad():
            self.weight.zero_()
            self.bias.copy_((quantiles - quantiles[MEDIAN]).T.flatten())

    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """Twice the quantile loss, its mean over the levels and the K numbers; reduced over the N predictions.

        At the level 0.5 it is the absolute error. A missing number, NaN, has no loss.
        """
        levels = logits.new_tensor(LEVELS)
        errors = targets.to(logits.dtype).unsqueeze(2) - self.quantiles(logits)
        errors = torch.where(torch.isnan(errors), torch.zeros_like(errors), errors)
        losses = 2 * torch.maximum(levels * errors, (levels - 1) * errors).mean(dim=(1, 2))
        return losses if options.reduction == "none" else losses.mean() if options.reduction == "mean" else losses.sum()

    def quantiles(self, logits: Tensor) -> Tensor:
        """The quantiles, (N, K, Q); those of neighbouring levels may cross."""
        return logits.unflatten(1, (self.outputs, len(LEVELS)))

    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The medians, (N, K)."""
        return self.quantiles(logits)[:, :, MEDIAN]

    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """Raise TypeError: numbers have no probabilities."""
        raise TypeError("a quantile head has no probabilities")


register("quantile", QuantileHead)
