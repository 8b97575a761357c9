"""RNNCell, GRUCell, LSTMCell, RNN, GRU and LSTM as subclasses of torch's own; knows nothing of data or training.

Each is a `torch.nn` module in every respect: the same constructor, parameters, `state_dict`, initial values from the
same seed, and errors. Change an import, or hand a model you already have to `accelerate`.
"""

import torch

from ohlol.shape_doctor import advised


@advised
class RNNCell(torch.nn.RNNCell):
    """One step of `cells.rnn_tanh` or `cells.rnn_relu`: (B, I), (B, H) -> (B, H). See `torch.nn.RNNCell`."""


@advised
class GRUCell(torch.nn.GRUCell):
    """One step of `cells.gru`: (B, I), (B, H) -> (B, H). See `torch.nn.GRUCell`."""


@advised
class LSTMCell(torch.nn.LSTMCell):
    """One step of `cells.lstm`: (B, I), ((B, H), (B, H)) -> ((B, H), (B, H)). See `torch.nn.LSTMCell`."""


@advised
class RNN(torch.nn.RNN):
    """`cells.rnn_tanh` or `rnn_relu` over a sequence: (T, B, I) -> (T, B, D*H), (L*D, B, H). See `torch.nn.RNN`."""


@advised
class GRU(torch.nn.GRU):
    """`cells.gru` over a sequence: (T, B, I) -> (T, B, D*H), (L*D, B, H). See `torch.nn.GRU`."""


@advised
class LSTM(torch.nn.LSTM):
    """`cells.lstm` over a sequence: (T, B, I) -> (T, B, D*H), ((L*D, B, H), (L*D, B, H)). See `torch.nn.LSTM`."""


LAYERS: dict[str, type[torch.nn.RNNBase]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}
CELLS: dict[str, type[torch.nn.RNNCellBase]] = {"rnncell": RNNCell, "grucell": GRUCell, "lstmcell": LSTMCell}

_OURS = {base: ours for ours in (*LAYERS.values(), *CELLS.values()) for base in ours.__bases__}


def accelerate(module: torch.nn.Module) -> torch.nn.Module:
    """Turn every `torch.nn` recurrent layer inside a model into ours, in place.

    Weights, hooks, buffers, device and training mode stay as they are, since only the class changes. A subclass of a
    torch layer that is not ours is left alone: its own `forward` may do anything.

    Args:
        module: any module, or a recurrent layer itself.

    Returns:
        The same module.

    >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 5))
    >>> accelerate(model) is model, type(model[0]) is LSTM
    (True, True)
    """
    for layer in module.modules():
        ours = _OURS.get(type(layer))
        if ours is not None:
            layer.__class__ = ours
    return module
