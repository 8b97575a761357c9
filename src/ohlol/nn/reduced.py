"""The errors of layers with weights of fewer bits: calls that cannot have them, and gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ohlol.ops.reduced import refuse_gradients


def describe_reduced(layer: Any) -> str:
    """A layer in a message, such as "this LSTM with int8 weights"."""
    return f"this {type(layer).__name__} with {layer.precision} weights"


def find_reduced_obstacle(layer: Any) -> str:
    """Why no call of a layer can have a reduced precision at present, or an empty string."""
    if layer.training:
        return "it is in training mode, which needs all bits of the weights: call `eval()`, or quantize to fp32"
    return "torch.compile traces the call" if torch.compiler.is_compiling() else ""


def refuse_call(layer: Any, reason: str) -> RuntimeError:
    """The error of a call that cannot have a reduced precision."""
    return RuntimeError(f"{describe_reduced(layer)} runs in the compiled kernels alone, in float32, and here {reason}")


def refuse_gradients_of(layer: Any, input: Any, state: Any, out: Any, final: Any) -> Any:
    """The results of a call, which raise an error where a gradient through them is asked for."""
    if not torch.is_grad_enabled():
        return out, final
    packed = isinstance(out, PackedSequence)
    message = f"{describe_reduced(layer)} has no gradient: train it before `quantize`, or quantize to fp32"
    data, *states = refuse_gradients(message, (*tensors_of(input, state), *layer.parameters()), tensors_of(out, final))
    return out._replace(data=data) if packed else data, tuple(states) if isinstance(final, tuple) else states[0]


def tensors_of(input: Any, state: Any) -> tuple[Tensor, ...]:
    """The tensors of an input or output, packed or not, and of a state."""
    x = input.data if isinstance(input, PackedSequence) else input
    return (x,) if state is None else (x, state) if isinstance(state, Tensor) else (x, *state)
