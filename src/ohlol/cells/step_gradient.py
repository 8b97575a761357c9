"""The backward step of a step graph: its vector-Jacobian product, as values of the same kind.

It reads the gradients of the step's results, what the forward step has saved, and the leaves of the forward step.
Values that are cheap are computed again.

Shapes: S rows of all steps, W width.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ohlol.cells.step_lowering import StepGraph
from ohlol.cells.step_trace import UnsupportedStepError
from ohlol.cells.step_values import EXPENSIVE, LEAVES, Builder, Value, reachable


class Segment(NamedTuple):
    """Rows and columns of a weight matrix."""

    matrix: int
    first_row: int
    last_row: int
    first_column: int
    last_column: int


class MatrixGradient(NamedTuple):
    """Products with one operand: the gradient of each segment is operand^T times its columns of the gradients."""

    operand: Value
    segments: tuple[Segment, ...]
    gradients: tuple[Value, ...]

    @property
    def width(self) -> int:
        """The columns of all segments."""
        return sum(s.last_column - s.first_column for s in self.segments)


class Needs(NamedTuple):
    """Which leaves need a gradient."""

    inputs: tuple[bool, ...]
    vectors: tuple[bool, ...]
    matrices: tuple[bool, ...]
    states: tuple[bool, ...]


@dataclass
class StepGradient:
    """The results of the backward step."""

    saved: tuple[Value, ...]
    """Values of the forward step, states included, that the backward step reads."""
    inputs: dict[int, dict[int, Value]] = field(default_factory=dict)
    """By the index of an input and the first column: the gradient of these columns."""
    vectors: dict[int, dict[int, Value]] = field(default_factory=dict)
    """Likewise; to be summed over the rows."""
    matrices: tuple[MatrixGradient, ...] = ()
    states: tuple[tuple[Value, ...], ...] = ()
    """The gradient of each state before the step, in pieces of adjacent columns."""


def differentiate(graph: StepGraph, needs: Needs) -> StepGradient:
    """The backward step of a step graph.

    Args:
        graph: the step; its builder makes the new values.
        needs: the leaves to compute gradients of.
    """
    return _Reverse(graph, needs).run()


class _Reverse:
    def __init__(self, graph: StepGraph, needs: Needs):
        self.graph, self.needs, self.build = graph, needs, graph.builder
        self.gradients: dict[Value, Value] = {}
        self.products: dict[Value, list[tuple[Segment, Value]]] = defaultdict(list)
        self.forward = frozenset(reachable([*graph.out, *(p for state in graph.next_states for p in state)]))
        self.requires: dict[Value, bool] = {}
        for value in sorted(self.forward, key=lambda v: v.order):
            self.requires[value] = self._requires_gradient(value)

    def _requires_gradient(self, value: Value) -> bool:
        if value.op in ("input", "vector"):
            return (self.needs.inputs if value.op == "input" else self.needs.vectors)[value.attributes[0]]
        if value.op == "state":
            return True
        if value.op in ("constant", "copy"):
            return False
        if value.op == "matmul" and self.needs.matrices[value.attributes[0]]:
            return True
        return any(self.requires[arg] for arg in value.args)

    def run(self) -> StepGradient:
        build, graph = self.build, self.graph
        self._seed(graph.out, "grad_out", ())
        for k, pieces in enumerate(graph.next_states):
            self._seed(pieces, "grad_state", (k,))
        matrices: list[MatrixGradient] = []
        for value in sorted(self.forward, key=lambda v: -v.order):
            products = self.products.pop(value, None)
            if products is not None:
                matrices.append(self._finish_products(value, products))
            gradient = self.gradients.get(value)
            if gradient is None or value.op in LEAVES:
                continue
            if value.op == "matmul":
                self._add_product(value, gradient)
            else:
                for arg, contribution in zip(value.args, _contributions(build, value, gradient), strict=True):
                    if contribution is not None and self.requires[arg]:
                        self._add(arg, contribution())
        result = StepGradient(saved=(), matrices=tuple(m for m in matrices if m.segments))
        for value in self.forward:
            if value.op in ("input", "vector") and value in self.gradients:
                index, column = value.attributes
                by_column = (result.inputs if value.op == "input" else result.vectors).setdefault(index, {})
                by_column[column] = self.gradients[value]
        _check_disjoint(result.inputs)
        result.states = tuple(self._state_gradient(k, width) for k, width in enumerate(graph.state_widths))
        result.saved = self._find_saved(result)
        return result

    def _seed(self, pieces: Sequence[Value], leaf: str, index: tuple[int, ...]) -> None:
        column = 0
        for piece in pieces:
            if self.requires[piece]:
                self._add(piece, self.build.make(leaf, (), piece.width, (*index, column)))
            column += piece.width

    def _add(self, value: Value, gradient: Value) -> None:
        """Add to the gradient of a value, summed over the columns along which the value was repeated."""
        if value.width == 1 and gradient.width > 1:
            gradient = self.build.sum(gradient, gradient.width)
        elif value.width > 1 and gradient.width == 1:
            gradient = self.build.make("repeat", (gradient,), value.width)
        known = self.gradients.get(value)
        self.gradients[value] = gradient if known is None else self.build.add(known, gradient)

    def _add_product(self, value: Value, gradient: Value) -> None:
        matrix, first_row, last_row, first_column, last_column, _ = value.attributes
        segment = Segment(matrix, first_row, last_row, first_column, last_column)
        self.products[value.args[0]].append((segment, gradient))

    def _finish_products(self, operand: Value, products: list[tuple[Segment, Value]]) -> MatrixGradient:
        """The gradient of the operand of products, by one product with all their matrices."""
        products.sort(key=lambda product: product[0])
        segments, gradients = zip(*products, strict=True)
        if self.requires[operand]:
            self._add(operand, self.build.make("matmul", gradients, operand.width, (segments, True)))
        return MatrixGradient(operand, tuple(segments), tuple(gradients))

    def _state_gradient(self, k: int, width: int) -> tuple[Value, ...]:
        pieces = {v.attributes[1]: v for v in self.forward if v.op == "state" and v.attributes[0] == k}
        result: list[Value] = []
        column = 0
        for first in sorted(pieces):
            if first < column:
                raise UnsupportedStepError("the step reads overlapping columns of a state")
            if first > column:
                result.append(self._zeros(first - column))
            piece = pieces[first]
            result.append(self.gradients.get(piece) or self._zeros(piece.width))
            column = first + piece.width
        if column < width:
            result.append(self._zeros(width - column))
        return tuple(result)

    def _zeros(self, width: int) -> Value:
        zero = self.build.constant(0.0)
        return zero if width == 1 else self.build.make("repeat", (zero,), width)

    def _find_saved(self, result: StepGradient) -> tuple[Value, ...]:
        """The forward values that the backward step reads from memory."""
        roots = [
            *(v for by_column in (*result.inputs.values(), *result.vectors.values()) for v in by_column.values()),
            *(v for m in result.matrices for v in m.gradients),
            *(v for pieces in result.states for v in pieces),
        ]
        saved = {
            m.operand
            for m in result.matrices
            if m.operand.op != "input" and any(self.needs.matrices[s.matrix] for s in m.segments)
        }
        seen: set[Value] = set()
        stack = roots
        while stack:
            value = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            if value in self.forward and is_saved(value):
                saved.add(value)
            else:
                stack.extend(value.args)
        return tuple(sorted(saved, key=lambda v: v.order))


def is_saved(value: Value) -> bool:
    """Whether a forward value is read from memory in the backward step, not computed again."""
    if value.op == "state" or value.op in EXPENSIVE:
        return True
    # The sum of a product and other terms is computed with the product.
    return value.op in ("add", "sub") and any(_is_product(arg) for arg in value.args)


def _is_product(value: Value) -> bool:
    return value.op == "matmul" or (value.op == "add" and any(_is_product(arg) for arg in value.args))


def _check_disjoint(inputs: dict[int, dict[int, Value]]) -> None:
    for by_column in inputs.values():
        end = 0
        for column in sorted(by_column):
            if column < end:
                raise UnsupportedStepError("the step reads overlapping columns of an input")
            end = column + by_column[column].width


_Contribution = Callable[[], Value] | None


def _contributions(build: Builder, y: Value, g: Value) -> tuple[_Contribution, ...]:
    """What the gradient g of a result y adds to that of each operand; None adds nothing."""
    rule = _RULES.get(y.op)
    if rule is None:
        return (None,) * len(y.args)
    return rule(build, y, g)


def _unary_rule(derive: Callable[[Builder, Value, Value, Value], Value]) -> Callable[..., tuple[_Contribution, ...]]:
    def rule(build: Builder, y: Value, g: Value) -> tuple[_Contribution, ...]:
        return (lambda: derive(build, y.args[0], y, g),)

    return rule


def _ties(build: Builder, a: Value, b: Value, g: Value, op: str) -> Value:
    """The gradient of the larger (gt) or smaller of two: torch divides it evenly where they are equal."""
    first = (a, b) if op == "maximum" else (b, a)
    half = build.mul(g, build.constant(0.5))
    zero = build.constant(0.0)
    rest = build.where(build.make("gt", first), g, zero)
    return build.where(build.make("eq", (a, b)), half, rest)


def _extremum_rule(build: Builder, y: Value, g: Value) -> tuple[_Contribution, ...]:
    a, b = y.args
    return (lambda: _ties(build, a, b, g, y.op), lambda: _ties(build, b, a, g, y.op))


def _amax_rule(build: Builder, y: Value, g: Value) -> tuple[_Contribution, ...]:
    (a,) = y.args

    def contribution() -> Value:
        is_largest = build.make("eq", (a, y))
        share = build.div(g, build.sum(is_largest, a.width))
        return build.mul(is_largest, share)

    return (contribution,)


def _where_rule(build: Builder, y: Value, g: Value) -> tuple[_Contribution, ...]:
    mask, _, _ = y.args
    zero = build.constant(0.0)
    return (None, lambda: build.where(mask, g, zero), lambda: build.where(mask, zero, g))


def _pow_rule(build: Builder, y: Value, g: Value) -> tuple[_Contribution, ...]:
    a, exponent = y.args
    number = exponent.attributes[0]
    return (lambda: build.mul(g, build.mul(build.pow(a, number - 1.0), build.constant(number))), None)


def _div_rule(build: Builder, y: Value, g: Value) -> tuple[_Contribution, ...]:
    b = y.args[1]
    return (lambda: build.div(g, b), lambda: build.unary("neg", build.mul(build.div(g, b), y)))


_RULES: dict[str, Callable[[Builder, Value, Value], tuple[_Contribution, ...]]] = {
    "neg": _unary_rule(lambda build, x, y, g: build.unary("neg", g)),
    "abs": _unary_rule(lambda build, x, y, g: build.mul(g, build.unary("sign", x))),
    "relu": _unary_rule(
        lambda build, x, y, g: build.where(build.make("gt", (y, build.constant(0.0))), g, build.constant(0.0))
    ),
    "sigmoid": _unary_rule(lambda build, x, y, g: build.make("sigmoid_grad", (g, y))),
    "tanh": _unary_rule(lambda build, x, y, g: build.make("tanh_grad", (g, y))),
    "exp": _unary_rule(lambda build, x, y, g: build.mul(g, y)),
    "expm1": _unary_rule(lambda build, x, y, g: build.mul(g, build.add(y, build.constant(1.0)))),
    "log": _unary_rule(lambda build, x, y, g: build.div(g, x)),
    "log1p": _unary_rule(lambda build, x, y, g: build.div(g, build.add(x, build.constant(1.0)))),
    "sqrt": _unary_rule(lambda build, x, y, g: build.div(g, build.mul(y, build.constant(2.0)))),
    "rsqrt": _unary_rule(lambda build, x, y, g: build.mul(build.mul(g, build.constant(-0.5)), build.pow(y, 3.0))),
    "reciprocal": _unary_rule(lambda build, x, y, g: build.unary("neg", build.mul(g, build.unary("square", y)))),
    "sin": _unary_rule(lambda build, x, y, g: build.mul(g, build.unary("cos", x))),
    "cos": _unary_rule(lambda build, x, y, g: build.unary("neg", build.mul(g, build.unary("sin", x)))),
    "erf": _unary_rule(
        lambda build, x, y, g: build.mul(
            build.mul(g, build.constant(1.1283791670955126)),
            build.unary("exp", build.unary("neg", build.unary("square", x))),
        )
    ),
    "square": _unary_rule(lambda build, x, y, g: build.mul(build.mul(g, build.constant(2.0)), x)),
    "repeat": _unary_rule(lambda build, x, y, g: g),
    "sum": _unary_rule(lambda build, x, y, g: g),
    "add": lambda build, y, g: (lambda: g, lambda: g),
    "sub": lambda build, y, g: (lambda: g, lambda: build.unary("neg", g)),
    "mul": lambda build, y, g: (lambda: build.mul(g, y.args[1]), lambda: build.mul(g, y.args[0])),
    "div": _div_rule,
    "minimum": _extremum_rule,
    "maximum": _extremum_rule,
    "pow": _pow_rule,
    "where": _where_rule,
    "amax": _amax_rule,
}  # fmt: skip
"""The rule of each operation that has a derivative other than zero."""
