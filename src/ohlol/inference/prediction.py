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
    """The label of each step, decoded by the head; one where the task gives a label to the whole sequence.

    Where it gives a set, those of the set, the most probable first."""
    probability: list[float]
    """The probability of each of them, 0..1."""
    best: list[list[tuple[str, float]]] = field(default_factory=list[list[tuple[str, float]]])
    """The n most probable labels of each step, or of the sequence, with their probabilities, best first."""
    unknown: list[str] = field(default_factory=list[str])
    """Symbols that were read as <unk>."""
    sequences: list[tuple[list[str], float]] = field(default_factory=list[tuple[list[str], float]])
    """The n most probable sequences of labels with their probabilities, best first, where the head is structured."""
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
    unknown: list[list[str]] = [[] if codec.symbols is None else codec.unknown(text) for text in symbols]
    names = names or [""] * len(rows)
    packed_at = {row: at for at, row in enumerate(batch.rows.tolist())}
    if codec.labels is None:
        numbers = _numbers(network, codec, batch)[[packed_at[row] for row in rows.tolist()]].tolist()
        parts = zip(symbols, unknown, numbers, names, strict=True)
        return [Prediction(text, [], [], unknown=u, number=value, name=name) for text, u, value, name in parts]
    # labels of files may stand for several of the model, whose probabilities are added
    scores = _run(network, batch, max(counts), len(codec.labels) if codec.file_labels is not None else max(counts))
    steps = prediction_indices(batch, per_sequence=network.sizes.per_sequence)
    known = codec.labels.symbols
    predictions: list[Prediction] = []
    for row, text, of_text, name, count in zip(rows.tolist(), symbols, unknown, names, counts, strict=True):
        at = packed_at[row]
        indices = steps[at]
        probability, best = scores.probability[indices].tolist(), list[list[tuple[str, float]]]()
        ranked = zip(scores.best[indices].tolist(), scores.best_probability[indices].tolist(), strict=True)
        if codec.kind.multiple:
            members, certainty = _members(scores.labels[indices][0], scores.probability[indices][0])
            best = [[(known[i], p) for i, p in zip(*step, strict=True)][:count] for step in ranked]
            labels = [known[i] for i in members.tolist()]
            predictions.append(Prediction(text, labels, certainty.tolist(), best, of_text, name=name))
            continue
        labels = _as_in_files(codec, [known[i] for i in scores.labels[indices].tolist()])
        for step, (label, (ids, values)) in enumerate(zip(labels, ranked, strict=True)):
            pairs = [(known[i], p) for i, p in zip(ids, values, strict=True)]
            if codec.file_labels is not None:
                pairs = codec.file_labels.add_probabilities(pairs, label)
                probability[step] = dict(pairs)[label]
            best.append(pairs[:count])
        ranked = zip(scores.sequences[indices].T.tolist(), scores.sequence_probability[at].tolist(), strict=True)
        sequences = [(_as_in_files(codec, [known[i] for i in ids]), p) for ids, p in ranked if p]
        predictions.append(Prediction(text, labels, probability, best, of_text, sequences[:count], name=name))
    return predictions


def _as_in_files(codec: Codec, labels: list[str]) -> list[str]:
    """The labels of a sequence as the files have them."""
    return labels if codec.file_labels is None else codec.file_labels.from_trained(labels)


def _members(
    is_member: NDArray[np.int64], probability: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """The ids of the labels of a set, (K,), and their probabilities, the most probable first."""
    ids = np.flatnonzero(is_member)
    ids = ids[np.argsort(-probability[ids], kind="stable")]
    return ids, probability[ids]


class _Scores(NamedTuple):
    """What the head makes of the N predictions of a batch, as ids of labels and probabilities."""

    labels: NDArray[np.int64]
    """The decoded labels, (N,), or sets of labels as rows of 0 and 1, (N, K)."""
    probability: NDArray[np.floating]
    """Their probabilities, (N,), or those of all labels, (N, K)."""
    best: NDArray[np.int64]
    """The n most probable labels, (N, n)."""
    best_probability: NDArray[np.floating]
    """Their probabilities, (N, n)."""
    sequences: NDArray[np.int64]
    """The n most probable sequences of labels, (N, n); (N, 0) where the head labels each step by itself."""
    sequence_probability: NDArray[np.floating]
    """Their probabilities, (B, n)."""


def _numbers(network: SequenceModel, codec: Codec, batch: Batch) -> NDArray[np.float64]:
    """The number for each sequence of a batch, in the unit of the target, (B,)."""
    assert codec.target_scale is not None
    with disable_tf32(network.device):
        logits, _ = network(PackedInputs.of(batch, network.device))
    return codec.target_scale.undo(to_numpy(network.head.decode(logits)))[:, 0]


def _run(network: SequenceModel, batch: Batch, n_best: int, n_labels: int) -> _Scores:
    """Decode a batch, with the n best sequences of labels and the n best labels of each step."""
    with disable_tf32(network.device):
        logits, _ = network(PackedInputs.of(batch, network.device))
    head, batch_sizes = network.head, network.prediction_sizes(torch.from_numpy(batch.batch_sizes))
    labels = head.decode(logits, batch_sizes)
    probability = head.probabilities(logits, batch_sizes)
    if not head.multiple:
        probability = probability.gather(1, labels[:, None])[:, 0]
    best_probability, best = head.n_best(logits, n_labels, batch_sizes)
    sequences, sequence_probability = best[:, :0], best_probability.new_zeros(len(batch.rows), 0)
    if head.structured:
        sequences, sequence_probability = head.best_sequences(logits, n_best, batch_sizes)
    tensors = (labels, probability, best, best_probability, sequences, sequence_probability)
    return _Scores(*map(to_numpy, tensors))


def _decode_symbols(codec: Codec, batch: Batch, rows: NDArray[np.int64]) -> list[Sequence[str]]:
    """The symbols of each sequence of a batch, in the order of `rows`."""
    assert codec.symbols is not None
    steps = prediction_indices(batch, per_sequence=False)
    decoded = {
        row: codec.decode_symbols(batch.inputs[at].tolist()) for row, at in zip(batch.rows.tolist(), steps, strict=True)
    }
    return [decoded[row] for row in rows.tolist()]
