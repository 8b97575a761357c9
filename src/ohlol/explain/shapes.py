"""The shape of every tensor in a recurrent cell or layer, read from a module that was run.

No shape comes from a table: a module of `ohlol.nn` is built and run on random numbers, and every shape is read from its
inputs, outputs and parameters. Every equality in the report was compared, and every wrong call was made.

Shapes: B batch, T time steps, I input size, H hidden size, L layers, D directions, G gates.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import linear

from ohlol import cells, nn
from ohlol.cells import CELLS, CellSpec, torch_cells
from ohlol.explain.claims import TOLERANCE, Equality, Mistake, Shape, TensorShape, attempt, compare, largest_difference
from ohlol.explain.packing import PackedShapes, check_lengths, describe_packing
from ohlol.utils.errors import InputError
from ohlol.utils.rendering import to_html
from ohlol.utils.translation import join_list, translate

States = tuple[Tensor, ...]
Term = tuple[str, Shape | None]
"""A piece of an equation and its shape; None for operators, brackets and functions."""

CELL_KINDS = {spec.torch_cell.__name__.lower(): spec for spec in torch_cells() if spec.torch_cell is not None}
LAYER_KINDS = {spec.torch_layer.__name__.lower(): spec for spec in torch_cells() if spec.torch_layer is not None}
KINDS = (*CELL_KINDS, *LAYER_KINDS)
"""The names of torch's classes, in lower case."""
NONLINEARITIES = ("tanh", "relu")
SEQ_LEN, BATCH_SIZE = 3, 1
"""T and B where nothing chooses them."""
MAX_SIZES = {"input_size": 4096, "hidden_size": 4096, "seq_len": 4096, "batch_size": 4096, "num_layers": 64}
"""The maximum of each size: a larger one makes a report too long to read."""
MAX_NUMBERS = 2**25
"""The maximum number of weights and states together, 256 MiB in float64."""


@dataclass(frozen=True)
class Parameter(TensorShape):
    """One parameter of the module, with its layer and direction."""

    layer: int
    direction: str


@dataclass(frozen=True)
class StepShapes:
    """One time step of a cell: the shapes of the input, the previous states and the new states."""

    t: int
    input: Shape
    before: tuple[Shape, ...]
    after: tuple[Shape, ...]


@dataclass(frozen=True)
class _Report:
    kind: str
    module: str
    sizes: dict[str, int]
    parameters: tuple[Parameter, ...]
    parameter_count: int
    equalities: tuple[Equality, ...]
    mistakes: tuple[Mistake, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data: dicts, lists, strings, numbers, booleans and null."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class CellShapes(_Report):
    """The shapes of one cell, run over a sequence in a loop."""

    def _repr_html_(self) -> str:
        return to_html(self)

    sequence: TensorShape
    states: tuple[str, ...]
    steps: tuple[StepShapes, ...]
    gate_rows: dict[str, tuple[int, int]]
    equation: tuple[str, ...]
    equation_with_shapes: tuple[tuple[Term, ...], ...]
    joined_weight: TensorShape
    joined_gates: tuple[str, ...]


@dataclass(frozen=True)
class LayerShapes(_Report):
    """The shapes of layers and directions, run over a whole sequence in one call.

    `pitfall` is a claim that does not hold; `batch_first` has the shape of each tensor without and with `batch_first`.
    """

    def _repr_html_(self) -> str:
        return to_html(self)

    uses_batch_first: bool
    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    pitfall: Equality | None
    batch_first: dict[str, tuple[Shape, Shape]]


def shapes(
    kind: str,
    *,
    input_size: int = 4,
    hidden_size: int = 2,
    num_layers: int = 1,
    bidirectional: bool = False,
    seq_len: int | None = None,
    batch_size: int | None = None,
    lengths: Sequence[int] | None = None,
    batch_first: bool = False,
    bias: bool = True,
    nonlinearity: str = "tanh",
    seed: int = 0,
) -> CellShapes | LayerShapes | PackedShapes:
    """Build a module, run it, and report every shape; the global random state does not change.

    Args:
        kind: one of `KINDS`; `num_layers`, `bidirectional`, `batch_first` and `lengths` are for layers only.
        input_size, hidden_size, num_layers, seq_len, batch_size: I, H, L, T and B; T is 3 and B is 1 by default.
        lengths: the length of each sequence, instead of `seq_len` and `batch_size`; the report is about packing.
        bidirectional, batch_first, bias: as in `torch.nn`.
        nonlinearity: "tanh" or "relu", for rnncell and rnn.
        seed: the seed of the weights and inputs.

    Returns:
        `CellShapes` for a cell, `LayerShapes` for a layer, `PackedShapes` with `lengths`.

    Raises:
        InputError: an unknown kind, a size out of range, or an argument that the kind does not have.

    >>> shapes("rnncell", input_size=4, hidden_size=2).steps[0].after
    ((1, 2),)
    >>> [tensor.shape for tensor in shapes("rnn", seq_len=3).outputs]
    [(3, 1, 2), (1, 1, 2)]
    """
    if kind not in KINDS:
        raise InputError("`kind` is {kind!r}; it must be one of {kinds}", kind=kind, kinds=join_list(KINDS))
    spec = CELL_KINDS[kind] if kind in CELL_KINDS else LAYER_KINDS[kind]
    if nonlinearity not in NONLINEARITIES:
        raise InputError("`nonlinearity` is {nonlinearity!r}; it must be tanh or relu", nonlinearity=nonlinearity)
    if not spec.torch_options and nonlinearity != "tanh":
        kinds = " and ".join(name for name, other in (*CELL_KINDS.items(), *LAYER_KINDS.items()) if other.torch_options)
        raise InputError(
            "`nonlinearity` is {nonlinearity!r}, which is for {kinds}; {kind} has fixed activations",
            nonlinearity=nonlinearity,
            kinds=kinds,
            kind=kind,
        )
    if kind in CELL_KINDS:
        layer_only = {"num_layers": num_layers != 1, "bidirectional": bidirectional, "batch_first": batch_first}
        layer_only |= {"lengths": lengths is not None}
        for name in (name for name, is_set in layer_only.items() if is_set):
            raise InputError(
                "`{name}` is for layers; {kind} is one step of one layer: use {spec} instead",
                name=name,
                kind=kind,
                spec=_layer_kind(spec),
            )
    if spec.torch_options:
        torch_layer, torch_options = spec.torch_layer, {"nonlinearity": nonlinearity}
        same_class = (other for other in CELLS.values() if other.torch_layer is torch_layer)
        spec = next(other for other in same_class if other.torch_options == torch_options)
    if lengths is not None:
        for name, size in (("seq_len", seq_len), ("batch_size", batch_size)):
            if size is not None:
                raise InputError("`{name}` follows from `lengths`; give one of them", name=name)
        check_lengths(lengths)
        seq_len, batch_size = max(lengths), len(lengths)
    seq_len, batch_size = SEQ_LEN if seq_len is None else seq_len, BATCH_SIZE if batch_size is None else batch_size
    named = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    _check_sizes({**named, "seq_len": seq_len, "batch_size": batch_size})
    sizes = {"B": batch_size, "T": seq_len, "I": input_size, "H": hidden_size, "L": num_layers}
    sizes |= {"D": 1 + bidirectional, "G": len(spec.gates)}
    _check_total(sizes)

    options: dict[str, Any] = {"bias": bias, "dtype": torch.float64, **spec.torch_options}
    with torch.random.fork_rng(devices=()), torch.no_grad():  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        if kind in CELL_KINDS:
            return _describe_cell(kind, spec, sizes, options)
        options |= {"num_layers": num_layers, "bidirectional": bidirectional}
        if lengths is not None:
            layer = _layer_class(spec)(input_size, hidden_size, batch_first=batch_first, **options)
            return describe_packing(kind, spec, layer, lengths)
        return _describe_layer(kind, spec, sizes, options, batch_first=batch_first)


def _layer_kind(spec: CellSpec) -> str:
    """Return the kind of the layer with the same cell."""
    return next(kind for kind, other in LAYER_KINDS.items() if other.torch_layer is spec.torch_layer)


def _layer_class(spec: CellSpec) -> Callable[..., torch.nn.RNNBase]:
    """Return the class of `ohlol.nn` of the layer with this cell."""
    assert spec.torch_layer is not None
    return cast("Callable[..., torch.nn.RNNBase]", nn.LAYER_CLASSES[spec.torch_layer])


def _check_sizes(named: dict[str, int]) -> None:
    for name, size in named.items():
        if size < 1:
            raise InputError("`{name}` is {value}; it must be at least 1", name=name, value=size)
        if size > MAX_SIZES[name]:
            raise InputError(
                "`{name}` is {value}; it must be at most {most}", name=name, value=size, most=MAX_SIZES[name]
            )


def _check_total(sizes: dict[str, int]) -> None:
    B, T, width, H, L, D, G = (sizes[letter] for letter in "BTIHLDG")
    numbers = L * D * G * H * (max(width, D * H) + H + 2) + T * B * (width + L * D * G * H)
    if numbers > MAX_NUMBERS:
        raise InputError(
            "`hidden_size` {H}, `input_size` {width}, `seq_len` {T} and `batch_size` {B} need about "
            "{numbers:,} numbers; at most {max_numbers:,} are allowed: lower one of them",
            H=H,
            width=width,
            T=T,
            B=B,
            numbers=numbers,
            max_numbers=MAX_NUMBERS,
        )


def _describe_cell(kind: str, spec: CellSpec, sizes: dict[str, int], options: dict[str, Any]) -> CellShapes:
    assert spec.torch_cell is not None
    assert spec.step is not None
    build = cast("Callable[..., torch.nn.RNNCellBase]", nn.CELL_CLASSES[spec.torch_cell])
    B, T, width, H = (sizes[letter] for letter in "BTIH")
    module = build(width, H, **options)
    module_name = type(module).__name__
    weights = cells.Weights.of(module)
    sequence = _random(T, B, width)
    state = tuple(_random(B, H) for _ in spec.states)
    steps: list[StepShapes] = []
    difference = 0.0
    for t, x in enumerate(sequence):
        before, state = state, _call(module, x, state)
        steps.append(StepShapes(t, _shape(x), tuple(map(_shape, before)), tuple(map(_shape, state))))
        assert spec.step is not None
        expected = spec.step(x, state=before, weights=weights)
        difference = max(difference, *(largest_difference(a, b) for a, b in zip(state, expected, strict=True)))

    x, h = sequence[-1], state[0]
    # a gate whose hidden term is multiplied before the input term is added cannot share one product
    joined_gates = tuple(gate.symbol for gate in spec.gates if gate.reset_by is None)
    joined_G = "G" if len(joined_gates) == len(spec.gates) else len(joined_gates)
    rows = [k * H + j for k, gate in enumerate(spec.gates) if gate.reset_by is None for j in range(H)]
    joined = torch.cat([weights.W_hh, weights.W_ih], dim=1)[rows]
    bias = None if weights.b_hh is None or weights.b_ih is None else weights.b_hh + weights.b_ih
    joined_product = linear(torch.cat([h, x], dim=1), joined, None if bias is None else bias[rows])
    two_products = (linear(x, weights.W_ih, weights.b_ih) + linear(h, weights.W_hh, weights.b_hh))[:, rows]
    equation = tuple(line if bias is not None else re.sub(r" \+ b_\w+", "", line) for line in spec.equation)
    claim = "linear([h, x], W, b) == W_ih x + b_ih + W_hh h + b_hh"
    claim = claim if bias is not None else "linear([h, x], W) == W_ih x + W_hh h"
    term_shapes = _shapes_of_terms(spec, x, state, weights)
    wrong: list[tuple[Tensor, States, str]] = [
        (_random(B, width + 1), state, translate("the last axis of x is the input size")),
        (x, tuple(_random(B, H + 1) for _ in state), translate("the last axis of the state is the hidden size")),
        (x, tuple(_random(B + 1, H) for _ in state), translate("x and the state have the same B")),
        (
            sequence,
            state,
            translate("pass one time step at a time, or use {kind} for the whole sequence", kind=_layer_kind(spec)),
        ),
    ]
    wrong += [(x, state[:1], translate("the LSTM's state is a pair: pass (h, c)"))] if len(state) > 1 else []
    return CellShapes(
        kind=kind,
        module=module_name,
        sizes={letter: sizes[letter] for letter in "BTIHG"},
        parameters=_parameters_of(module),
        parameter_count=sum(p.numel() for p in module.parameters()),
        equalities=(
            compare(claim, joined_product, two_products, translate("one product replaces two")),
            Equality(
                f"{spec.name} of ohlol.cells == nn.{type(module).__name__}",
                difference <= TOLERANCE,
                difference,
                translate("at every time step"),
            ),
        ),
        mistakes=tuple(_attempt(module, x, state, names=("x", *spec.states), fix=fix) for x, state, fix in wrong),
        sequence=TensorShape("sequence", _shape(sequence), "(T, B, I)"),
        states=spec.states,
        steps=tuple(steps),
        gate_rows={gate: (k * H, (k + 1) * H) for k, gate in enumerate(spec.symbols)},
        equation=equation,
        equation_with_shapes=tuple(_terms(line, term_shapes) for line in equation),
        joined_weight=TensorShape("W = [W_hh W_ih]", _shape(joined), f"({joined_G}*H, H+I)"),
        joined_gates=joined_gates,
    )


def _describe_layer(
    kind: str, spec: CellSpec, sizes: dict[str, int], options: dict[str, Any], *, batch_first: bool
) -> LayerShapes:
    build = _layer_class(spec)
    B, T, width, H, L, D = (sizes[letter] for letter in "BTIHLD")
    module, other = (build(width, H, batch_first=first, **options) for first in (batch_first, not batch_first))
    other.load_state_dict(module.state_dict())
    names = spec.states
    start = tuple(_random(L * D, B, H) for _ in names)
    x = _random(B, T, width) if batch_first else _random(T, B, width)
    x_other = x.transpose(0, 1)
    output, h_n, *c_n = _call(module, x, start)
    output_other = _call(other, x_other, start)[0]
    time_first, x_time_first = (output_other, x_other) if batch_first else (output, x)
    by_equation = _unrolled(spec.name, module, x_time_first, start, sizes)

    def end(t: int, features: slice | None, row: int, why: str) -> Equality:
        """Compare the features of the output at step t with a row of h_n; the claim is written from the index."""
        index: tuple[int | slice, ...] = (slice(None), t) if batch_first else (t, slice(None))
        index = index[: 1 + batch_first] if features is None else (*index, features)
        text = ", ".join(str(i) if isinstance(i, int) else f"{i.start or ''}:{i.stop or ''}" for i in index)
        return compare(f"output[{text}] == h_n[{row}]", output[index], h_n[row], why)

    if D == 1:
        ends = [end(-1, None, -1, translate("the last step, top layer"))]
    else:
        ends = [
            end(-1, slice(None, H), -2, translate("forward ends at the last step")),
            end(0, slice(H, None), -1, translate("backward ends at the first step")),
        ]
    swap = translate("only axes 0 and 1 are swapped")
    outer, outer_other = ("(B, T", "(T, B") if batch_first else ("(T, B", "(B, T")
    mixed = translate(
        "this layer takes {taken}, I); batch_first={value} takes {other}, I)",
        taken=outer,
        value=not batch_first,
        other=outer_other,
    )
    wrong_start = tuple(s.transpose(0, 1) if B != L * D else s[0] for s in start)
    wrong: list[tuple[Tensor, States, str]] = [
        (_random(*x.shape[:2], width + 1), (), translate("the last axis of the input is the input size")),
        (x_other, (), mixed),
        (x_other, start, mixed),
        (x, wrong_start, translate("h_0 is (L*D, B, H) with and without batch_first")),
    ]
    wrong += [(x, start[:1], translate("the LSTM's state is a pair: pass (h_0, c_0)"))] if len(start) > 1 else []
    first, final = (("input", *(f"{n}_0" for n in names)), ("output", *(f"{n}_n" for n in names)))
    settings = {"input": (x, x_other), "output": (output, output_other), "h_0 and h_n": (h_n, h_n)}
    return LayerShapes(
        kind=kind,
        module=type(module).__name__,
        sizes=sizes,
        parameters=_parameters_of(module),
        parameter_count=sum(p.numel() for p in module.parameters()),
        equalities=(
            *ends,
            compare(
                translate("output == cells.unroll, layer by layer"),
                time_first,
                by_equation,
                translate("a layer is its cell in a loop"),
            ),
            compare(f"output == output of batch_first={not batch_first}", output, output_other.transpose(0, 1), swap),
        ),
        mistakes=tuple(_attempt(module, x, state, names=first, fix=fix) for x, state, fix in wrong),
        uses_batch_first=batch_first,
        inputs=_named(first, (x, *start), f"{outer}, I)"),
        outputs=_named(final, (output, h_n, *c_n), f"{outer}, D*H)"),
        pitfall=end(-1, slice(H, None), -1, translate("the backward direction has read only one step there"))
        if D == 2 and T > 1
        else None,
        batch_first={n: (_shape(both[batch_first]), _shape(both[not batch_first])) for n, both in settings.items()},
    )


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _shape(tensor: Tensor) -> Shape:
    return tuple(tensor.shape)


def _call(module: torch.nn.Module, x: Tensor, state: States) -> States:
    """Return all outputs of a cell or layer as a flat tuple; the state of the LSTM is passed as a pair."""
    result = module(x, state[0] if len(state) == 1 else state) if state else module(x)
    return tuple(_flat(result))


def _flat(result: Tensor | tuple[Any, ...]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [tensor for part in result for tensor in _flat(part)]


def _unrolled(cell: str, layer: torch.nn.RNNBase, x: Tensor, start: States, sizes: dict[str, int]) -> Tensor:
    """Compute the output of a layer by the equations alone: a loop over the cell for every layer and direction."""
    D = sizes["D"]
    for k in range(sizes["L"]):
        outputs: list[Tensor] = []
        for d in range(D):
            weights = cells.Weights.of(layer, f"_l{k}" + "_reverse" * d)
            state = tuple(s[k * D + d] for s in start)
            y, _ = cells.unroll(cell, x.flip(0) if d else x, state=state, weights=weights)
            outputs.append(y.flip(0) if d else y)
        x = torch.cat(outputs, dim=-1)  # (T, B, D*H)
    return x


def _named(names: Sequence[str], tensors: Sequence[Tensor], first: str) -> tuple[TensorShape, ...]:
    letters = (first, *["(L*D, B, H)"] * (len(names) - 1))
    return tuple(TensorShape(n, _shape(t), w) for n, t, w in zip(names, tensors, letters, strict=True))


def _parameters_of(module: torch.nn.Module) -> tuple[Parameter, ...]:
    parameters: list[Parameter] = []
    for name, parameter in module.named_parameters():
        match = re.search(r"_l(\d+)", name)
        layer = int(match[1]) if match else 0
        columns = {"weight_ih": "I" if layer == 0 else "D*H", "weight_hh": "H"}.get(name[:9])
        letters = f"(G*H, {columns})" if columns else "(G*H,)"
        direction = "backward" if name.endswith("_reverse") else "forward"
        parameters.append(Parameter(name, _shape(parameter), letters, layer, direction))
    return tuple(parameters)


def _attempt(module: torch.nn.Module, x: Tensor, state: States, *, names: Sequence[str], fix: str) -> Mistake:
    call = ", ".join(f"{name} {_shape(tensor)}" for name, tensor in zip(names, (x, *state), strict=False))
    return attempt(call, lambda: _call(module, x, state)[0], fix)


def _shapes_of_terms(spec: CellSpec, x: Tensor, state: States, weights: cells.Weights) -> dict[str, Shape]:
    term_shapes = {"x": _shape(x)}
    for k, gate in enumerate(spec.symbols):
        W_ih, W_hh, *biases = (None if w is None else w.chunk(len(spec.gates))[k] for w in weights)
        assert W_ih is not None
        assert W_hh is not None
        term_shapes |= {gate: _shape(linear(x, W_ih)), f"W_i{gate}ᵀ": _shape(W_ih.T), f"W_h{gate}ᵀ": _shape(W_hh.T)}
        term_shapes |= {f"b_{s}{gate}": _shape(b) for s, b in zip("ih", biases, strict=True) if b is not None}
    assert spec.step is not None
    after = spec.step(x, state=state, weights=weights)
    term_shapes |= {name: _shape(s) for name, s in zip(spec.states, state, strict=True)}
    return term_shapes | {f"{name}'": _shape(s) for name, s in zip(spec.states, after, strict=True)}


def _terms(line: str, term_shapes: dict[str, Shape]) -> tuple[Term, ...]:
    """Split an equation into terms, in the form for a batch: `W x` becomes `x Wᵀ`, since each row is a sequence."""
    terms: list[Term] = []
    for text in filter(None, re.split(r"([A-Za-z]\w*'?)", re.sub(r"(W_\w+) ([xh])", r"\2 \1ᵀ", line))):
        if text not in term_shapes and terms and terms[-1][1] is None:
            terms[-1] = (terms[-1][0] + text, None)
        else:
            terms.append((text, term_shapes.get(text)))
    return tuple(terms)
