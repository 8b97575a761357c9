"""The values of a step graph: operations on rows of numbers, one row for each sequence of the batch.

A value is a row of `width` numbers for each sequence. An operand of width 1 is repeated over the width of the result.

The operations are those of the vector machine in `csrc/program.h`:

- leaves: `input`, `state` and `vector` with an index and the first column, `constant` with a number;
- pointwise: the names in `UNARY`, `BINARY` and `TERNARY`;
- over the width: `sum` and `amax`, whose result has width 1;
- `matmul` with a weight matrix, or its transpose;
- `repeat`, which writes a value of width 1 to each column.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

LEAVES = frozenset({"input", "state", "vector", "constant"})
UNARY = (
    "neg", "abs", "sign", "relu", "sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal",
    "sin", "cos", "erf", "isnan", "square", "copy",
)  # fmt: skip
BINARY = ("add", "sub", "mul", "div", "minimum", "maximum", "gt", "ge", "eq", "ne", "pow", "tanh_grad", "sigmoid_grad")
"""`tanh_grad` and `sigmoid_grad` are g * (1 - y * y) and g * y * (1 - y), of a gradient g and a result y."""
TERNARY = ("where", "mul_add")
"""`where` selects by a mask of zeros and ones; `mul_add` is a * b + c."""
REDUCTIONS = ("sum", "amax")
EXPENSIVE = frozenset(
    ("sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "erf", "div",
     "pow", "sum", "amax", "matmul")
)  # fmt: skip
"""Operations whose result costs less to read from memory than to compute again."""


@dataclass(frozen=True, eq=False)
class Value:
    """A row of numbers for each sequence."""

    op: str
    args: tuple["Value", ...]
    width: int
    attributes: tuple[Any, ...] = ()
    """Of leaves: (index, first column) or (number,). Of `matmul`: (matrix, first row, last row, first column,
    last column, transposed)."""
    order: int = 0
    """The place in the order of creation, in which every operand comes before its uses."""

    def __repr__(self) -> str:
        args = ", ".join(f"%{a.order}" for a in self.args)
        return f"%{self.order} = {self.op}{self.attributes or ''}({args}) [{self.width}]"


@dataclass
class Builder:
    """Makes values; the same operation on the same operands is one value."""

    values: list[Value] = field(default_factory=list)
    _known: dict[Any, Value] = field(default_factory=dict)

    def make(
        self, op: str, args: Sequence[Value] = (), width: int | None = None, attributes: tuple[Any, ...] = ()
    ) -> Value:
        """The value of an operation; the width is that of the widest operand unless given."""
        args = tuple(args)
        if width is None:
            width = 1 if op in REDUCTIONS else max(arg.width for arg in args)
        key = (op, tuple(id(arg) for arg in args), width, attributes)
        value = self._known.get(key)
        if value is None:
            value = self._known[key] = Value(op, args, width, attributes, len(self.values))
            self.values.append(value)
        return value

    def constant(self, number: int | float) -> Value:
        """A number."""
        return self.make("constant", (), 1, (float(number),))

    def unary(self, op: str, a: Value) -> Value:
        """A pointwise operation with one operand."""
        return self.make(op, (a,))

    def add(self, a: Value, b: Value) -> Value:
        """The sum, without the operation where a number is zero."""
        for number, other in ((a, b), (b, a)):
            if is_number(number, 0.0):
                return other
        return self.make("add", (a, b))

    def sub(self, a: Value, b: Value) -> Value:
        """The difference."""
        return a if is_number(b, 0.0) else self.make("sub", (a, b))

    def mul(self, a: Value, b: Value) -> Value:
        """The product, without the operation where a number is one or minus one."""
        for number, other in ((a, b), (b, a)):
            if is_number(number, 1.0):
                return other
            if is_number(number, -1.0):
                return self.unary("neg", other)
        return self.make("mul", (a, b))

    def div(self, a: Value, b: Value) -> Value:
        """The quotient."""
        return a if is_number(b, 1.0) else self.make("div", (a, b))

    def where(self, mask: Value, a: Value, b: Value) -> Value:
        """`a` where the mask is not zero, otherwise `b`."""
        return self.make("where", (mask, a, b))

    def pow(self, a: Value, exponent: float) -> Value:
        """A power with a constant exponent."""
        named = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
        if exponent == 1.0:
            return a
        if exponent == 0.0:
            return self.constant(1.0)
        if exponent == 3.0:
            return self.mul(self.unary("square", a), a)
        if exponent in named:
            return self.unary(named[exponent], a)
        return self.make("pow", (a, self.constant(exponent)))

    def sum(self, a: Value, width: int) -> Value:
        """The sum over the columns of a row that is `width` wide, though `a` may be repeated."""
        if a.width == 1:
            return self.mul(a, self.constant(width))
        return self.make("sum", (a,))


def reachable(values: Iterable[Value]) -> set[Value]:
    """Values and everything that they are computed from."""
    seen: set[Value] = set()
    stack = list(values)
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            stack.extend(value.args)
    return seen


def is_number(value: Value, number: float) -> bool:
    """Whether a value is this constant."""
    return value.op == "constant" and value.attributes[0] == number


class Leaves(NamedTuple):
    """The tensors of the leaves of one step."""

    inputs: Sequence[Tensor]
    """Each (B, W)."""
    vectors: Sequence[Tensor]
    """Each (W,)."""
    matrices: Sequence[Tensor]
    """Each (K, W)."""
    states: Sequence[Tensor]
    """Each (B, W)."""


Multiply = Callable[[Tensor, Tensor], Tensor]
"""The product of (B, K) and (K, W)."""


def evaluate(values: Iterable[Value], leaves: Leaves, multiply: Multiply = torch.matmul) -> list[Tensor]:
    """Values of a step, computed with torch, each (B, W); differentiable any number of times."""
    known: dict[Value, Tensor] = {}
    results: list[Tensor] = []
    for value in values:
        stack = [value]
        while stack:
            top = stack[-1]
            missing = [arg for arg in top.args if arg not in known]
            if missing:
                stack.extend(missing)
            else:
                known[top] = _evaluate(top, [known[arg] for arg in top.args], leaves, multiply)
                stack.pop()
        B = leaves.states[0].size(0)
        results.append(known[value].expand(B, value.width))
    return results


def _evaluate(value: Value, args: list[Tensor], leaves: Leaves, multiply: Multiply) -> Tensor:
    if value.op == "constant":
        return leaves.states[0].new_full((1,), value.attributes[0])
    if value.op in LEAVES:
        index, column = value.attributes
        tensors: Mapping[str, Sequence[Tensor]] = {
            "input": leaves.inputs, "state": leaves.states, "vector": leaves.vectors
        }  # fmt: skip
        return tensors[value.op][index][..., column : column + value.width]
    if value.op == "matmul":
        matrix, first_row, last_row, first_column, last_column, _ = value.attributes
        return multiply(args[0], leaves.matrices[matrix][first_row:last_row, first_column:last_column])
    if value.op == "repeat":
        return args[0].expand(leaves.states[0].size(0), value.width)
    if value.op == "copy":
        return args[0].detach()
    if value.op in ("sum", "amax"):
        a = args[0].expand(leaves.states[0].size(0), value.args[0].width)
        return a.sum(-1, keepdim=True) if value.op == "sum" else a.amax(-1, keepdim=True)
    result = _TORCH.get(value.op, getattr(torch, value.op, None))
    assert result is not None
    return result(*args)


def _compare(op: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: op(a, b).to(a.dtype)


_TORCH: dict[str, Callable[..., Tensor]] = {
    "where": lambda mask, a, b: torch.where(mask != 0, a, b),
    "isnan": lambda a: torch.isnan(a).to(a.dtype),
    "gt": _compare(torch.gt),
    "ge": _compare(torch.ge),
    "eq": _compare(torch.eq),
    "ne": _compare(torch.ne),
}
"""Operations whose name in torch, or whose result, is another."""
