"""The head `quantile`: several quantiles of each number, trained by the quantile loss.

Source: Koenker and Bassett, "Regression quantiles", Econometrica 46 (1978).

Shapes: N predictions, K numbers of each, Q quantile levels.
"""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ohlol.models.heads.base import LEVELS, MEAN_LOSS, LinearHead, LossOptions, register

MEDIAN = LEVELS.index(0.5)
ROWS = 128
"""Rows whose loss is computed at once on a CPU: few enough that what is computed in between stays in the cache."""


class _QuantileLoss(torch.autograd.Function):
    """Twice the quantile loss of errors e, |e| + (2 q - 1) e at the level q, its mean over K and Q, (N,).

    It is e times its slope, sign(e) + 2 q - 1, which is what the gradient needs. The tensors are the largest of
    training; they are flat, (N, K*Q), since torch is slow where the last size is small.
    """

    @staticmethod
    def forward(ctx: Any, quantiles: Tensor, targets: Tensor) -> Tensor:
        N, K, Q = quantiles.shape
        levels = quantiles.new_tensor([2 * level - 1 for level in LEVELS] * K)
        slopes, losses = quantiles.new_empty(N, K * Q), quantiles.new_empty(N)
        size = ROWS if quantiles.device.type == "cpu" else max(N, 1)
        for start in range(0, N, size):
            rows = slice(start, start + size)
            errors = torch.nan_to_num_(targets[rows].unsqueeze(2) - quantiles[rows]).flatten(1)
            signs = errors.sign()
            torch.abs(signs, out=slopes[rows]).mul_(levels).add_(signs)  # 0 where a number is missing
            losses[rows] = torch.linalg.vecdot(errors, slopes[rows])
        ctx.save_for_backward(slopes)
        return losses / (K * Q)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        return (slopes * (grad_outputs[0] / -slopes.size(1))[:, None]).unflatten(1, (-1, len(LEVELS))), None


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
        return (self.quantiles(logits) + base.unsqueeze(2)).flatten(1)

    def start_from(self, targets: Tensor, base: Tensor) -> None:
        """Begin with the quantiles of the residuals (n, K) around their median, whatever the hidden state is."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a number that has no residual
            found = np.nanquantile((targets - base).numpy(), LEVELS, axis=0)  # (Q, K); torch sorts, which takes longer
        quantiles = torch.nan_to_num(torch.from_numpy(found)).to(targets)
        with torch.no_grad():
            self.weight.zero_()
            self.bias.copy_((quantiles - quantiles[MEDIAN]).T.flatten())

    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """Twice the quantile loss, its mean over the levels and the K numbers; reduced over the N predictions.

        At the level 0.5 it is the absolute error. A missing number, NaN, has no loss.
        """
        losses: Tensor = _QuantileLoss.apply(self.quantiles(logits), targets.to(logits.dtype))  # pyright: ignore[reportAssignmentType, reportUnknownMemberType]
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
