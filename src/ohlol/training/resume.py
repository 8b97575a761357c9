"""Collecting the tensors of a saved state from the objects of a training run, and restoring them."""

import warnings
from typing import Any

import torch
from torch import Tensor

from ohlol.checkpoint.resume_state import Progress
from ohlol.checkpoint.weights import get_weights, load_weights
from ohlol.models.sequence_model import LayerStates, SequenceModel
from ohlol.training.averaging import WeightAverage
from ohlol.training.optimizer import Optimizer
from ohlol.training.precision import Precision
from ohlol.utils import devices
from ohlol.utils.digits import parse_digits
from ohlol.utils.distributed import Processes
from ohlol.utils.errors import InputError, InputWarning, describe_error
from ohlol.utils.translation import translate

RNG = "rng"
"""The name of the tensor with the state of torch's generator."""
DEVICE_RNG = "device_rng"
"""The name of the tensor with the state of the generator of a device other than the CPU."""


def collect_state(
    model: SequenceModel,
    optimizer: Optimizer,
    average: WeightAverage,
    precision: Precision,
    carried: LayerStates | None,
    processes: Processes,
) -> dict[str, Tensor]:
    """The tensors of a saved state by name; all processes must call it.

    They are weights, their mean, optimizer moments, the loss scale of fp16, the hidden state carried between batches
    and the states of the generators. The last two are gathered from all processes and are complete in the main process
    only.
    """
    tensors = {f"model.{k}": v for k, v in get_weights(model).items()}
    tensors |= average.state() | precision.state()
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items() if v is not None}
    tensors |= {f"state.{i}": _interleave(processes.gather(s.detach().cpu())) for i, s in enumerate(carried or ())}
    for name, generator in ((RNG, torch.get_rng_state()), (DEVICE_RNG, devices.get_rng_state(processes.device))):
        for rank, state in enumerate(processes.gather(generator) if generator is not None else ()):
            tensors[_name_of_rank(name, rank)] = state
    return tensors


def _name_of_rank(name: str, rank: int) -> str:
    return f"{name}.{rank}" if rank else name


def _interleave(parts: list[Tensor]) -> Tensor:
    """The hidden state (L*D, B, H) of all streams from those of n processes, which have every n-th stream each."""
    if len(parts) < 2:
        return torch.cat(parts).contiguous() if parts else torch.empty(0)
    whole = parts[0].new_empty(parts[0].shape[0], sum(part.shape[1] for part in parts), parts[0].shape[2])
    for rank, part in enumerate(parts):
        whole[:, rank :: len(parts)] = part
    return whole


def restore_state(
    tensors: dict[str, Tensor],
    position: dict[str, Any],
    model: SequenceModel,
    optimizer: Optimizer,
    average: WeightAverage,
    precision: Precision,
    where: str,
    processes: Processes,
) -> tuple[Progress, LayerStates | None]:
    """Restore the objects of a training run from a saved state: the inverse of `collect_state`.

    Args:
        tensors: the tensors of the saved state.
        position: the fields of its `Progress`.
        model: receives the weights.
        optimizer: receives the moments.
        average: receives the mean of the weights.
        precision: receives the loss scale.
        where: the beginning of an error message.
        processes: the processes of this run; the generators are restored where there are as many as saved the state.

    Returns:
        The position, and the hidden state carried between batches.

    Raises:
        InputError: the state does not fit the model or the settings.
    """
    load_weights(model, {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}, where)
    try:
        progress = Progress.from_json(position)
        _restore_moments(optimizer, [p for group in optimizer.param_groups for p in group["params"]], tensors)
        average.load_state(tensors, progress.averaged_steps, progress.losses)
        precision.load_state(tensors)
        saved_by = 1 + sum(name.startswith(f"{RNG}.") for name in tensors)
        if saved_by == processes.size:
            _restore_generators(tensors, processes)
        elif processes.is_main:
            _warn_of_new_seed(
                translate(
                    "saved by {count} process{plural}, and now there are {size}",
                    count=saved_by,
                    plural="es" * (saved_by > 1),
                    size=processes.size,
                )
            )
        hidden = _read_hidden_state(model, tensors)
        carried = tuple(s[:, processes.rank :: processes.size].to(processes.device).contiguous() for s in hidden)
        return progress, carried or None
    except (TypeError, ValueError, RuntimeError, KeyError, IndexError) as error:
        raise InputError(
            "{where}: the saved state does not fit: {error}", where=where, error=describe_error(error)
        ) from None


def _restore_moments(optimizer: Optimizer, parameters: list[Any], tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            number = parse_digits(index)
            if number is None or value.shape not in ((), parameters[number].shape):
                raise ValueError(f"{name} is {tuple(value.shape)}")
            moments.setdefault(number, {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _restore_generators(tensors: dict[str, Tensor], processes: Processes) -> None:
    rng, device_rng = (_name_of_rank(name, processes.rank) for name in (RNG, DEVICE_RNG))
    torch.set_rng_state(tensors[rng])
    if (device_rng in tensors) != (processes.device.type != "cpu"):
        if processes.is_main:
            _warn_of_new_seed(translate("saved by another device" if device_rng in tensors else "saved by the CPU"))
    elif device_rng in tensors:
        devices.set_rng_state(processes.device, tensors[device_rng])


def _warn_of_new_seed(reason: str) -> None:
    warnings.warn(
        translate(
            "{reason}: the dropout masks differ, and the result will differ from an uninterrupted run", reason=reason
        ),
        InputWarning,
        2,
    )


def _read_hidden_state(model: SequenceModel, tensors: dict[str, Tensor]) -> LayerStates:
    names = sorted(k for k in tensors if k.startswith("state."))
    state = tuple(tensors[k] for k in names)
    layers = model.settings.num_layers * model.directions
    if state and len(state) != len(model.state_sizes):
        raise ValueError(f"it has {len(state)} hidden states, and the cell {len(model.state_sizes)}")
    for name, value, size in zip(names, state, model.state_sizes, strict=False):
        if value.dim() != 3 or (value.shape[0], value.shape[2]) != (layers, size):
            raise ValueError(f"{name} is {tuple(value.shape)}")
    return state
