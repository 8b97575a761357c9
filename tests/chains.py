"""Linear-chain CRFs by their definition: every sequence of labels, one by one; and random ones to compare with."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from ohlol.ops.crf_equations import ChainScores

F64 = torch.float64


class ChainCase(NamedTuple):
    """Emissions (S, K) of packed sequences, scores of neighbours, and labels (S,) that are possible."""

    emissions: Tensor
    scores: ChainScores
    batch_sizes: Tensor
    labels: Tensor

    def leaves(self) -> list[Tensor]:
        """The tensors that have gradients."""
        return [self.emissions, *self.scores]

    def to(self, dtype: torch.dtype) -> "ChainCase":
        """The same numbers in another dtype, as leaves of their own."""
        x, *scores = (t.detach().to(dtype).requires_grad_() for t in self.leaves())
        return ChainCase(x, ChainScores(*scores), self.batch_sizes, self.labels)


def sizes_of(lengths: list[int]) -> Tensor:
    """The batch sizes of sequences, the longest first."""
    return torch.tensor([sum(length > t for length in lengths) for t in range(max(lengths))])


def rows_of(batch_sizes: Tensor) -> list[list[int]]:
    """The rows of each sequence."""
    sizes = batch_sizes.tolist()
    first = [sum(sizes[:t]) for t in range(len(sizes))]
    return [[first[t] + b for t in range(len(sizes)) if sizes[t] > b] for b in range(sizes[0])]


def draw_chain(
    lengths: list[int], K: int, *, seed: int = 0, scale: float = 1.0, forbidden: float = 0.0, dtype: torch.dtype = F64
) -> ChainCase:
    """A case with random numbers; a share of the transitions is impossible, but never that of a label to itself."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(shape, generator=generator, dtype=F64)

    transitions, start, end = draw(K, K), draw(K), draw(K)
    is_forbidden = (torch.rand(K, K, generator=generator) < forbidden).fill_diagonal_(False)
    scores = (transitions.masked_fill(is_forbidden, -torch.inf), start, end)
    sizes = sizes_of(sorted(lengths, reverse=True))
    labels = torch.empty(sum(lengths), dtype=torch.int64)
    for rows in rows_of(sizes):
        label = int(torch.randint(K, (), generator=generator))
        for row in rows:
            labels[row] = label
            choices = (~is_forbidden[label]).nonzero()[:, 0]
            label = int(choices[torch.randint(len(choices), (), generator=generator)])
    emissions, *chain = (t.to(dtype).requires_grad_() for t in (draw(sum(lengths), K), *scores))
    return ChainCase(emissions, ChainScores(*chain), sizes, labels)


def score_of(x: Tensor, labels: tuple[int, ...], scores: ChainScores) -> Tensor:
    """The score of the labels of one sequence of emissions (T, K)."""
    total = scores.start[labels[0]] + scores.end[labels[-1]]
    for t, label in enumerate(labels):
        total = total + x[t, label]
    for before, after in itertools.pairwise(labels):
        total = total + scores.transitions[before, after]
    return total


def gradients_of(total: Tensor, case: ChainCase) -> list[Tensor]:
    """The gradients of a sum over `enumerate_chain`; an impossible transition has none."""
    found = torch.autograd.grad(total, case.leaves(), allow_unused=True)
    pairs = zip(found, case.leaves(), strict=True)
    return [torch.zeros_like(leaf) if gradient is None else gradient.nan_to_num() for gradient, leaf in pairs]


def enumerate_chain(case: ChainCase) -> list[tuple[list[tuple[int, ...]], Tensor]]:
    """For each sequence all sequences of labels, and their scores."""
    result: list[tuple[list[tuple[int, ...]], Tensor]] = []
    for rows in rows_of(case.batch_sizes):
        x = case.emissions[rows]
        every = list(itertools.product(range(x.size(1)), repeat=len(rows)))
        result.append((every, torch.stack([score_of(x, labels, case.scores) for labels in every])))
    return result
