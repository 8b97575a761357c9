"""Reduce the precision of the recurrent weights of a model for inference on the CPU, and undo it."""

from typing import Any

import torch

from ohlol.config import FULL_PRECISION
from ohlol.nn.layers import Accelerated
from ohlol.nn.recurrent import Recurrent
from ohlol.ops.validation import check_precision


def quantize(module: torch.nn.Module, precision: str = "int8") -> torch.nn.Module:
    """Let every recurrent layer of `ohlol.nn` inside a model compute with a reduced precision, in place.

    With "bf16" the weights W_ih and W_hh are rounded to bfloat16, half the bytes. With "int8" these weights, the input
    of each step and the hidden state are rounded to integers from -127 to 127, with one scale for each row of a weight
    and for each step of each sequence; sums of products are exact. Gates, biases and states are float32 with either.

    The parameters stay as they are, and so does the `state_dict`: the kernels compute with a copy, which is made in the
    first call, and made again after a parameter has changed (through `Tensor.data` torch does not see a change: call
    `quantize` again). The layers run in the compiled kernels alone, have no gradient, and the model is put into
    evaluation mode. In a `Recurrent`, the precision is that of the products of its cell with a weight, each with scales
    of its own; weights that the cell uses otherwise are float32. Layers of `torch.nn`, on which `accelerate` was not
    called, and cells outside of a layer are left alone.

    Args:
        module: any module, or a recurrent layer itself.
        precision: int8 or bf16; fp32 undoes it.

    Returns:
        The same module.

    Raises:
        ValueError: there is no such precision; or a layer cannot have it, since its weights are not float32, it has
            `proj_size`, it is an RNN, GRU or LSTM with zoneout, or a `Recurrent` whose cell runs in a loop; or there is
            no layer of `ohlol.nn`. Nothing is changed then.

    >>> from ohlol.nn import LSTM
    >>> layer = quantize(LSTM(3, 5))
    >>> layer
    LSTM(3, 5, precision=int8)
    """
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (Accelerated, Recurrent))]
    if not layers:
        check_precision(precision, ())
        raise ValueError(f"there is no layer of ohlol.nn in this {type(module).__name__}: call accelerate first")
    for name, layer in layers:
        where = name or "the layer"
        try:
            check_precision(precision, [p for p in layer.parameters() if p.is_floating_point()])  # type: ignore[attr-defined]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if precision != FULL_PRECISION and (reason := _find_obstacle(layer, precision)):
            raise ValueError(f"{where} {reason}")
    for _, layer in layers:
        vars(layer).pop("precision", None)
        if isinstance(layer, Recurrent):
            layer.forget_reduced()
        else:
            vars(layer).pop("_reduced", None)
        if precision != FULL_PRECISION:
            layer.precision = precision
    return module if precision == FULL_PRECISION else module.eval()


def _find_obstacle(layer: Any, precision: str) -> str:
    """Why a layer cannot have a reduced precision, or an empty string."""
    if isinstance(layer, Accelerated):
        has_other: bool = layer.regularization.zoneout or layer.proj_size  # type: ignore[attr-defined]
        return f"has zoneout or proj_size, which {precision} does not support" if has_other else ""
    modes = [(part, part.training) for part in layer.modules()]
    layer.eval()
    try:
        reason: str = layer.find_unreducible()
    finally:
        for part, is_training in modes:
            part.training = is_training
    return f"cannot run with {precision}, since {reason}" if reason else ""
