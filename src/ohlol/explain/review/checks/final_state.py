"""Checks of the final state: its directions, its layers, and the last step of the output."""

import ast

from ohlol.explain.review.check import Places, check
from ohlol.explain.review.names import argument, dotted
from ohlol.explain.review.program import Program
from ohlol.explain.review.tensors import ENTRIES, number
from ohlol.explain.review.values import Value

JOINING = ("cat", "concat", "concatenate", "hstack", "stack")


def state_index(program: Program, node: ast.AST) -> tuple[Value, int] | None:
    """The state and the index of `h_n[-1]` or `h_n[-1, :, :]`, where `node` is such an expression."""
    entry, state = program.value(node), program.value(getattr(node, "value", None))
    is_entry = isinstance(node, ast.Subscript) and entry is not None and entry.name in ENTRIES.values()
    return (state, entry.constant) if is_entry and entry is not None and state is not None else None


def entries(program: Program, parts: list[ast.expr]) -> tuple[Value, set[int]] | None:
    """Two entries of one state, by themselves or by names: one of them, and their indices."""
    values = [program.value(part) for part in parts]
    one, two = values if len(values) == 2 else (None, None)
    if one is None or two is None or one.name not in ENTRIES.values() or one.origin is not two.origin:
        return None
    return (one, {one.constant, two.constant}) if one.name == two.name else None


def state_text(program: Program, parts: list[ast.expr], entry: Value) -> str:
    """The name of the state that an entry belongs to."""
    for part in [*parts, *ast.walk(program.function_around(parts[0]))]:
        found = state_index(program, part)
        if found is not None and isinstance(part, ast.Subscript) and found[0].origin is entry.origin:
            return ast.unparse(part.value)
    return "h_n"


def joined(program: Program) -> list[tuple[ast.Call, list[ast.expr]]]:
    """The calls that join tensors, with the tensors."""
    calls = [(call, call.args[0]) for call in program.calls_of(*JOINING) if call.args]
    return [(call, first.elts) for call, first in calls if isinstance(first, ast.List | ast.Tuple)]


def both_directions(name: str) -> str:
    """The final states of both directions of the top layer, with the name that a program uses."""
    return f"torch.cat([{name}[-2], {name}[-1]], dim=1)"


@check(
    "same-direction-twice",
    "Both halves are the same direction. The last two entries of h_n are the forward (h_n[-2]) and the backward "
    "direction (h_n[-1]) of the top layer.",
)
def same_direction_twice(program: Program) -> Places:
    """`cat([h_n[-1], h_n[-1]])`."""
    for call, parts in joined(program):
        found = entries(program, parts)
        layer = found[0].layer if found is not None else None
        if found is not None and len(found[1]) == 1 and layer is not None and layer.bidirectional is not False:
            yield call, program.replace(call, both_directions(state_text(program, parts, found[0])))


@check(
    "layers-as-directions",
    "The layer has one direction, so h_n[-2] is the layer below the top one and no backward direction: its final "
    "state is h_n[-1].",
)
def layers_as_directions(program: Program) -> Places:
    """`cat([h_n[-2], h_n[-1]])` of a layer with one direction."""
    for call, parts in joined(program):
        found = entries(program, parts)
        layer = found[0].layer if found is not None else None
        if found is None or layer is None or not layer.is_recurrent or layer.bidirectional is not False:
            continue
        if found[1] in ({-1, -2}, {0, 1}):
            yield call, program.replace(call, f"{state_text(program, parts, found[0])}[-1]")


@check(
    "one-direction",
    "The layer is bidirectional: h_n[-1] is the backward direction alone. The state of both is the forward "
    "direction h_n[-2] joined with h_n[-1].",
)
def one_direction(program: Program) -> Places:
    """`h_n[-1]` of a bidirectional layer, where no other entry of h_n is used."""
    pairs = [found for _, parts in joined(program) if (found := entries(program, parts)) is not None]
    twice = {entry.origin for entry, _ in pairs}  # another check looks at these
    for function in [*program.functions, program.tree]:
        nodes = [n for n in ast.walk(function) if program.function_around(n) is function]
        used = [(n, state_index(program, n)) for n in nodes]
        indexed = [(node, found) for node, found in used if found is not None]
        for node, (state, index) in indexed:
            layer = state.layer
            others = {i for _, (other, i) in indexed if other.name == state.name and other.origin is state.origin}
            if layer is None or not layer.is_recurrent or layer.bidirectional is not True or len(others) > 1:
                continue
            if index == -1 and isinstance(node, ast.Subscript) and state.origin not in twice:
                yield node, program.replace(node, both_directions(ast.unparse(node.value)))


@check(
    "last-step-of-backward",
    "The backward direction starts at the last step: there its half of the output has read one symbol only. Its "
    "final state is at step 0, and h_n[-1] holds it.",
)
def last_step_of_backward(program: Program) -> Places:
    """`output[:, -1]` of a bidirectional layer, taken for its final state."""
    for node in program.nodes:
        value = program.value(node)
        if not isinstance(node, ast.Subscript) or value is None or value.name != "last" or value.axes is None:
            continue
        layer = value.layer
        has_step = "T" not in value.axes and "?" not in value.axes and not _is_part(node)
        if has_step and layer is not None and layer.is_recurrent and layer.bidirectional is True:
            yield node, program.replace(node, both_directions(ast.unparse(_state_name(program, node, value))))


def _state_name(program: Program, node: ast.AST, output: Value) -> ast.expr:
    """The name of the final state that was returned with an output, or `h_n` where it has none."""
    for other in ast.walk(program.function_around(node)):
        value = program.value(other)
        if isinstance(other, ast.Name) and value is not None and (value.name, value.origin) == ("h_n", output.origin):
            return other
    for other in ast.walk(program.function_around(node)):
        if isinstance(other, ast.Assign) and other.value is output.origin:
            target = other.targets[0]
            state = target.elts[1] if isinstance(target, ast.Tuple) and len(target.elts) == 2 else None
            first = state.elts[0] if isinstance(state, ast.Tuple) else state
            if isinstance(first, ast.Name) and first.id != "_" and output.layer is not None:
                is_pair = output.layer.name == "LSTM" and first is state
                return ast.Subscript(first, ast.Constant(0)) if is_pair else first
    return ast.Name("h_n")


def _is_part(node: ast.Subscript) -> bool:
    """Whether an index takes a part of the features too, such as those of the forward direction."""
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
    return any(isinstance(part, ast.Slice) and (part.lower or part.upper) for part in parts)


@check(
    "wrong-layer",
    "h_n has an entry for each layer, the lowest first: entry 0 is the state of the lowest layer. The top layer, "
    "whose output the model reads, is h_n[-1] (two directions: h_n[-2] and h_n[-1]).",
)
def wrong_layer(program: Program) -> Places:
    """`h_n[0]` or `h_n.squeeze(0)` of several layers, `h_n[0]` and `h_n[1]` of several layers of two directions."""
    for node in program.nodes:
        found = state_index(program, node)
        if found is None or not isinstance(node, ast.Subscript) or found[0].layer is None:
            continue
        (state, index), layer = found, found[0].layer
        if not layer.is_recurrent or index not in (0, 1) or (layer.num_layers or 1) < 2:
            continue
        if index == 1 and (not layer.bidirectional or (layer.num_layers or 1) < 2):
            continue
        if not _is_over_layers(program, node, state):
            new = "-1" if layer.bidirectional is False else str(index - 2)
            yield node, program.replace(node, f"{ast.unparse(node.value)}[{new}]")
    for call, function in program.methods("squeeze"):
        state = program.value(function.value)
        axis = number(argument(call, 0, "dim"))
        if state is None or state.name not in ("h_n", "c_n") or state.layer is None or axis not in (0, None):
            continue
        if state.layer.is_recurrent and state.axes == ("S", "B", "H") and (state.layer.num_layers or 1) > 1:
            new = f"{ast.unparse(function.value)}[-1]"
            yield (
                call,
                program.replace(
                    call, both_directions(ast.unparse(function.value)) if state.layer.bidirectional else new
                ),
            )


def _is_over_layers(program: Program, node: ast.Subscript, state: Value) -> bool:
    """Whether the function uses other layers of the same state as well, as one that looks at each of them."""
    function = program.function_around(node)
    indices = {
        found[1]
        for other in ast.walk(function)
        if (found := state_index(program, other)) is not None and found[0].origin is state.origin
    }
    return len(indices - {0, 1}) > 0 or (
        state.layer is not None and state.layer.bidirectional is False and 1 in indices
    )


@check(
    "batch-axis-of-state",
    "h_n is (layers * directions, batch, hidden), with `batch_first` too: this takes one sequence of the batch for "
    "all layers. The top layer of all sequences is h_n[-1].",
)
def batch_axis_of_state(program: Program) -> Places:
    """`h_n[:, -1]`, as if the state had a time axis."""
    for node in program.nodes:
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
            continue
        state, parts = program.value(node.value), node.slice.elts
        if state is None or state.name not in ("h_n", "c_n") or state.axes != ("S", "B", "H"):
            continue
        first = parts[0]
        is_whole = isinstance(first, ast.Slice) and not (first.lower or first.upper)
        if is_whole and number(parts[1]) == -1:
            yield node, program.replace(node, f"{dotted(node.value) or 'h_n'}[-1]")


PASSING = ("Dropout", "ReLU", "Tanh", "LayerNorm", "Identity", "GELU", "LeakyReLU", "ELU")
"""Modules that keep the number of features."""


@check(
    "head-of-one-direction",
    "The layer is bidirectional: its output, and the final states of both directions together, have 2 * hidden_size "
    "features. The linear layer takes half as many and raises an error.",
)
def head_of_one_direction(program: Program) -> Places:
    """`nn.Linear(hidden_size, ...)` of the output of a bidirectional layer."""
    for call in program.calls:
        linear = _first_linear(program.value(call.func))
        layer = _layer_of_both(program, call.args[0]) if linear is not None and call.args else None
        if linear is None or layer is None or layer.bidirectional is not True or layer.is_partial:
            continue
        made = linear.origin
        size = argument(made, 0, "in_features") if isinstance(made, ast.Call) else None
        if size is not None and "proj_size" not in layer.options and _has_same_size(program, layer, linear):
            text = ast.unparse(size)
            yield size, program.replace(size, f"2 * ({text})" if isinstance(size, ast.BinOp) else f"2 * {text}")


def _first_linear(module: Value | None) -> Value | None:
    """The linear layer that a module is, or that a Sequential starts with."""
    parts = module.parts if module is not None and module.name == "Sequential" else (module,)
    first = next((part for part in parts if part is None or part.name not in PASSING), None)
    return first if first is not None and (first.kind, first.name) == ("module", "Linear") else None


def _layer_of_both(program: Program, node: ast.expr) -> Value | None:
    """The layer whose output, or whose final states of both directions, an expression is."""
    value = program.value(node)
    if value is None or value.axes is None or value.axes[-1] != "H":
        return None
    if "features" in value.tags:
        return value.layer if value.layer is not None and value.layer.is_recurrent else None
    for call, parts in joined(program):
        found = entries(program, parts)
        if call is value.origin and found is not None and number(argument(call, 1, "dim")) in (1, -1):
            is_both = len(found[1]) == 2 and found[0].layer is not None and found[0].layer.is_recurrent
            return found[0].layer if is_both else None
    return None


def _has_same_size(program: Program, layer: Value, linear: Value) -> bool:
    """Whether a linear layer takes as many features as one direction of a recurrent layer has."""
    hidden, size = layer.options.get("hidden_size"), linear.options.get("in_features")
    first, second = layer.origin, linear.origin
    if hidden is None or size is None or first is None or second is None:
        return False
    if type(hidden.constant) is int and type(size.constant) is int:
        return hidden.constant == size.constant
    function = program.function_around(first)
    if hidden.constant != size.constant or hidden.text != size.text or function is not program.function_around(second):
        return False
    names = {dotted(node) for node in ast.walk(ast.parse(size.text))} - {""}
    sets = [n for n in ast.walk(function) if isinstance(getattr(n, "ctx", None), ast.Store) and dotted(n) in names]
    lines = sorted((getattr(first, "lineno", 0), getattr(second, "lineno", 0)))
    return not any(lines[0] <= getattr(node, "lineno", 0) <= lines[1] for node in sets)
