"""Evaluate a model on encoded data: its metrics, and the saturation of its hidden states.

Shapes: T steps of the longest sequence of a batch.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.data.batches import SINGLE_SHARE, Batch, Buckets, ContiguousBatches, Dataset, Share, time_chunks
from ohlol.data.codec import Codec
from ohlol.models.heads import LossOptions
from ohlol.models.inputs import PackedInputs
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import MetricAccumulator, ReportMetrics
from ohlol.utils.devices import CPU, disable_tf32, to_device, to_numpy
from ohlol.utils.distributed import Processes

EVAL_BATCH = 64
"""Sequences in a batch."""
EVAL_STREAMS = 16
"""Parallel streams of a text. Each starts without context, so there are few; more would be faster."""
EVAL_BPTT = 256
"""Steps of a text in a batch. It limits memory only, since the state is carried over."""
HISTORY_STEPS = 1 << 14
"""Steps of a history that are read at once, which limits memory only."""
SATURATION_SEQUENCES = 8
"""Sequences whose saturation is measured; of a text all parallel streams."""
SATURATED = 0.95
"""Absolute value of a saturated hidden state: the slope of tanh there, 1 - 0.95^2, is less than a tenth."""


@torch.no_grad()
def evaluate(
    model: SequenceModel,
    codec: Codec,
    data: Dataset,
    processes: Processes | None = None,
    *,
    history: Dataset | None = None,
    with_confidences: bool = False,
) -> MetricAccumulator:
    """Evaluate a model on encoded data with targets; every step counts once. The model's mode is restored.

    Args:
        model: the model.
        codec: the codec that encoded the data.
        data: sequences with their targets.
        processes: share the work: each reads its part of every batch, and all get the counts of the whole.
        history: the sequences that those of `data` continue, one each; they are read first and not measured.
        with_confidences: whether the probabilities of predicted labels are counted too, for `ReportMetrics.report`.
    """
    processes = processes or Processes(device=model.device)
    was_training = model.training
    model.eval()
    accumulator = TASKS[codec.task].metrics(codec)
    batches = batches_in_order(codec, data, processes.share)
    state = None
    with disable_tf32(processes.device):
        for index in range(len(batches)):
            batch = batches[index]
            if batch.is_filler:
                continue
            state = carry_state(state, len(batch.rows)) if batch.continues_previous else None
            if history is not None and not model.settings.bidirectional:
                state = read_history(model, history, batch.rows, processes.device)
            packed = PackedInputs.of(batch, processes.device)
            if model.has_head_inputs and not has_unseen_labels(model, batch):
                inputs, state = model.predicted_inputs(packed, state)
                labels = _add_inputs(accumulator, model, batch, inputs)
                if with_confidences and isinstance(accumulator, ReportMetrics):
                    _add_confidences(accumulator, model, batch, model.head(inputs), labels)
                continue
            logits, state = model(packed, state)
            predictions = add_batch(accumulator, model, batch, logits)
            if with_confidences and isinstance(accumulator, ReportMetrics):
                _add_confidences(accumulator, model, batch, logits, predictions)
    model.train(was_training)
    if processes.size > 1:
        accumulator.merge(processes.sum_array)
    return accumulator


def has_unseen_labels(model: SequenceModel, batch: Batch) -> bool:
    """Whether a batch has labels that training did not see."""
    targets = batch.targets
    assert targets is not None
    return targets.dtype.kind == "i" and targets.ndim == 1 and bool((targets >= model.head.outputs).any())


def _add_inputs(accumulator: MetricAccumulator, model: SequenceModel, batch: Batch, inputs: Tensor) -> NDArray[Any]:
    """As `add_batch`, given the inputs of the head, whose logits need not be in memory at once."""
    assert batch.targets is not None
    batch_sizes = model.prediction_sizes(torch.from_numpy(batch.batch_sizes))
    loss, labels = model.head.measure_inputs(inputs, to_device(batch.targets, inputs.device), batch_sizes)
    predictions = to_numpy(labels)
    accumulator.add_loss(float(loss), len(inputs))
    accumulator.add(batch.targets, predictions, prediction_indices(batch, per_sequence=model.sizes.per_sequence))
    return predictions


def add_batch(accumulator: MetricAccumulator, model: SequenceModel, batch: Batch, logits: Tensor) -> NDArray[Any]:
    """Add the loss, the targets and the predictions of a batch; returns the predictions."""
    assert batch.targets is not None
    batch_sizes = model.prediction_sizes(torch.from_numpy(batch.batch_sizes))
    predictions = to_numpy(model.head.decode(logits, batch_sizes))
    targets, sizes, measured = batch.targets, batch_sizes, logits
    if has_unseen_labels(model, batch):  # they have no loss
        unseen = targets >= model.head.outputs
        accumulator.unseen += int(unseen.sum())
        if model.head.decodes_by_argmax:
            targets, sizes, measured = targets[~unseen], None, logits[torch.from_numpy(~unseen).to(logits.device)]
        else:  # a sequence of labels needs one at each step
            targets = np.where(unseen, predictions, targets)
    loss = model.head.loss(measured, to_device(targets, logits.device), sizes, LossOptions(reduction="sum"))
    accumulator.add_loss(float(loss), len(logits))
    accumulator.add(batch.targets, predictions, prediction_indices(batch, per_sequence=model.sizes.per_sequence))
    return predictions


def _add_confidences(
    accumulator: ReportMetrics,
    model: SequenceModel,
    batch: Batch,
    logits: Tensor,
    predictions: NDArray[Any],
) -> None:
    assert batch.targets is not None
    probabilities = model.head.probabilities(logits, model.prediction_sizes(torch.from_numpy(batch.batch_sizes)))
    chosen = probabilities
    if predictions.ndim == 1:
        chosen = probabilities.gather(1, to_device(predictions, logits.device)[:, None])[:, 0]
    accumulator.add_confidences(batch.targets, predictions, to_numpy(chosen))


def read_history(
    model: SequenceModel, history: Dataset, rows: NDArray[np.int64], device: torch.device
) -> tuple[Tensor, ...]:
    """The states after some sequences, in the order of `rows`."""
    states: tuple[Tensor, ...] = ()
    order: NDArray[np.int64] = rows
    for batch in time_chunks(history, rows, HISTORY_STEPS):
        packed = PackedInputs.of(batch, device)
        active = len(batch.rows)
        before = carry_state(states, active) if batch.continues_previous else None
        _, after = model.hidden(model.encoder(packed), packed.batch_sizes, before)
        if batch.continues_previous:  # the sequences that have ended keep their states
            states = tuple(torch.cat([new, old[:, active:]], 1) for new, old in zip(after, states, strict=True))
        else:
            states, order = tuple(after), batch.rows
    positions = np.argsort(order, kind="stable")[np.argsort(np.argsort(rows, kind="stable"))]
    return tuple(state[:, torch.from_numpy(positions).to(state.device)].contiguous() for state in states)


@torch.no_grad()
def measure_saturation(model: SequenceModel, codec: Codec, data: Dataset, device: torch.device = CPU) -> float:
    """The share of hidden states beyond `SATURATED`, where tanh passes little gradient.

    It is measured in the last layer, at every step of the longest sequences or, of a text, of the first batch.
    """
    was_training = model.training
    model.eval()
    packed = PackedInputs.of(batches_in_order(codec, data, sequences=SATURATION_SEQUENCES)[0], device)
    with disable_tf32(device):
        hidden, _ = model.hidden(model.encoder(packed), packed.batch_sizes, None)
    model.train(was_training)
    return int((hidden.abs() > SATURATED).sum()) / hidden.numel()


def batches_in_order(
    codec: Codec, data: Dataset, share: Share = SINGLE_SHARE, sequences: int = EVAL_BATCH
) -> ContiguousBatches | Buckets:
    """The batches of an evaluation: a text in parallel streams, other sequences in batches of similar lengths."""
    if TASKS[codec.task].targets.continues_text:
        return ContiguousBatches(data, EVAL_STREAMS, EVAL_BPTT, share, len(codec.labels or ()))
    return Buckets(data, sequences, share=share, horizon=codec.horizon)


def carry_state(state: tuple[Tensor, ...] | None, rows: int) -> tuple[Tensor, ...] | None:
    """The state of the first `rows` sequences, detached and, as cuDNN requires, contiguous.

    The last sequences of a batch of parallel streams end first.
    """
    return None if state is None else tuple(s[:, :rows].detach().contiguous() for s in state)


def prediction_indices(batch: Batch, *, per_sequence: bool) -> list[NDArray[np.int64]]:
    """The indices of the predictions of each sequence of a packed batch: one for each step (T_i,), or one."""
    if per_sequence:
        return list(np.arange(len(batch.rows)).reshape(-1, 1))
    first = np.cumsum(batch.batch_sizes) - batch.batch_sizes
    lengths = len(batch.batch_sizes) - np.searchsorted(
        batch.batch_sizes[::-1], np.arange(len(batch.rows)), side="right"
    )
    return [first[:length] + row for row, length in enumerate(lengths.tolist())]
