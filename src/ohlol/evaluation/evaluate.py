"""How good a model is on encoded data, and how saturated its hidden values are; knows no runs, files or texts."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from ohlol.data.batches import ALONE, Batch, Buckets, Dataset, Share, Streams
from ohlol.data.codec import Codec
from ohlol.evaluation.metrics import Tally
from ohlol.models.sequence_model import SequenceModel, Steps
from ohlol.utils.devices import CPU, fetched, float32, sent
from ohlol.utils.distributed import Team

EVAL_BATCH = 64
"""Sequences in a batch when nothing is learned."""
EVAL_STREAMS = 16
"""Streams a text is read in when nothing is learned: each starts without context, so few; more would be faster."""
EVAL_BPTT = 256
"""Steps of a text in a batch when nothing is learned; bounds memory only, since the state is carried."""

SATURATED = 0.95
"""A hidden value beyond it, on either side, has less than a tenth of tanh's slope left: 1 - 0.95^2."""


@torch.no_grad()
def evaluate(model: SequenceModel, codec: Codec, data: Dataset, team: Team | None = None) -> Tally:
    """Count how good a model is on encoded data with targets.

    The model is put into evaluation mode and back. Every step of the data counts once.
    Of several processes each reads its share of every batch, and all get the counts of the whole.
    """
    team = team or Team(device=model.device)
    device = team.device
    was_training = model.training
    model.eval()
    labels = codec.labels.symbols if codec.labels is not None and codec.task != "next" else ()
    tally = Tally(codec.task, labels)
    batches = _in_order(codec, data, team.share)
    state = None
    with float32(device):
        for index in range(len(batches)):
            batch = batches[index]
            if batch.empty:
                continue
            state = resized(state, len(batch.rows)) if batch.carried else None
            scores, state = model(Steps.of(batch, device), state)
            _count(tally, codec, batch, scores)
    model.train(was_training)
    if team.size > 1:
        tally.put_together(team.total, len(codec.target_columns))
    return tally


@torch.no_grad()
def saturation(model: SequenceModel, codec: Codec, data: Dataset, device: torch.device = CPU) -> float:
    """The share of hidden values so near to -1 or 1 that tanh hardly passes a gradient on.

    Counted over the last layer at every step of the first batch that `evaluate` reads, where the model is.
    """
    was_training = model.training
    model.eval()
    steps = Steps.of(_in_order(codec, data)[0], device)
    with float32(device):
        hidden, _ = model.hidden(model.encoder(steps), steps.batch_sizes, None)
    model.train(was_training)
    return int((hidden.abs() > SATURATED).sum()) / hidden.numel()


def _in_order(codec: Codec, data: Dataset, share: Share = ALONE) -> Streams | Buckets:
    if codec.task == "next":
        return Streams(data, EVAL_STREAMS, EVAL_BPTT, share)
    return Buckets(data, EVAL_BATCH, share=share)


def resized(state: tuple[Tensor, ...] | None, rows: int) -> tuple[Tensor, ...] | None:
    """The state of the first `rows` sequences, cut off from the graph that made it: streams end from the last on.

    It is contiguous, which cuDNN asks for.
    """
    return None if state is None else tuple(s[:, :rows].detach().contiguous() for s in state)


def _count(tally: Tally, codec: Codec, batch: Batch, scores: Tensor) -> None:
    assert batch.targets is not None
    wanted = sent(batch.targets, scores.device)
    if codec.task == "forecast":
        assert codec.target_scale is not None
        tally.add_loss(float(mse_loss(scores, wanted)) * len(scores), len(scores))
        undo = codec.target_scale.undo
        tally.add_numbers(undo(batch.targets), undo(fetched(scores)))
        return
    tally.add_loss(float(cross_entropy(scores, wanted, reduction="sum")), len(scores))
    chosen = fetched(scores.argmax(dim=1))
    if codec.task == "label":
        for row in by_sequence(batch):
            tally.add_labels(batch.targets[row], chosen[row])
    else:
        tally.add_labels(batch.targets, chosen)


def by_sequence(batch: Batch) -> list[NDArray[np.int64]]:
    """For each sequence of a packed batch, in the batch's order, where its steps lie, (T_i,)."""
    first = np.cumsum(batch.batch_sizes) - batch.batch_sizes
    lengths = len(batch.batch_sizes) - np.searchsorted(
        batch.batch_sizes[::-1], np.arange(len(batch.rows)), side="right"
    )
    return [first[:length] + row for row, length in enumerate(lengths.tolist())]
