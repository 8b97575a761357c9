"""A task's metrics of labelled sequences, for the tests of several tasks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ohlol.data.codec import Codec
from ohlol.data.vocab import Vocab
from ohlol.tasks import TASKS


def codec_of(task: str, labels: Sequence[str]) -> Codec:
    """A codec with these labels."""
    vocab = Vocab(tuple(labels), (1,) * len(labels))
    return Codec(task, vocab, vocab)


def count(task: str, rows: Sequence[tuple[Sequence[str], Sequence[str]]], labels: Sequence[str]) -> Any:
    """The metric accumulator of a task after some sequences of targets and predictions, half a nat a prediction."""
    accumulator = TASKS[task].metrics(codec_of(task, labels))
    for row in rows:
        targets, predictions = (np.array([labels.index(name) for name in side]) for side in row)
        accumulator.add(targets, predictions, [np.arange(len(targets))])
        accumulator.add_loss(0.5 * len(targets), len(targets))
    return accumulator
