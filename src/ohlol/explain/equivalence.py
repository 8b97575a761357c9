"""Cell in a loop = layer = matrix products: the same weights run every way, and how far the ways are apart.

Knows nothing of how it is shown. Shapes: T steps, B sequences, I input size, H hidden size.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ohlol import cells, nn
from ohlol.explain.trace import DIRECTIONS
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.reference import cell_of, weights_of
from ohlol.utils.errors import InputError

KINDS = tuple(nn.LAYERS)
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
    made = _cell(_family(layer), width, layer.hidden_size, bool(layer.bias), getattr(layer, "nonlinearity", "tanh"))
    _fill(made, {name: getattr(layer, name + suffix) for name in _names(layer.bias)}, next(layer.parameters()))
    return made


def layer_from_cell(cell: torch.nn.RNNCellBase) -> torch.nn.RNNBase:
    """A layer of one direction with the weights of a cell, of `ohlol.nn` whatever the cell is of.

    >>> cell = torch.nn.LSTMCell(3, 2)
    >>> cell_again = cell_from_layer(layer_from_cell(cell))
    >>> all(torch.equal(a, b) for a, b in zip(cell.parameters(), cell_again.parameters()))
    True
    """
    made = _layer(_family(cell), cell.input_size, cell.hidden_size, cell.bias, getattr(cell, "nonlinearity", "tanh"))
    _fill(made, {f"{name}_l0": getattr(cell, name) for name in _names(cell.bias)}, next(cell.parameters()))
    return made


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
        kind: "rnn", "gru" or "lstm".
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
    G = len(cells.CELLS["rnn_tanh" if kind == "rnn" else kind].gates)
    bound = hidden_size**-0.5  # as torch draws them

    def draw(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=random, dtype=torch.float64) * 2 - 1) * bound

    rows = G * hidden_size
    weights = cells.Weights(draw(rows, input_size), draw(rows, hidden_size), draw(rows), draw(rows))
    x = torch.randn(seq_len, batch_size, input_size, generator=random, dtype=torch.float64)
    return _prove("rnn_tanh" if kind == "rnn" else kind, weights, x, 0, 0)


def prove_run(model: TrainedModel, *, seq_len: int = 5, batch_size: int = 1, seed: int = 0) -> tuple[Proof, ...]:
    """Run the weights of each layer and direction of a trained model every way, on random inputs."""
    model = model.on_cpu
    settings, proofs = model.network.settings, list[Proof]()
    random = torch.Generator().manual_seed(seed)
    for k in range(settings.num_layers):
        for direction in range(1 + settings.bidirectional):
            weights = weights_of(model.network, k, direction)
            x = torch.randn(seq_len, batch_size, weights.W_ih.shape[1], generator=random, dtype=torch.float64)
            proofs.append(_prove(cell_of(settings), weights, x, k, direction))
    return tuple(proofs)


def by_hand(cell: str, x: Tensor, weights: cells.Weights) -> tuple[Tensor, Tensor]:
    """Nothing but matrix products, sums and exponentials; shares no line with `cells.py`."""
    W_ih, W_hh, b_ih, b_hh = weights
    assert b_ih is not None
    assert b_hh is not None
    H = W_hh.shape[1]
    h = c = x.new_zeros(x.shape[1], H)
    hidden: list[Tensor] = []

    def sigma(a: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-a))

    def tanh(a: Tensor) -> Tensor:
        return 2 * sigma(2 * a) - 1

    for x_t in x:
        from_x, from_h = x_t @ W_ih.T + b_ih, h @ W_hh.T + b_hh
        gate = [(from_x[:, k : k + H], from_h[:, k : k + H]) for k in range(0, len(W_ih), H)]
        if cell == "rnn_tanh":
            h = tanh(from_x + from_h)
        elif cell == "gru":
            r, z = sigma(gate[0][0] + gate[0][1]), sigma(gate[1][0] + gate[1][1])
            n = tanh(gate[2][0] + r * gate[2][1])
            h = n - z * n + z * h
        else:
            i, f, o = (sigma(gate[k][0] + gate[k][1]) for k in (0, 1, 3))
            c = f * c + i * tanh(gate[2][0] + gate[2][1])
            h = o * tanh(c)
        hidden.append(h)
    return torch.stack(hidden), torch.stack([h, c] if cell == "lstm" else [h])


Result = tuple[Tensor, Tensor, list[Tensor]]
"""Hidden states of every step (T, B, H), the last states (1 or 2, B, H), and the weights that were used."""
Runs = Callable[[Tensor, cells.Weights], Result]


def _ways(cell: str) -> dict[str, Runs]:
    """Every way by its name; each takes inputs and weights."""
    family = "rnn" if cell == "rnn_tanh" else cell

    def products(x: Tensor, weights: cells.Weights) -> Result:
        leaves = [w.clone().requires_grad_() for w in weights if w is not None]
        return *by_hand(cell, x, cells.Weights(*leaves)), leaves

    def unroll(x: Tensor, weights: cells.Weights) -> Result:
        leaves = [w.clone().requires_grad_() for w in weights if w is not None]
        state = tuple(x.new_zeros(x.shape[1], weights.W_hh.shape[1]) for _ in cells.CELLS[cell].states)
        output, last = cells.unroll(cell, x, state=state, weights=cells.Weights(*leaves))
        return output, torch.stack(last), leaves

    def filled(module: torch.nn.Module, x: Tensor, weights: cells.Weights, suffix: str) -> list[Tensor]:
        values = zip(_names(True), weights, strict=True)
        _fill(module, {name + suffix: value for name, value in values if value is not None}, x)
        return list(module.parameters())

    def loop(x: Tensor, weights: cells.Weights) -> Result:
        module = _cell(family, x.shape[2], weights.W_hh.shape[1], True, "tanh")
        leaves = filled(module, x, weights, "")
        states, hidden = None, list[Tensor]()
        for x_t in x:
            states = module(x_t, states)
            hidden.append(states[0] if isinstance(states, tuple) else states)
        assert states is not None
        return torch.stack(hidden), torch.stack(list(states) if isinstance(states, tuple) else [states]), leaves

    def layer(ours: bool) -> Runs:
        def run(x: Tensor, weights: cells.Weights) -> Result:
            module = _layer(family, x.shape[2], weights.W_hh.shape[1], True, "tanh")
            leaves = filled(module, x, weights, "_l0")
            if not ours:
                module.__class__ = type(module).__bases__[-1]
            output, last = module(x)
            return output, torch.cat(last if isinstance(last, tuple) else [last]), leaves

        return run

    name = family.upper()
    return {
        BY_HAND: products,
        "cells.py unrolled": unroll,
        f"ohlol.nn.{name}Cell in a loop": loop,
        f"torch.nn.{name}": layer(False),
        f"ohlol.nn.{name}": layer(True),
    }


def _prove(cell: str, weights: cells.Weights, x: Tensor, layer: int, direction: int) -> Proof:
    T, B, width = x.shape
    H = weights.W_hh.shape[1]
    scale = torch.randn(T, B, H, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def run(way: Runs, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        inputs = x.to(dtype).clone().requires_grad_()
        output, last, leaves = way(inputs, cells.Weights(*(None if w is None else w.to(dtype) for w in weights)))  # pyright: ignore[reportArgumentType]
        loss = (output * scale.to(dtype)).sum() + (last * last).sum()  # scaled, so that no gradient is lost in a sum
        gradients = torch.autograd.grad(loss, [inputs, *leaves])
        return [output.detach(), last.detach()], list(gradients)

    ways = _ways(cell)
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
    return Proof(cell, layer, DIRECTIONS[direction], sizes, tuple(found), _converts(cell, weights))


def _converts(cell: str, weights: cells.Weights) -> bool:
    """Whether weights come back from a cell, a layer and a cell again as they were."""
    one = _cell("rnn" if cell == "rnn_tanh" else cell, weights.W_ih.shape[1], weights.W_hh.shape[1], True, "tanh")
    _fill(one, {name: w for name, w in zip(_names(True), weights, strict=True) if w is not None}, weights.W_ih)
    again = cell_from_layer(layer_from_cell(one))
    return all(torch.equal(getattr(again, n), w) for n, w in zip(_names(True), weights, strict=True) if w is not None)


def _family(module: torch.nn.Module) -> str:
    for name in KINDS:
        if isinstance(module, nn.LAYERS[name].__bases__[-1] | nn.CELLS[name + "cell"].__bases__[-1]):
            return name
    raise InputError(f"{type(module).__name__} is no RNN, GRU or LSTM")


def _names(bias: bool) -> tuple[str, ...]:
    return ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if bias else 2]


def _cell(family: str, width: int, hidden: int, bias: bool, nonlinearity: str) -> torch.nn.RNNCellBase:
    more: dict[str, Any] = {"nonlinearity": nonlinearity} if family == "rnn" else {}
    with torch.random.fork_rng(devices=()):  # pyright: ignore[reportUnknownMemberType]
        return nn.CELLS[family + "cell"](width, hidden, bias=bias, **more)  # pyright: ignore[reportCallIssue]


def _layer(family: str, width: int, hidden: int, bias: bool, nonlinearity: str) -> torch.nn.RNNBase:
    more: dict[str, Any] = {"nonlinearity": nonlinearity} if family == "rnn" else {}
    with torch.random.fork_rng(devices=()):  # pyright: ignore[reportUnknownMemberType]
        return nn.LAYERS[family](width, hidden, bias=bias, **more)  # pyright: ignore[reportArgumentType]


def _fill(module: torch.nn.Module, values: dict[str, Tensor], like: Tensor) -> None:
    """Put values into a new module's parameters, with the type and device of the old one's."""
    module.to(like)
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(value)
