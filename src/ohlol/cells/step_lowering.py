"""The operations of a step as values: columns, leaves and products of the vector machine.

Values are cut into columns where the cell slices or concatenates them, so that no slice is left: the gates of an LSTM
are four products, not one product and four slices. `step_operations` has what each operation becomes.

Shapes: B batch, S rows of all steps, W width.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from ohlol.cells.step_trace import BATCH, Operation, Ref, Shape, StepTrace, UnsupportedStepError
from ohlol.cells.step_values import Builder, Value, reachable

FLOATS = (torch.float32, torch.float64)


WEIGHT, INPUT, STATE = range(3)
"""The part that a value belongs to."""


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


class Unreadable(Exception):  # noqa: N818  an internal signal, not an error
    """An operation that is not one of the step; the caller knows which."""


def has_rows(shape: Shape) -> bool:
    """Whether the batch is the first axis and no other."""
    return bool(shape) and shape[0] is BATCH and not Shape(shape[1:]).has_batch


class Operand(NamedTuple):
    """A tensor (B, W) of the step in pieces of adjacent columns; a piece of width 1 may stand for more columns."""

    pieces: tuple[Value, ...]
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        """The number of columns."""
        return sum(self.widths)


class Lowering:
    """Turns the operations that depend on the state, and those on the input that it can, into values."""

    def __init__(
        self,
        trace: StepTrace,
        part: dict[int, int],
        operations: list[Operation],
        lowered: Mapping[str, Callable[["Lowering", Operation], Any]],
    ):
        self.trace, self.part, self.operations, self.lowered = trace, part, operations, lowered
        self.builder = Builder()
        self.operands: dict[int, Operand] = {}
        self.numbers: dict[str, dict[Leaf, int]] = {"input": {}, "vector": {}, "matrix": {}}
        self.leaves: dict[str, list[Leaf]] = {"input": [], "vector": [], "matrix": []}
        self.cuts = _find_cuts(trace, operations)
        self.sources = {v: operation for operation in trace.operations for v in operation.values}

    def build(self, out: int, next_states: tuple[int, ...]) -> StepGraph:
        """The graph, still without the operations that torch computes; raises UnsupportedStepError."""
        for operation in self.operations:
            try:
                self._lower(operation)
            except Unreadable as reason:
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
        if not has_rows(shapes[out]) or len(shapes[out]) != 2:
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

    def operand(self, argument: Any) -> Operand:
        """An argument of an operation, in pieces."""
        if isinstance(argument, (int, float)) and not isinstance(argument, bool):
            return Operand((self.builder.constant(float(argument)),), (1,))
        if not isinstance(argument, Ref):
            raise Unreadable("an argument is not a tensor of floats")
        operand = self.operands.get(argument.value)
        if operand is None:
            operand = self.operands[argument.value] = self._leaf(argument.value)
        return operand

    def _leaf(self, value: int) -> Operand:
        part, shape = self.part[value], self.trace.shapes[value]
        if self.trace.dtypes[value] not in FLOATS:
            raise Unreadable(f"an operand has dtype {self.trace.dtypes[value]}")
        if part == WEIGHT:
            if any(size != 1 for size in shape[:-1]):
                raise Unreadable(f"a weight has shape {tuple(shape)}")
            kind, width = "vector", shape[-1] if shape else 1
        else:
            if not has_rows(shape) or len(shape) > 2:
                raise Unreadable("an operand is not (B, W)")
            kind, width = ("input" if part == INPUT else "state"), shape[1] if len(shape) == 2 else 1
        start = 0
        if kind == "state":
            index = value - self.trace.states.start
        else:
            source, start, whole = self._find_sliced(value, width)
            index = self.number(kind, Leaf(source, whole))
        edges = self.edges(value, width)
        pieces = [self.builder.make(kind, (), b - a, (index, start + a)) for a, b in pairwise(edges)]
        return Operand(tuple(pieces), tuple(b - a for a, b in pairwise(edges)))

    def _find_sliced(self, value: int, width: int) -> tuple[int, int, int]:
        """The tensor that a leaf is columns of, their first, and its width; so that nothing is copied."""
        shapes, start, whole = self.trace.shapes, 0, width
        while (operation := self.sources.get(value)) is not None and operation.name in SLICES:
            source = operation.args[0].value
            rank = len(shapes[source])
            if rank > 2 or (rank == 2 and shapes[source][0] is not BATCH):
                break
            if argument_of(operation, "dim") % rank != rank - 1 or argument_of(operation, "step", 1) != 1:
                break
            whole = shapes[source][-1]
            start += SLICES[operation.name](operation, whole)[operation.results.index(value)]
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
            elif operation.name in SLICES and argument_of(operation, "step", 1) == 1:
                dim = argument_of(operation, "dim") % 2
                start = SLICES[operation.name](operation, shapes[source][dim])[operation.results.index(value)]
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
        lower = self.lowered.get(operation.name)
        if lower is None:
            raise Unreadable
        results = lower(self, operation)
        if isinstance(results, Operand):
            results = (results,)
        for value, operand in zip(operation.results, results, strict=False):
            if value is not None:
                shape = self.trace.shapes[value]
                if not has_rows(shape) or len(shape) > 2 or operand.width != (shape[1] if len(shape) == 2 else 1):
                    raise Unreadable(f"its result has shape {tuple('B' if s is BATCH else s for s in shape)}")
                self.operands[value] = operand

    def pointwise(self, operation: Operation, arguments: Sequence[Any], combine: Callable[..., Value]) -> Operand:
        """Combine operands piece by piece."""
        (result,) = (v for v in operation.results if v is not None)
        rank = len(self.trace.shapes[result])
        for argument in arguments:
            shape = self.trace.shapes[argument.value] if isinstance(argument, Ref) else Shape()
            if shape.has_batch and len(shape) != rank:
                raise Unreadable("an operand is broadcast along the batch")
        operands = [self.operand(argument) for argument in arguments]
        width = max(operand.width for operand in operands)
        edges = sorted({0, width, *(e for o in operands if o.width == width for e in ends_of(o.widths))})
        columns = list(pairwise(edges))
        pieces = tuple(combine(*(self.columns(o, a, b, width) for o in operands)) for a, b in columns)
        return Operand(pieces, tuple(b - a for a, b in columns))

    def columns(self, operand: Operand, a: int, b: int, width: int) -> Value:
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
        raise Unreadable("its columns are cut at another place")

    def matmul(self, a: Operand, matrix: Any, result: int) -> Operand:
        """The product of rows with a weight matrix (K, N)."""
        if not isinstance(matrix, Ref) or self.part[matrix.value] != WEIGHT:
            raise Unreadable("the matrix is not a weight")
        if self.trace.dtypes[matrix.value] not in FLOATS:
            raise Unreadable("the matrix does not hold floats")
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
        return Operand(tuple(pieces), tuple(b - a for a, b in columns))

    def reduced(self, operand: Operand, op: str) -> Operand:
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
        return Operand((total,), (1,))


def ends_of(widths: Iterable[int]) -> list[int]:
    """The columns at which adjacent pieces begin, and the last end."""
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
        if name in SLICES:
            source = operation.args[0].value
            changed = False
            for value, start in zip(results, SLICES[name](operation, width(source)), strict=True):
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
    return list(range(0, width, size)) if isinstance(size, int) else ends_of(size)[:-1]


def _slice_start(operation: Operation, width: int) -> list[int]:
    start = operation.args[2] if len(operation.args) > 2 and operation.args[2] is not None else 0
    return [max(start + width, 0) if start < 0 else min(start, width)]


SLICES: dict[str, Callable[[Operation, int], list[int]]] = {
    "aten::split": _split_starts,
    "aten::split_with_sizes": _split_starts,
    "aten::unsafe_split": _split_starts,
    "aten::unsafe_split_with_sizes": _split_starts,
    "aten::slice": _slice_start,
}
"""Operations that take columns, with the first column of each result."""
_REDUCES = frozenset({"aten::sum", "aten::mean", "aten::amax", "aten::linalg_vector_norm"})


def argument_of(operation: Operation, name: str, default: Any = None) -> Any:
    """An argument of an operation by name."""
    if name in operation.kwargs:
        return operation.kwargs[name]
    for i, argument in enumerate(operation.target._schema.arguments):
        if argument.name == name:
            if i < len(operation.args):
                return operation.args[i]
            return argument.default_value if argument.has_default_value() else default
    return default
