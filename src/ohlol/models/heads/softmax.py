"""The head `softmax`: a linear layer gives the logits of independent labels."""

from ohlol.models.heads.base import LabelHead, LinearHead, register


class SoftmaxHead(LinearHead, LabelHead):
    """A linear layer and the softmax of its output."""


register("softmax", SoftmaxHead)
