"""A head added by one module: the label of a step is that of the nearest centre, one centre for each label."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from ohlol.models.heads import MEAN_LOSS, LabelHead, LossOptions, register


class NearestCentreHead(LabelHead):
    """The logits are squared distances, up to a term that all labels share; the smallest is best."""

    decodes_by_argmax = False

    def __init__(self, width: int, outputs: int):
        super().__init__(width, outputs)
        self.centres = torch.nn.Parameter(torch.randn(outputs, width))

    @property
    def projection(self) -> tuple[Tensor, Tensor]:
        """|h - c|^2 - |h|^2 = |c|^2 - 2 c h, which is linear in h: the kernels and ONNX can compute it."""
        return -2 * self.centres, (self.centres**2).sum(dim=1)

    def forward(self, hidden: Tensor) -> Tensor:
        """The logits (N, K) of hidden states (N, W)."""
        return linear(hidden, *self.projection)

    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """Cross-entropy of the negated distances."""
        return super().loss(-logits, targets, batch_sizes, options)

    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The label of the nearest centre, (N,)."""
        return logits.argmin(dim=1)

    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The softmax of the negated distances, (N, K)."""
        return torch.softmax(-logits, dim=1)


register("nearest", NearestCentreHead)
