"""What the review knows of an expression: the layer, tensor, size or object that it stands for."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

RECURRENT = ("RNN", "LSTM", "GRU")
RECURRENT_CELLS = ("RNNCell", "LSTMCell", "GRUCell")

Axes = tuple[str, ...]
"""Axes of a tensor: B batch, T time, S layers and directions, H, I, E, K features, ? unknown, N several joined."""


@dataclass(frozen=True)
class Option:
    """An argument of a constructor as it is written, and its value where that is a constant."""

    text: str
    constant: Any = None


@dataclass(frozen=True)
class Value:
    """What an expression stands for, as far as the program shows it."""

    kind: str
    """"layer", "cell", "module", "instance", "loss", "optimizer", "loader", "tensor", "tuple", "shape", "size",
    "constant", "loss_value"."""
    name: str = ""
    """The class of a module, such as "LSTM"; of a tensor what it is: "output", "h_n", "c_n", "last", or "filled" with
    zeros or other numbers."""
    origin: ast.AST | None = field(default=None, compare=False)
    """Where it was made."""
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    is_partial: bool = False
    """Whether more options may be set, by `**options`."""
    layer: "Value | None" = None
    """The layer of an output or a state, the loss of a loss value, the tensor of a shape."""
    axes: Axes | None = None
    units: frozenset[int] = frozenset()
    """Axes whose size is 1."""
    dtype: str = ""
    """"long" or "float", "other" where it is set to another or one that is not known, and empty where it is not set."""
    tags: frozenset[str] = frozenset()
    """What was done with a tensor: "Softmax", "LogSoftmax", "Sigmoid", "one_hot", "packed", "padded", "column",
    "maybe_unbatched" where the input may have had no batch axis, "features" where it has all those of an output."""
    parts: "tuple[Value | None, ...]" = ()
    constant: Any = None
    """The value of a constant, the axis of a size."""
    of: str = ""
    """The tensor, as written, that a shape or a size belongs to."""

    def but(self, **changes: Any) -> "Value":
        """The same value with other fields."""
        return replace(self, **changes)

    def option(self, name: str, default: Any) -> Any:
        """The constant that an option has; None where it is not known."""
        if name in self.options:
            return self.options[name].constant
        return None if self.is_partial else default

    def text(self, name: str) -> str:
        """An option as it is written, or an empty string."""
        return self.options[name].text if name in self.options else ""

    @property
    def is_recurrent(self) -> bool:
        """Whether it is an RNN, GRU or LSTM over a whole sequence."""
        return self.kind == "layer"

    @property
    def batch_first(self) -> bool | None:
        """Whether a layer takes (B, T, I); None where it is not known."""
        return self.option("batch_first", False)

    @property
    def bidirectional(self) -> bool | None:
        """Whether a layer has two directions; None where it is not known."""
        return self.option("bidirectional", False)

    @property
    def num_layers(self) -> int | None:
        """The number of stacked layers; None where it is not known."""
        return self.option("num_layers", 1)


def join(first: Value | None, second: Value | None) -> Value | None:
    """What is known of a value that is one of two."""
    if first is None or second is None:
        return None
    if first == second:
        return first
    if first.kind == second.kind == "layer" and _layout(first) == _layout(second):
        return first
    if first.layer is not None and first.but(layer=None) == second.but(layer=None):
        layer = join(first.layer, second.layer)
        return None if layer is None else first.but(layer=layer)
    return None


def _layout(layer: Value) -> tuple[Any, ...]:
    return layer.batch_first, layer.bidirectional, layer.num_layers, layer.text("num_layers")


def tensor(name: str = "", **fields: Any) -> Value:
    """A tensor."""
    return Value("tensor", name, **fields)
