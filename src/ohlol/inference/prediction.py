"""Predict the labels of encoded sequences, one batch at a time.

Shapes: B sequences, K labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol.data.batches import Batch, Dataset, gather
from ohlol.data.codec import Codec
from ohlol.evaluation.evaluate import answer_indices
from ohlol.models.inputs import Steps
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.devices import disable_tf32, to_numpy


@dataclass(frozen=True)
class Prediction:
    """The labels of one sequence."""

    symbols: Sequence[str]
    """The symbols of the sequence."""
    labels: list[str]
    """The best label of each step; one where the task gives a label to the whole sequence."""
    probability: list[float]
    """The probability of each of them, 0..1."""
    best: list[list[tuple[str, float]]] = field(default_factory=list[list[tuple[str, float]]])
    """The n best labels of each step with their probabilities, best first."""
    unknown: list[str] = field(default_factory=list[str])
    """Symbols that were read as <unk>."""


@torch.no_grad()
def predict_batch(
    network: SequenceModel,
    codec: Codec,
    data: Dataset,
    rows: NDArray[np.int64],
    symbols: Sequence[Sequence[str]] | None = None,
    *,
    n_best: int | Sequence[int] = 1,
) -> list[Prediction]:
    """Predict some sequences of encoded data, as one batch, in the order of `rows`.

    Args:
        network: the model, in evaluation mode.
        codec: the codec of the model, which encoded the data.
        data: the encoded sequences.
        rows: the numbers of the sequences to predict, (B,), all different.
        symbols: the symbols of each of these sequences; decoded from the ids where they are not given.
        n_best: length of `Prediction.best` at each step, for all sequences or for each.
    """
    assert codec.symbols is not None
    assert codec.labels is not None
    counts = list(repeat(n_best, len(rows))) if isinstance(n_best, int) else list(n_best)
    counts = [max(1, count) for count in counts]
    batch = gather(data, rows)
    values, ids = _run(network, batch, max(counts))
    if symbols is None:
        symbols = _decode_symbols(codec, batch, rows)
    packed_at = {row: at for at, row in enumerate(batch.rows.tolist())}
    steps = answer_indices(batch, per_sequence=network.sizes.per_sequence)
    names = codec.labels.symbols
    predictions: list[Prediction] = []
    for row, text, count in zip(rows.tolist(), symbols, counts, strict=True):
        indices = steps[packed_at[row]]
        ranked = zip(ids[indices, :count].tolist(), values[indices, :count].tolist(), strict=True)
        best = [[(names[i], p) for i, p in zip(*step, strict=True)] for step in ranked]
        labels, probability = [step[0][0] for step in best], [step[0][1] for step in best]
        predictions.append(Prediction(text, labels, probability, best, codec.symbols.unknown(text)))
    return predictions


def _run(network: SequenceModel, batch: Batch, n_best: int) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Probabilities and ids of the n best labels of each answer, (N, n) each."""
    with disable_tf32(network.device):
        logits, _ = network(Steps.of(batch, network.device))
    batch_sizes = network.answer_sizes(torch.from_numpy(batch.batch_sizes))
    values, ids = network.head.n_best(logits, n_best, batch_sizes)
    return to_numpy(values), to_numpy(ids)


def _decode_symbols(codec: Codec, batch: Batch, rows: NDArray[np.int64]) -> list[Sequence[str]]:
    """The symbols of each sequence of a batch, in the order of `rows`."""
    assert codec.symbols is not None
    steps = answer_indices(batch, per_sequence=False)
    decoded = {row: codec.symbols.decode(batch.inputs[at]) for row, at in zip(batch.rows.tolist(), steps, strict=True)}
    return [decoded[row] for row in rows.tolist()]
