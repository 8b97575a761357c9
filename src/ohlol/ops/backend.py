"""The compiled kernels: whether they are there, which instruction set they use, and where their buffers come from.

`OHLOL_KERNEL` forces a variant: `avx512`, `avx2`, `baseline`, or `off` for torch's own path. `OHLOL_POISON=1` fills
every buffer that is allocated without being set with NaN, so that a read before a write shows; the tests run so.
"""

import importlib
import os
from types import ModuleType

import torch
from torch import Tensor

VARIANTS = ("avx512", "avx2", "baseline")
CELL_CODES = {"rnn_tanh": 0, "rnn_relu": 1, "gru": 2, "lstm": 3}
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}

_poison = False


def _load() -> tuple[ModuleType | None, str]:
    wanted = os.environ.get("OHLOL_KERNEL", "")
    if wanted == "off":
        return None, "OHLOL_KERNEL=off"
    if wanted not in ("", *VARIANTS):
        raise ValueError(f"OHLOL_KERNEL={wanted!r}: expected one of {', '.join(VARIANTS)} or off")
    try:
        # torch is imported above, so that its libgomp.so.1 is the one the kernels share
        module = importlib.import_module("ohlol.ops._kernel")
    except ModuleNotFoundError:
        return None, "the compiled kernels are not installed (no compiler was found when ohlol was built)"
    if wanted:
        if wanted not in module.supported():
            raise ValueError(f"OHLOL_KERNEL={wanted}: this machine runs {', '.join(module.supported())}")
        module.select(wanted)
    return module, ""


KERNEL, ABSENT = _load()
"""The compiled module or None, and in that case the reason."""


def available() -> tuple[str, ...]:
    """The variants this machine runs, fastest first; empty without the compiled module."""
    return tuple(KERNEL.supported()) if KERNEL is not None else ()


def selected() -> str:
    """The variant in use, or "off"."""
    return KERNEL.selected() if KERNEL is not None else "off"


NO_KERNELS = "torch"
"""What `implementation` says where torch's own layers run."""


def implementation(device: torch.device = torch.device("cpu"), precision: str = "fp32") -> str:
    """What runs the recurrent layers: the variant of the compiled kernels, cuDNN and its version, or "torch"."""
    if device.type == "cuda" and torch.backends.cudnn.is_available():
        return f"cudnn {torch.backends.cudnn.version()}"
    if device.type != "cpu" or precision != "fp32" or KERNEL is None:
        return NO_KERNELS
    return selected()


def select(variant: str) -> None:
    """Use this variant from now on, in every thread.

    Raises:
        RuntimeError: there is no compiled module.
        ValueError: this machine does not run the variant.
    """
    if KERNEL is None:
        raise RuntimeError(f"no kernel to select: {ABSENT}")
    KERNEL.select(variant)


def poison(on: bool) -> None:
    """Fill buffers that are allocated without being set, here and in the kernels, with NaN; for tests."""
    global _poison
    _poison = on
    if KERNEL is not None:
        KERNEL.set_poison(on)


def empty(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of the same dtype on the CPU; NaN throughout while `poison` is on."""
    made = torch.empty(shape, dtype=like.dtype)
    return made.fill_(float("nan")) if _poison else made


if os.environ.get("OHLOL_POISON") == "1":
    poison(True)
