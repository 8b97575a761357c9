"""Dynamic evaluation of a language model: it is trained on each segment of a text after the segment was measured.

Source: Krause, Kahembwe, Murray and Renals, "Dynamic evaluation of neural sequence models", ICML 2018.
"""

import math
from copy import deepcopy

import torch

from ohlol.config import FULL_PRECISION, DynamicSettings
from ohlol.data.batches import ContiguousBatches, Dataset
from ohlol.data.codec import Codec
from ohlol.evaluation.evaluate import add_batch, carry_state
from ohlol.models.inputs import PackedInputs
from ohlol.models.sequence_model import SequenceModel
from ohlol.ops.optimizer import KernelOptimizer, find_obstacle
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import MetricAccumulator
from ohlol.utils.devices import disable_tf32, to_device
from ohlol.utils.errors import InputError

MEAN_SQUARE_DECAY = 0.999
""""rms": decay per segment of the mean squares of the gradients."""


def make_optimizer(settings: DynamicSettings, model: torch.nn.Module) -> KernelOptimizer | torch.optim.Optimizer:
    """The optimizer of the parameters of a model; "rms" is Adam without momentum."""
    parameters = list(model.parameters())
    if not find_obstacle(parameters):
        rule, betas = ("sgd", (0.0, 0.0)) if settings.dynamic_optimizer == "sgd" else ("adam", (0.0, MEAN_SQUARE_DECAY))
        return KernelOptimizer(rule, [{"params": parameters}], settings.lr, betas=betas)
    if settings.dynamic_optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), settings.lr)
    return torch.optim.Adam(model.parameters(), settings.lr, betas=(0.0, MEAN_SQUARE_DECAY), fused=True)


def evaluate_dynamic(model: SequenceModel, codec: Codec, data: Dataset, settings: DynamicSettings) -> MetricAccumulator:
    """Measure a language model that learns from the text as it reads it; the model itself does not change.

    The text is one stream of segments. A copy of the model reads a segment, which is measured; then it takes one step
    of the optimizer on the mean loss of the segment, and its weights go a part of the way back to those of the model.

    Args:
        model: the model, of a task that predicts the next symbol of a text.
        codec: the codec that encoded the text.
        data: the text.
        settings: the optimizer, the way back and the length of a segment.

    Raises:
        InputError: the task is another one, the model has a reduced precision, or the loss is not finite any more.
    """
    if not codec.kind.continues_text:
        raise InputError(
            "`dynamic` adapts a model to the text whose next symbol it predicts, and this model's task is "
            "{task}: leave it out",
            task=codec.task,
        )
    if model.precision != FULL_PRECISION:
        raise InputError(
            "`dynamic` trains a copy of the model, and `precision` {precision} is for inference: leave one of them out",
            precision=model.precision,
        )
    network = deepcopy(model).eval().requires_grad_()
    weights = list(zip(network.parameters(), [p.detach().clone() for p in model.parameters()], strict=True))
    optimizer = make_optimizer(settings, network)
    accumulator = TASKS[codec.task].metrics(codec)
    segments = ContiguousBatches(data, 1, settings.dynamic_steps, outputs=len(codec.labels or ()))
    state = None
    with torch.enable_grad(), disable_tf32(model.device):
        for index in range(len(segments)):
            batch = segments[index]
            assert batch.targets is not None
            logits, state = network(PackedInputs.of(batch, model.device), carry_state(state, 1))
            add_batch(accumulator, network, batch, logits.detach())
            loss = network.head.loss(logits, to_device(batch.targets, model.device))
            if not math.isfinite(loss.item()):
                raise InputError(
                    "the loss is {item} after {index:,} symbols: a lower `dynamic_lr` than {lr:g} helps",
                    item=loss.item(),
                    index=index * settings.dynamic_steps,
                    lr=settings.lr,
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for weight, start in weights:
                    weight.lerp_(start, settings.dynamic_decay)
    return accumulator
