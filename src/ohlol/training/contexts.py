"""The states of language models at each word of the data, computed once before training where memory permits.

They do not change in training. Whether they are kept depends on their size alone, and in what batches they are computed
on the data alone: a run that is resumed has the same bytes as one that was not stopped.
"""

from dataclasses import replace

import numpy as np
import torch

from ohlol.data.batches import Buckets, Dataset, pack
from ohlol.data.prepared_data import PreparedData
from ohlol.evaluation.evaluate import EVAL_BATCH
from ohlol.models.inputs import PackedInputs
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.devices import disable_tf32, to_numpy

MEMORY = 1 << 31
"""Bytes of the states that are kept; those of larger data are computed in each epoch."""


def compute_contexts(model: SequenceModel, data: PreparedData) -> PreparedData:
    """The training data and the validation data with the states of the language models that a model reads, if any."""
    if not model.encoder.reads_text:
        return data
    train = _compute(model, data.train, MEMORY)
    used = 0 if train.contexts is None else train.contexts.nbytes
    return replace(data, train=train, dev=None if data.dev is None else _compute(model, data.dev, MEMORY - used))


@torch.no_grad()
def _compute(model: SequenceModel, data: Dataset, memory: int) -> Dataset:
    if data.steps * model.encoder.context_size * np.dtype(np.float32).itemsize > memory:
        return data
    contexts = np.empty((data.steps, model.encoder.context_size), np.float32)
    batches = Buckets(data, EVAL_BATCH)
    with disable_tf32(model.device):
        for index in range(len(batches)):
            batch = batches[index]
            positions, _ = pack(*data.inputs.bounds(batch.rows))
            contexts[positions] = to_numpy(model.encoder.encode_text(PackedInputs.of(batch, model.device)))
    return replace(data, contexts=contexts)
