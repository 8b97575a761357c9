"""Check that a cell in a loop, a layer and plain matrix products compute the same with the same weights.

Every implementation runs forward and backward, in float64 and float32, and the largest differences are reported. A cell
that is a module has no equation: it is the reference itself, called in a loop over the steps.

Shapes: T time steps, B sequences, I input size, H hidden size, W width of a state.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ohlol import cells, nn
from ohlol.cells import CELLS, CellSpec, torch_cells
from ohlol.explain.trace import DIRECTIONS
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.reference import weights_of
from ohlol.utils.errors import InputError, describe_user_error
from ohlol.utils.translation import join_list

CELL_NAMES = tuple(spec.name for spec in torch_cells())
REFERENCE = "plain matrix products"
IN_A_LOOP = " in a loop"
"""Ends the name of a cell that is called step by step."""
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
"""The largest difference, relative to the largest value of the reference or 1, that the order of sums explains."""
MAX_TENSOR_SIZE = 1024
"""The maximum of each of I, H, T and B; larger ones take long and test nothing more."""


@dataclass(frozen=True)
class Implementation:
    """One implementation of the cell, and its largest differences from the reference in float64."""

    name: str
    output: float
    """Over all hidden states and the last states, in float64."""
    gradient: float
    """Over the gradients of inputs, weights and, for a cell that is a module, initial states, in float64."""
    output32: float
    """The same as `output` in float32."""
    gradient32: float
    """The same as `gradient` in float32."""
    agrees: bool
    """Whether all four lie within `TOLERANCES`."""


@dataclass(frozen=True)
class Comparison:
    """The comparison of the implementations of one cell with the same weights."""

    cell: str
    layer: int
    direction: str
    reference: str
    """The name of the implementation that the others are compared with, in float64."""
    sizes: dict[str, Any]
    """By letter; W is a list with the width of each state."""
    implementations: tuple[Implementation, ...]
    converted: bool | None
    """Whether the weights of a cell, converted to a layer and back, are equal bit for bit; None for a cell that is a
    module."""

    @property
    def agrees(self) -> bool:
        """Whether all implementations agree and the conversion changes nothing."""
        return self.converted is not False and all(one.agrees for one in self.implementations)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def cell_from_layer(layer: torch.nn.RNNBase, k: int = 0, *, backward: bool = False) -> torch.nn.RNNCellBase:
    """Build an `ohlol.nn` cell with the weights of one layer and direction of a layer of `ohlol.nn` or `torch.nn`.

    Args:
        layer: an RNN, GRU or LSTM without projection.
        k: the index of the layer.
        backward: take the backward direction.

    Raises:
        InputError: there is no such layer or direction, or it has a projection, which no cell has.

    >>> layer = torch.nn.GRU(3, 2)
    >>> cell = cell_from_layer(layer)
    >>> x = torch.ones(1, 1, 3)
    >>> torch.allclose(cell(x[0]), layer(x)[0][0])
    True
    """
    if not 0 <= k < layer.num_layers or (backward and not layer.bidirectional) or layer.proj_size:
        raise InputError(
            "cannot build a cell from layer {k}, {directions}, of a module with num_layers={num_layers}, "
            "bidirectional={bidirectional}, proj_size={proj_size}",
            k=k,
            directions=DIRECTIONS[backward],
            num_layers=layer.num_layers,
            bidirectional=layer.bidirectional,
            proj_size=layer.proj_size,
        )
    suffix = f"_l{k}" + "_reverse" * backward
    width = int(getattr(layer, "weight_ih" + suffix).shape[1])
    cell = _cell(_spec_of(layer), width, layer.hidden_size, bool(layer.bias))
    _fill(cell, {name: getattr(layer, name + suffix) for name in _names(layer.bias)}, next(layer.parameters()))
    return cell


def layer_from_cell(cell: torch.nn.RNNCellBase) -> torch.nn.RNNBase:
    """Build an `ohlol.nn` layer of one direction with the weights of a cell of `ohlol.nn` or `torch.nn`.

    >>> cell = torch.nn.LSTMCell(3, 2)
    >>> cell_again = cell_from_layer(layer_from_cell(cell))
    >>> all(torch.equal(a, b) for a, b in zip(cell.parameters(), cell_again.parameters()))
    True
    """
    layer = _layer(_spec_of(cell), cell.input_size, cell.hidden_size, cell.bias)
    _fill(layer, {f"{name}_l0": getattr(cell, name) for name in _names(cell.bias)}, next(cell.parameters()))
    return layer


def compare(
    cell: str = "rnn",
    *,
    input_size: int = 4,
    hidden_size: int = 4,
    seq_len: int = 5,
    batch_size: int = 1,
    seed: int = 0,
) -> Comparison:
    """Compare the implementations with random weights.

    Args:
        cell: one of `CELL_NAMES`.
        input_size, hidden_size, seq_len, batch_size: I, H, T and B.
        seed: the seed of weights and inputs.

    Raises:
        InputError: an unknown cell, or a size out of range.

    >>> compare("gru").agrees
    True
    """
    if cell not in CELL_NAMES:
        raise InputError(
            "`cell` is {cell!r}; it must be one of {cell_names}", cell=cell, cell_names=join_list(CELL_NAMES)
        )
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "seq_len": seq_len, "batch_size": batch_size}
    for name, size in sizes.items():
        if not 1 <= size <= MAX_TENSOR_SIZE:
            raise InputError(
                "`{name}` is {size}; it must be from 1 to {most}",
                name=name,
                size=size,
                most=MAX_TENSOR_SIZE,
            )
    random = torch.Generator().manual_seed(seed)
    spec = CELLS[cell]
    bound = hidden_size**-0.5  # the bound of torch's own initial weights

    def draw(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=random, dtype=torch.float64) * 2 - 1) * bound

    rows = len(spec.gates) * hidden_size
    weights = cells.Weights(draw(rows, input_size), draw(rows, hidden_size), draw(rows), draw(rows))
    x = torch.randn(seq_len, batch_size, input_size, generator=random, dtype=torch.float64)
    return _compare(spec, weights, x, 0, 0)


def compare_run(model: TrainedModel, *, seq_len: int = 5, batch_size: int = 1, seed: int = 0) -> tuple[Comparison, ...]:
    """Compare the implementations with the weights of each layer and direction of a trained model, on random inputs."""
    model = model.on_cpu
    settings, comparisons = model.network.settings, list[Comparison]()
    random = torch.Generator().manual_seed(seed)
    for k in range(settings.num_layers):
        for direction in range(1 + settings.bidirectional):
            layers = model.network.layers
            if isinstance(layers, nn.Recurrent) and CELLS[settings.cell].module is not None:
                comparisons.append(_compare_module(settings.cell, layers, k, direction, (seq_len, batch_size), random))
                continue
            weights = weights_of(model.network, k, direction)
            x = torch.randn(seq_len, batch_size, weights.W_ih.shape[1], generator=random, dtype=torch.float64)
            comparisons.append(_compare(CELLS[settings.cell], weights, x, k, direction))
    return tuple(comparisons)


def matrix_products(spec: CellSpec, x: Tensor, weights: cells.Weights) -> tuple[Tensor, Tensor]:
    """Evaluate the equation as it is written, with matrix products, sums and exponentials, without the step function.

    Returns:
        The hidden state of every time step, (T, B, H), and the last states, (1 or 2, B, H).
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
"""Hidden states of every time step (T, B, H), the last states (1 or 2, B, H), and the weights that were used."""
Run = Callable[[Tensor, cells.Weights], Result]


def _implementations(spec: CellSpec) -> dict[str, Run]:
    """Return every implementation by its name; each takes inputs and weights."""

    def products(x: Tensor, weights: cells.Weights) -> Result:
        leaves = [w.clone().requires_grad_() for w in weights if w is not None]
        return *matrix_products(spec, x, cells.Weights(*leaves)), leaves

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

    def layer(*, accelerated: bool) -> Run:
        def run(x: Tensor, weights: cells.Weights) -> Result:
            module = _layer(spec, x.shape[2], weights.W_hh.shape[1], True)
            leaves = filled(module, x, weights, "_l0")
            if not accelerated:
                module.__class__ = type(module).__bases__[-1]
            output, last = module(x)
            return output, torch.cat(last if isinstance(last, tuple) else [last]), leaves

        return run

    implementations: dict[str, Run] = {REFERENCE: products, "ohlol.cells.unroll": unroll}
    cell_name = f"ohlol.nn.{spec.torch_cell.__name__}" if spec.torch_cell is not None else "ohlol.nn.StepCell"
    implementations[cell_name + IN_A_LOOP] = loop
    if spec.torch_layer is not None:
        implementations[f"torch.nn.{spec.torch_layer.__name__}"] = layer(accelerated=False)
        implementations[f"ohlol.nn.{spec.torch_layer.__name__}"] = layer(accelerated=True)
    return implementations


def _compare(spec: CellSpec, weights: cells.Weights, x: Tensor, layer: int, direction: int) -> Comparison:
    T, B, width = x.shape
    H = weights.W_hh.shape[1]
    scale = torch.randn(T, B, H, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def run(implementation: Run, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        inputs = x.to(dtype).clone().requires_grad_()
        cast_weights = cells.Weights(*(None if w is None else w.to(dtype) for w in weights))  # pyright: ignore[reportArgumentType]
        output, last, leaves = implementation(inputs, cast_weights)
        loss = (output * scale.to(dtype)).sum() + (last * last).sum()  # scaled, so that no gradient cancels in the sum
        gradients = torch.autograd.grad(loss, [inputs, *leaves])
        return [output.detach(), last.detach()], list(gradients)

    runs = {name: partial(run, implementation) for name, implementation in _implementations(spec).items()}
    results = _differences(runs, runs[REFERENCE](torch.float64))
    sizes = {"I": width, "H": H, "T": T, "B": B}
    return Comparison(
        spec.name, layer, DIRECTIONS[direction], REFERENCE, sizes, tuple(results), _converts(spec, weights)
    )


def _differences(
    runs: Mapping[str, Callable[[torch.dtype], tuple[list[Tensor], list[Tensor]]]],
    reference: tuple[list[Tensor], list[Tensor]],
) -> list[Implementation]:
    """Run implementations in both dtypes; each returns its values and its gradients."""
    results: list[Implementation] = []
    for name, run in runs.items():
        differences: list[float] = []
        agrees = True
        for dtype, tolerance in TOLERANCES.items():
            for values, expected in zip(run(dtype), reference, strict=True):
                differences.append(
                    max(float((a.double() - b).abs().max()) for a, b in zip(values, expected, strict=True))
                )
                agrees &= differences[-1] <= tolerance * max(1.0, *(float(b.abs().max()) for b in expected))
        output, gradient, output32, gradient32 = differences
        results.append(Implementation(name, output, gradient, output32, gradient32, agrees))
    return results


def _compare_module(
    name: str, layers: nn.Recurrent, layer: int, direction: int, shape: tuple[int, int], random: torch.Generator
) -> Comparison:
    """Compare one cell in a loop with the same cell in `Recurrent`, on random inputs, from states that it reaches."""
    T, B = shape
    k = layer * (1 + layers.bidirectional) + direction
    interface, cell = layers.interface, layers.cells[k]
    width = layers.input_size_of(k)
    x = torch.randn(T, B, width, generator=random, dtype=torch.float64)
    zeros = [torch.zeros(B, size, dtype=torch.float64) for size in interface.state_sizes]

    @torch.no_grad()
    def reach_state() -> tuple[Tensor, ...]:
        return interface.unpack(deepcopy(cell).double().eval()(x[-1], interface.pack(zeros)))[1]

    def run(in_loop: bool, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        module = deepcopy(cell).to(dtype).eval()
        inputs, *states = (a.to(dtype, copy=True).requires_grad_() for a in (x, *starts))
        if in_loop:
            current, outs = tuple(states), list[Tensor]()
            for x_t in inputs:
                out, current = interface.unpack(module(x_t, interface.pack(current)))
                outs.append(out)
            results = [torch.stack(outs), *current]
        else:
            recurrent = _recurrent(module, layers, width)
            out, final = recurrent(inputs, interface.pack([s[None] for s in states]))
            results = [out, *(s[0] for s in (final if interface.has_tuple else (final,)))]
        generator = torch.Generator().manual_seed(1)
        loss = sum(
            (r * torch.randn(r.shape, generator=generator, dtype=torch.float64).to(dtype)).sum() for r in results
        )
        assert isinstance(loss, Tensor)
        leaves = [inputs, *states, *(p for p in module.parameters() if p.requires_grad)]
        gradients = list(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
        return [r.detach() for r in results], gradients

    class_name = type(cell).__name__
    backend = nn.explain_backend(_recurrent(deepcopy(cell).eval(), layers, width), x.float())
    path = "loop" if backend.startswith("torch") else backend
    runs = {class_name + IN_A_LOOP: partial(run, True), f"ohlol.nn.Recurrent, {path}": partial(run, False)}
    try:
        starts = reach_state()
        results = _differences(runs, run(True, torch.float64))
    except Exception as error:
        raise InputError(
            "`cell` {name} cannot run on random input: {error}", name=name, error=describe_user_error(error)
        ) from error
    sizes = {"I": width, "W": list(interface.state_sizes), "T": T, "B": B}
    return Comparison(name, layer, DIRECTIONS[direction], next(iter(runs)), sizes, tuple(results), None)


def _recurrent(cell: torch.nn.Module, layers: nn.Recurrent, input_size: int) -> nn.Recurrent:
    """A layer of one cell that takes and returns what the cells of other layers do."""
    interface = layers.interface
    sizes = interface.state_sizes if interface.has_tuple else interface.state_sizes[0]
    return nn.Recurrent(cell, input_size=input_size, state_sizes=sizes, returns_output=interface.returns_output).eval()


def _converts(spec: CellSpec, weights: cells.Weights) -> bool:
    """Whether weights converted to a layer and back are equal bit for bit; True where torch has no such layer."""
    if spec.torch_layer is None or spec.torch_cell is None:
        return True
    cell = _cell(spec, weights.W_ih.shape[1], weights.W_hh.shape[1], True)
    _fill(cell, {name: w for name, w in zip(_names(True), weights, strict=True) if w is not None}, weights.W_ih)
    again = cell_from_layer(layer_from_cell(cell))
    return all(torch.equal(getattr(again, n), w) for n, w in zip(_names(True), weights, strict=True) if w is not None)


def _spec_of(module: torch.nn.Module) -> CellSpec:
    """Return the `CellSpec` of a torch layer or cell."""
    for spec in CELLS.values():
        classes = tuple(kind for kind in (spec.torch_layer, spec.torch_cell) if kind is not None)
        if isinstance(module, classes) and all(getattr(module, k) == v for k, v in spec.torch_options.items()):
            return spec
    raise InputError("{type} is not an RNN, GRU or LSTM", type=type(module).__name__)


def _names(bias: bool) -> tuple[str, ...]:
    return cells.PARAMETER_NAMES[: 4 if bias else 2]


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
    """Copy values into the parameters of a new module, with the dtype and device of the old ones."""
    module.to(like)
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(value)
