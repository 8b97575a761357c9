"""Turn the recurrent layers of a model into those of `ohlol.nn`, and back."""

import importlib
from typing import Any

import torch

from ohlol.nn.layers import CELL_CLASSES, DERIVED, LAYER_CLASSES, Accelerated
from ohlol.nn.regularization import Regularization

_ACCELERATED: dict[type[torch.nn.Module], type[torch.nn.Module]] = {**LAYER_CLASSES, **CELL_CLASSES}


_RESTORED = {accelerated: torch_class for torch_class, accelerated in _ACCELERATED.items()}


def accelerate(module: torch.nn.Module) -> torch.nn.Module:
    """Turn every `torch.nn` recurrent layer inside a model into the one of `ohlol.nn`, in place.

    Weights, hooks, buffers, device and training mode stay as they are, since only the class changes. A subclass of a
    torch layer is left alone: its own `forward` may do anything. `restore` undoes it.

    It also sets `torch._dynamo.config.allow_rnn`, without which `torch.compile` accepts no subclass of `torch.nn.RNN`,
    `GRU` or `LSTM` in a graph; a compiled model then runs the kernels as one operator.

    Args:
        module: any module, or a recurrent layer itself.

    Returns:
        The same module.

    >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 5))
    >>> accelerate(model) is model, type(model[0]) is LAYER_CLASSES[torch.nn.LSTM]
    (True, True)
    """
    has_layers = False
    for layer in module.modules():
        accelerated = _ACCELERATED.get(type(layer))
        if accelerated is not None:
            layer.__class__ = accelerated
        has_layers |= isinstance(layer, Accelerated)
    if has_layers:
        config: Any = importlib.import_module("torch._dynamo.config")
        config.allow_rnn = True
    return module


def restore(module: torch.nn.Module) -> torch.nn.Module:
    """Turn every recurrent layer of `ohlol.nn` inside a model into the one of `torch.nn`, in place.

    It undoes `accelerate`, and `quantize`: parameters, hooks and modes stay as they are. A `Recurrent` is left alone.

    Args:
        module: any module, or a recurrent layer itself.

    Returns:
        The same module.

    Raises:
        ValueError: torch's layer cannot do what a layer does, or a layer has parametrizations; nothing is changed.

    >>> model = accelerate(torch.nn.Sequential(torch.nn.LSTM(3, 5)))
    >>> type(restore(model)[0]) is torch.nn.LSTM
    True
    """
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, tuple(_RESTORED))]
    for name, layer in layers:
        where = name or "the layer"
        if type(layer) not in _RESTORED:
            raise ValueError(
                f"{where} is a {type(layer).__name__}, made from a layer of ohlol.nn: restore the model first, or "
                "remove the parametrizations"
            )
        if isinstance(layer, Accelerated) and (
            layer.weight_dropout or layer.locked_dropout or layer.regularization != Regularization()
        ):
            raise ValueError(
                f"{where} has zoneout, recurrent_dropout, weight_dropout or locked_dropout, which torch's layer has not"
            )
    for _, layer in layers:
        for name in ("regularization", "weight_dropout", "locked_dropout", "precision", *DERIVED):
            vars(layer).pop(name, None)
        layer.__class__ = _RESTORED[type(layer)]
    return module
