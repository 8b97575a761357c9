"""The head `sigmoid`: a linear layer gives the logit of each label, which is in the set or not."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ohlol.models.heads.base import MEAN_LOSS, LinearHead, LossOptions, register


class SigmoidHead(LinearHead):
    """Independent probabilities of K labels, trained by the binary cross-entropy; a label is there from 0.5 on."""

    multiple = True

    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """The binary cross-entropy, its mean over the K labels; reduced over the N predictions.

        Args:
            logits: (N, K).
            targets: 0 or 1 for each label, (N, K + 1); the last column, of labels that training did not see, has none.
            batch_sizes: not used.
            options: `weight` is that of each label, (K,).
        """
        expected = targets[:, : self.outputs].to(logits.dtype)
        expected = expected * (1 - options.label_smoothing) + options.label_smoothing / 2
        losses = binary_cross_entropy_with_logits(logits, expected, weight=options.weight, reduction="none").mean(dim=1)
        return losses if options.reduction == "none" else losses.mean() if options.reduction == "mean" else losses.sum()

    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """1 for each label with a probability of at least 0.5, otherwise 0, (N, K)."""
        return (logits >= 0).long()

    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The probability of each label, (N, K); they do not add up to 1."""
        return torch.sigmoid(logits)


register("sigmoid", SigmoidHead)
