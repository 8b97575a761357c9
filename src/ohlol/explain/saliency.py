"""How much each input matters to each prediction, and how far back in time the influence reaches.

There are two measures. The gradient measure is the norm of the gradient of the predicted label's logit with respect to
the input vector. The ablation measure sets the input vector to zero and takes the absolute change of that logit.

Shapes: T time steps, I input size, K labels, N predictions (T, or 1 where the model makes one prediction for the whole
sequence). Where this prediction is a set of labels, N is the number of these, or 1 for the most probable
label of an empty set.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ohlol.explain.trace import Numbers, encode_sequence
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.sequence_model import SequenceModel

THRESHOLD = 0.01
"""The share of its peak below which an influence counts as none."""
MAX_STEPS = 512
"""The last time steps of a longer sequence are used: time and memory grow with the square of the length."""
CHUNK = 64
"""Predictions that are differentiated, or inputs that are set to zero, in one batch."""
MIN_BPTT = 8


@dataclass(frozen=True, eq=False)
class Saliency:
    """The influence of the inputs on the predictions."""

    symbols: tuple[str, ...]
    labels: tuple[str, ...]
    """(N,): the label of each prediction, whose logit is looked at."""
    gradient: Numbers
    """(N, T): norm of the gradient of the logit of prediction n with respect to input vector t."""
    ablation: Numbers
    """(N, T): absolute change of the logit of prediction n when input vector t is set to zero."""
    by_distance: Numbers
    """(T,): the mean gradient measure by the number of steps between input and prediction, scaled to a peak of 1."""
    influence_length: int | None
    """The influence length: steps after which `by_distance` stays below `THRESHOLD`; None where it never does."""
    recommended_bptt: int
    """Recommended `bptt`: the influence length, or the length of the text, rounded up to a power of 2."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "symbols": list(self.symbols),
            "labels": list(self.labels),
            "gradient": self.gradient.tolist(),
            "ablation": self.ablation.tolist(),
            "by_distance": self.by_distance.tolist(),
            "influence_length": self.influence_length,
            "recommended_bptt": self.recommended_bptt,
        }


def compute_saliency(model: TrainedModel, sequence: Any) -> Saliency:
    """Measure the influence of each input on each prediction over one sequence.

    Args:
        model: a model of a task with labels.
        sequence: a string, a list of symbols, or a series (T, I); it must be longer than the influence length
            to be measured.

    Raises:
        InputError: the sequence does not fit the model, or the model predicts numbers.

    >>> import ohlol
    >>> saliency = compute_saliency(ohlol.fit([("hello", "ohlol")], seed=1), "hello")
    >>> bool((saliency.gradient[0, 1:] == 0).all())  # the first prediction depends on the first letter only
    True
    """
    symbols, packed = encode_sequence(model, sequence)
    symbols = symbols[-MAX_STEPS:] if len(symbols) > MAX_STEPS else symbols
    model = model.on_cpu
    network, was_training = model.network, model.network.training
    network.eval()
    with torch.no_grad():
        x = network.encoder(packed)[-MAX_STEPS:]
    predicted, steps = _predict(network, x)
    gradient = _gradients(network, x, predicted, steps)
    ablation = _ablations(network, x, predicted, steps)
    network.train(was_training)
    last = np.full(len(steps), len(x) - 1) if network.sizes.per_sequence else steps.numpy()
    by_distance = _by_distance(gradient, last)
    above = np.flatnonzero(by_distance >= THRESHOLD)
    influence_length = int(above[-1]) + 1 if len(above) and above[-1] + 1 < len(by_distance) else None
    reach = influence_length if influence_length is not None else len(symbols)
    recommended_bptt = max(MIN_BPTT, 1 << (reach - 1).bit_length())
    assert model.codec.labels is not None
    labels = tuple(model.codec.labels.decode(predicted.tolist()))
    return Saliency(tuple(symbols), labels, gradient, ablation, by_distance, influence_length, recommended_bptt)


@torch.no_grad()
def _predict(network: SequenceModel, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the predicted labels (N,) of vectors (T, I), and the row of the logits where each of them is, (N,)."""
    batch_sizes = network.prediction_sizes(torch.ones(len(x), dtype=torch.int64))
    logits = _logits(network, x[:, None])[:, 0]
    predicted = network.head.decode(logits, batch_sizes)
    if not network.head.multiple:
        return predicted, torch.arange(len(predicted))
    labels = predicted[0].nonzero()[:, 0] if predicted[0].any() else logits[0].argmax()[None]
    return labels, torch.zeros_like(labels)


def _gradients(network: SequenceModel, x: Tensor, predicted: Tensor, steps: Tensor) -> Numbers:
    """Return (N, T): the norm of d logit of prediction n / d vector t, with one copy of the sequence per prediction."""
    norms: list[Tensor] = []
    for first in range(0, len(predicted), CHUNK):
        n = torch.arange(first, min(first + CHUNK, len(predicted)))
        copies = x[:, None].repeat(1, len(n), 1).requires_grad_()  # (T, I) -> (T, n, I)
        logits = _logits(network, copies)[steps[n], torch.arange(len(n))]  # (T or 1, n, K) -> (n, K)
        (gradient,) = torch.autograd.grad(logits.gather(1, predicted[n, None]).sum(), copies)
        norms.append(gradient.norm(dim=2).T)  # (T, n, I) -> (n, T)
    return torch.cat(norms).double().numpy()


@torch.no_grad()
def _ablations(network: SequenceModel, x: Tensor, predicted: Tensor, steps: Tensor) -> Numbers:
    """Return (N, T): the change of each predicted logit, with one copy of the sequence per input set to zero."""
    T = len(x)
    labels = predicted[:, None, None]  # (N,) -> (N, 1, 1)
    unchanged = _logits(network, x[:, None])[steps].gather(2, labels)[..., 0]
    changes: list[Tensor] = []
    for first in range(0, T, CHUNK):
        zeroed = torch.arange(first, min(first + CHUNK, T))
        copies = x[:, None].repeat(1, len(zeroed), 1)  # (T, I) -> (T, n, I)
        copies[zeroed, torch.arange(len(zeroed))] = 0
        logits = _logits(network, copies)[steps]
        changes.append((logits.gather(2, labels.expand(-1, len(zeroed), 1))[..., 0] - unchanged).abs())
    return torch.cat(changes, dim=1).double().numpy()


def _logits(network: SequenceModel, x: Tensor) -> Tensor:
    """Return the logits (N, B, K) of vectors (T, B, I)."""
    T, B, width = x.shape
    sizes = torch.full((T,), B, dtype=torch.int64)
    hidden, state = network.hidden(x.reshape(T * B, width), sizes, None)
    return network.head(network.head_inputs(hidden, state, sizes)).view(-1, B, network.sizes.outputs)


def _by_distance(gradient: Numbers, last: Numbers) -> Numbers:
    """Return the mean influence of the input k steps before a prediction, for every k; `last` is its time step."""
    N, T = gradient.shape
    means = np.array([np.mean([gradient[n, last[n] - k] for n in range(N) if last[n] >= k]) for k in range(T)])
    return means / max(means.max(), np.finfo(np.float64).tiny)
