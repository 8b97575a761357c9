"""Penalties on the activations of the layers, which training adds to the loss.

Shapes: T steps, S steps of all sequences, N predictions, W width of the output.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ohlol.config import TrainSettings


class ActivationPenalties:
    """Activation regularization (AR) and temporal activation regularization (TAR) of the output of the top layer.

    Source: Merity, McCann and Socher, "Revisiting activation regularization for language RNNs", arXiv:1708.01009
    (2017), as means over all numbers.

    Args:
        settings: the factor of each.
    """

    def __init__(self, settings: TrainSettings):
        self.alpha = settings.activation_regularization
        self.beta = settings.temporal_activation_regularization
        self._outputs: tuple[Tensor, Tensor] | None = None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.alpha or self.beta)

    def observe(self, hidden: Float[Tensor, "S W"], dropped: Float[Tensor, "N W"]) -> None:
        """Keep the outputs of a batch until `compute`.

        Args:
            hidden: the outputs of the layers, packed.
            dropped: the inputs of the head, after dropout.
        """
        self._outputs = hidden, dropped

    def compute(self, batch_sizes: Int[Tensor, " T"]) -> Tensor:
        """What is added to the loss of the batch that was observed."""
        assert self._outputs is not None
        hidden, dropped = (outputs.to(torch.get_default_dtype()) for outputs in self._outputs)
        self._outputs = None
        penalty = hidden.new_zeros(())
        if self.alpha:
            penalty = penalty + self.alpha * dropped.square().mean()
        if self.beta and len(batch_sizes) > 1:
            penalty = penalty + self.beta * changes(hidden, batch_sizes).square().mean()
        return penalty


def changes(hidden: Float[Tensor, "S W"], batch_sizes: Int[Tensor, " T"]) -> Float[Tensor, "N W"]:
    """The difference of each step's output from that of the step before it, in the same sequence.

    >>> changes(torch.tensor([[1.0], [5.0], [2.0], [4.0]]), torch.tensor([2, 1, 1]))
    tensor([[1.],
            [2.]])
    """
    first = int(batch_sizes[0])
    before = torch.arange(first, len(hidden)) - torch.repeat_interleave(batch_sizes[:-1], batch_sizes[1:])
    return hidden[first:] - hidden[before.to(hidden.device)]
