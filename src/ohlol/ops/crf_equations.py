"""A linear-chain conditional random field over packed sequences, in plain PyTorch and in logarithms.

The score of labels y_0 .. y_n under emissions x is

    start[y_0] + x[0, y_0] + sum over t > 0 of (transitions[y_{t-1}, y_t] + x[t, y_t]) + end[y_n]

and the probability of y is the exponential of its score, divided by the sum of those of all sequences of labels. Minus
infinity as a score marks what is impossible. `ohlol.ops.crf` computes the same in the kernels.

Shapes: T steps, B sequences, S rows of all steps, K labels.

Source: Lafferty, McCallum and Pereira, "Conditional random fields", ICML (2001).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_CANDIDATES = 1 << 22
"""Scores that are compared at once, which limits memory."""


class ChainScores(NamedTuple):
    """The scores of neighbouring labels."""

    transitions: Float[Tensor, "K K"]
    """Of the label of a row, followed by that of a column."""
    start: Float[Tensor, " K"]
    """Of the first label of a sequence."""
    end: Float[Tensor, " K"]
    """Of its last label."""


def previous_rows(batch_sizes: Int[Tensor, " T"]) -> Int[Tensor, " S_minus_B"]:
    """The row of the step before, of every row but those of the first step."""
    sizes = batch_sizes[1:]
    return torch.arange(int(batch_sizes[0]), int(batch_sizes.sum())) - batch_sizes[:-1].repeat_interleave(sizes)


def last_rows(batch_sizes: Int[Tensor, " T"]) -> Int[Tensor, " B"]:
    """The row of the last step of each sequence."""
    B = int(batch_sizes[0])
    lengths = (batch_sizes > torch.arange(B).unsqueeze(1)).sum(1)
    return (batch_sizes.cumsum(0) - batch_sizes)[lengths - 1] + torch.arange(B)


def sequences_of_rows(batch_sizes: Int[Tensor, " T"]) -> Int[Tensor, " S"]:
    """The sequence of every row."""
    first = (batch_sizes.cumsum(0) - batch_sizes).repeat_interleave(batch_sizes)
    return torch.arange(int(batch_sizes.sum())) - first


def log_sum(x: Tensor, dim: int) -> Tensor:
    """log(sum(exp(x))) along an axis; unlike `torch.logsumexp` it has a gradient, 0, where all terms are impossible."""
    top = x.detach().amax(dim, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    total = (x - top).exp().sum(dim)
    impossible = total == 0
    return (total.masked_fill(impossible, 1.0).log() + top.squeeze(dim)).masked_fill(impossible, -torch.inf)


def log_partition(
    emissions: Float[Tensor, "S K"], scores: ChainScores, batch_sizes: Int[Tensor, " T"]
) -> Float[Tensor, " B"]:
    """The logarithm of the sum over all sequences of labels of exp(score): the forward algorithm."""
    ended: list[Tensor] = []
    alphas, row = emissions.new_zeros(int(batch_sizes[0]), 0), 0
    for t, size in enumerate(batch_sizes.tolist()):
        x, row = emissions[row : row + size], row + size
        if t == 0:
            alphas = scores.start + x
            continue
        ended.append(log_sum(alphas[size:] + scores.end, 1))
        alphas = log_sum(alphas[:size, :, None] + scores.transitions, 1) + x
    return torch.cat([log_sum(alphas + scores.end, 1), *reversed(ended)])


def score_labels(
    emissions: Float[Tensor, "S K"], labels: Int[Tensor, " S"], scores: ChainScores, batch_sizes: Int[Tensor, " T"]
) -> Float[Tensor, " B"]:
    """The score of one sequence of labels for each sequence."""
    B, device = int(batch_sizes[0]), emissions.device
    before = previous_rows(batch_sizes).to(device)
    neighbours = torch.cat([scores.start[labels[:B]], scores.transitions[labels[before], labels[B:]]])
    steps = emissions.gather(1, labels[:, None])[:, 0] + neighbours
    total = emissions.new_zeros(B).index_add(0, sequences_of_rows(batch_sizes).to(device), steps)
    return total + scores.end[labels[last_rows(batch_sizes).to(device)]]


def step_losses(
    emissions: Float[Tensor, "S K"], labels: Int[Tensor, " S"], scores: ChainScores, batch_sizes: Int[Tensor, " T"]
) -> Float[Tensor, " S"]:
    """The loss of each step: minus the logarithm of its label's probability, given the labels before it.

    They add up to that of the sequence. They follow from the backward algorithm: beta_t[j] is the logarithm of the sum
    over all labels after step t of exp(their score), where step t has the label j.
    """
    sizes = batch_sizes.tolist()
    betas = scores.end.expand(sizes[-1], -1)
    row, losses = sum(sizes), list[Tensor]()
    for t in reversed(range(len(sizes))):
        row -= sizes[t]
        y = labels[row : row + sizes[t], None]
        values = emissions[row : row + sizes[t]] + betas
        if t == 0:
            values = values + scores.start
        else:
            previous = labels[row - sizes[t - 1] : row - sizes[t - 1] + sizes[t]]
            values = values + scores.transitions[previous]
            betas = log_sum(scores.transitions + (emissions[row : row + sizes[t]] + betas)[:, None], 2)
            betas = torch.cat([betas, scores.end.expand(sizes[t - 1] - sizes[t], -1)])
        losses.append(log_sum(values, 1) - values.gather(1, y)[:, 0])
    return torch.cat(losses[::-1])


def best_sequences(
    emissions: Float[Tensor, "S K"], scores: ChainScores, batch_sizes: Int[Tensor, " T"], n: int = 1
) -> tuple[Int[Tensor, "S n"], Float[Tensor, "B n"]]:
    """The n best sequences of labels of each sequence and their scores, best first: the Viterbi algorithm.

    A score of minus infinity belongs to labels that are impossible, where there are fewer possible ones.
    """
    sizes, K = batch_sizes.tolist(), emissions.size(1)
    row = sizes[0]
    values = torch.full((row, K, n), -torch.inf, dtype=emissions.dtype, device=emissions.device)
    values[:, :, 0] = scores.start + emissions[:row]
    origins: list[Tensor] = []
    ended: list[tuple[Tensor, Tensor]] = []

    def end(values: Tensor) -> tuple[Tensor, Tensor]:
        best = (values + scores.end[:, None]).flatten(1).topk(n)
        return best.values, best.indices

    for size in sizes[1:]:
        ended.append(end(values[size:]))
        together = max(1, MAX_CANDIDATES // (size * K * n))
        parts = [
            (values[:size, :, :, None] + part[:, None]).flatten(1, 2).topk(n, dim=1)  # (b, K * n, k) to (b, n, k)
            for part in scores.transitions.split(together, dim=1)
        ]
        origins.append(torch.cat([part.indices for part in parts], dim=2))
        best = torch.cat([part.values for part in parts], dim=2).transpose(1, 2)
        values = best + emissions[row : row + size, :, None]
        row += size
    ended.append(end(values))
    labels = torch.empty(row, n, dtype=torch.int64, device=emissions.device)
    at = torch.empty(0, n, dtype=torch.int64, device=emissions.device)
    for t in reversed(range(len(sizes))):
        row -= sizes[t]
        at = torch.cat([at, ended[t][1]])  # where the sequences end that are longer than those after them
        labels[row : row + sizes[t]] = at // n
        if t:
            origin = origins[t - 1]
            at = origin.gather(2, (at // n)[:, None].expand(-1, n, -1)).gather(1, (at % n)[:, None])[:, 0]
    return labels, torch.cat([values for values, _ in reversed(ended)])
