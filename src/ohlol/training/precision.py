"""The precision of a training step: autocast, and for fp16 a loss scaled against underflow.

Weights, moments and everything saved are float32 in any precision: autocast converts the operands of matrix products.
Source: Micikevicius et al., "Mixed precision training" (2018); both are torch's own (`torch.amp`).
"""

import math
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The dtype of the matrix products; None is that of the weights."""
LEAST_SCALE = 2.0**-13
"""The smallest scale of the loss in fp16.

A gradient that is not finite with a smaller scale is not finite in float32 either."""


class Precision:
    """Forward pass, backward pass and optimizer step in one of the precisions of `DTYPES`."""

    def __init__(self, name: str, device: torch.device):
        self.name, self.device, self.dtype = name, device, DTYPES[name]
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype is torch.float16 else None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of the network's forward pass."""
        if self.dtype is None:
            return nullcontext()
        cast = torch.autocast(self.device.type, self.dtype)
        if self.device.type != "cpu" or (self.name == "bf16" and _has_fast_bf16()):
            return cast
        return _without_onednn(cast)

    def to_default_dtype(self, logits: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output of the forward pass in the dtype of the weights."""
        if self.dtype is None:
            return logits, state
        dtype = torch.get_default_dtype()
        return logits.to(dtype), tuple(s.to(dtype) for s in state)

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of a loss, scaled in fp16."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def clip_gradients(self, optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Unscale and clip the gradients; returns their norm before, not finite if the scale was too large."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        parameters = list(parameters)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not math.isinf(max_norm):  # otherwise each gradient would be multiplied by 1
            torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return norm

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the optimizer's step; the gradients must be finite."""
        if self.scaler is None:
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()

    def reduce_scale(self) -> bool:
        """After gradients that are not finite: reduce the scale; False where the scale cannot be the reason.

        Averaged gradients are equal in all processes, so that all of them decide alike.
        """
        if self.scaler is None:
            return False
        before = self.scaler.get_scale()
        self.scaler.update()
        return LEAST_SCALE <= self.scaler.get_scale() < before

    def state(self) -> dict[str, Tensor]:
        """The tensors to save: in fp16 the scale, and the steps since it changed."""
        if self.scaler is None:
            return {}
        state = self.scaler.state_dict()
        return {"scaler": torch.tensor([state["scale"], state["_growth_tracker"]], dtype=torch.float64)}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`; raises KeyError or ValueError for tensors that `state` does not return."""
        if self.scaler is None:
            return
        scale, steps = tensors["scaler"].double().tolist()
        if not 0 < scale < float("inf") or not 0 <= steps < float("inf"):
            raise ValueError(f"scaler holds {scale} and {steps}")
        self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": scale, "_growth_tracker": int(steps)})


def _has_fast_bf16() -> bool:
    """Whether oneDNN has primitives for bf16 on this processor; elsewhere it has none to train an LSTM."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@contextmanager
def _without_onednn(cast: AbstractContextManager[Any]) -> Generator[None]:
    """Autocast without oneDNN, which has no primitive to train an LSTM in fp16 on a CPU."""
    unchanged: dict[str, Any] = {"deterministic": None, "allow_tf32": None, "fp32_precision": None}
    with torch.backends.mkldnn.flags(enabled=False, **unchanged), cast:
        yield
