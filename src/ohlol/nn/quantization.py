"""Reduce the precision of the recurrent weights of a model for inference on the CPU, and undo it."""

import torch

from ohlol.config import FULL_PRECISION
from ohlol.nn.layers import Accelerated
from ohlol.ops.validation import check_precision


def quantize(module: torch.nn.Module, precision: str = "int8") -> torch.nn.Module:
    """Let every recurrent layer of `ohlol.nn` inside a model compute with a reduced precision, in place.

    With "bf16" the weights W_ih and W_hh are rounded to bfloat16, half the bytes. With "int8" these weights, the input
    of each step and the hidden state are rounded to integers from -127 to 127, with one scale for each row of a weight
    and for each step of each sequence; sums of products are exact. Gates, biases and states are float32 with either.

    The parameters stay as they are, and so does the `state_dict`: the kernels compute with a copy, which is made in the
    first call, and made again after a parameter has changed (through `Tensor.data` torch does not see a change: call
    `quantize` again). The layers run in the compiled kernels alone, have no gradient, and the model is put into
    evaluation mode. Layers of `torch.nn`, on which `accelerate` was not called, cells and `Recurrent` are left alone.

    Args:
        module: any module, or a recurrent layer itself.
        precision: int8 or bf16; fp32 undoes it.

    Returns:
        The same module.

    Raises:
        ValueError: there is no such precision; or a layer cannot have it, since its weights are not float32, or it has
            zoneout or `proj_size`; or there is no layer of `ohlol.nn`. Nothing is changed then.

    >>> from ohlol.nn import LSTM
    >>> layer = quantize(LSTM(3, 5))
    >>> layer
    LSTM(3, 5, precision=int8)
    """
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, Accelerated)]
    if not layers:
        check_precision(precision, ())
        raise ValueError(
            f"there is no RNN, GRU or LSTM of ohlol.nn in this {type(module).__name__}: call accelerate first"
        )
    for name, layer in layers:
        where = name or "the layer"
        try:
            check_precision(precision, [*layer.parameters()])  # type: ignore[attr-defined]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if precision != FULL_PRECISION and (layer.regularization.zoneout or layer.proj_size):  # type: ignore[attr-defined]
            raise ValueError(f"{where} has zoneout or proj_size, which {precision} does not support")
    for _, layer in layers:
        for name in ("precision", "_reduced"):
            vars(layer).pop(name, None)
        if precision != FULL_PRECISION:
            layer.precision = precision
    return module if precision == FULL_PRECISION else module.eval()
