"""What a recurrent cell is: its step, gates, states and equation, and its names in torch, ONNX and the kernels.

Shapes: B batch, I input size, H hidden size, G gates.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ohlol.utils.registry import Registry

State = tuple[Tensor, ...]
"""The state of a cell: its first tensor is the hidden state h, which is also the output of the step."""

Activation = Literal["sigmoid", "tanh", "relu"]


PARAMETER_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The names of torch's parameters, in the order of `Weights`."""


class Weights(NamedTuple):
    """The parameters of one cell; a bias may be None, which leaves its term out."""

    W_ih: Float[Tensor, "GH I"]
    W_hh: Float[Tensor, "GH H"]
    b_ih: Float[Tensor, " GH"] | None = None
    b_hh: Float[Tensor, " GH"] | None = None

    @classmethod
    def of(cls, module: torch.nn.Module, suffix: str = "") -> "Weights":
        """The parameters of a cell, or of one layer and direction, such as "_l0_reverse"; without bias, two of them."""
        return cls._make(getattr(module, name + suffix, None) for name in PARAMETER_NAMES)

    @property
    def bias(self) -> Float[Tensor, " GH"]:
        """b_ih + b_hh, for a cell that adds both to the same sum; a missing bias is zero."""
        total = self.W_ih.new_zeros(len(self.W_ih))
        return sum((b for b in (self.b_ih, self.b_hh) if b is not None), total)


StepFunction = Callable[..., State]
"""`step(x, state=state, weights=weights)`: x (B, I) and the state before, each (B, H), to the state after."""


@dataclass(frozen=True)
class Gate:
    """One gate: activation(W_ih x + b_ih + W_hh h + b_hh), each with the gate's rows of the weights."""

    symbol: str
    activation: Activation
    reset_by: str | None = None
    """The symbol of the gate that multiplies the hidden term W_hh h + b_hh before it is added."""


@dataclass(frozen=True)
class OnnxOperator:
    """The ONNX operator that computes a cell."""

    name: str
    gate_order: tuple[str, ...]
    """Symbols of the gates in the order in which the operator stacks them."""
    activations: tuple[str, ...]
    """The operator's `activations` attribute for one direction."""
    default_activations: bool = True
    """Whether an operator without the attribute has these activations."""
    attributes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Attributes it needs besides those of every cell."""


@dataclass(frozen=True)
class OnnxVariant:
    """A form of another cell's ONNX operator that a cell with a `module` computes: its weights can be read."""

    of: "CellSpec"
    """The cell whose operator it is, with this operator's activations and order of gates."""
    parameters: Callable[[Weights, Tensor], dict[str, Tensor]]
    """The parameters of the module from the weights, in torch's order of gates, and peepholes (3*H,), in ONNX's."""
    attributes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Attributes of this form of the operator."""
    has_peepholes: bool = False


@dataclass(frozen=True)
class CellSpec:
    """Everything the package knows about a cell.

    The gates are in the order in which torch stacks their rows in the weights. A cell with
    `torch_layer` and `kernel` runs in the kernels, one with `torch_layer` alone on torch's layer, and one without
    `torch_layer` in `ohlol.nn.Recurrent`. One without `onnx` cannot be exported. A cell has a step function and gates,
    or it is a `module`.
    """

    name: str
    step: StepFunction | None = None
    gates: tuple[Gate, ...] = ()
    states: tuple[str, ...] = ("h",)
    """Symbols of the states, the hidden state "h" first, unless a `module` returns (output, state); none for those that
    `name_states` gives a `module`."""
    adds_state: bool = False
    """Whether the last of the next states is a sum with the one before as a term: under autocast it has its dtype."""
    equation: tuple[str, ...] = ()
    """One line for each gate and state, as in textbooks: gate r has the weights W_ir and W_hr, h' is the next h."""
    module: Callable[[int, int], torch.nn.Module] | None = None
    """Makes a cell for `ohlol.nn.Recurrent` of an input size and a hidden size: a module with `forward(x, state)`."""
    recurrent_weights: tuple[str, ...] = ()
    """The parameters of the cell's module that are multiplied with the hidden state, which `weight_dropout` drops."""
    torch_layer: type[torch.nn.RNNBase] | None = None
    torch_cell: type[torch.nn.RNNCellBase] | None = None
    torch_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of both classes that select this cell."""
    kernel: str | None = None
    """The cell's name in the compiled module; used only together with `torch_layer`."""
    onnx: OnnxOperator | None = None
    onnx_variant: OnnxVariant | None = None
    bounded: bool = False
    """Whether every hidden state lies in [-1, 1], and every other state grows by at most 1 in a step."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the gates."""
        return tuple(gate.symbol for gate in self.gates)

    @property
    def has_reset(self) -> bool:
        """Whether a gate multiplies the hidden term of another."""
        return any(gate.reset_by is not None for gate in self.gates)

    @property
    def torch_mode(self) -> str | None:
        """The `mode` of the torch layer; in lower case it is the name of torch's function."""
        if self.torch_layer is None:
            return None
        return "_".join(map(str, (self.torch_layer.__name__, *self.torch_options.values()))).upper()


def name_states(count: int) -> tuple[str, ...]:
    """The symbols of the states of a cell that names none.

    >>> name_states(1), name_states(3)
    (('h',), ('h', 'c', 'state_2'))
    """
    return ("h", "c", *(f"state_{k}" for k in range(2, count)))[:count]


CELLS: Registry[CellSpec] = Registry("cell", "ohlol.cells")
"""Every registered cell by name."""


def torch_cells() -> list[CellSpec]:
    """The registered cells that torch has a layer of, the first one for each class of layer."""
    specs: dict[type[torch.nn.RNNBase], CellSpec] = {}
    for spec in CELLS.values():
        if spec.torch_layer is not None:
            specs.setdefault(spec.torch_layer, spec)
    return list(specs.values())


def register(spec: CellSpec) -> CellSpec:
    """Add a cell to `CELLS`.

    Raises:
        ValueError: another cell has this name.
    """
    CELLS.add(spec.name, spec)
    return spec
