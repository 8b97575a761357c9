"""In which precision a step is computed: autocast, and for fp16 a loss scaled against underflow; knows no loop.

The weights, their moments and all that is saved are float32 whatever the precision: autocast casts what goes into the
products. Source: Micikevicius et al., "Mixed precision training" (2018); both are torch's own (`torch.amp`).
"""

from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What the products of the network are computed in; None leaves them as the weights are."""
LEAST_SCALE = 2.0**-13
"""Of the loss in fp16: where the gradient is no number even so, it is the gradient that is broken, not the scale."""


class Precision:
    """How forward and backward pass and the optimizer's step are taken, under one of `DTYPES`."""

    def __init__(self, name: str, device: torch.device):
        self.name, self.device, self.dtype = name, device, DTYPES[name]
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype is torch.float16 else None

    def lowered(self) -> AbstractContextManager[Any]:
        """Where the network's forward pass belongs."""
        if self.dtype is None:
            return nullcontext()
        cast = torch.autocast(self.device.type, self.dtype)
        return _without_onednn(cast) if (self.device.type, self.name) == ("cpu", "fp16") else cast

    def raised(self, scores: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What comes out of it, in the precision of the weights."""
        if self.dtype is None:
            return scores, state
        dtype = torch.get_default_dtype()
        return scores.to(dtype), tuple(s.to(dtype) for s in state)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, in fp16 scaled."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def clipped(self, optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor], most: float) -> Tensor:
        """Unscale the gradients and clip them; their norm before it, no number where the scale was too large."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        return torch.nn.utils.clip_grad_norm_(parameters, most)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the optimizer's step with gradients that are numbers."""
        if self.scaler is None:
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()

    def backed_off(self) -> bool:
        """After gradients that are no numbers: whether it may be the scale, which is smaller now.

        The gradients that processes have averaged are the same for all, so that all decide alike.
        """
        if self.scaler is None:
            return False
        before = self.scaler.get_scale()
        self.scaler.update()
        return LEAST_SCALE <= self.scaler.get_scale() < before

    def state(self) -> dict[str, Tensor]:
        """What moves in training: in fp16 the scale, and the steps since it changed."""
        if self.scaler is None:
            return {}
        state = self.scaler.state_dict()
        return {"scaler": torch.tensor([state["scale"], state["_growth_tracker"]], dtype=torch.float64)}

    def put_back(self, tensors: dict[str, Tensor]) -> None:
        """The reverse of `state`; raises KeyError or ValueError where it is not there or is none."""
        if self.scaler is None:
            return
        scale, steps = tensors["scaler"].double().tolist()
        if not 0 < scale < float("inf") or not 0 <= steps < float("inf"):
            raise ValueError(f"scaler holds {scale} and {steps}")
        self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": scale, "_growth_tracker": int(steps)})


@contextmanager
def _without_onednn(cast: AbstractContextManager[Any]) -> Generator[None]:
    """Autocast without oneDNN, for whose fp16 LSTM torch finds no primitive to train on a CPU."""
    library: Any = torch.backends.mkldnn
    before, library.enabled = library.enabled, False
    try:
        with cast:
            yield
    finally:
        library.enabled = before
