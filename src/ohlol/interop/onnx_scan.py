"""A step graph as an ONNX `Scan`: the step is the body, which runs once for each time step.

What the step computes from the input alone is computed before the loop, for all steps at once, and what it computes
from weights alone is an initializer.

Shapes: T steps, B sequences, I input size, W width of a value, O width of the output.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from onnx import TensorProto, helper
from torch import Tensor

from ohlol.cells.step_lowering import INPUT, STATE, WEIGHT, StepGraph
from ohlol.cells.step_trace import UnsupportedStepError, run_operations
from ohlol.cells.step_values import Leaves, Value, evaluate
from ohlol.interop.onnx_graph import GraphBuilder
from ohlol.nn import Recurrent
from ohlol.nn.cell_interface import weights_of
from ohlol.utils.errors import InputError
from ohlol.utils.translation import message_id, translate

OPERATORS = {
    "neg": "Neg", "abs": "Abs", "sign": "Sign", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp",
    "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "sin": "Sin", "cos": "Cos", "erf": "Erf",
    "copy": "Identity", "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "minimum": "Min", "maximum": "Max",
    "pow": "Pow",
}  # fmt: skip
"""Operations that one operator computes."""
MASKS = {"isnan": ("IsNaN",), "gt": ("Greater",), "ge": ("GreaterOrEqual",), "eq": ("Equal",), "ne": ("Equal", "Not")}
"""Operations whose operators, one after the other, return booleans."""


_REFUSED = message_id("the cell cannot be exported")


class Scanned(NamedTuple):
    """The names of what a `Scan` returns."""

    output: str
    """(T, B, O)."""
    states: list[str]
    """After the last step of each sequence, each (B, W)."""


@torch.no_grad()
def add_recurrent(
    g: GraphBuilder, layers: Recurrent, x: str, states: Sequence[str], lengths: str
) -> tuple[str, list[list[str]]]:
    """Add all layers and directions of a `Recurrent` in evaluation mode, without dropout.

    Args:
        g: the graph.
        layers: the cells.
        x: the name of the input, (T, B, I) float.
        states: the names of the initial states, each (L*D, B, W) float.
        lengths: the name of the number of steps of each sequence, (B,) int64; empty if all have T.

    Returns:
        The name of the output (T, B, D*O), and for each state the names of its last value in each layer, (D, B, W).

    Raises:
        InputError: a cell has an operation that only torch can run; it and its source line are named.
    """
    is_step = _add_is_step(g, x, lengths) if lengths else ""
    ends: list[list[str]] = [[] for _ in states]
    D = 2 if layers.bidirectional else 1
    for layer in range(layers.num_layers):
        scans: list[Scanned] = []
        for k in range(layer * D, layer * D + D):
            name = f"cell{k}"
            starts = [g.add(f"{s}.{name}", "Gather", s, g.constant(f"int_{k}", np.array(k)), axis=0) for s in states]
            weights = weights_of(layers.cells[k])
            try:
                graph = layers.read_graph(k)
            except UnsupportedStepError as reason:
                raise InputError("{refused}: {reason}", refused=translate(_REFUSED), reason=reason) from None
            scan = _Scan(g, name, graph, weights, x, starts, reverse=k % D == 1)
            scans.append(scan.build(is_step))
        for parts, last in zip(ends, zip(*(scan.states for scan in scans), strict=True), strict=True):
            rows = [g.add(f"{name}.layer", "Unsqueeze", name, g.ints(0)) for name in last]
            parts.append(g.add(f"{last[0]}.joined", "Concat", *rows, axis=0) if D == 2 else rows[0])
        outputs = [scan.output for scan in scans]
        x = g.add(f"layer{layer}.joined", "Concat", *outputs, axis=2) if D == 2 else outputs[0]
    return x, ends


def _add_is_step(g: GraphBuilder, x: str, lengths: str) -> str:
    """Which steps are those of a sequence and not padding, (T, B, 1) bool."""
    count = g.add("steps.count", "Gather", g.add("steps.shape", "Shape", x), g.constant("int_0", np.array(0)), axis=0)
    steps = g.add("steps", "Range", g.constant("int_0", np.array(0)), count, g.constant("int_1", np.array(1)))
    steps = g.add("steps.column", "Unsqueeze", steps, g.ints(1))  # (T,) -> (T, 1)
    is_step = g.add("steps.is_step", "Less", steps, lengths)  # (T, 1) and (B,) -> (T, B)
    return g.add("steps.mask", "Unsqueeze", is_step, g.ints(2))


class _Scan:
    def __init__(
        self,
        g: GraphBuilder,
        name: str,
        graph: StepGraph,
        weights: dict[str, Tensor],
        x: str,
        states: Sequence[str],
        reverse: bool,
    ):
        if not graph.out:
            raise InputError("{refused}: its output does not depend on its state", refused=translate(_REFUSED))
        self.outer, self.body = g, g.make_body()
        self.name, self.graph, self.x, self.states, self.reverse = name, graph, x, states, reverse
        values = {i: weights[key].detach() for i, key in enumerate(graph.trace.weights)}
        values.update(graph.trace.constants)
        run_operations(graph.weight_operations, values, 1)
        for operation in graph.input_operations:
            if not values.keys() >= set(operation.operands):
                raise InputError(
                    "{refused}: no ONNX operator is known for {operation}",
                    refused=translate(_REFUSED),
                    operation=operation.describe(),
                )
            run_operations([operation], values, 1)  # weights that are repeated for each sequence
        self.rows = [values.get(leaf.value) for leaf in graph.inputs]
        """(1, W) of an input that does not depend on x."""
        self.vectors = [values[leaf.value].reshape(leaf.width) for leaf in graph.vectors]
        self.matrices = [values[leaf.value].t() if leaf.transposed else values[leaf.value] for leaf in graph.matrices]
        self.scanned: dict[str, str] = {}
        """The names of scanned inputs outside of the body and in it."""
        self.parts: dict[Value, int] = {}
        self.names: dict[Value, str] = {}
        self.masks: dict[Value, str] = {}

    def build(self, is_step: str) -> Scanned:
        graph, body = self.graph, self.body
        before = [
            body.input(f"{self.name}.before{k}", TensorProto.FLOAT, ["batch", width])
            for k, width in enumerate(graph.state_widths)
        ]
        out = self._result("output", graph.out)
        after = [self._result(f"next{k}", pieces) for k, pieces in enumerate(graph.next_states)]
        if is_step:
            mask = self._scan(is_step, TensorProto.BOOL, 1)
            after = [
                body.add(f"{self.name}.kept{k}", "Where", mask, new, old)
                for k, (new, old) in enumerate(zip(after, before, strict=True))
            ]
        if not self.scanned:  # T must be known
            self._scan(self.x, TensorProto.FLOAT, "inputs")
        for k, (state, width) in enumerate(zip(after, graph.state_widths, strict=True)):
            body.output(f"{self.name}.after{k}", TensorProto.FLOAT, ["batch", width], state)
        width = sum(piece.width for piece in graph.out)
        body.output(f"{self.name}.out", TensorProto.FLOAT, ["batch", width], out)
        step = helper.make_graph(body.nodes, f"{self.name}.step", body.inputs, body.outputs)
        *final, output = self.outer.add(
            f"{self.name}.scan", "Scan", *self.states, *self.scanned, outputs=len(after) + 1, body=step,
            num_scan_inputs=len(self.scanned), scan_input_directions=[int(self.reverse)] * len(self.scanned),
            scan_output_directions=[int(self.reverse)],
        )  # fmt: skip
        return Scanned(output, final)

    def _scan(self, outside: str, kind: int, width: int | str) -> str:
        """The rows (B, W) of one step of what is (T, B, W) outside of the body."""
        if outside not in self.scanned:
            self.scanned[outside] = self.body.input(f"{outside}.{self.name}.row", kind, ["batch", width])
        return self.scanned[outside]

    def _result(self, name: str, pieces: Sequence[Value]) -> str:
        """Pieces of adjacent columns as one value of the body, (B, W)."""
        names = [self._full(f"{self.name}.{name}{i}", piece) for i, piece in enumerate(pieces)]
        return self.body.add(f"{self.name}.{name}", "Concat", *names, axis=1) if len(names) > 1 else names[0]

    def _full(self, name: str, piece: Value) -> str:
        """A piece in the body with a row for each sequence."""
        row = self._in_body(piece)
        if self._part(piece) != WEIGHT:
            return row
        shape = self.body.add(f"{name}.shape", "Shape", f"{self.name}.before0", start=0, end=1)
        shape = self.body.add(f"{name}.full_shape", "Concat", shape, self.outer.ints(piece.width), axis=0)
        return self.body.add(name, "Expand", row, shape)

    def _part(self, value: Value) -> int:
        """Whether a value depends on the state, on the input, or on weights alone."""
        for one in _in_order(value, self.parts):
            leaf = STATE if one.op == "state" else WEIGHT
            if one.op == "input" and self.rows[one.attributes[0]] is None:
                leaf = INPUT
            self.parts[one] = max((self.parts[arg] for arg in one.args), default=leaf)
        return self.parts[value]

    def _in_body(self, value: Value) -> str:
        """The name of a value in the body."""
        name = self._find(value)
        return self._scan(name, TensorProto.FLOAT, value.width) if self._part(value) == INPUT else name

    def _find(self, value: Value) -> str:
        """The name of a value where it is computed: in the body if it depends on the state."""
        for one in _in_order(value, self.names):
            self.names[one] = self._add(one)
        return self.names[value]

    def _add(self, value: Value) -> str:
        part, name = self._part(value), f"{self.name}.{value.op}{value.order}"
        if part == WEIGHT:
            leaves = Leaves(
                [torch.empty(0) if row is None else row for row in self.rows],
                self.vectors,
                self.matrices,
                [torch.zeros(1, 1)],
            )
            return self.outer.constant(name, evaluate([value], leaves)[0])
        g = self.body if part == STATE else self.outer
        args = [self._in_body(arg) if part == STATE else self.names[arg] for arg in value.args]
        if value.op in MASKS:
            mask = args
            for operator in MASKS[value.op]:
                mask = [g.add(f"{name}.{operator}", operator, *mask)]
            (self.masks[value],) = mask
            return g.add(name, "Cast", *mask, to=TensorProto.FLOAT)
        if value.op in OPERATORS:
            return g.add(name, OPERATORS[value.op], *args)
        if value.op in ("state", "input"):
            return self._columns(g, name, value)
        return getattr(self, f"_add_{value.op}")(g, name, value, *args)

    def _columns(self, g: GraphBuilder, name: str, value: Value) -> str:
        index, first = value.attributes
        whole, width = self.x, 0
        if value.op == "state":
            whole, width = f"{self.name}.before{index}", self.graph.state_widths[index]
        else:
            width = self.graph.inputs[index].width
        if value.width == width:
            return whole
        return g.add(name, "Slice", whole, g.ints(first), g.ints(first + value.width), g.ints(-1))

    def _number(self, number: float) -> str:
        return self.outer.constant(f"number_{number}", np.array(number, np.float32))

    def _add_matmul(self, g: GraphBuilder, name: str, value: Value, a: str) -> str:
        matrix, first_row, last_row, first_column, last_column, _ = value.attributes
        part = self.matrices[matrix][first_row:last_row, first_column:last_column]
        place = f"{first_row}_{last_row}_{first_column}_{last_column}"
        return g.add(name, "MatMul", a, g.constant(f"{self.name}.matrix{matrix}.{place}", part))

    def _add_square(self, g: GraphBuilder, name: str, value: Value, a: str) -> str:
        return g.add(name, "Mul", a, a)

    def _add_rsqrt(self, g: GraphBuilder, name: str, value: Value, a: str) -> str:
        return g.add(name, "Reciprocal", g.add(f"{name}.root", "Sqrt", a))

    def _add_log1p(self, g: GraphBuilder, name: str, value: Value, a: str) -> str:
        return g.add(name, "Log", g.add(f"{name}.sum", "Add", a, self._number(1.0)))

    def _add_expm1(self, g: GraphBuilder, name: str, value: Value, a: str) -> str:
        """tanh(a / 2) * (exp(a) + 1), which is exact for small a, too."""
        half = g.add(f"{name}.half", "Mul", a, self._number(0.5))
        power = g.add(f"{name}.sum", "Add", g.add(f"{name}.exp", "Exp", a), self._number(1.0))
        return g.add(name, "Mul", g.add(f"{name}.tanh", "Tanh", half), power)

    def _add_mul_add(self, g: GraphBuilder, name: str, value: Value, a: str, b: str, c: str) -> str:
        return g.add(name, "Add", g.add(f"{name}.product", "Mul", a, b), c)

    def _add_where(self, g: GraphBuilder, name: str, value: Value, mask: str, a: str, b: str) -> str:
        known = self.masks.get(value.args[0])
        if known is None or self._part(value.args[0]) != self._part(value):
            known = g.add(f"{name}.mask", "Cast", mask, to=TensorProto.BOOL)
        return g.add(name, "Where", known, a, b)

    def _add_sum(self, g: GraphBuilder, name: str, value: Value, a: str) -> str:
        return g.add(name, "ReduceSum", a, g.ints(-1), keepdims=1)

    def _add_amax(self, g: GraphBuilder, name: str, value: Value, a: str) -> str:
        return g.add(name, "ReduceMax", a, axes=[-1], keepdims=1)

    def _add_repeat(self, g: GraphBuilder, name: str, value: Value, a: str) -> str:
        return g.add(name, "Expand", a, g.ints(1, value.width))


def _in_order(value: Value, known: "dict[Value, int] | dict[Value, str]") -> list[Value]:
    """A value and what it is computed from, as far as it is not known, in the order of computation."""
    found: set[Value] = set()
    stack = [value]
    while stack:
        top = stack.pop()
        if top not in found and top not in known:
            found.add(top)
            stack.extend(top.args)
    return sorted(found, key=lambda one: one.order)
