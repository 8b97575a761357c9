"""The head `regression`: a linear layer gives numbers, trained by the mean squared error."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from ohlol.models.heads.base import MEAN_LOSS, LinearHead, LossOptions, register


class RegressionHead(LinearHead):
    """A linear layer whose outputs are the predictions, in the scaled units of the data."""

    numeric = True
    loss_unit = "squared_error"

    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """The squared error, its mean over the K columns; reduced over the N predictions."""
        targets = mask_missing(targets, logits)
        if options.reduction == "none":
            return mse_loss(logits, targets, reduction="none").mean(dim=1)
        mean = mse_loss(logits, targets)
        return mean if options.reduction == "mean" else mean * len(logits)

    def start_from(self, targets: Tensor, base: Tensor) -> None:
        """Begin with predictions that change nothing."""
        with torch.no_grad():
            self.weight.zero_()
            self.bias.zero_()

    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The numbers themselves, (N, K)."""
        return logits

    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """Raise TypeError: numbers have no probabilities."""
        raise TypeError("a regression head has no probabilities")


def mask_missing(targets: Tensor, logits: Tensor) -> Tensor:
    """The targets, in the dtype of the logits; where one is missing, NaN, the prediction itself, which has no loss."""
    return torch.where(torch.isnan(targets), logits.detach(), targets.to(logits.dtype))


register("regression", RegressionHead)
