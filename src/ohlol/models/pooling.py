"""How the outputs of all steps of a sequence become the one input of the head.

The setting `pooling` chooses one; "last", which takes the last output of each direction, needs no module.

Shapes: B sequences, T steps of the longest, S steps in all, W = D*O width of the outputs of the top layer.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

Packed = Float[Tensor, "S W"]


class Pooling(torch.nn.Module, ABC):
    """A module that reduces the outputs of a sequence to one vector; constructed with their width."""

    equation: ClassVar[str]
    """The vector r from the outputs h_t of the T steps, for people."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    @abstractmethod
    def forward(self, hidden: Packed, batch_sizes: Int[Tensor, " T"]) -> Float[Tensor, "B W"]:
        """The vector of each sequence of a packed batch, over its own steps."""

    @abstractmethod
    def pool(self, x: Float[Tensor, "T W"]) -> tuple[Float[Tensor, "1 W"], Float[Tensor, " T"]]:
        """The vector of one sequence by the equation alone, and the share of each step in it."""


class MeanPooling(Pooling):
    """The mean over the steps: a weighted sum with equal weights, since all scores are 0."""

    equation = "r = sum_t h_t / T"
    query: Tensor | None
    """(W,), what the scores of the steps are computed with; None where all are 0."""

    def __init__(self, width: int):
        super().__init__(width)
        self.register_parameter("query", None)

    def scores(self, hidden: Packed) -> Float[Tensor, " S"]:
        """A score for each step; the weights of a sequence are their softmax."""
        return hidden.new_zeros(len(hidden))

    def forward(self, hidden: Packed, batch_sizes: Int[Tensor, " T"]) -> Float[Tensor, "B W"]:
        """The weighted sum of each sequence."""
        weights = _pad(self.scores(hidden), batch_sizes, -torch.inf).softmax(dim=0)  # (T, B)
        return torch.einsum("tb,tbw->bw", weights, _pad(hidden, batch_sizes, 0.0))

    def pool(self, x: Float[Tensor, "T W"]) -> tuple[Float[Tensor, "1 W"], Float[Tensor, " T"]]:
        """The mean of one sequence."""
        return x.mean(dim=0, keepdim=True), x.new_full((len(x),), 1 / len(x))


class AttentionPooling(MeanPooling):
    """A weighted sum whose weights come from a learned query; untrained, the query is 0 and the sum is the mean.

    Source: Zhou et al., "Attention-based bidirectional long short-term memory networks for relation classification",
    ACL (2016), equations 9 to 11.
    """

    equation = "a = softmax_t(q tanh(h_t)), r = sum_t a_t h_t"

    def __init__(self, width: int):
        super().__init__(width)
        self.query = torch.nn.Parameter(torch.zeros(width))

    def scores(self, hidden: Packed) -> Float[Tensor, " S"]:
        """The product of the query with the tanh of each output."""
        assert self.query is not None
        return hidden.tanh() @ self.query

    def pool(self, x: Float[Tensor, "T W"]) -> tuple[Float[Tensor, "1 W"], Float[Tensor, " T"]]:
        """The weighted sum of one sequence, and its weights."""
        assert self.query is not None
        terms = (self.query * x.tanh()).sum(dim=1).exp()
        weights = terms / terms.sum()
        return (weights[:, None] * x).sum(dim=0, keepdim=True), weights


class MaxPooling(Pooling):
    """The largest value of each output over the steps."""

    equation = "r = max_t h_t"

    def forward(self, hidden: Packed, batch_sizes: Int[Tensor, " T"]) -> Float[Tensor, "B W"]:
        """The largest values of each sequence."""
        return _pad(hidden, batch_sizes, -torch.inf).amax(dim=0)

    def pool(self, x: Float[Tensor, "T W"]) -> tuple[Float[Tensor, "1 W"], Float[Tensor, " T"]]:
        """The largest values of one sequence, and the share of the outputs that are largest at each step."""
        largest, steps = x.max(dim=0, keepdim=True)
        return largest, torch.bincount(steps[0], minlength=len(x)).to(x) / x.size(1)


POOLINGS: dict[str, type[Pooling]] = {"mean": MeanPooling, "max": MaxPooling, "attention": AttentionPooling}
"""The class of each value of the setting `pooling` but "last"."""


def _pad(rows: Tensor, batch_sizes: Tensor, value: float) -> Tensor:
    """Packed rows as (T, B) or (T, B, W), with a value after the end of each sequence."""
    return pad_packed_sequence(PackedSequence(rows, batch_sizes), padding_value=value)[0]
