"""Checks of axes: batch and time in the other order, and shapes changed where axes had to be moved."""

import ast
import re
from collections.abc import Iterator

from ohlol.explain.review.check import Places, check
from ohlol.explain.review.names import argument, dotted
from ohlol.explain.review.program import BATCH, TIME, Program
from ohlol.explain.review.tensors import index_of, number
from ohlol.explain.review.values import Value

READ = ("output", "logits")
"""What has the axes of an output: the output itself, and what linear layers make of it."""
PLAIN = re.compile(r"(\.contiguous\(\)|\.clone\(\))+$")


def letter(program: Program, node: ast.expr) -> str:
    """The axis that a size belongs to, "B" or "T", by its value or its name; empty where it is not known."""
    value = program.value(node)
    if value is not None and value.kind == "size" and value.name in ("B", "T", "S"):
        return value.name
    name = dotted(node)
    return "B" if BATCH.search(name) else "T" if TIME.search(name) else ""


def size_of(program: Program, node: ast.expr, tensor: str) -> int | None:
    """The axis of a tensor whose size an expression is, such as 1 for `x.size(1)`."""
    value = program.value(node)
    return value.constant if value is not None and value.kind == "size" and value.of == tensor else None


def views(program: Program) -> list[tuple[ast.Call, ast.expr, list[ast.expr]]]:
    """The calls of view and reshape: the call, the tensor and the new sizes."""
    found: list[tuple[ast.Call, ast.expr, list[ast.expr]]] = []
    for call, function in program.methods("view", "reshape"):
        sizes = call.args
        if program.callee(call) == "torch.reshape" and len(sizes) == 2:
            x, sizes = sizes[0], sizes[1:]
        else:
            x = function.value
        if len(sizes) == 1 and isinstance(sizes[0], ast.Tuple | ast.List):
            sizes = sizes[0].elts
        found.append((call, x, list(sizes)))
    return found


@check(
    "view-for-transpose",
    "`view` and `reshape` keep the order of the numbers and only cut them into other rows: time steps of different "
    "sequences are mixed. Axes are moved by `transpose` or `permute`.",
)
def view_for_transpose(program: Program) -> Places:
    """`x.view(x.size(1), x.size(0), -1)`, or `(T, B, H)` viewed as `(B, T, H)` by the names of the sizes."""
    for call, x, sizes in views(program):
        if len(sizes) < 2:
            continue
        name = PLAIN.sub("", ast.unparse(x))
        value = program.value(x)
        axes = value.axes if value is not None and value.kind == "tensor" else None
        sources = {name, value.of if value is not None and value.kind == "tensor" else name}
        swapped = any((size_of(program, sizes[0], s), size_of(program, sizes[1], s)) == (1, 0) for s in sources)
        wanted = (letter(program, sizes[0]), letter(program, sizes[1]))
        if axes is not None and len(axes) == 3 and len(sizes) >= 3 and value is not None and not value.units:
            swapped |= axes[:2] == wanted[::-1] and set(wanted) == {"B", "T"}
        if swapped:
            yield call, program.replace(call, f"{name}.transpose(0, 1)")


@check(
    "view-of-state",
    "h_n is (layers * directions, batch, hidden): this puts numbers of different sequences into one row. The final "
    "state is h_n[-1], and torch.cat([h_n[-2], h_n[-1]], dim=1) with two directions.",
)
def view_of_state(program: Program) -> Places:
    """`h_n.view(batch, -1)` of more than one layer or direction."""
    for call, x, sizes in views(program):
        state = program.value(x)
        if state is None or state.name not in ("h_n", "c_n") or state.layer is None or len(sizes) != 2:
            continue
        layer = state.layer
        is_several = layer.bidirectional is True or (layer.num_layers or 1) > 1
        size = program.value(sizes[0])
        is_batch = number(sizes[0]) == -1 or letter(program, sizes[0]) == "B" or _is_size(size)
        if layer.is_recurrent and is_several and is_batch:
            name = ast.unparse(x)
            instead = f"torch.cat([{name}[-2], {name}[-1]], dim=1)" if layer.bidirectional else f"{name}[-1]"
            yield call, program.replace(call, instead)


def _is_size(value: Value | None) -> bool:
    return value is not None and value.kind == "size"


@check(
    "last-sequence-for-last-step",
    "The axis is that of the batch: this takes the last sequence and not the last step. With `batch_first=True` the "
    "output is (batch, time, hidden), without it (time, batch, hidden).",
)
def last_sequence_for_last_step(program: Program) -> Places:
    """`output[-1]` with batch_first, `output[:, -1]` without it."""
    for node in program.nodes:
        value = program.value(node.value) if isinstance(node, ast.Subscript) else None
        if not isinstance(node, ast.Subscript) or value is None or value.name not in READ or value.axes is None:
            continue
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        taken = [index_of(part) == -1 for part in parts[:2]]
        if taken.count(True) != 1 or value.axes[taken.index(True)] != "B" or taken.index(True) in value.units:
            continue
        if "maybe_unbatched" in value.tags and len(parts) < 3 and value.axes[0] == "B":
            continue
        name = ast.unparse(node.value)
        if sum(not isinstance(part, ast.Slice) for part in parts[:2]) > 1:
            continue
        yield node, program.replace(node, f"{name}[-1]" if value.axes[0] == "T" else f"{name}[:, -1]")


@check(
    "state-axes",
    "h_0 and c_0 are (layers * directions, batch, hidden), whatever `batch_first` is.",
)
def state_axes(program: Program) -> Places:
    """`torch.zeros(batch, layers, hidden)` as h_0, or layers without the two directions."""
    for call in program.calls:
        layer = program.value(call.func)
        if layer is None or not layer.is_recurrent:
            continue
        for made in _made_states(program, call):
            yield from _wrong_state(program, layer, made)


def _made_states(program: Program, call: ast.Call) -> Iterator[ast.Call]:
    """The calls, such as `torch.zeros`, that made the states that a layer is given."""
    given = argument(call, 1, "hx")
    for state in given.elts if isinstance(given, ast.Tuple) else [given]:
        value = program.value(state)
        for part in value.parts if value is not None and value.kind == "tuple" else (value,):
            if part is not None and part.name == "filled" and isinstance(part.origin, ast.Call):
                yield part.origin


def _wrong_state(program: Program, layer: Value, made: ast.Call) -> Places:
    sizes = made.args[0].elts if made.args and isinstance(made.args[0], ast.Tuple | ast.List) else made.args
    if len(sizes) != 3:
        return
    is_layers = [_counts_layers(program, layer, size) for size in sizes[:2]]
    texts = [ast.unparse(size) for size in sizes]
    is_batch = letter(program, sizes[0]) == "B" or _is_size(program.value(sizes[0]))
    if is_layers == [False, True] and is_batch:
        texts[0], texts[1] = texts[1], texts[0]
    elif is_layers[0] and layer.bidirectional is True and not _has_directions(program, layer, sizes[0]):
        texts[0] = f"2 * {texts[0]}" if texts[0] != "1" else "2"
    else:
        return
    rest = [ast.unparse(word) for word in made.keywords]
    yield made, program.replace(made, f"{ast.unparse(made.func)}({', '.join([*texts, *rest])})")


def _counts_layers(program: Program, layer: Value, node: ast.expr) -> bool:
    """Whether a size is the number of layers, or twice it."""
    written, constant = layer.text("num_layers") or "1", number(node)
    if constant is not None and layer.num_layers is not None:
        return constant in (layer.num_layers, 2 * layer.num_layers)
    names = {dotted(part).rpartition(".")[2] for part in ast.walk(node)} - {""}
    return bool(names & {written.rpartition(".")[2], "num_layers", "n_layers", "nlayers", "layers"})


def _has_directions(program: Program, layer: Value, node: ast.expr) -> bool:
    """Whether a size counts both directions: it is a product, or a number that is twice that of the layers."""
    constant = number(node)
    if constant is not None:
        return layer.num_layers is None or constant == 2 * layer.num_layers
    value = program.value(node)
    if value is not None and value.kind == "constant" and layer.num_layers is not None:
        return value.constant == 2 * layer.num_layers
    return not dotted(node)


@check(
    "batch-first-missing",
    "The layer has no `batch_first=True`, so it reads axis 0 as time; here axis 0 is taken as the batch.",
)
def batch_first_missing(program: Program) -> Places:
    """h_0 for `x.size(0)` sequences, for a layer that takes (T, B, I) and gets `x` as it is."""
    for call in program.calls:
        layer = program.value(call.func)
        if layer is None or not layer.is_recurrent or layer.batch_first is not False or not call.args:
            continue
        x = program.value(call.args[0])
        names = {dotted(part) for part in ast.walk(call.args[0])} - {""}
        names |= {x.of} if x is not None and x.kind == "tensor" else set()
        if isinstance(call.args[0], ast.Call) and program.value(call.args[0].func) is None:
            continue
        for made in _made_states(program, call):
            batch = program.value(made.args[1]) if len(made.args) == 3 else None
            if batch is None or batch.kind != "size" or batch.constant != 0 or batch.of not in names:
                continue
            if layer.origin is not None and not _is_assigned(program, batch.of, call):
                assert isinstance(layer.origin, ast.Call)
                yield layer.origin, program.replace(layer.origin, with_argument(layer.origin, "batch_first=True"))


def _is_assigned(program: Program, name: str, call: ast.Call) -> bool:
    """Whether a function assigns a name, so that it may stand for two tensors."""
    nodes = ast.walk(program.function_around(call))
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in nodes)


def with_argument(call: ast.Call, word: str) -> str:
    """A call with one more argument, as text."""
    return f"{ast.unparse(call)[:-1]}{', ' if call.args or call.keywords else ''}{word})"


@check(
    "squeeze-axis",
    "This removes the axis of the batch (where it has size 1) and not that of time, or does nothing. Name the axis of "
    "the single step.",
)
def squeeze_axis(program: Program) -> Places:
    """`squeeze(0)` of an output whose single step is at axis 1, and `squeeze()` of an output or a state."""
    for call, function in program.methods("squeeze"):
        value = program.value(function.value)
        if value is None or value.name not in ("output", "h_n", "c_n") or value.axes is None or len(value.axes) != 3:
            continue
        axis, name = number(argument(call, 0, "dim")), ast.unparse(function.value)
        if "maybe_unbatched" in value.tags and not value.units:
            continue
        time = value.axes.index("T") if "T" in value.axes else 0
        if axis is None and not call.args and not call.keywords and not value.units >= {0, 1}:
            yield call, program.replace(call, f"{name}.squeeze({time})")
        elif value.units and axis in (0, 1) and axis not in value.units and value.name == "output":
            yield call, program.replace(call, f"{name}.squeeze({min(value.units)})")
