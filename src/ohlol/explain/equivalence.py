"""Cell in a loop = layer = matrix products: the same weights run every way, and how much the results differ.

Shapes: T steps, B sequences, I input size, H hidden size.
"""

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ohlol import cells, nn
from ohlol.cells import CELLS, CellSpec, torch_cells
from ohlol.explain.trace import DIRECTIONS
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.reference import weights_of
from ohlol.utils.errors import InputError

KINDS = tuple(spec.name for spec in torch_cells())
BY_HAND = "matrix products by hand"
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest difference, over the largest number of the reference or 1, that the order of sums explains."""
LARGEST = 1024
"""Each size at most: enough to see that the ways agree, and done in a moment."""


@dataclass(frozen=True)
class Way:
    """One way to run the same weights, and its largest differences to the matrix products in float64."""

    name: str
    output: float
    """Over every hidden state and the last states, in float64."""
    gradient: float
    """Over the gradients of inputs and weights, in float64."""
    output32: float
    """The same in float32."""
    gradient32: float
    holds: bool
    """Whether all four lie within `TOLERANCES`."""


@dataclass(frozen=True)
class Proof:
    """One cell with its weights, run every way."""

    cell: str
    layer: int
    direction: str
    sizes: dict[str, int]
    ways: tuple[Way, ...]
    converted: bool
    """Whether a cell's weights, turned into a layer's and back, are the same to the last bit."""

    @property
    def holds(self) -> bool:
        """Whether every way agrees, and converting changes nothing."""
        return self.converted and all(way.holds for way in self.ways)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def cell_from_layer(layer: torch.nn.RNNBase, k: int = 0, *, backward: bool = False) -> torch.nn.RNNCellBase:
    """A cell with the weights of one layer and direction, of `ohlol.nn` whatever the layer is of.

    Args:
        layer: an RNN, GRU or LSTM without projection.
        k: which of its layers.
        backward: its backward direction.

    Raises:
        InputError: no such layer or direction, or a projection, which no cell has.

    >>> layer = torch.nn.GRU(3, 2)
    >>> cell = cell_from_layer(layer)
    >>> x = torch.ones(1, 1, 3)
    >>> torch.allclose(cell(x[0]), layer(x)[0][0])
    True
    """
    if not 0 <= k < layer.num_layers or (backward and not layer.bidirectional) or layer.proj_size:
        raise InputError(
            f"no cell has the weights of layer {k}, {DIRECTIONS[backward]}, of a layer with "
            f"num_layers={layer.num_layers}, bidirectional={layer.bidirectional}, proj_size={layer.proj_size}"
        )
    suffix = f"_l{k}" + "_reverse" * backward
    width = int(getattr(layer, "weight_ih" + suffix).shape[1])
    cell = _cell(_spec_of(layer), width, layer.hidden_size, bool(layer.bias))
    _fill(cell, {name: getattr(layer, name + suffix) for name in _names(layer.bias)}, next(layer.parameters()))
    return cell


def layer_from_cell(cell: torch.nn.RNNCellBase) -> torch.nn.RNNBase:
    """A layer of one direction with the weights of a cell, of `ohlol.nn` whatever the cell is of.

    >>> cell = torch.nn.LSTMCell(3, 2)
    >>> cell_again = cell_from_layer(layer_from_cell(cell))
    >>> all(torch.equal(a, b) for a, b in zip(cell.parameters(), cell_again.parameters()))
    True
    """
    layer = _layer(_spec_of(cell), cell.input_size, cell.hidden_size, cell.bias)
    _fill(layer, {f"{name}_l0": getattr(cell, name) for name in _names(cell.bias)}, next(cell.parameters()))
    return layer


def prove(
    kind: str = "rnn",
    *,
    input_size: int = 4,
    hidden_size: int = 4,
    seq_len: int = 5,
    batch_size: int = 1,
    seed: int = 0,
) -> Proof:
    """Run random weights every way.

    Args:
        kind: one of `KINDS`.
        input_size, hidden_size, seq_len, batch_size: I, H, T and B.
        seed: of weights and inputs.

    Raises:
        InputError: no such kind, or a size out of range.

    >>> prove("gru").holds
    True
    """
    if kind not in KINDS:
        raise InputError(f"--cell is {kind!r}; it must be one of {', '.join(KINDS)}")
    sizes = {"input-size": input_size, "hidden-size": hidden_size, "seq-len": seq_len, "batch-size": batch_size}
    for name, size in sizes.items():
        if not 1 <= size <= LARGEST:
            raise InputError(f"--{name} is {size}; it must be from 1 to {LARGEST}")
    random = torch.Generator().manual_seed(seed)
    spec = CELLS[kind]
    bound = hidden_size**-0.5  # as torch draws them

    def draw(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=random, dtype=torch.float64) * 2 - 1) * bound

    rows = len(spec.gates) * hidden_size
    weights = cells.Weights(draw(rows, input_size), draw(rows, hidden_size), draw(rows), draw(rows))
    x = torch.randn(seq_len, batch_size, input_size, generator=random, dtype=torch.float64)
    return _prove(spec, weights, x, 0, 0)


def prove_run(model: TrainedModel, *, seq_len: int = 5, batch_size: int = 1, seed: int = 0) -> tuple[Proof, ...]:
    """Run the weights of each layer and direction of a trained model every way, on random inputs."""
    model = model.on_cpu
    settings, proofs = model.network.settings, list[Proof]()
    random = torch.Generator().manual_seed(seed)
    for k in range(settings.num_layers):
        for direction in range(1 + settings.bidirectional):
            weights = weights_of(model.network, k, direction)
            x = torch.randn(seq_len, batch_size, weights.W_ih.shape[1], generator=random, dtype=torch.float64)
            proofs.append(_prove(CELLS[settings.cell], weights, x, k, direction))
    return tuple(proofs)


def by_hand(spec: CellSpec, x: Tensor, weights: cells.Weights) -> tuple[Tensor, Tensor]:
    """Evaluate the equation as it is written, with matrix products, sums and exponentials, without the step function.

    Returns:
        The hidden state of every step, (T, B, H), and the last states, (1 or 2, B, H).
    """
    W_ih, W_hh, b_ih, b_hh = weights
    assert b_ih is not None
    assert b_hh is not None
    H = W_hh.shape[1]
    parameters: dict[str, Tensor] = {}
    for k, symbol in enumerate(spec.symbols):
        rows = slice(k * H, (k + 1) * H)
        parameters |= {f"W_i{symbol}": W_ih[rows], f"b_i{symbol}": b_ih[rows]}
        parameters |= {f"W_h{symbol}": W_hh[rows], f"b_h{symbol}": b_hh[rows]}
    lines = [_parsed(line) for line in spec.equation]
    states = {name: x.new_zeros(x.shape[1], H) for name in spec.states}
    hidden: list[Tensor] = []
    for x_t in x:
        values = {**parameters, **states, "x": x_t}
        for name, expression in lines:
            values[name] = _value(expression, values)
        states = {name: values[f"{name}_next"] for name in spec.states}
        hidden.append(states[spec.states[0]])
    return torch.stack(hidden), torch.stack(list(states.values()))


def _parsed(line: str) -> tuple[str, ast.expr]:
    """A line of an equation as Python: the product `W_ir x` becomes W_ir @ x, and `h'` becomes h_next."""
    name, text = re.sub(r"(W_\w+) (\w+)", r"(\1 @ \2)", line.replace("'", "_next")).split("=")
    return name.strip(), ast.parse(text.strip(), mode="eval").body


def _sigmoid(a: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-a))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": _sigmoid,
    "tanh": lambda a: 2 * _sigmoid(2 * a) - 1,
    "relu": lambda a: a * (a > 0),
}
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.MatMult: lambda W, x: x @ W.T,
}


def _value(expression: ast.expr, values: dict[str, Tensor]) -> Tensor:
    match expression:
        case ast.Constant(value=number):
            return number  # pyright: ignore[reportReturnType]
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return FUNCTIONS[name](_value(argument, values))
        case _:
            raise ValueError(f"{ast.unparse(expression)} cannot be evaluated in an equation")


Result = tuple[Tensor, Tensor, list[Tensor]]
"""Hidden states of every step (T, B, H), the last states (1 or 2, B, H), and the weights that were used."""
Runs = Callable[[Tensor, cells.Weights], Result]


def _ways(spec: CellSpec) -> dict[str, Runs]:
    """Every way by its name; each takes inputs and weights."""

    def products(x: Tensor, weights: cells.Weights) -> Result:
        leaves = [w.clone().requires_grad_() for w in weights if w is not None]
        return *by_hand(spec, x, cells.Weights(*leaves)), leaves

    def unroll(x: Tensor, weights: cells.Weights) -> Result:
        leaves = [w.clone().requires_grad_() for w in weights if w is not None]
        state = tuple(x.new_zeros(x.shape[1], weights.W_hh.shape[1]) for _ in spec.states)
        output, last = cells.unroll(spec.name, x, state=state, weights=cells.Weights(*leaves))
        return output, torch.stack(last), leaves

    def filled(module: torch.nn.Module, x: Tensor, weights: cells.Weights, suffix: str) -> list[Tensor]:
        values = zip(_names(True), weights, strict=True)
        _fill(module, {name + suffix: value for name, value in values if value is not None}, x)
        return list(module.parameters())

    def loop(x: Tensor, weights: cells.Weights) -> Result:
        with torch.random.fork_rng(devices=()):  # pyright: ignore[reportUnknownMemberType]
            module = nn.CellLoop(spec, x.shape[2], weights.W_hh.shape[1])
        leaves = filled(module.cell, x, weights, "")
        T, B, I = x.shape
        output, last = module(PackedSequence(x.reshape(T * B, I), torch.full((T,), B)), None)
        return output.view(T, B, -1), torch.cat(last), leaves

    def layer(ours: bool) -> Runs:
        def run(x: Tensor, weights: cells.Weights) -> Result:
            module = _layer(spec, x.shape[2], weights.W_hh.shape[1], True)
            leaves = filled(module, x, weights, "_l0")
            if not ours:
                module.__class__ = type(module).__bases__[-1]
            output, last = module(x)
            return output, torch.cat(last if isinstance(last, tuple) else [last]), leaves

        return run

    ways: dict[str, Runs] = {BY_HAND: products, "ohlol.cells unrolled": unroll}
    cell_name = f"ohlol.nn.{spec.torch_cell.__name__}" if spec.torch_cell is not None else "ohlol.nn.StepCell"
    ways[f"{cell_name} in a loop"] = loop
    if spec.torch_layer is not None:
        ways[f"torch.nn.{spec.torch_layer.__name__}"] = layer(False)
        ways[f"ohlol.nn.{spec.torch_layer.__name__}"] = layer(True)
    return ways


def _prove(spec: CellSpec, weights: cells.Weights, x: Tensor, layer: int, direction: int) -> Proof:
    T, B, width = x.shape
    H = weights.W_hh.shape[1]
    scale = torch.randn(T, B, H, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def run(way: Runs, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        inputs = x.to(dtype).clone().requires_grad_()
        output, last, leaves = way(inputs, cells.Weights(*(None if w is None else w.to(dtype) for w in weights)))  # pyright: ignore[reportArgumentType]
        loss = (output * scale.to(dtype)).sum() + (last * last).sum()  # scaled, so that no gradient is lost in a sum
        gradients = torch.autograd.grad(loss, [inputs, *leaves])
        return [output.detach(), last.detach()], list(gradients)

    ways = _ways(spec)
    reference = run(ways[BY_HAND], torch.float64)
    found: list[Way] = []
    for name, way in ways.items():
        gaps: list[float] = []
        holds = True
        for dtype, tolerance in TOLERANCES.items():
            for mine, its in zip(run(way, dtype), reference, strict=True):
                gaps.append(max(float((a.double() - b).abs().max()) for a, b in zip(mine, its, strict=True)))
                holds &= gaps[-1] <= tolerance * max(1.0, *(float(b.abs().max()) for b in its))
        found.append(Way(name, gaps[0], gaps[1], gaps[2], gaps[3], holds))
    sizes = {"I": width, "H": H, "T": T, "B": B}
    return Proof(spec.name, layer, DIRECTIONS[direction], sizes, tuple(found), _converts(spec, weights))


def _converts(spec: CellSpec, weights: cells.Weights) -> bool:
    """Whether weights are unchanged after a cell became a layer and a cell again; True where torch has no layer."""
    if spec.torch_layer is None or spec.torch_cell is None:
        return True
    cell = _cell(spec, weights.W_ih.shape[1], weights.W_hh.shape[1], True)
    _fill(cell, {name: w for name, w in zip(_names(True), weights, strict=True) if w is not None}, weights.W_ih)
    again = cell_from_layer(layer_from_cell(cell))
    return all(torch.equal(getattr(again, n), w) for n, w in zip(_names(True), weights, strict=True) if w is not None)


def _spec_of(module: torch.nn.Module) -> CellSpec:
    """The cell of a torch layer or cell."""
    for spec in CELLS.values():
        classes = tuple(kind for kind in (spec.torch_layer, spec.torch_cell) if kind is not None)
        if isinstance(module, classes) and all(getattr(module, k) == v for k, v in spec.torch_options.items()):
            return spec
    raise InputError(f"{type(module).__name__} is no RNN, GRU or LSTM")


def _names(bias: bool) -> tuple[str, ...]:
    return ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if bias else 2]


def _cell(spec: CellSpec, width: int, hidden: int, bias: bool) -> torch.nn.RNNCellBase:
    assert spec.torch_cell is not None
    with torch.random.fork_rng(devices=()):  # pyright: ignore[reportUnknownMemberType]
        return nn.CELL_CLASSES[spec.torch_cell](width, hidden, bias=bias, **spec.torch_options)  # pyright: ignore[reportCallIssue]


def _layer(spec: CellSpec, width: int, hidden: int, bias: bool) -> torch.nn.RNNBase:
    assert spec.torch_layer is not None
    options: dict[str, Any] = {"bias": bias, **spec.torch_options}
    with torch.random.fork_rng(devices=()):  # pyright: ignore[reportUnknownMemberType]
        return nn.LAYER_CLASSES[spec.torch_layer](width, hidden, **options)  # pyright: ignore[reportArgumentType]


def _fill(module: torch.nn.Module, values: dict[str, Tensor], like: Tensor) -> None:
    """Put values into a new module's parameters, with the type and device of the old one's."""
    module.to(like)
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(value)
