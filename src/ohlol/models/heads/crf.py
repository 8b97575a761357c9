"""The head `crf`: a linear-chain conditional random field, which scores neighbouring labels together with each step.

The logits are the emissions, a linear layer over the hidden states. The loss is minus the logarithm of the probability
of the whole sequence of labels, and the prediction is the most probable sequence.

Shapes: B sequences, S steps of all, N = S predictions, K labels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ohlol.data.spans import possible_neighbours
from ohlol.models.heads.base import MEAN_LOSS, LinearHead, LossOptions, register
from ohlol.ops import crf, crf_equations
from ohlol.ops.crf import ChainScores
from ohlol.utils.errors import InputError


class CRFHead(LinearHead):
    """A linear layer and a conditional random field over its output.

    Where the labels mark spans, `learn_labels` makes sequences impossible that are none of their scheme, such as an
    I-PER after O in IOB2: they have no probability, and are never predicted.
    """

    structured = True
    decoder = ChainScores._fields
    possible_transitions: Tensor
    possible_start: Tensor
    possible_end: Tensor

    def __init__(self, width: int, outputs: int):
        super().__init__(width, outputs)
        self.transitions = torch.nn.Parameter(torch.zeros(outputs, outputs))
        self.start, self.end = (torch.nn.Parameter(torch.zeros(outputs)) for _ in range(2))
        # 1 where labels can be neighbours and 0 where they cannot: of float32, as every tensor of an ONNX file
        self.register_buffer("possible_transitions", torch.ones(outputs, outputs))
        self.register_buffer("possible_start", torch.ones(outputs))
        self.register_buffer("possible_end", torch.ones(outputs))

    def learn_labels(self, names: Sequence[str]) -> None:
        """Make those sequences of labels impossible that have no meaning in the scheme of their names."""
        for buffer, values in zip(self.possible, possible_neighbours(names), strict=True):
            buffer.copy_(torch.from_numpy(values))

    @property
    def possible(self) -> ChainScores:
        """1 where labels can be neighbours, first or last, and 0 where they cannot."""
        return ChainScores(self.possible_transitions, self.possible_start, self.possible_end)

    def scores(self, dtype: torch.dtype) -> ChainScores:
        """The scores of neighbouring labels, minus infinity for impossible ones."""
        trained = (self.transitions, self.start, self.end)
        pairs = zip(trained, self.possible, strict=True)
        return ChainScores(*(score.to(dtype).masked_fill(possible == 0, -torch.inf) for score, possible in pairs))

    def loss(
        self, logits: Tensor, targets: Tensor, batch_sizes: Tensor | None = None, options: LossOptions = MEAN_LOSS
    ) -> Tensor:
        """Minus the logarithm of the probability of the labels; the mean is that over the N predictions.

        With the reduction "none", the loss of a step is that of its label, given the labels before it. Labels that no
        possible sequence has side by side count as unknown: the loss is that of the other labels of the sequence.

        Raises:
            InputError: the options weigh labels or smooth them, which is defined for independent labels only.
        """
        if options.weight is not None or options.label_smoothing:
            raise InputError(
                "`head` crf has a loss of whole sequences: `class_weights` and `label_smoothing` do not apply"
            )
        scores, sizes = self.scores(logits.dtype), _sizes(logits, batch_sizes)
        if options.reduction == "none":
            return crf_equations.step_losses(logits, targets, scores, sizes)
        losses = crf.losses(logits, scores, sizes, targets)
        if losses.isinf().any():
            agreeing = self._is_known(targets, sizes)[:, None].logical_not().repeat(1, self.outputs)
            agreeing.scatter_(1, targets[:, None], value=True)
            known = logits.masked_fill(~agreeing, -torch.inf)
            losses = crf.losses(logits, scores, sizes) - crf.losses(known, scores, sizes)
        total = losses.sum()
        return total if options.reduction == "sum" else total / len(logits)

    def _is_known(self, targets: Tensor, batch_sizes: Tensor) -> Tensor:
        """Whether the label of each step can stand beside those before and after it, (S,)."""
        rows = crf_equations.previous_rows(batch_sizes), crf_equations.last_rows(batch_sizes)
        before, last = (row.to(targets.device) for row in rows)
        B = len(last)
        known = torch.ones_like(targets, dtype=torch.bool)
        wrong = self.possible_transitions[targets[before], targets[B:]] == 0
        known[B:] &= ~wrong
        known[before[wrong]] = False
        known[:B] &= self.possible_start[targets[:B]] != 0
        known[last] &= self.possible_end[targets[last]] != 0
        return known

    def decode(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The labels (N,) of the most probable sequences."""
        return crf.decode(logits, self.scores(logits.dtype), _sizes(logits, batch_sizes))[0]

    def probabilities(self, logits: Tensor, batch_sizes: Tensor | None = None) -> Tensor:
        """The marginal probability of each label at each step, (N, K)."""
        return crf.marginals(logits, self.scores(logits.dtype), _sizes(logits, batch_sizes))

    def best_sequences(self, logits: Tensor, n: int, batch_sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The n most probable sequences of labels, (N, n), and their probabilities, (B, n)."""
        return crf.best_sequences(logits, self.scores(logits.dtype), _sizes(logits, batch_sizes), n)


def _sizes(logits: Tensor, batch_sizes: Tensor | None) -> Tensor:
    """The batch sizes; without them each prediction is a sequence of its own."""
    return torch.tensor([len(logits)]) if batch_sizes is None else batch_sizes


register("crf", CRFHead)
