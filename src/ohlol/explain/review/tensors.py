"""What operations on tensors do to what is known of them: axes, axes of size 1, dtype, and what they were made by."""

import ast
import re
from typing import Any

from ohlol.explain.review.names import argument
from ohlol.explain.review.values import Value, tensor

FUNCTIONAL_LOSSES = {
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "mse_loss": "MSELoss",
}
SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
"""Classes of torch.nn that make probabilities or their logarithms; the tags of what they and their functions return."""
KEPT = (
    "contiguous", "clone", "zero_", "fill_", "normal_", "uniform_", "detach", "to", "cuda", "cpu", "requires_grad_",
    "masked_fill", "dropout", "relu", "tanh", "elu", "gelu", "leaky_relu", "double", "half", "type",
    "type_as", "float", "long", "int",
)  # fmt: skip
"""Functions and methods that return a tensor of the same shape."""
FILLING = ("new", "new_zeros", "new_ones", "new_empty")
"""Methods that return a tensor of the given sizes."""
ENTRIES = {"h_n": "h_n entry", "c_n": "c_n entry"}
"""The names of one entry of a state, that of a layer and a direction; its index is the `constant`."""
LAST = re.compile(r"(.*\.size\(\d\)|.*\.shape\[\d\]|len\(.*\)) - 1")
LONG = ("long", "int64", "torch.long", "torch.int64", "torch.LongTensor", "int", "torch.int")


def constant(value: Value | None) -> Any:
    """The constant that a value is, or None."""
    return value.constant if value is not None and value.kind == "constant" else None


def number(node: ast.expr | None) -> int | None:
    """An integer written in a program, such as -1."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def class_name(function: str) -> str:
    """The class of torch.nn that does what a function does.

    >>> class_name("log_softmax")
    'LogSoftmax'
    """
    return "".join(part.capitalize() for part in function.split("_"))


def index_of(node: ast.expr | None) -> int | None:
    """An index as a number; -1 for the size of an axis minus 1, such as `x.size(1) - 1`."""
    if isinstance(node, ast.BinOp) and LAST.fullmatch(ast.unparse(node)):
        return -1
    return number(node)


def unpack(value: Value | None, count: int) -> list[Value | None]:
    """The values of names that a value is assigned to."""
    if value is not None and value.kind == "tuple" and len(value.parts) == count:
        return list(value.parts)
    if value is not None and value.kind == "shape":
        return [size(value, axis) for axis in range(count)]
    return [None] * count


def size(shape: Value, axis: int) -> Value:
    """The size of an axis of the tensor that a shape belongs to."""
    axes = shape.layer.axes if shape.layer is not None else None
    if axis < 0 and axes is not None:
        axis += len(axes)
    letter = axes[axis] if axes is not None and 0 <= axis < len(axes) else ""
    return Value("size", letter, constant=axis, of=shape.of)


def element(value: Value | None) -> Value | None:
    """What a loop over a value goes through."""
    if value is not None and value.kind == "list":
        return value.layer
    if value is not None and value.kind == "tensor" and value.axes is not None and len(value.axes) > 1:
        return value.but(axes=value.axes[1:], units=_shift(value.units, 0, -1), name="")
    return None


def combine(node: ast.BinOp, first: Value | None, second: Value | None) -> Value | None:
    """The value of a sum, a product or another operation on two values."""
    one, two = constant(first), constant(second)
    if type(one) is int and type(two) is int:
        results: dict[type[ast.operator], int] = {ast.Add: one + two, ast.Sub: one - two, ast.Mult: one * two}
        return Value("constant", constant=results[type(node.op)]) if type(node.op) in results else None
    for value in (first, second):
        if value is not None and value.kind == "tensor" and value.axes is not None:
            return value.but(name="", tags=value.tags - SQUASHING - {"features"}, dtype="", units=frozenset())
    return None


def attribute(base: Value | None, node: ast.Attribute) -> Value | None:
    """The value of an attribute."""
    if node.attr == "shape":
        return Value("shape", layer=base, of=ast.unparse(node.value))
    if base is None or base.kind != "tensor":
        return None
    if node.attr in ("T", "mT") and base.axes is not None and len(base.axes) == 2:
        return base.but(axes=base.axes[::-1], units=frozenset())
    return base if node.attr == "data" else None


def _shift(units: frozenset[int], axis: int, by: int) -> frozenset[int]:
    """Axes of size 1 after an axis was removed (-1) or added (1)."""
    if by < 0:
        return frozenset(unit - (unit > axis) for unit in units if unit != axis)
    return frozenset(unit + (unit >= axis) for unit in units) | {axis}


def subscript(base: Value | None, node: ast.Subscript) -> Value | None:
    """The value of an index."""
    if base is None:
        return None
    index = number(node.slice)
    if base.kind == "tuple":
        return base.parts[index] if index is not None and -len(base.parts) <= index < len(base.parts) else None
    if base.kind == "shape":
        return size(base, index) if index is not None else base if _is_start(node.slice) else None
    if base.kind == "list":
        return base.layer
    if base.kind != "tensor":
        return None
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    name, axes, indices = base.name, base.axes, [index_of(part) for part in parts]
    are_plain = all(isinstance(p, ast.Slice) or i is not None for p, i in zip(parts, indices, strict=True))
    if axes is None or len(parts) > len(axes) or not are_plain:
        return tensor("", dtype=base.dtype, tags=base.tags - {"column", "features"}, layer=base.layer)
    kept = [k for k in range(len(axes)) if k >= len(parts) or isinstance(parts[k], ast.Slice)]
    is_whole = all(isinstance(p, ast.Slice) and not (p.lower or p.upper or p.step) for p in parts)
    rest_is_whole = all(isinstance(p, ast.Slice) and not (p.lower or p.upper or p.step) for p in parts[1:])
    units = base.units if is_whole else frozenset[int]()
    letters = [
        "?"
        if axes[k] == "H" and k < len(parts) and isinstance(part := parts[k], ast.Slice) and _is_part(part)
        else axes[k]
        for k in kept
    ]
    fields: dict[str, Any] = {"axes": tuple(letters)}
    if axes == ("S", "B", "H") and name in ENTRIES and indices[0] is not None and rest_is_whole:
        return base.but(name=ENTRIES[name], constant=indices[0], units=frozenset(), **fields)
    if len(kept) < len(axes):
        name, units = "last" if name == "output" and -1 in indices else "", frozenset[int]()
    return base.but(name=name, units=units, **fields)


def _is_part(node: ast.Slice) -> bool:
    return (node.lower or node.upper or node.step) is not None


def _is_start(node: ast.expr) -> bool:
    return isinstance(node, ast.Slice) and node.lower is None and node.step is None


def run_layer(layer: Value, x: Value | None, state: Value | None, node: ast.Call) -> Value:
    """What a recurrent layer returns: its output and its state."""
    tags: set[str] = set()
    first = layer.batch_first
    axes = ("?", "?", "H") if first is None else ("B", "T", "H") if first else ("T", "B", "H")
    state_axes: tuple[str, ...] = ("S", "B", "H")
    batched = bool(first) or _rank(state) == 3
    if x is not None and x.axes is not None and len(x.axes) == 2:
        axes, state_axes = ("T", "H"), ("S", "H")
    elif not batched and (x is None or (x.axes is None and 0 not in x.units and 1 not in x.units)):
        tags.add("maybe_unbatched")
    units = (
        frozenset(unit for unit in x.units if unit < 2) if x is not None and x.axes is not None else frozenset[int]()
    )
    if x is not None and x.axes is None:
        units = x.units & {0, 1}
    if x is not None and "packed" in x.tags:
        tags.add("packed")
    common: dict[str, Any] = {"origin": node, "layer": layer, "tags": frozenset(tags)}
    output = tensor("output", axes=None if "packed" in tags else axes, units=units, **common)
    output = output.but(tags=output.tags | {"features"})
    h_n = tensor("h_n", axes=state_axes, **common)
    if layer.name != "LSTM":
        return Value("tuple", "results", parts=(output, h_n))
    c_n = tensor("c_n", axes=state_axes, **common)
    return Value("tuple", "results", parts=(output, Value("tuple", "state", parts=(h_n, c_n))))


def run_cell(cell: Value, node: ast.Call) -> Value:
    """What one step of a cell returns."""
    h = tensor("h", origin=node, layer=cell)
    return Value("tuple", "state", parts=(h, h.but(name="c"))) if cell.name == "LSTMCell" else h


def run_module(module: Value, x: Value | None, node: ast.Call) -> Value | None:
    """What another module of torch.nn returns."""
    if module.name == "Embedding":
        axes = (*x.axes, "E") if x is not None and x.axes is not None else None
        return tensor(
            "embedded", origin=node, axes=axes, units=x.units if x is not None else frozenset(), dtype="float"
        )
    if module.name in ("Linear", "LazyLinear", "Bilinear"):
        if x is None or x.kind != "tensor":
            return tensor("logits", origin=node)
        axes = (*x.axes[:-1], "K") if x.axes is not None else None
        return x.but(name="logits", origin=node, axes=axes, tags=x.tags - SQUASHING)
    if module.name in SQUASHING:
        return squash(module.name, x, node)
    if module.name in ("Dropout", "ReLU", "Tanh", "LayerNorm", "Identity", "GELU", "LeakyReLU", "ELU"):
        if x is None or x.kind != "tensor":
            return None
        return x if module.name == "Dropout" else x.but(tags=x.tags - SQUASHING)
    return None


def _is_tensor(value: Value | None) -> bool:
    return value is not None and value.kind == "tensor"


def squash(tag: str, x: Value | None, node: ast.AST) -> Value:
    """A softmax or sigmoid of a tensor."""
    base = x if x is not None and x.kind == "tensor" else tensor()
    return base.but(origin=node, tags=(base.tags - SQUASHING) | {tag}, name="")


def _rank(value: Value | None) -> int:
    """The number of axes of a state, 0 where it is not known."""
    if value is not None and value.kind == "tuple" and value.parts:
        value = value.parts[0]
    return len(value.axes) if value is not None and value.kind == "tensor" and value.axes is not None else 0


def builtin(name: str, node: ast.Call, arguments: list[Value | None]) -> Value | None:
    """The result of a function that is none of torch's and none of the program's."""
    if name == "len" and arguments and node.args:
        return Value("size", layer=arguments[0], constant=0, of=ast.unparse(node.args[0]))
    if name in ("tuple", "list", "Variable") and arguments:
        return arguments[0]
    return None


def function(
    name: str, node: ast.Call, arguments: list[Value | None], words: dict[str | None, Value | None]
) -> Value | None:
    """The result of a function of torch."""
    first = arguments[0] if arguments else words.get("input")
    dtype = argument(node, 99, "dtype")
    kind = "" if dtype is None else _dtype_named(ast.unparse(dtype))
    if name in ("zeros", "ones", "randn", "rand", "empty"):
        return _filled(node.args, node, dtype)
    if name == "one_hot":
        return tensor("one_hot", origin=node, dtype="long", tags=frozenset({"one_hot"}))
    if name in ("LongTensor", "IntTensor", "randint", "arange", "randperm", "argmax"):
        return tensor("", origin=node, dtype=kind or "long")
    if name in ("tensor", "as_tensor", "from_numpy", "Tensor", "FloatTensor"):
        literal = _literal_dtype(first) if name in ("tensor", "as_tensor") else "float" if "Tensor" in name else ""
        return tensor("", origin=node, dtype=kind or literal, axes=_literal_axes(first))
    if name == "eye":
        return tensor("eye", origin=node, dtype=kind or "float", tags=frozenset({"one_hot"}))
    if class_name(name) in SQUASHING:
        return squash(class_name(name), first, node)
    if name == "pad_sequence":
        batch_first = constant(words.get("batch_first"))
        return tensor("padded", origin=node, tags=frozenset({"padded"}), axes=None, constant=batch_first)
    if name in ("pack_padded_sequence", "pack_sequence"):
        return tensor("packed", origin=node, tags=frozenset({"packed"}))
    if name == "pad_packed_sequence":
        return _pad_packed(first, words, node)
    if name in ("cat", "concat", "stack", "hstack"):
        return _join(name, node, first)
    return method(first, name, node, arguments[1:], is_function=True) if _is_tensor(first) and first else None


def _filled(given: list[ast.expr], node: ast.Call, dtype: ast.expr | None) -> Value:
    """A new tensor of the sizes that are given, such as torch.zeros(2, 3)."""
    is_shape = bool(given) and isinstance(given[0], ast.Tuple | ast.List)
    sizes = given[0].elts if given and isinstance(given[0], ast.Tuple | ast.List) else given
    known = 0 if any(isinstance(part, ast.Starred) for part in sizes) else len(sizes)
    axes = ("?",) * known if known > 1 or (known and is_shape) else None
    units = frozenset(k for k, part in enumerate(sizes) if number(part) == 1) if axes else frozenset[int]()
    kind = "float" if dtype is None else _dtype_named(ast.unparse(dtype))
    return tensor("filled", origin=node, axes=axes, units=units, dtype=kind)


def _pad_packed(first: Value | None, words: dict[str | None, Value | None], node: ast.Call) -> Value:
    batch_first = constant(words.get("batch_first")) if "batch_first" in words else False
    axes = ("B", "T", "H") if batch_first else ("T", "B", "H")
    layer = first.layer if first is not None else None
    output = tensor("output", origin=node, layer=layer, axes=axes, tags=frozenset({"padded", "lengths", "features"}))
    return Value("tuple", parts=(output, None))


def _join(name: str, node: ast.Call, first: Value | None) -> Value | None:
    """Tensors joined by torch.cat or stacked by torch.stack."""
    parts = first.parts if first is not None and first.kind == "tuple" else ()
    if first is not None and first.kind == "list":
        parts = (first.layer,)
    known = [part for part in parts if part is not None and part.kind == "tensor"]
    if not known or len(known) < len(parts):
        return tensor("", units=known[0].units) if known and name in ("cat", "concat") else None
    dtype = known[0].dtype if all(part.dtype == known[0].dtype for part in known) else ""
    axes = known[0].axes if name != "stack" and all(part.axes == known[0].axes for part in known) else None
    units = frozenset(unit for part in known for unit in part.units) if name != "stack" else frozenset[int]()
    return tensor("", origin=node, dtype=dtype, axes=axes, units=units, tags=known[0].tags - {"Softmax", "features"})


def _literal_dtype(value: Value | None) -> str:
    """The dtype of a tensor of a list that is written in the program, nested or not."""
    if value is not None and value.kind == "list":
        return _literal_dtype(value.layer)
    if value is not None and value.kind == "tuple" and value.parts:
        kinds = {_literal_dtype(part) for part in value.parts}
        return kinds.pop() if len(kinds) == 1 else "float" if kinds == {"long", "float"} else ""
    kind = type(constant(value))
    return "long" if kind is int else "float" if kind is float else ""


def _literal_axes(value: Value | None) -> tuple[str, ...] | None:
    axes: list[str] = []
    while value is not None and value.kind == "tuple" and value.parts:
        axes.append("?")
        value = value.parts[0]
    return tuple(axes) if axes and value is not None and value.kind == "constant" else None


def method(
    x: Value, name: str, node: ast.Call, arguments: list[Value | None], *, is_function: bool = False
) -> Value | None:
    """The result of a method of a tensor, or of the function of torch with the same name."""
    given = node.args[1:] if is_function else node.args
    if name in ("size",):
        shape = Value("shape", layer=x if x.kind == "tensor" else None, of=ast.unparse(_receiver(node)))
        axis = number(given[0]) if given else None
        return shape if not given else size(shape, axis) if axis is not None else None
    if x.kind != "tensor":
        return None
    if class_name(name) in SQUASHING:
        return squash(class_name(name), x, node)
    if name in FILLING:
        dtype = argument(node, 99, "dtype")
        filled = _filled(given, node, dtype)
        return filled if dtype is not None else filled.but(dtype=x.dtype)
    if name in KEPT:
        return x.but(dtype=_dtype_after(name, given, node) or x.dtype)
    change = CHANGES.get(name)
    if change is not None:
        return change(x, given, node)
    return tensor("", dtype="long" if name == "argmax" else "", layer=x.layer)


def is_method(name: str) -> bool:
    """Whether a method of this name is one of tensors."""
    return name in CHANGES or name in KEPT or name in ("size", *FILLING) or class_name(name) in SQUASHING


def _receiver(node: ast.Call) -> ast.expr:
    return node.func.value if isinstance(node.func, ast.Attribute) else node.func


def _dtype_named(text: str) -> str:
    """The dtype that an argument names, as a `Value` has it."""
    if text.strip("'\"") in LONG or "long" in text.lower():
        return "long"
    return "float" if any(word in text.lower() for word in ("float", "double", "half")) else "other"


def _dtype_after(name: str, given: list[ast.expr], node: ast.Call) -> str:
    if name in ("float", "double", "half"):
        return "float"
    if name in ("long", "int"):
        return "long"
    if name in ("to", "type", "type_as"):
        words = [ast.unparse(part) for part in [*given, *(word.value for word in node.keywords)]]
        names = {_dtype_named(word) for word in words} - {"other"}
        if names:
            return "long" if "long" in names else "float"
        return "other" if name != "to" or any("dtype" in word for word in words) else ""
    return ""


def _transpose(x: Value, given: list[ast.expr], node: ast.Call) -> Value:
    numbers = [number(part) for part in given[:2]]
    if x.axes is None or len(numbers) < 2 or None in numbers:
        return _unknown(x)
    axes = list(x.axes)
    one, two = (n % len(axes) for n in numbers if n is not None)
    order = list(range(len(axes)))
    order[one], order[two] = order[two], order[one]
    return _ordered(x, order)


def _permute(x: Value, given: list[ast.expr], node: ast.Call) -> Value:
    parts = given[0].elts if len(given) == 1 and isinstance(given[0], ast.Tuple | ast.List) else given
    order = [number(part) for part in parts]
    known = [n for n in order if n is not None]
    if x.axes is None or len(known) != len(x.axes) or len(known) != len(order):
        return _unknown(x)
    return _ordered(x, [n % len(known) for n in known])


def _ordered(x: Value, order: list[int]) -> Value:
    axes = x.axes or ()
    units = frozenset(new for new, old in enumerate(order) if old in x.units)
    name = x.name if x.name not in ("h_n", "c_n") else ""
    return x.but(axes=tuple(axes[k] for k in order), units=units, name=name)


def _unknown(x: Value) -> Value:
    return tensor(
        "", axes=None, dtype=x.dtype, tags=x.tags - {"column", "maybe_unbatched", "features"}, origin=x.origin
    )


def _view(x: Value, given: list[ast.expr], node: ast.Call) -> Value:
    parts = given[0].elts if len(given) == 1 and isinstance(given[0], ast.Tuple | ast.List) else given
    if not parts or any(isinstance(part, ast.Starred) for part in parts):
        return _unknown(x)
    if len(parts) == 1 and number(parts[0]) is None:
        return _unknown(x)
    units = frozenset(k for k, part in enumerate(parts) if number(part) == 1)
    last = x.axes[-1] if x.axes is not None else "?"
    axes = ("?",) * (len(parts) - 1) + (last,)
    if [number(part) for part in parts] == [-1, 1] and x.dtype in ("", "long"):
        return _unknown(x).but(tags=x.tags | {"column"}, units=units)
    return _unknown(x).but(axes=axes, units=units, origin=x.origin, layer=x.layer)


def _unsqueeze(x: Value, given: list[ast.expr], node: ast.Call) -> Value:
    axis = number(given[0] if given else argument(node, 99, "dim"))
    if axis is None:
        return _unknown(x)
    column = (
        axis in (1, -1) and (x.axes is None or len(x.axes) == 1) and x.dtype in ("", "long") and "one_hot" not in x.tags
    )
    tags = x.tags | {"column"} if column and not x.units else x.tags - {"column"}
    if x.axes is None:
        units = _shift(x.units, axis, 1) if axis >= 0 else frozenset[int]()
        return x.but(units=units, tags=tags, name="")
    axis = axis % (len(x.axes) + 1)
    return x.but(axes=(*x.axes[:axis], "1", *x.axes[axis:]), units=_shift(x.units, axis, 1), tags=tags, name="")


def _squeeze(x: Value, given: list[ast.expr], node: ast.Call) -> Value:
    axis = number(given[0] if given else argument(node, 99, "dim"))
    if axis is None or x.axes is None:
        return _unknown(x)
    axis %= len(x.axes)
    if x.axes[axis] == "K":
        return x
    return x.but(axes=(*x.axes[:axis], *x.axes[axis + 1 :]), units=_shift(x.units, axis, -1), name="")


def _reduce(x: Value, given: list[ast.expr], node: ast.Call) -> Value:
    axis = number(given[0] if given else argument(node, 99, "dim"))
    if axis is None or x.axes is None or (node.keywords and any(word.arg == "keepdim" for word in node.keywords)):
        return tensor("", dtype=x.dtype)
    axis %= len(x.axes)
    return x.but(axes=(*x.axes[:axis], *x.axes[axis + 1 :]), units=frozenset(), name="", tags=x.tags - SQUASHING)


def _expand(x: Value, given: list[ast.expr], node: ast.Call) -> Value:
    return _unknown(x).but(axes=("?",) * len(given) if len(given) > 1 else None, units=frozenset())


def _flatten(x: Value, given: list[ast.expr], node: ast.Call) -> Value:
    start, end = (number(part) for part in [*given, None, None][:2])
    if x.axes is not None and (start, end) == (0, 1):
        return _unknown(x).but(axes=("N", *x.axes[2:]), layer=x.layer)
    return _unknown(x)


CHANGES = {
    "transpose": _transpose, "swapaxes": _transpose, "permute": _permute, "view": _view, "reshape": _view,
    "unsqueeze": _unsqueeze, "squeeze": _squeeze, "mean": _reduce, "sum": _reduce, "flatten": _flatten,
    "expand": _expand, "repeat": _expand, "movedim": lambda x, given, node: _unknown(x),
    "t": lambda x, given, node: x.but(axes=x.axes[::-1] if x.axes else None, units=frozenset()),
}  # fmt: skip
"""What methods that change axes do, each given the tensor, the arguments and the call."""
