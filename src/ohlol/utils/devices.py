"""The device that a run computes on: found by its name, and what is to be known of it; knows no model and no training.

The CPU, CUDA, and any other that torch calls the accelerator of this machine (`torch.accelerator`).
"""

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.utils.errors import InputError, cut

CPU = torch.device("cpu")
AUTO = "OHLOL_DEVICE"
"""The environment variable that says what `auto` means; without it the first CUDA device, or the CPU."""


def chosen(name: str = "auto") -> torch.device:
    """The device of a name: auto, cpu, cuda, cuda:1 and so on; of several processes of a host each gets its own.

    Raises:
        InputError: it is not there, or cannot be had by each of the processes.
    """
    if name == "auto":
        name = os.environ.get(AUTO) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device: Any = torch.device(name)  # its index may be None, which torch's types do not say
    except RuntimeError:
        raise InputError(
            f"--device is {cut(repr(name))}; give auto, cpu, cuda or one of several, such as cuda:1"
        ) from None
    if device.type == "cpu":
        return CPU
    there = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if there is None or there.type != device.type:
        raise InputError(f"--device {name}: {_missing(device.type)}; --device cpu computes without")
    count, processes = torch.accelerator.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if processes > 1 and device.index is not None:
        raise InputError(
            f"--device {name}: each of the {processes} processes takes one of its own: --device {device.type}"
        )
    if processes > count:
        raise InputError(
            f"--device {device.type}: {processes} processes on this host, and {count} such device{'s' * (count != 1)}: "
            f"--nproc-per-node {count}, or --device cpu"
        )
    index = device.index
    if index is None:
        index = int(os.environ.get("LOCAL_RANK", 0)) if processes > 1 else torch.accelerator.current_device_index()
    if index >= count:
        raise InputError(f"--device {name}: there is no such device; the last is {device.type}:{count - 1}")
    return torch.device(device.type, index)


def _missing(kind: str) -> str:
    if kind == "cuda" and not torch.backends.cuda.is_built():
        return f"this torch ({torch.__version__}) was built without CUDA"
    return f"torch finds no such device on this machine ({kind})"


def title(device: torch.device) -> str:
    """What it is, in words that are the same for equal devices: "cpu", "cuda NVIDIA H100 80GB HBM3"."""
    if device.type == "cpu":
        return "cpu"
    name: Any = getattr(torch.get_device_module(device), "get_device_name", None)
    return f"{device.type} {name(device)}" if name is not None else device.type


def found() -> list[str]:
    """The titles of the devices of this machine beside the CPU."""
    there = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if there is None:
        return []
    return [title(torch.device(there.type, index)) for index in range(torch.accelerator.device_count())]


def free_memory(device: torch.device) -> int | None:
    """Bytes that a process could still take on a device other than the CPU; None where it does not say."""
    module: Any = torch.get_device_module(device)
    if not hasattr(module, "mem_get_info"):
        return None
    kept = module.memory_reserved(device) - module.memory_allocated(device)  # by torch, for whatever comes
    return int(module.mem_get_info(device)[0] + kept)


def sent(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device; to a GPU it goes from pinned memory, and nobody waits for it to arrive."""
    tensor = torch.from_numpy(values)
    if device.type == "cpu":
        return tensor
    if device.type == "cuda":  # torch keeps the pinned copy until it has been read
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def fetched(tensor: Tensor) -> NDArray[Any]:
    """The numbers of a tensor as an array, which waits for the device; those on the CPU are not copied."""
    return tensor.detach().cpu().numpy()


def rng_state(device: torch.device) -> Tensor | None:
    """The state of a device's own generator of random numbers; the CPU's is torch's."""
    return None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(*_which(device))


def put_rng_state(device: torch.device, state: Tensor) -> None:
    """Set it to a state that `rng_state` gave; raises RuntimeError where it is of another kind of device."""
    torch.get_device_module(device).set_rng_state(state, *_which(device))


def _which(device: torch.device) -> tuple[torch.device, ...]:
    """What torch's functions of a kind of device want to be told; of MPS there is only one."""
    return () if device.type == "mps" else (device,)


def float32(device: torch.device) -> AbstractContextManager[None]:
    """Let float32 on a GPU be float32: by torch's default cuDNN's layers multiply in TF32, with 10 bits of fraction."""
    return _ieee() if device.type == "cuda" else nullcontext()


@contextmanager
def _ieee() -> Generator[None]:
    backends: Any = torch.backends
    kinds = backends.cudnn.rnn, backends.cuda.matmul
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.fp32_precision = was
