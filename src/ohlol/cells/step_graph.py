"""A cell of a user, read into a step graph.

The operations of a step fall into three parts. What depends on weights alone is computed once a call. What depends on
the input x is computed for all steps at once, which needs each row to be computed by itself. What depends on the state
is the step proper: values of `step_values`, which the vector machine computes for one step after the other. An
operation that fits nowhere raises `UnsupportedStepError`, and the cell runs in a loop.

Shapes: B batch, S rows of all steps, W width.
"""

from collections.abc import Sequence

import torch

from ohlol.cells.step_lowering import INPUT, STATE, WEIGHT, Lowering, StepGraph, has_rows
from ohlol.cells.step_operations import LOWERED
from ohlol.cells.step_trace import BATCH, Operation, Ref, Shape, StepTrace, UnsupportedStepError


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
        graph = Lowering(trace, self.part, steps, LOWERED).build(out, next_states)
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
        if not all(has_rows(shapes[v]) for v in operands) or not all(map(has_rows, results)):
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
    adds_axis = operation.name in ("aten::stack", "aten::unsqueeze")
    rank = min(len(shapes[v]) for v in (operation.values if adds_axis else operation.operands) if shapes[v])
    names = [argument.name for argument in operation.target._schema.arguments]
    arguments = {**dict(zip(names, operation.args, strict=False)), **operation.kwargs}
    defaults = {a.name: a.default_value for a in operation.target._schema.arguments if a.has_default_value()}
    dim = arguments.get("dim", arguments.get("dims", defaults.get("dim")))
    dims = [dim] if isinstance(dim, int) else dim
    if not dims:
        return False
    return all(isinstance(d, int) and d % max(rank, 1) != 0 for d in dims)
