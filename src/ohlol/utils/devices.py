"""Selecting the device that a run computes on, moving data to and from it, and its random number generator.

A device is the CPU, a CUDA GPU, or any other device that torch reports as the accelerator of this machine
(`torch.accelerator`).
"""

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.utils.errors import InputError, shorten
from ohlol.utils.torchrun import read_launch
from ohlol.utils.translation import translate

CPU = torch.device("cpu")
DEVICE_VARIABLE = "OHLOL_DEVICE"
"""The environment variable with the device that `auto` selects; without it the first CUDA device, or the CPU."""


def select_device(name: str = "auto") -> torch.device:
    """The device with a name: auto, cpu, cuda, cuda:1 and so on.

    Each process that torchrun starts on a host gets a device of its own.

    Raises:
        InputError: this machine has no such device, or fewer devices than processes.
    """
    if name == "auto":
        name = os.environ.get(DEVICE_VARIABLE) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device: Any = torch.device(name)  # its index may be None, which torch's types do not say
    except RuntimeError:
        raise InputError(
            "`device` is {name}; give auto, cpu, cuda or one of several, such as cuda:1", name=shorten(repr(name))
        ) from None
    if device.type == "cpu":
        return CPU
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None or accelerator.type != device.type:
        raise InputError(
            "`device` {name}: {device_type}; use `device=cpu`", name=name, device_type=_explain_missing(device.type)
        )
    launch, count = read_launch(), torch.accelerator.device_count()
    processes = launch.local_world_size
    if processes > 1 and device.index is not None:
        raise InputError(
            "`device` {name}: each of the {processes} processes takes one of its own: `device={device_type}`",
            name=name,
            processes=processes,
            device_type=device.type,
        )
    if processes > count:
        raise InputError(
            "`device` {device_type}: {processes} processes on this host, and {count} such device{plural}: "
            "--nproc-per-node {count}, or `device=cpu`",
            device_type=device.type,
            processes=processes,
            count=count,
            plural="s" * (count != 1),
        )
    index = device.index
    if index is None:
        index = launch.local_rank if processes > 1 else torch.accelerator.current_device_index()
    if index >= count:
        raise InputError(
            "`device` {name}: there is no such device; the last is {device_type}:{count}",
            name=name,
            device_type=device.type,
            count=count - 1,
        )
    return torch.device(device.type, index)


def _explain_missing(kind: str) -> str:
    if kind == "cuda" and not torch.backends.cuda.is_built():
        return translate("this torch ({version}) was built without CUDA", version=torch.__version__)
    return translate("torch finds no such device on this machine ({kind})", kind=kind)


def describe_device(device: torch.device) -> str:
    """The type and model of a device, equal for equal devices: "cpu", "cuda NVIDIA H100 80GB HBM3"."""
    if device.type == "cpu":
        return "cpu"
    get_name: Any = getattr(torch.get_device_module(device), "get_device_name", None)
    return f"{device.type} {get_name(device)}" if get_name is not None else device.type


def list_devices() -> list[str]:
    """The descriptions of the devices of this machine besides the CPU."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        return []
    return [describe_device(torch.device(accelerator.type, index)) for index in range(torch.accelerator.device_count())]


def get_free_memory(device: torch.device) -> int | None:
    """Bytes that a process can still allocate on a device other than the CPU; None where the device does not say."""
    module: Any = torch.get_device_module(device)
    if not hasattr(module, "mem_get_info"):
        return None
    cached = module.memory_reserved(device) - module.memory_allocated(device)  # torch reuses it
    return int(module.mem_get_info(device)[0] + cached)


def to_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device; the copy to a GPU goes through pinned memory and is asynchronous."""
    tensor = torch.from_numpy(values)
    if device.type == "cpu":
        return tensor
    if device.type == "cuda":  # torch keeps the pinned copy until it has been read
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """The values of a tensor as an array; waits for the device. Values on the CPU are not copied."""
    return tensor.detach().cpu().numpy()


def get_rng_state(device: torch.device) -> Tensor | None:
    """The state of a device's random number generator; None for the CPU, whose generator is torch's default."""
    return None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(*_rng_arguments(device))


def set_rng_state(device: torch.device, state: Tensor) -> None:
    """Set a device's random number generator to a state from `get_rng_state`.

    Raises:
        RuntimeError: the state belongs to another type of device.
    """
    torch.get_device_module(device).set_rng_state(state, *_rng_arguments(device))


def _rng_arguments(device: torch.device) -> tuple[torch.device, ...]:
    """What torch's generator functions take for a device; those of MPS take nothing."""
    return () if device.type == "mps" else (device,)


def disable_tf32(device: torch.device) -> AbstractContextManager[None]:
    """Compute float32 products on a GPU in float32: by default cuDNN's layers use TF32, with 10 bits of fraction."""
    return _ieee_float32() if device.type == "cuda" else nullcontext()


@contextmanager
def _ieee_float32() -> Generator[None]:
    backends: Any = torch.backends
    settings = backends.cudnn.rnn, backends.cuda.matmul
    previous = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        for setting, value in zip(settings, previous, strict=True):
            setting.fp32_precision = value
