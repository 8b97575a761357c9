"""The optimizer, and its learning rate as a function of the step."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch

from ohlol.config import TrainSettings
from ohlol.models.sequence_model import SequenceModel
from ohlol.ops.optimizer import RULES, KernelOptimizer, find_obstacle
from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.translation import join_list

PLATEAU_PATIENCE, PLATEAU_FACTOR = 1, 0.5
"""Schedule `plateau`: evaluations without improvement before the learning rate is multiplied by the factor."""
ONECYCLE_RISE, ONECYCLE_START, ONECYCLE_END = 0.3, 1 / 25, 1e-4
"""Schedule `onecycle`: the share of the steps in which the rate rises, and its first and last share of `lr`."""


def learning_rate(settings: TrainSettings, step: int, total: int, seconds: float = 0.0) -> float:
    """The learning rate of a step (from 0), without the factor of `plateau`.

    It follows the share of the steps that were taken or the share of `minutes` that was used, whichever is larger.

    Args:
        settings: schedule, highest rate and minutes.
        step: the steps taken before this one.
        total: the steps of the training; 0 where only `minutes` end it.
        seconds: the time used before this step.

    Sources: for cosine Loshchilov and Hutter, "SGDR" (2017); for onecycle Smith and Topin, "Super-convergence" (2018).

    >>> learning_rate(TrainSettings(lr=1.0, lr_schedule="cosine"), 50, 100)
    0.5
    """
    done = step / total if total else 0.0
    if settings.minutes:
        done = min(max(done, seconds / (60 * settings.minutes)), 1.0)
    share = 1.0
    if settings.lr_schedule == "cosine":
        share = (1 + math.cos(math.pi * done)) / 2
    elif settings.lr_schedule == "onecycle":
        if done < ONECYCLE_RISE:
            share = ONECYCLE_START + (1 - ONECYCLE_START) * (1 - math.cos(math.pi * done / ONECYCLE_RISE)) / 2
        else:
            fall = (done - ONECYCLE_RISE) / (1 - ONECYCLE_RISE)
            share = ONECYCLE_END + (1 - ONECYCLE_END) * (1 + math.cos(math.pi * fall)) / 2
    if settings.warmup_steps:
        share *= min(1.0, (step + 1) / settings.warmup_steps)
    return settings.lr * share


Optimizer: TypeAlias = "KernelOptimizer | torch.optim.Optimizer"
"""An optimizer of the kernels or, where these cannot change the weights, one of torch with the same rule."""


def make_optimizer(settings: TrainSettings, model: SequenceModel) -> Optimizer:
    """The optimizer: in the kernels where these can change the weights, otherwise in torch's fused implementation.

    Each of its groups has the factor of its learning rate as "lr_factor". With `layer_lr_factor` the rate falls from
    the head to the encoder: Howard and Ruder, "Universal language model fine-tuning for text classification" (2018).
    """
    factor, parts = settings.layer_lr_factor, list(model.parts.values())
    groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "lr_factor": 1.0}]
    if factor < 1:
        groups = [{"params": own, "lr_factor": factor ** (len(parts) - 1 - i)} for i, own in enumerate(parts)]
    lr, decay = settings.lr, settings.weight_decay
    is_scaled = settings.precision == "fp16"  # the scaler of the loss changes the gradients between backward and step
    if not is_scaled and not find_obstacle([parameter for group in groups for parameter in group["params"]]):
        return KernelOptimizer(settings.optimizer, groups, lr, weight_decay=decay)
    match settings.optimizer:
        case "adam":
            return torch.optim.Adam(groups, lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr, weight_decay=decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr, weight_decay=decay)
        case _:
            return torch.optim.SGD(groups, lr, momentum=RULES["sgd"].beta1, weight_decay=decay, fused=True)


def frozen_parts(freeze: str | None, parts: Sequence[str]) -> set[str]:
    """The parts of a model that the setting `freeze` excludes from training.

    Args:
        freeze: their names, or how many of the first.
        parts: the names of all parts, from the input to the output.

    Raises:
        InputError: there is no such part, or nothing is left to train.

    >>> sorted(frozen_parts("2", ["encoder", "layer1", "layer2", "head"]))
    ['encoder', 'layer1']
    """
    if freeze is None:
        return set()
    count = parse_digits(freeze)
    if count is not None:
        names = set(parts[:count])
    else:
        names = {name.strip() for name in freeze.split(",")}
        if "layers" in names:
            names = names - {"layers"} | {name for name in parts if name.startswith("layer")}
    unknown = sorted(names - set(parts))
    if unknown:
        raise InputError(
            "`freeze` names {unknown!r}; the parts of this model are {parts}",
            unknown=shorten(unknown[0]),
            parts=join_list(parts),
        )
    if names == set(parts) or (count or 0) > len(parts):
        raise InputError(
            "`freeze` {freeze} leaves nothing to train: the parts are {parts}",
            freeze=shorten(freeze),
            parts=join_list(parts),
        )
    return names


def resting_parts(settings: TrainSettings, parts: Sequence[str], epoch: int) -> set[str]:
    """The parts that are not trained yet in an epoch (from 0), with `unfreeze_epochs`.

    Source: gradual unfreezing, Howard and Ruder (2018). Parts that `freeze` names are passed over.

    >>> sorted(resting_parts(TrainSettings(unfreeze_epochs=2), ["encoder", "layer1", "head"], 3))
    ['encoder']
    """
    if not settings.unfreeze_epochs:
        return set()
    frozen = frozen_parts(settings.freeze, parts)
    trained = [part for part in parts if part not in frozen]
    return set(trained[: max(0, len(trained) - 1 - epoch // settings.unfreeze_epochs)])
