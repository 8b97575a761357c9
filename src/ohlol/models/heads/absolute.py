"""The head `absolute`: a linear layer gives numbers, trained by the mean absolute error."""

from torch import Tensor
from torch.nn.functional import l1_loss

from ohlol.models.heads.base import MEAN_LOSS, LossOptions, register
from ohlol.models.heads.regression import RegressionHead, mask_missing


class AbsoluteHead(RegressionHead):
    """As `RegressionHead`, but large errors weigh less: the best constant is the median, and not the mean."""

    loss_unit = "absolute_error"

    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """The absolute error, its mean over the K columns; reduced over the N predictions."""
        errors = l1_loss(logits, mask_missing(targets, logits), reduction="none").mean(dim=1)
        return errors if options.reduction == "none" else errors.mean() if options.reduction == "mean" else errors.sum()


register("absolute", AbsoluteHead)
