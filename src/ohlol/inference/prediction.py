"""Predict the labels, or the numbers, of encoded sequences, one batch at a time.

Shapes: B sequences, N predictions (one of each step or of each sequence), K labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol.data.batches import Batch, Dataset, gather
from ohlol.data.codec import Codec
from ohlol.evaluation.evaluate import prediction_indices
from ohlol.models.inputs import PackedInputs
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.devices import disable_tf32, to_numpy


@dataclass(frozen=True)
class Prediction:
    """The labels of one sequence, or its number."""

    symbols: Sequence[str]
    """The symbols of the sequence; empty for a series of numbers."""
    labels: list[str]
    """The label of each step, decoded by the head; one where the task gives a label to the whole sequence."""
    probability: list[float]
    """The probability of each of them, 0..1."""
    best: list[list[tuple[str, float]]] = field(default_factory=list[list[tuple[str, float]]])
    """The n most probable labels of each step with their probabilities, best first."""
    unknown: list[str] = field(default_factory=list[str])
    """Symbols that were read as <unk>."""
    number: float | None = None
    """The number for the sequence, in the unit of the target, where the task gives one instead of labels."""
    name: str = ""
    """The name of a series of numbers, where it has one."""


@torch.no_grad()
def predict_batch(
    network: SequenceModel,
    codec: Codec,
    data: Dataset,
    rows: NDArray[np.int64],
    symbols: Sequence[Sequence[str]] | None = None,
    *,
    names: Sequence[str] = (),
    n_best: int | Sequence[int] = 1,
) -> list[Prediction]:
    """Predict some sequences of encoded data, as one batch, in the order of `rows`.

    Args:
        network: the model, in evaluation mode.
        codec: the codec of the model, which encoded the data.
        data: the encoded sequences.
        rows: the numbers of the sequences to predict, (B,), all different.
        symbols: the symbols of each of these sequences; decoded from the ids where they are not given.
        names: the names of series of numbers.
        n_best: length of `Prediction.best` at each step, for all sequences or for each.
    """
    counts = list(repeat(n_best, len(rows))) if isinstance(n_best, int) else list(n_best)
    counts = [max(1, count) for count in counts]
    batch = gather(data, rows)
    if symbols is None:
        symbols = [()] * len(rows) if codec.symbols is None else _decode_symbols(codec, batch, rows)
    unknown: list[list[str]] = [[] if codec.symbols is None else codec.symbols.unknown(text) for text in symbols]
    names = names or [""] * len(rows)
    packed_at = {row: at for at, row in enumerate(batch.rows.tolist())}
    if codec.labels is None:
        numbers = _numbers(network, codec, batch)[[packed_at[row] for row in rows.tolist()]].tolist()
        parts = zip(symbols, unknown, numbers, names, strict=True)
        return [Prediction(text, [], [], unknown=u, number=value, name=name) for text, u, value, name in parts]
    scores = _run(network, batch, max(counts))
    steps = prediction_indices(batch, per_sequence=network.sizes.per_sequence)
    known = codec.labels.symbols
    predictions: list[Prediction] = []
    for row, text, of_text, name, count in zip(rows.tolist(), symbols, unknown, names, counts, strict=True):
        indices = steps[packed_at[row]]
        ranked = zip(
            scores.best[indices, :count].tolist(), scores.best_probability[indices, :count].tolist(), strict=True
        )
        best = [[(known[i], p) for i, p in zip(*step, strict=True)] for step in ranked]
        labels = [known[i] for i in scores.labels[indices].tolist()]
        probability = scores.probability[indices].tolist()
        predictions.append(Prediction(text, labels, probability, best, of_text, name=name))
    return predictions


class _Scores(NamedTuple):
    """What the head makes of the N predictions of a batch, as ids of labels and probabilities."""

    labels: NDArray[np.int64]
    """The decoded labels, (N,)."""
    probability: NDArray[np.floating]
    """Their probabilities, (N,)."""
    best: NDArray[np.int64]
    """The n most probable labels, (N, n)."""
    best_probability: NDArray[np.floating]
    """Their probabilities, (N, n)."""


def _numbers(network: SequenceModel, codec: Codec, batch: Batch) -> NDArray[np.float64]:
    """The number for each sequence of a batch, in the unit of the target, (B,)."""
    assert codec.target_scale is not None
    with disable_tf32(network.device):
        logits, _ = network(PackedInputs.of(batch, network.device))
    return codec.target_scale.undo(to_numpy(network.head.decode(logits)))[:, 0]


def _run(network: SequenceModel, batch: Batch, n_best: int) -> _Scores:
    with disable_tf32(network.device):
        logits, _ = network(PackedInputs.of(batch, network.device))
    head, batch_sizes = network.head, network.prediction_sizes(torch.from_numpy(batch.batch_sizes))
    labels = head.decode(logits, batch_sizes)
    probability = head.probabilities(logits, batch_sizes).gather(1, labels[:, None])[:, 0]
    best_probability, best = head.n_best(logits, n_best, batch_sizes)
    return _Scores(to_numpy(labels), to_numpy(probability), to_numpy(best), to_numpy(best_probability))


def _decode_symbols(codec: Codec, batch: Batch, rows: NDArray[np.int64]) -> list[Sequence[str]]:
    """The symbols of each sequence of a batch, in the order of `rows`."""
    assert codec.symbols is not None
    steps = prediction_indices(batch, per_sequence=False)
    decoded = {row: codec.symbols.decode(batch.inputs[at]) for row, at in zip(batch.rows.tolist(), steps, strict=True)}
    return [decoded[row] for row in rows.tolist()]
