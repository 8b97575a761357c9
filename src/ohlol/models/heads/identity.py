"""The head `identity`: the hidden state itself is the logits, as in the tutorial."""

from torch import Tensor

from ohlol.models.heads.base import LabelHead, register
from ohlol.utils.errors import InputError


class IdentityHead(LabelHead):
    """No parameters: there are as many hidden units as labels, W = K.

    Raises:
        InputError: the numbers of hidden units and of labels differ.
    """

    is_identity = True

    def __init__(self, width: int, outputs: int):
        if width != outputs:
            raise InputError(
                "with the identity head the {width} hidden units are the logits, but there are {outputs} "
                "labels: set `head` to softmax, or `hidden_size` to {outputs} in one direction",
                width=width,
                outputs=outputs,
            )
        super().__init__(width, outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        """The hidden states (N, W) as logits (N, K)."""
        return hidden


register("identity", IdentityHead)
