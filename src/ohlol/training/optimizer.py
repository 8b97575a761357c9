"""The optimizer, and its learning rate as a function of the step."""

import math

import torch

from ohlol.config import TrainSettings
from ohlol.models.sequence_model import SequenceModel

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


def make_optimizer(settings: TrainSettings, model: SequenceModel) -> torch.optim.Optimizer:
    """The optimizer, in torch's fused implementation where there is one."""
    lr, decay, parameters = settings.lr, settings.weight_decay, model.parameters()
    match settings.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr, weight_decay=decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr, weight_decay=decay)
        case _:
            return torch.optim.SGD(parameters, lr, momentum=0.9, weight_decay=decay, fused=True)
