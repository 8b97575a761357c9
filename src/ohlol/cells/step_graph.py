"""A cell of a user, read into a step graph.

The operations of a step fall into three parts. What depends on weights alone is computed once a call. What depends on
the input x is computed for all steps at once, which needs each row to be computed by itself. What depends on the state
is the step proper: values of `step_values`, which the vector machine computes for one step after the other. An
operation that fits nowhere raises `UnsupportedStepError`, and the cell runs in a loop.

Values of the third part are cut into columns where the cell slices or concatenates them, so that no slice is left: the
gates of an LSTM are four products, not one product and four slices.

Shapes: B batch, S rows of all steps, W width.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from ohlol.cells.step_trace import BATCH, Operation, Ref, Shape, StepTrace, UnsupportedStepError
from ohlol.cells.step_values import UNARY, Builder, Value, reachable

FLOATS = (torch.float32, torch.float64)


class Leaf(NamedTuple):
    """A tensor that torch has: an input (S, W), a vector (W,) or a matrix (K, W)."""

    value: int
    """Its number in the trace."""
    width: int
    rows: int = 1
    """K of a matrix."""
    transposed: bool = False
    """Whether the matrix is the transpose of the value."""


@dataclass
class StepGraph:
    """A step in three parts."""

    trace: StepTrace
    builder: Builder
    weight_operations: list[Operation]
    """What torch computes from weights alone."""
    input_operations: list[Operation]
    """What torch computes from the input, for all steps at once."""
    inputs: list[Leaf]
    vectors: list[Leaf]
    matrices: list[Leaf]
    state_widths: tuple[int, ...]
    out: tuple[Value, ...]
    """The output in pieces of adjacent columns; empty where it does not depend on the state."""
    next_states: tuple[tuple[Value, ...], ...]
    out_value: int
    """The output in the trace."""


class _Unreadable(Exception):  # noqa: N818  an internal signal, not an error
    """An operation that is not one of the step; the caller knows which."""


def build_step_graph(trace: StepTrace, out: Ref, next_states: Sequence[Ref]) -> StepGraph:
    """Split a trace into its parts.

    Args:
        trace: the operations of the step.
        out: the output in the trace.
        next_states: the states in the trace.

    Raises:
        UnsupportedStepError: an operation fits into no part; it and its source line are named.
    """
    return _Partition(trace).build(out.value, tuple(state.value for state in next_states))


WEIGHT, INPUT, STATE = range(3)
"""The part that a value belongs to."""


class _Partition:
    def __init__(self, trace: StepTrace):
        self.trace = trace
        self.part: dict[int, int] = dict.fromkeys(range(trace.x), WEIGHT)
        self.part[trace.x] = INPUT
        self.part.update(dict.fromkeys(trace.states, STATE))
        self.part.update(dict.fromkeys(trace.constants, WEIGHT))

    def build(self, out: int, next_states: tuple[int, ...]) -> StepGraph:
        trace = self.trace
        for operation in trace.operations:
            part = max((self.part[v] for v in operation.operands), default=WEIGHT)
            if part == WEIGHT and any(trace.shapes[v].has_batch for v in operation.values):
                part = INPUT  # such as zeros of (B, W)
            self.part.update(dict.fromkeys(operation.values, part))
        needed = _find_needed(trace.operations, {out, *next_states})
        steps = [o for o in trace.operations if self.part_of(o) != WEIGHT and not needed.isdisjoint(o.values)]
        graph = _Lowering(trace, self.part, steps).build(out, next_states)
        roots = {leaf.value for leaf in (*graph.inputs, *graph.vectors, *graph.matrices)}
        by_torch = _find_needed(
            [o for o in trace.operations if self.part_of(o) != STATE], roots if graph.out else {*roots, out}
        )
        for operation in trace.operations:
            if self.part_of(operation) != STATE and not by_torch.isdisjoint(operation.values):
                self._check_batch_size(operation, self.part_of(operation))
                if self.part_of(operation) == INPUT:
                    self._check_rows(operation)
                    graph.input_operations.append(operation)
                else:
                    graph.weight_operations.append(operation)
        return graph

    def part_of(self, operation: Operation) -> int:
        return self.part[operation.values[0]]

    def _check_batch_size(self, operation: Operation, part: int) -> None:
        """Refuse an operation that computes with the batch size, since all steps are computed at once."""
        arguments = (*operation.args, *operation.kwargs.values())
        is_number = any(argument is BATCH for argument in arguments)
        if is_number or (part == WEIGHT and any(isinstance(a, (tuple, list)) and BATCH in a for a in arguments)):
            raise UnsupportedStepError(f"the batch size is an argument: {operation.describe()}")

    def _check_rows(self, operation: Operation) -> None:
        """Refuse an operation on the input that does not compute each row by itself."""
        shapes = self.trace.shapes
        results = [shapes[v] for v in operation.values]
        operands = [v for v in operation.operands if shapes[v].has_batch]
        if not all(_has_rows(shapes[v]) for v in operands) or not all(map(_has_rows, results)):
            raise UnsupportedStepError(f"the batch is not the first axis: {operation.describe()}")
        if not is_row_wise(operation, shapes):
            raise UnsupportedStepError(f"rows of the input may depend on each other: {operation.describe()}")


def _find_needed(operations: Sequence[Operation], results: set[int]) -> set[int]:
    """The values that operations need to compute results."""
    needed = set(results)
    for operation in reversed(operations):
        if not needed.isdisjoint(operation.values):
            needed.update(operation.operands)
    return needed


def _has_rows(shape: Shape) -> bool:
    return bool(shape) and shape[0] is BATCH and not Shape(shape[1:]).has_batch


_PRODUCTS = {"aten::mm": (0,), "aten::addmm": (0, 1)}
"""Products, with the arguments that may have rows."""
_FIRST_AXIS_KEPT = frozenset(
    "aten::" + name
    for name in (
        "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "slice", "select", "unbind", "cat",
        "stack", "unsqueeze", "squeeze", "_softmax", "_log_softmax", "sum", "mean", "amax", "amin", "logsumexp",
        "cumsum", "flip",
    )
)  # fmt: skip
"""Operations along axes that they name as `dim`."""
_CREATES = frozenset({"aten::zeros", "aten::ones", "aten::full", "aten::new_zeros", "aten::new_ones", "aten::new_full",
                      "aten::zeros_like", "aten::ones_like", "aten::full_like"})  # fmt: skip
_KEEPS_ROWS = frozenset({"aten::detach", "aten::alias", "aten::clone", "aten::_to_copy", "aten::contiguous"})


def is_row_wise(operation: Operation, shapes: dict[int, Shape]) -> bool:
    """Whether each row of the results depends on the same row of the operands only; the batch is their first axis."""
    name = operation.name
    if name in _PRODUCTS:
        with_rows = [i for i, a in enumerate(operation.args) if isinstance(a, Ref) and shapes[a.value].has_batch]
        return set(with_rows) <= set(_PRODUCTS[name])
    if name in _KEEPS_ROWS or name in _CREATES or name == "aten::expand":
        return True
    if name == "aten::native_layer_norm":
        return len(operation.args[1]) < len(shapes[operation.args[0].value])
    if name in _FIRST_AXIS_KEPT:
        return _keeps_first_axis(operation, shapes)
    if name in ("aten::view", "aten::_unsafe_view", "aten::reshape"):
        return True  # the first axis stays the batch, so rows keep their numbers
    if name in ("aten::transpose", "aten::permute"):
        return True  # likewise
    if torch.Tag.pointwise in operation.target.tags:
        rank = max(len(shapes[v]) for v in operation.results if v is not None)
        return all(len(shapes[v]) == rank for v in operation.operands if shapes[v].has_batch)
    return False


def _keeps_first_axis(operation: Operation, shapes: dict[int, Shape]) -> bool:
    rank = min(
        len(shapes[v]) for v in (*operation.operands, *(r for r in operation.results if r is not None)) if shapes[v]
    )
    names = [argument.name for argument in operation.target._schema.arguments]
    arguments = {**dict(zip(names, operation.args, strict=False)), **operation.kwargs}
    defaults = {a.name: a.default_value for a in operation.target._schema.arguments if a.has_default_value()}
    dim = arguments.get("dim", arguments.get("dims", defaults.get("dim")))
    dims = [dim] if isinstance(dim, int) else dim
    if not dims:
        return False
    return all(isinstance(d, int) and d % max(rank, 1) != 0 for d in dims)


class _Operand(NamedTuple):
    """A tensor (B, W) of the step in pieces of adjacent columns; a piece of width 1 may stand for more columns."""

    pieces: tuple[Value, ...]
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        return sum(self.widths)


class _Lowering:
    """Turns the operations that depend on the state, and those on the input that it can, into values."""

    def __init__(self, trace: StepTrace, part: dict[int, int], operations: list[Operation]):
        self.trace, self.part, self.operations = trace, part, operations
        self.builder = Builder()
        self.operands: dict[int, _Operand] = {}
        self.numbers: dict[str, dict[Leaf, int]] = {"input": {}, "vector": {}, "matrix": {}}
        self.leaves: dict[str, list[Leaf]] = {"input": [], "vector": [], "matrix": []}
        self.cuts = _find_cuts(trace, operations)
        self.sources = {v: operation for operation in trace.operations for v in operation.values}

    def build(self, out: int, next_states: tuple[int, ...]) -> StepGraph:
        for operation in self.operations:
            try:
                self._lower(operation)
            except _Unreadable as reason:
                if self.part[operation.values[0]] == INPUT:
                    continue  # torch computes it for all steps at once
                detail = f" ({reason})" if str(reason) else ""
                raise UnsupportedStepError(
                    f"the state passes through an operation that has no kernel{detail}: {operation.describe()}"
                ) from None
        shapes = self.trace.shapes
        for state, value in zip(self.trace.states, next_states, strict=True):
            if shapes[value] != shapes[state]:
                raise UnsupportedStepError(
                    f"a state has shape {shapes[state]} before and {shapes[value]} after the step"
                )
        if not _has_rows(shapes[out]) or len(shapes[out]) != 2:
            raise UnsupportedStepError("the output has not the shape (B, W)")
        pieces = [self._finish(out) if self.part[out] == STATE else (), *map(self._finish, next_states)]
        rebuilt = _Rebuilt(self.leaves, [piece for row in pieces for piece in row])
        out_pieces, *state_pieces = (tuple(map(rebuilt.value, row)) for row in pieces)
        return StepGraph(
            self.trace, rebuilt.builder, [], [], rebuilt.leaves["input"], rebuilt.leaves["vector"],
            rebuilt.leaves["matrix"], tuple(shapes[s][1] for s in self.trace.states), out_pieces,
            tuple(state_pieces), out,
        )  # fmt: skip

    def _finish(self, value: int) -> tuple[Value, ...]:
        """The pieces of a result, each as wide as its columns."""
        operand = self.operand(Ref(value))
        return tuple(
            piece if piece.width == width else self.builder.make("repeat", (piece,), width)
            for piece, width in zip(*operand, strict=True)
        )

    # Operands

    def operand(self, argument: Any) -> _Operand:
        """An argument of an operation, in pieces."""
        if isinstance(argument, (int, float)) and not isinstance(argument, bool):
            return _Operand((self.builder.constant(float(argument)),), (1,))
        if not isinstance(argument, Ref):
            raise _Unreadable("an argument is not a tensor of floats")
        operand = self.operands.get(argument.value)
        if operand is None:
            operand = self.operands[argument.value] = self._leaf(argument.value)
        return operand

    def _leaf(self, value: int) -> _Operand:
        part, shape = self.part[value], self.trace.shapes[value]
        if self.trace.dtypes[value] not in FLOATS:
            raise _Unreadable(f"an operand has dtype {self.trace.dtypes[value]}")
        if part == WEIGHT:
            if any(size != 1 for size in shape[:-1]):
                raise _Unreadable(f"a weight has shape {tuple(shape)}")
            kind, width = "vector", shape[-1] if shape else 1
        else:
            if not _has_rows(shape) or len(shape) > 2:
                raise _Unreadable("an operand is not (B, W)")
            kind, width = ("input" if part == INPUT else "state"), shape[1] if len(shape) == 2 else 1
        start = 0
        if kind == "state":
            index = value - self.trace.states.start
        else:
            source, start, whole = self._find_sliced(value, width)
            index = self.number(kind, Leaf(source, whole))
        edges = self.edges(value, width)
        pieces = [self.builder.make(kind, (), b - a, (index, start + a)) for a, b in pairwise(edges)]
        return _Operand(tuple(pieces), tuple(b - a for a, b in pairwise(edges)))

    def _find_sliced(self, value: int, width: int) -> tuple[int, int, int]:
        """The tensor that a leaf is columns of, their first, and its width; so that nothing is copied."""
        shapes, start, whole = self.trace.shapes, 0, width
        while (operation := self.sources.get(value)) is not None and operation.name in _SLICES:
            source = operation.args[0].value
            rank = len(shapes[source])
            if rank > 2 or (rank == 2 and shapes[source][0] is not BATCH):
                break
            if _argument(operation, "dim") % rank != rank - 1 or _argument(operation, "step", 1) != 1:
                break
            whole = shapes[source][-1]
            start += _SLICES[operation.name](operation, whole)[operation.results.index(value)]
            value = source
        return value, start, whole

    def _find_matrix(self, value: int) -> tuple[Leaf, int, int]:
        """The weight that a matrix is a part of, transposed or not, and the first row and column of the part."""
        shapes, transposed, row, column = self.trace.shapes, False, 0, 0
        while (operation := self.sources.get(value)) is not None:
            source = operation.args[0].value if operation.args and isinstance(operation.args[0], Ref) else None
            if source is None or len(shapes[source]) != 2 or self.part[source] != WEIGHT:
                break
            # Number (i, j) of the matrix is (row + i, column + j) of the value, or (row + j, column + i) if transposed.
            if operation.name == "aten::t" or (
                operation.name == "aten::transpose" and sorted(d % 2 for d in operation.args[1:]) == [0, 1]
            ):
                transposed, row, column = not transposed, column, row
            elif operation.name in _SLICES and _argument(operation, "step", 1) == 1:
                dim = _argument(operation, "dim") % 2
                start = _SLICES[operation.name](operation, shapes[source][dim])[operation.results.index(value)]
                row, column = (row + start, column) if dim == 0 else (row, column + start)
            elif operation.name != "aten::alias":
                break
            value = source
        rows, columns = shapes[value]
        if transposed:
            return Leaf(value, rows, columns, True), column, row
        return Leaf(value, columns, rows), row, column

    def number(self, kind: str, leaf: Leaf) -> int:
        """The index of a leaf among those of its kind."""
        numbers = self.numbers[kind]
        if leaf not in numbers:
            numbers[leaf] = len(numbers)
            self.leaves[kind].append(leaf)
        return numbers[leaf]

    def edges(self, value: int, width: int) -> list[int]:
        """The columns at which a value is cut, with its two ends."""
        return sorted({0, width, *self.cuts.get(value, ())})

    # Operations

    def _lower(self, operation: Operation) -> None:
        lower = _LOWERED.get(operation.name)
        if lower is None:
            raise _Unreadable
        results = lower(self, operation)
        if isinstance(results, _Operand):
            results = (results,)
        for value, operand in zip(operation.results, results, strict=False):
            if value is not None:
                shape = self.trace.shapes[value]
                if not _has_rows(shape) or len(shape) > 2 or operand.width != (shape[1] if len(shape) == 2 else 1):
                    raise _Unreadable(f"its result has shape {tuple('B' if s is BATCH else s for s in shape)}")
                self.operands[value] = operand

    def pointwise(self, operation: Operation, arguments: Sequence[Any], combine: Callable[..., Value]) -> _Operand:
        """Combine operands piece by piece."""
        (result,) = (v for v in operation.results if v is not None)
        rank = len(self.trace.shapes[result])
        for argument in arguments:
            shape = self.trace.shapes[argument.value] if isinstance(argument, Ref) else Shape()
            if shape.has_batch and len(shape) != rank:
                raise _Unreadable("an operand is broadcast along the batch")
        operands = [self.operand(argument) for argument in arguments]
        width = max(operand.width for operand in operands)
        edges = sorted({0, width, *(e for o in operands if o.width == width for e in _ends(o.widths))})
        columns = list(pairwise(edges))
        pieces = tuple(combine(*(self.columns(o, a, b, width) for o in operands)) for a, b in columns)
        return _Operand(pieces, tuple(b - a for a, b in columns))

    def columns(self, operand: _Operand, a: int, b: int, width: int) -> Value:
        """Columns a to b of an operand that is broadcast to `width`; its pieces are cut there."""
        if operand.width == 1 and width > 1:
            return operand.pieces[0]
        at = 0
        for piece, size in zip(*operand, strict=True):
            if at <= a and b <= at + size:
                if piece.width == 1 or (at == a and at + size == b):
                    return piece
                if piece.op in ("input", "state", "vector"):
                    return self.builder.make(piece.op, (), b - a, (piece.attributes[0], piece.attributes[1] + a - at))
            at += size
        raise _Unreadable("its columns are cut at another place")

    def matmul(self, a: _Operand, matrix: Any, result: int) -> _Operand:
        """The product of rows with a weight matrix (K, N)."""
        if not isinstance(matrix, Ref) or self.part[matrix.value] != WEIGHT:
            raise _Unreadable("the matrix is not a weight")
        if self.trace.dtypes[matrix.value] not in FLOATS:
            raise _Unreadable("the matrix does not hold floats")
        leaf, top, left = self._find_matrix(matrix.value)
        index = self.number("matrix", leaf)
        columns = list(pairwise(self.edges(result, self.trace.shapes[matrix.value][1])))
        pieces: list[Value] = []
        for first, last in columns:
            total: Value | None = None
            row = top
            for piece, width in zip(*a, strict=True):
                if piece.width != width:
                    piece = self.builder.make("repeat", (piece,), width)
                attributes = (index, row, row + width, left + first, left + last, False)
                product = self.builder.make("matmul", (piece,), last - first, attributes)
                total = product if total is None else self.builder.add(total, product)
                row += width
            assert total is not None
            pieces.append(total)
        return _Operand(tuple(pieces), tuple(b - a for a, b in columns))

    def reduced(self, operand: _Operand, op: str) -> _Operand:
        """The sum or maximum over the columns."""
        total: Value | None = None
        for piece, width in zip(*operand, strict=True):
            if op == "sum":
                part = self.builder.sum(piece, width)
                total = part if total is None else self.builder.add(total, part)
            else:
                part = piece if piece.width == 1 else self.builder.make("amax", (piece,))
                total = part if total is None else self.builder.make("maximum", (total, part))
        assert total is not None
        return _Operand((total,), (1,))


def _ends(widths: Iterable[int]) -> list[int]:
    ends = [0]
    for width in widths:
        ends.append(ends[-1] + width)
    return ends


class _Rebuilt:
    """The values that are used, with leaves in the order of their use, and sums that begin with their products."""

    def __init__(self, leaves: dict[str, list[Leaf]], results: Sequence[Value]):
        self.builder, self.all_leaves = Builder(), leaves
        self.uses = Counter(results)
        for value in reachable(results):
            self.uses.update(value.args)
        self.leaves: dict[str, list[Leaf]] = {kind: [] for kind in leaves}
        self._indices: dict[tuple[str, int], int] = {}
        self._known: dict[Value, Value] = {}

    def value(self, value: Value) -> Value:
        """The same value in the new builder."""
        known = self._known.get(value)
        if known is None:
            known = self._known[value] = self._sum(value) if value.op == "add" else self._same(value)
        return known

    def _same(self, value: Value) -> Value:
        attributes = value.attributes
        kind = "matrix" if value.op == "matmul" else value.op
        if kind in self.leaves:
            attributes = (self._index(kind, attributes[0]), *attributes[1:])
        return self.builder.make(value.op, [self.value(arg) for arg in value.args], value.width, attributes)

    def _sum(self, value: Value) -> Value:
        """A sum in the order of what is computed fastest: products take up inputs and vectors while they are added."""
        terms = sorted((self.value(term) for term in self._terms(value)), key=_sum_order)
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.add(total, term)
        return total

    def _terms(self, value: Value) -> list[Value]:
        """The terms of a sum, with those of the sums in it that are as wide and used nowhere else."""
        terms: list[Value] = []
        for arg in value.args:
            is_inner = arg.op == "add" and arg.width == value.width and self.uses[arg] == 1
            terms += self._terms(arg) if is_inner else [arg]
        return terms

    def _index(self, kind: str, index: int) -> int:
        if (kind, index) not in self._indices:
            self._indices[kind, index] = len(self.leaves[kind])
            self.leaves[kind].append(self.all_leaves[kind][index])
        return self._indices[kind, index]


def _sum_order(value: Value) -> int:
    """Products of the input, then vectors and inputs, then products of the state, then all others."""
    if value.op == "matmul":
        return 0 if value.args[0].op == "input" else 3
    return {"vector": 1, "input": 2}.get(value.op, 4) if value.width > 1 else 4


# Where values are cut


def _find_cuts(trace: StepTrace, operations: list[Operation]) -> dict[int, set[int]]:
    """The columns at which each value is cut, passed on through pointwise operations until nothing changes."""
    shapes = trace.shapes
    cuts: dict[int, set[int]] = {}

    def width(value: int) -> int:
        shape = shapes[value]
        return 1 if not shape or shape[-1] is BATCH else shape[-1]

    def add(value: int, columns: Iterable[int]) -> bool:
        new = {c for c in columns if 0 < c < width(value)} - cuts.get(value, set())
        if new:
            cuts.setdefault(value, set()).update(new)
        return bool(new)

    def share(values: Sequence[int]) -> bool:
        widest = max(map(width, values))
        full = [v for v in values if width(v) == widest]
        together = set[int]().union(*(cuts.get(v, ()) for v in full))
        return sum(add(v, together) for v in full) > 0

    def pass_on(operation: Operation) -> bool:
        results, name = list(operation.values), operation.name
        if name in ("aten::mm", "aten::addmm"):
            return share([operation.args[0].value, *results]) if name == "aten::addmm" else False
        if name in _SLICES:
            source = operation.args[0].value
            changed = False
            for value, start in zip(results, _SLICES[name](operation, width(source)), strict=True):
                own = cuts.get(value, set())
                inner = {c - start for c in cuts.get(source, ())}
                changed |= add(source, {start, start + width(value), *(c + start for c in own)})
                changed |= add(value, inner)
            return changed
        if name == "aten::glu":
            source, (result,) = operation.args[0].value, results
            half = width(result)
            own = cuts.get(result, set())
            halves = {c % half for c in cuts.get(source, ())}
            return add(source, {half, *own, *(half + c for c in own)}) + add(result, halves) > 0
        if name == "aten::cat":
            (result,) = results
            changed, at = False, 0
            for ref in operation.args[0]:
                changed |= add(result, {at, *(c + at for c in cuts.get(ref.value, ()))})
                changed |= add(ref.value, {c - at for c in cuts.get(result, ())})
                at += width(ref.value)
            return changed
        if name in ("aten::native_layer_norm", "aten::native_group_norm"):
            refs = [a.value for a in operation.args if isinstance(a, Ref)]
            return share([*refs, results[0]])
        if name in _REDUCES:
            return False
        return share([*operation.operands, *results])

    for _ in range(len(operations) * 4 + 4):
        if not sum(pass_on(operation) for operation in (*operations, *reversed(operations))):
            break
    return cuts


def _split_starts(operation: Operation, width: int) -> list[int]:
    size = operation.args[1]
    return list(range(0, width, size)) if isinstance(size, int) else _ends(size)[:-1]


def _slice_start(operation: Operation, width: int) -> list[int]:
    start = operation.args[2] if len(operation.args) > 2 and operation.args[2] is not None else 0
    return [max(start + width, 0) if start < 0 else min(start, width)]


_SLICES: dict[str, Callable[[Operation, int], list[int]]] = {
    "aten::split": _split_starts,
    "aten::split_with_sizes": _split_starts,
    "aten::unsafe_split": _split_starts,
    "aten::unsafe_split_with_sizes": _split_starts,
    "aten::slice": _slice_start,
}
"""Operations that take columns, with the first column of each result."""
_REDUCES = frozenset({"aten::sum", "aten::mean", "aten::amax", "aten::linalg_vector_norm"})


# The operations that a step may have

_LOWERED: dict[str, Callable[[_Lowering, Operation], Any]] = {}


def _lowers(*names: str) -> Callable[[Callable[[_Lowering, Operation], Any]], Callable[[_Lowering, Operation], Any]]:
    def register(lower: Callable[[_Lowering, Operation], Any]) -> Callable[[_Lowering, Operation], Any]:
        _LOWERED.update({f"aten::{name}": lower for name in names})
        return lower

    return register


def _argument(operation: Operation, name: str, default: Any = None) -> Any:
    """An argument of an operation by name."""
    if name in operation.kwargs:
        return operation.kwargs[name]
    for i, argument in enumerate(operation.target._schema.arguments):
        if argument.name == name:
            if i < len(operation.args):
                return operation.args[i]
            return argument.default_value if argument.has_default_value() else default
    return default


def _check_feature_axis(lowering: _Lowering, operation: Operation, value: int, name: str = "dim") -> None:
    """The operation is along the features of a tensor (B, W)."""
    dim = _argument(operation, name)
    dims = [dim] if isinstance(dim, int) else dim
    rank = len(lowering.trace.shapes[value])
    if rank != 2 or not dims or len(dims) != 1 or dims[0] % rank != 1:
        raise _Unreadable("it is not along the features")


@_lowers("mm")
def _lower_mm(lowering: _Lowering, operation: Operation) -> _Operand:
    a, matrix = operation.args
    (result,) = operation.results
    assert result is not None
    return lowering.matmul(lowering.operand(a), matrix, result)


@_lowers("addmm")
def _lower_addmm(lowering: _Lowering, operation: Operation) -> _Operand:
    bias, a, matrix = operation.args
    (result,) = operation.results
    assert result is not None
    build = lowering.builder
    beta, alpha = (build.constant(_argument(operation, name, 1)) for name in ("beta", "alpha"))
    product = lowering.matmul(lowering.operand(a), matrix, result)
    added = lowering.operand(bias)
    pieces: list[Value] = []
    for piece, (first, last) in zip(product.pieces, pairwise(_ends(product.widths)), strict=True):
        term = lowering.columns(added, first, last, product.width)
        pieces.append(build.add(build.mul(piece, alpha), build.mul(term, beta)))
    return _Operand(tuple(pieces), product.widths)


@_lowers("add", "sub", "rsub")
def _lower_add(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    alpha = build.constant(_argument(operation, "alpha", 1))
    a, b = operation.args[:2]
    if operation.name == "aten::rsub":
        return lowering.pointwise(operation, (a, b), lambda a, b: build.sub(b, build.mul(a, alpha)))
    combine = build.add if operation.name == "aten::add" else build.sub
    return lowering.pointwise(operation, (a, b), lambda a, b: combine(a, build.mul(b, alpha)))


@_lowers("mul")
def _lower_mul(lowering: _Lowering, operation: Operation) -> _Operand:
    return lowering.pointwise(operation, operation.args[:2], lowering.builder.mul)


@_lowers("div")
def _lower_div(lowering: _Lowering, operation: Operation) -> _Operand:
    if _argument(operation, "rounding_mode") is not None:
        raise _Unreadable("it rounds")
    build = lowering.builder
    if isinstance(operation.args[1], (int, float)):
        factor = build.constant(1.0 / operation.args[1]) if operation.args[1] else build.constant(float("inf"))
        if operation.args[1] and _is_power_of_two(float(operation.args[1])):
            return lowering.pointwise(operation, operation.args[:1], lambda a: build.mul(a, factor))
    return lowering.pointwise(operation, operation.args[:2], build.div)


def _is_power_of_two(number: float) -> bool:
    import math

    return math.frexp(abs(number))[0] == 0.5


@_lowers("maximum", "minimum", "gt", "ge", "eq", "ne")
def _lower_binary(lowering: _Lowering, operation: Operation) -> _Operand:
    op = operation.name.removeprefix("aten::")
    return lowering.pointwise(operation, operation.args[:2], lambda a, b: lowering.builder.make(op, (a, b)))


@_lowers("lt", "le")
def _lower_reversed(lowering: _Lowering, operation: Operation) -> _Operand:
    op = {"aten::lt": "gt", "aten::le": "ge"}[operation.name]
    return lowering.pointwise(operation, operation.args[:2], lambda a, b: lowering.builder.make(op, (b, a)))


@_lowers(*(name for name in UNARY if name not in ("copy", "square")), "square")
def _lower_unary(lowering: _Lowering, operation: Operation) -> _Operand:
    op = operation.name.removeprefix("aten::")
    return lowering.pointwise(operation, operation.args[:1], lambda a: lowering.builder.unary(op, a))


@_lowers("pow")
def _lower_pow(lowering: _Lowering, operation: Operation) -> _Operand:
    exponent = operation.args[1]
    if not isinstance(exponent, (int, float)):
        raise _Unreadable("its exponent is not a number")
    return lowering.pointwise(operation, operation.args[:1], lambda a: lowering.builder.pow(a, float(exponent)))


@_lowers("where")
def _lower_where(lowering: _Lowering, operation: Operation) -> _Operand:
    return lowering.pointwise(operation, operation.args[:3], lowering.builder.where)


@_lowers("masked_fill")
def _lower_masked_fill(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    return lowering.pointwise(operation, operation.args[:3], lambda a, mask, b: build.where(mask, b, a))


@_lowers("logical_not", "bitwise_not")
def _lower_not(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    return lowering.pointwise(operation, operation.args[:1], lambda a: build.make("eq", (a, build.constant(0.0))))


@_lowers("logical_and", "bitwise_and")
def _lower_and(lowering: _Lowering, operation: Operation) -> _Operand:
    return lowering.pointwise(operation, operation.args[:2], lowering.builder.mul)


@_lowers("logical_or", "bitwise_or")
def _lower_or(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    return lowering.pointwise(operation, operation.args[:2], lambda a, b: build.make("maximum", (a, b)))


@_lowers("clamp", "clamp_min", "clamp_max", "hardtanh")
def _lower_clamp(lowering: _Lowering, operation: Operation) -> _Operand:
    low = _argument(operation, {"aten::hardtanh": "min_val"}.get(operation.name, "min"))
    high = _argument(operation, {"aten::hardtanh": "max_val"}.get(operation.name, "max"))
    strict = operation.name == "aten::hardtanh"
    if not all(limit is None or isinstance(limit, (int, float)) for limit in (low, high)):
        raise _Unreadable("its limits are not numbers")

    def combine(a: Value) -> Value:
        return _clamped(lowering.builder, a, low, high, strict=strict)

    return lowering.pointwise(operation, operation.args[:1], combine)


def _clamped(
    build: Builder, a: Value, low: int | float | None, high: int | float | None, strict: bool = False
) -> Value:
    """`a` within limits; the gradient is 1 within them, and at them unless `strict`, as torch has it."""
    op = "ge" if strict else "gt"
    result = a
    if low is not None:
        limit = build.constant(low)
        result = build.where(build.make(op, (limit, result)), limit, result)
    if high is not None:
        limit = build.constant(high)
        result = build.where(build.make(op, (result, limit)), limit, result)
    return result


_FLOAT32_SIXTH = float(torch.tensor(1 / 6, dtype=torch.float32))


@_lowers("hardsigmoid", "hardswish")
def _lower_hard(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    is_double = lowering.trace.dtypes[operation.args[0].value] is torch.float64

    def combine(a: Value) -> Value:
        gate = build.div(build.add(a, build.constant(3.0)), build.constant(6.0))
        if operation.name == "aten::hardsigmoid" and is_double:
            # Torch's derivative is 1/6 rounded to float32 in float64, too.
            slope = build.mul(a, build.constant(_FLOAT32_SIXTH))
            stopped = build.unary("copy", slope)
            gate = build.add(build.unary("copy", gate), build.sub(slope, stopped))
        below, above = (build.make("ge", pair) for pair in ((build.constant(-3.0), a), (a, build.constant(3.0))))
        if operation.name == "aten::hardsigmoid":
            return build.where(below, build.constant(0.0), build.where(above, build.constant(1.0), gate))
        return build.where(below, build.constant(0.0), build.where(above, a, build.mul(a, gate)))

    return lowering.pointwise(operation, operation.args[:1], combine)


@_lowers("silu")
def _lower_silu(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    return lowering.pointwise(operation, operation.args[:1], lambda a: build.mul(a, build.unary("sigmoid", a)))


@_lowers("softplus")
def _lower_softplus(lowering: _Lowering, operation: Operation) -> _Operand:
    beta, threshold = float(_argument(operation, "beta")), float(_argument(operation, "threshold"))
    return lowering.pointwise(operation, operation.args[:1], lambda a: _softplus(lowering.builder, a, beta, threshold))


def _softplus(build: Builder, a: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    scaled = build.mul(a, build.constant(beta))
    is_large = build.make("gt", (scaled, build.constant(threshold)))
    small = build.where(is_large, build.constant(0.0), scaled)  # exp of a large number has no finite gradient
    curved = build.mul(build.unary("log1p", build.unary("exp", small)), build.constant(1 / beta))
    return build.where(is_large, a, curved)


@_lowers("mish")
def _lower_mish(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    return lowering.pointwise(
        operation, operation.args[:1], lambda a: build.mul(a, build.unary("tanh", _softplus(build, a)))
    )


@_lowers("log_sigmoid_forward")
def _lower_log_sigmoid(lowering: _Lowering, operation: Operation) -> tuple[_Operand, ...]:
    build = lowering.builder

    def combine(a: Value) -> Value:
        tail = build.unary("log1p", build.unary("exp", build.unary("neg", build.unary("abs", a))))
        is_negative = build.make("gt", (build.constant(0.0), a))
        return build.sub(build.where(is_negative, a, build.constant(0.0)), tail)

    operand = lowering.operand(operation.args[0])
    return (_Operand(tuple(map(combine, operand.pieces)), operand.widths),)


@_lowers("glu")
def _lower_glu(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    _check_feature_axis(lowering, operation, operation.args[0].value)
    operand = lowering.operand(operation.args[0])
    (result,) = operation.results
    assert result is not None
    half = operand.width // 2
    columns = list(pairwise(lowering.edges(result, half)))
    pieces: list[Value] = []
    for a, b in columns:
        first, second = (lowering.columns(operand, at + a, at + b, 2 * half) for at in (0, half))
        pieces.append(build.mul(first, build.unary("sigmoid", second)))
    return _Operand(tuple(pieces), tuple(b - a for a, b in columns))


@_lowers("elu", "selu", "celu")
def _lower_elu(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    alpha = float(_argument(operation, "alpha", 1.6732632423543772))
    scale = float(_argument(operation, "scale", 1.0507009873554805 if operation.name == "aten::selu" else 1.0))
    input_scale = float(_argument(operation, "input_scale", 1 / alpha if operation.name == "aten::celu" else 1.0))

    def combine(a: Value) -> Value:
        is_positive = build.make("gt", (a, build.constant(0.0)))
        negative = build.where(is_positive, build.constant(0.0), a)
        curved = build.unary("expm1", build.mul(negative, build.constant(input_scale)))
        return build.where(
            is_positive, build.mul(a, build.constant(scale)), build.mul(curved, build.constant(alpha * scale))
        )

    return lowering.pointwise(operation, operation.args[:1], combine)


@_lowers("leaky_relu")
def _lower_leaky_relu(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    slope = build.constant(float(_argument(operation, "negative_slope")))
    return lowering.pointwise(
        operation,
        operation.args[:1],
        lambda a: build.where(build.make("gt", (a, build.constant(0.0))), a, build.mul(a, slope)),
    )


@_lowers("gelu")
def _lower_gelu(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    approximate = _argument(operation, "approximate")

    def combine(a: Value) -> Value:
        half = build.mul(a, build.constant(0.5))
        if approximate == "tanh":
            inner = build.add(a, build.mul(build.pow(a, 3.0), build.constant(0.044715)))
            curve = build.unary("tanh", build.mul(inner, build.constant(0.7978845608028654)))
        else:
            curve = build.unary("erf", build.mul(a, build.constant(0.7071067811865476)))
        return build.mul(half, build.add(curve, build.constant(1.0)))

    return lowering.pointwise(operation, operation.args[:1], combine)


@_lowers("lerp")
def _lower_lerp(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    return lowering.pointwise(
        operation, operation.args[:3], lambda a, b, weight: build.add(a, build.mul(weight, build.sub(b, a)))
    )


@_lowers("addcmul", "addcdiv")
def _lower_addcmul(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    combine = build.mul if operation.name == "aten::addcmul" else build.div
    scale = build.constant(_argument(operation, "value", 1))
    return lowering.pointwise(
        operation, operation.args[:3], lambda a, b, c: build.add(a, build.mul(combine(b, c), scale))
    )


@_lowers("detach")
def _lower_detach(lowering: _Lowering, operation: Operation) -> _Operand:
    return lowering.pointwise(operation, operation.args[:1], lambda a: lowering.builder.unary("copy", a))


@_lowers("alias", "clone", "_to_copy")
def _lower_same(lowering: _Lowering, operation: Operation) -> _Operand:
    dtypes = lowering.trace.dtypes
    (result,) = operation.results
    assert result is not None
    if dtypes[result] is not dtypes[operation.args[0].value] and dtypes[operation.args[0].value] is not torch.bool:
        raise _Unreadable("it changes the dtype")
    return lowering.operand(operation.args[0])


@_lowers("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _lower_filled(lowering: _Lowering, operation: Operation) -> _Operand:
    (result,) = operation.results
    assert result is not None
    number = 1.0 if "ones" in operation.name else _argument(operation, "fill_value", 0.0)
    shape = lowering.trace.shapes[result]
    if not isinstance(number, (int, float)) or lowering.trace.dtypes[result] not in FLOATS or len(shape) != 2:
        raise _Unreadable("it is not (B, W) of floats")
    columns = list(pairwise(lowering.edges(result, shape[1])))
    return _Operand((lowering.builder.constant(number),) * len(columns), tuple(b - a for a, b in columns))


@_lowers("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "slice")
def _lower_slices(lowering: _Lowering, operation: Operation) -> tuple[_Operand, ...]:
    source = operation.args[0]
    _check_feature_axis(lowering, operation, source.value)
    if operation.name == "aten::slice" and _argument(operation, "step") != 1:
        raise _Unreadable("its step is not 1")
    operand = lowering.operand(source)
    results: list[_Operand] = []
    for value, start in zip(operation.results, _SLICES[operation.name](operation, operand.width), strict=True):
        assert value is not None
        width = lowering.trace.shapes[value][1]
        columns = list(pairwise(sorted({start, start + width, *(start + c for c in lowering.cuts.get(value, ()))})))
        pieces = tuple(lowering.columns(operand, a, b, operand.width) for a, b in columns)
        results.append(_Operand(pieces, tuple(b - a for a, b in columns)))
    return tuple(results)


@_lowers("cat")
def _lower_cat(lowering: _Lowering, operation: Operation) -> _Operand:
    for ref in operation.args[0]:
        _check_feature_axis(lowering, operation, ref.value)
    parts = [lowering.operand(ref) for ref in operation.args[0]]
    return _Operand(sum((p.pieces for p in parts), ()), sum((p.widths for p in parts), ()))


@_lowers("expand")
def _lower_expand(lowering: _Lowering, operation: Operation) -> _Operand:
    operand = lowering.operand(operation.args[0])
    (result,) = operation.results
    assert result is not None
    shape = lowering.trace.shapes[result]
    if len(shape) != 2 or len(lowering.trace.shapes[operation.args[0].value]) != 2:
        raise _Unreadable("it adds an axis")
    if operand.width == shape[1]:
        return operand
    columns = list(pairwise(lowering.edges(result, shape[1])))
    return _Operand(operand.pieces * len(columns), tuple(b - a for a, b in columns))


@_lowers("unsqueeze", "squeeze", "view", "_unsafe_view", "reshape")
def _lower_view(lowering: _Lowering, operation: Operation) -> _Operand:
    """(B,) to (B, 1) and back, or the same shape."""
    (result,) = operation.results
    assert result is not None
    before, after = lowering.trace.shapes[operation.args[0].value], lowering.trace.shapes[result]
    if before != after and {before, after} != {Shape((BATCH,)), Shape((BATCH, 1))}:
        raise _Unreadable("it changes the shape")
    return lowering.operand(operation.args[0])


@_lowers("sum", "mean")
def _lower_sum(lowering: _Lowering, operation: Operation) -> _Operand:
    source = operation.args[0]
    _check_feature_axis(lowering, operation, source.value)
    operand = lowering.operand(source)
    total = lowering.reduced(operand, "sum")
    if operation.name == "aten::sum":
        return total
    mean = lowering.builder.mul(total.pieces[0], lowering.builder.constant(1 / operand.width))
    return _Operand((mean,), (1,))


@_lowers("linalg_vector_norm")
def _lower_norm(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    _check_feature_axis(lowering, operation, operation.args[0].value)
    if float(_argument(operation, "ord")) != 2.0 or _argument(operation, "dtype") is not None:
        raise _Unreadable("it is not the Euclidean norm")
    operand = lowering.operand(operation.args[0])
    squares = _Operand(tuple(build.unary("square", piece) for piece in operand.pieces), operand.widths)
    return _Operand((build.unary("sqrt", lowering.reduced(squares, "sum").pieces[0]),), (1,))


@_lowers("amax")
def _lower_amax(lowering: _Lowering, operation: Operation) -> _Operand:
    _check_feature_axis(lowering, operation, operation.args[0].value)
    return lowering.reduced(lowering.operand(operation.args[0]), "amax")


@_lowers("_softmax", "_log_softmax")
def _lower_softmax(lowering: _Lowering, operation: Operation) -> _Operand:
    build = lowering.builder
    _check_feature_axis(lowering, operation, operation.args[0].value)
    operand = lowering.operand(operation.args[0])
    # The result does not depend on what is subtracted, and neither does its gradient.
    largest = build.unary("copy", lowering.reduced(operand, "amax").pieces[0])
    shifted = _Operand(tuple(build.sub(piece, largest) for piece in operand.pieces), operand.widths)
    powers = _Operand(tuple(build.unary("exp", piece) for piece in shifted.pieces), operand.widths)
    total = lowering.reduced(powers, "sum").pieces[0]
    if operation.name == "aten::_softmax":
        return _Operand(tuple(build.div(piece, total) for piece in powers.pieces), operand.widths)
    logarithm = build.unary("log", total)
    return _Operand(tuple(build.sub(piece, logarithm) for piece in shifted.pieces), operand.widths)


@_lowers("native_layer_norm")
def _lower_layer_norm(lowering: _Lowering, operation: Operation) -> tuple[_Operand, ...]:
    build = lowering.builder
    source, normalized, weight, bias, eps = operation.args
    if len(normalized) != 1 or len(lowering.trace.shapes[source.value]) != 2:
        raise _Unreadable("it is not along the features")
    operand = lowering.operand(source)
    share = build.constant(1 / operand.width)
    mean = build.mul(lowering.reduced(operand, "sum").pieces[0], share)
    centred = _Operand(tuple(build.sub(piece, mean) for piece in operand.pieces), operand.widths)
    squares = _Operand(tuple(build.unary("square", piece) for piece in centred.pieces), operand.widths)
    variance = build.mul(lowering.reduced(squares, "sum").pieces[0], share)
    scale = build.unary("rsqrt", build.add(variance, build.constant(eps)))
    pieces: list[Value] = []
    for piece, (a, b) in zip(centred.pieces, pairwise(_ends(operand.widths)), strict=True):
        result = build.mul(piece, scale)
        if weight is not None:
            result = build.mul(result, lowering.columns(lowering.operand(weight), a, b, operand.width))
        if bias is not None:
            result = build.add(result, lowering.columns(lowering.operand(bias), a, b, operand.width))
        pieces.append(result)
    return (_Operand(tuple(pieces), operand.widths),)
