"""The head `regression`: a linear layer gives numbers, trained by the mean squared error."""

from torch import Tensor
from torch.nn.functional import mse_loss

from ohlol.models.heads.base import LinearHead, register


class RegressionHead(LinearHead):
    """A linear layer whose outputs are the predictions, in the scaled units of the data."""

    numeric = True

    def loss(
        self,
        logits: Tensor,
        targets: Tensor,
        batch_sizes: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> Tensor:
        """The squared error, its mean over the K columns; reduced over the N predictions."""
        targets = targets.to(logits.dtype)
        if reduction == "none":
            return mse_loss(logits, targets, reduction="none").mean(dim=1)
        mean = mse_loss(logits, targets)
        return mean if reduction == "mean" else mean * len(logits)

    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The numbers themselves, (N, K)."""
        return logits

    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """Raise TypeError: numbers have no probabilities."""
        raise TypeError("a regression head has no probabilities")


register("regression", RegressionHead)
