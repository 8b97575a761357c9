"""How much each earlier input matters to each answer, and how far back that goes; knows nothing of how it is shown.

Two measures. The gradient of an answer's chosen score to an input's vector, by its length, says what a small change
there would do. Ablation puts zeros in place of the vector and looks at how far the chosen score moves.

Shapes: T steps, I input size, N answers (T, or 1 for `classify`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ohlol.explain.trace import Numbers, steps_of
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.sequence_model import SequenceModel

SMALL = 0.01
"""The share of its peak under which an influence counts as forgotten."""
LONGEST = 512
"""Answers looked at, the last ones of a longer sequence: time and memory grow with the square."""
AT_ONCE = 64
"""Answers differentiated together."""
LEAST_BPTT = 8


@dataclass(frozen=True, eq=False)
class Memory:
    """The influence of inputs on answers."""

    symbols: tuple[str, ...]
    gradient: Numbers
    """(N, T): length of the gradient of answer n's chosen score to the vector of input t."""
    ablation: Numbers
    """(N, T): how far answer n's chosen score moves when the vector of input t is zero."""
    by_distance: Numbers
    """(T,): the gradient's mean over all answers that have an input so many steps before them, its peak being 1."""
    horizon: int | None
    """Steps after which the mean influence stays under 1 % of its peak; None where it never does."""
    bptt: int
    """Recommended length of truncated backpropagation: the horizon, or all of the text, rounded up to a power of 2."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "symbols": list(self.symbols),
            "gradient": self.gradient.tolist(),
            "ablation": self.ablation.tolist(),
            "by_distance": self.by_distance.tolist(),
            "horizon": self.horizon,
            "recommended_bptt": self.bptt,
        }


def memory(model: TrainedModel, sequence: str | Sequence[str]) -> Memory:
    """What a model remembers while it reads one sequence.

    Args:
        model: of task label, next or classify.
        sequence: a string, or a list of symbols; longer than the memory that is to be seen.

    Raises:
        InputError: the sequence does not fit the model, or its task is forecast.

    >>> import ohlol
    >>> found = memory(ohlol.fit([("hello", "ohlol")], seed=1), "hello")
    >>> bool((found.gradient[0, 1:] == 0).all())  # the first answer knows only the first letter
    True
    """
    symbols, steps = steps_of(model, sequence)
    symbols = symbols[-LONGEST:] if len(symbols) > LONGEST else symbols
    model = model.on_cpu
    network, was_training = model.network, model.network.training
    network.eval()
    with torch.no_grad():
        x = network.encoder(steps)[-LONGEST:]
    gradient = _gradients(network, x)
    ablation = _ablations(network, x)
    network.train(was_training)
    by_distance = _by_distance(gradient, whole=network.sizes.per_sequence)
    above = np.flatnonzero(by_distance >= SMALL)
    horizon = int(above[-1]) + 1 if len(above) and above[-1] + 1 < len(by_distance) else None
    reach = horizon if horizon is not None else len(symbols)
    return Memory(
        tuple(symbols), gradient, ablation, by_distance, horizon, max(LEAST_BPTT, 1 << (reach - 1).bit_length())
    )


def _gradients(network: SequenceModel, x: Tensor) -> Numbers:
    """(N, T): d chosen score of answer n / d vector t, its length; a copy of the sequence for each answer goes back."""
    lengths: list[Tensor] = []
    answers = 1 if network.sizes.per_sequence else len(x)
    for first in range(0, answers, AT_ONCE):
        asked = torch.arange(first, min(first + AT_ONCE, answers))
        copies = x[:, None].repeat(1, len(asked), 1).requires_grad_()  # (T, I) -> (T, n, I)
        logits = _logits(network, copies)[asked, torch.arange(len(asked))]  # (N, n, K) -> (n, K)
        chosen = logits.gather(1, network.head.decode(logits)[:, None])
        (found,) = torch.autograd.grad(chosen.sum(), copies)
        lengths.append(found.norm(dim=2).T)  # (T, n, I) -> (n, T)
    return torch.cat(lengths).double().numpy()


@torch.no_grad()
def _ablations(network: SequenceModel, x: Tensor) -> Numbers:
    """(N, T): the chosen scores of T copies of the sequence, each with another input put out."""
    T = len(x)
    plain = _logits(network, x[:, None])
    best = network.head.decode(plain[:, 0])[:, None]  # (N, 1, K) -> (N, 1)
    base = plain.gather(2, best[..., None])[..., 0]
    moved: list[Tensor] = []
    for first in range(0, T, AT_ONCE):
        out = torch.arange(first, min(first + AT_ONCE, T))
        copies = x[:, None].repeat(1, len(out), 1)  # (T, I) -> (T, n, I)
        copies[out, torch.arange(len(out))] = 0
        logits = _logits(network, copies)
        moved.append((logits.gather(2, best[..., None].expand(-1, len(out), 1))[..., 0] - base).abs())
    return torch.cat(moved, dim=1).double().numpy()


def _logits(network: SequenceModel, x: Tensor) -> Tensor:
    """Logits (N, B, K) of vectors (T, B, I)."""
    T, B, width = x.shape
    sizes = torch.full((T,), B, dtype=torch.int64)
    hidden, state = network.hidden(x.reshape(T * B, width), sizes, None)
    return network.head(network.answer_states(hidden, state)).view(-1, B, network.sizes.outputs)


def _by_distance(gradient: Numbers, *, whole: bool) -> Numbers:
    """The mean influence of the input so many steps before an answer; that of a whole sequence is at its end."""
    N, T = gradient.shape
    last = T - N  # the step of the first answer: all steps answer, or only the last
    assert whole == (N != T) or T == 1
    found = np.array([np.mean([gradient[n, n + last - k] for n in range(N) if n + last >= k]) for k in range(T)])
    return found / max(found.max(), np.finfo(np.float64).tiny)
