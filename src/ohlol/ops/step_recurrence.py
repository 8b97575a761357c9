"""A step graph over packed sequences as one autograd function.

Torch computes what depends on weights alone and what depends on the input, for all steps at once; the vector machine
computes the rest, forward and backward. A double backward runs the step's operations with torch.

Shapes: T steps, B sequences, S rows of all steps, I input size, W width, O width of the output.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ohlol.cells.step_gradient import Needs
from ohlol.cells.step_lowering import Leaf, StepGraph
from ohlol.cells.step_trace import run_operations
from ohlol.cells.step_values import Leaves, Multiply, evaluate
from ohlol.cells.unroll import unroll_packed
from ohlol.ops.backend import PackedMatrices, empty
from ohlol.ops.step_program import StepPrograms, compile_step
from ohlol.ops.validation import are_readable, is_materialized, materialize
from ohlol.ops.workspace import workspace

MANY_ROWS = 8
"""Sequences from which the products of the input are computed in each step."""


SERIAL_AHEAD = 3e7
"""Multiplications up to which one thread computes them before the first step: starting another takes longer."""


class PackedRows(NamedTuple):
    """The rows of packed sequences."""

    T: int
    B: int
    S: int
    batch_sizes: Tensor | None
    """(T,), or None where every step has B rows."""
    reverse: bool = False

    def sizes(self) -> list[int]:
        """The number of sequences at each step."""
        return [self.B] * self.T if self.batch_sizes is None else self.batch_sizes.tolist()


class CompiledStep:
    """A step graph and its programs, one pair for each choice of leaves that need gradients."""

    def __init__(self, graph: StepGraph, dtype: torch.dtype):
        self.graph, self.dtype = graph, dtype
        self.out_width = sum(piece.width for piece in graph.out)
        self.counts = tuple(map(len, (graph.inputs, graph.vectors, graph.matrices, graph.state_widths)))
        self.input_leaves = [(leaf.value, leaf.width) for leaf in graph.inputs]
        self.vector_leaves = [(leaf.value, (leaf.width,)) for leaf in graph.vectors]
        self.matrix_leaves = [leaf.value for leaf in graph.matrices]
        self._programs: dict[tuple[tuple[bool, ...] | None, bool], StepPrograms] = {}

    def programs(self, needs: tuple[bool, ...] | None, ahead: bool) -> StepPrograms:
        """The programs for the gradients of these leaves; `ahead` computes products of the input before all steps."""
        programs = self._programs.get((needs, ahead))
        if programs is None:
            by_kind = None if needs is None else Needs(*self.split(needs))
            programs = self._programs[needs, ahead] = compile_step(self.graph, self.dtype, by_kind, ahead)
        return programs

    def split(self, leaves: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
        """What belongs to the inputs, vectors, matrices and states."""
        i, v, m, _ = self.counts
        return leaves[:i], leaves[i : i + v], leaves[i + v : i + v + m], leaves[i + v + m :]


def run_step(
    step: CompiledStep,
    weights: Mapping[str, Tensor],
    x: Tensor,
    state: Sequence[Tensor | None] | None,
    rows: PackedRows,
    as_layer: bool = False,
    reduced: PackedMatrices | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over packed sequences.

    Args:
        step: the cell.
        weights: its parameters and buffers by name.
        x: (S, I).
        state: the initial states, each (B, W); zeros if None.
        rows: where the sequences lie.
        as_layer: whether the results are those of one layer over a dense batch, (T, B, O) and (1, B, W).
        reduced: the matrices of `weights` with a reduced precision, which has no gradient.

    Returns:
        The outputs (S, O) and the final states, each (B, W).
    """
    graph = step.graph
    tensors, values = prepare_step(step, weights, x, graph.trace.constants, rows)
    if state is None:
        state = [None if tensors else x.new_zeros(rows.B, width) for width in graph.state_widths]
    tensors += state
    if reduced is not None:
        results, _ = forward_step(step, rows, as_layer, None, tensors, computes_ahead(rows), reduced)
    elif torch.is_grad_enabled() and any([t is not None and t.requires_grad for t in tensors]):  # noqa: C419  faster so
        results = _StepFunction.apply(step, rows, as_layer, *tensors)
        assert isinstance(results, tuple)
    else:
        results, _ = forward_step(step, rows, as_layer, None, tensors, computes_ahead(rows))
    if graph.out:
        return results[0], results[1:]
    out = values[graph.out_value]
    return out.view(rows.T, rows.B, -1) if as_layer else out, results


def prepare_step(
    step: CompiledStep, weights: Mapping[str, Tensor], x: Tensor, constants: Mapping[int, Tensor], rows: PackedRows
) -> tuple[list[Tensor | None], dict[int, Tensor]]:
    """Compute with torch what does not depend on the state: the leaves but the states, and values of the trace."""
    graph = step.graph
    trace = graph.trace
    values: dict[int, Tensor] = dict(enumerate(map(weights.__getitem__, trace.weights)))
    values.update(constants)
    values[trace.x] = x
    if graph.weight_operations:
        run_operations(graph.weight_operations, values, rows.S)
    if graph.input_operations:
        run_operations(graph.input_operations, values, rows.S)
    tensors: list[Tensor | None] = []
    for value, width in step.input_leaves:
        tensor = values[value]
        tensors.append(tensor if tensor.shape == (rows.S, width) else tensor.reshape(rows.S, width))
    for value, shape in step.vector_leaves:
        tensor = values[value]
        tensors.append(tensor if tensor.shape == shape else tensor.reshape(shape))
    for value in step.matrix_leaves:
        tensors.append(values[value])
    return tensors, values


def _as_used(graph: StepGraph, matrices: Sequence[Tensor]) -> list[Tensor]:
    """Matrices, transposed where the step reads their transposes."""
    return [m.t() if leaf.transposed else m for leaf, m in zip(graph.matrices, matrices, strict=True)]


def _add_tensors(numbers: list[int], copies: list[Tensor], tensors: Iterable[Tensor | None]) -> None:
    """Append the address and the length of each tensor, of a contiguous copy where it is not contiguous."""
    for tensor in tensors:
        if tensor is None:
            numbers += (0, 0)
            continue
        address = tensor.data_ptr() if tensor.is_contiguous() and not tensor.is_neg() else 0
        if not address:
            copies.append(tensor := materialize(tensor))
            address = tensor.data_ptr()
        numbers += (address, tensor.numel())


def _add_outputs(numbers: list[int], tensors: Iterable[Tensor]) -> None:
    """Append the address and the length of each new tensor."""
    for tensor in tensors:
        numbers += (tensor.data_ptr(), tensor.numel())


def _read_matrices(graph: StepGraph, copies: list[Tensor], matrices: Sequence[Tensor]) -> list[int]:
    """Address, length, shape and strides of each matrix, as the step reads it."""
    views: list[int] = []
    for leaf, matrix in zip(graph.matrices, matrices, strict=True):
        address = 0 if matrix.is_neg() else matrix.data_ptr()
        if not address:
            copies.append(matrix := materialize(matrix))
            address = matrix.data_ptr()
        (rows, columns), (row_stride, column_stride) = matrix.shape, matrix.stride()
        length = (rows - 1) * row_stride + (columns - 1) * column_stride + 1
        if leaf.transposed:
            rows, columns, row_stride, column_stride = columns, rows, column_stride, row_stride
        views += (address, length, rows, columns, row_stride, column_stride)
    return views


def computes_ahead(rows: PackedRows) -> bool:
    """Whether products of the input are computed for all steps at once: with few rows a step would wait for weights."""
    return rows.B < MANY_ROWS and rows.T > 1


def forward_step(
    step: CompiledStep,
    rows: PackedRows,
    as_layer: bool,
    needs: tuple[bool, ...] | None,
    tensors: Sequence[Tensor | None],
    ahead: bool,
    reduced: PackedMatrices | None = None,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The outputs, if the step computes them, with the final states; and what the backward pass reads."""
    graph, programs = step.graph, step.programs(needs, ahead)
    T, B, S, width = rows.T, rows.B, rows.S, step.out_width
    inputs, vectors, matrices, states = step.split(tensors)
    like = next(t for t in tensors if t is not None)
    results = [empty(like, T, B, width) if as_layer else empty(like, S, width)] if width else []
    results += [empty(like, 1, B, w) if as_layer else empty(like, B, w) for w in graph.state_widths]
    kept = workspace(like, S * programs.kept_size)
    numbers: list[int] = []
    copies: list[Tensor] = []
    _add_tensors(numbers, copies, inputs)
    if programs.kept_size:
        numbers += (kept.data_ptr(), kept.numel())
    final = results
    if width:
        out, *final = results
        numbers += (out.data_ptr(), out.numel())
    _add_tensors(numbers, copies, vectors)
    _add_tensors(numbers, copies, states)
    _add_outputs(numbers, final)
    threads = torch.get_num_threads()
    views = _read_matrices(graph, copies, matrices)
    packed = {} if reduced is None else reduced.arguments(programs, views)
    programs.forward.run(
        threads=threads,
        shape=(T, B, S),
        batch_sizes=0 if rows.batch_sizes is None else rows.batch_sizes.data_ptr(),
        reverse=rows.reverse,
        tensors=numbers,
        matrices=views,
        before=programs.before,
        before_threads=threads if S * programs.before_work > SERIAL_AHEAD else 1,
        **packed,
    )
    return tuple(results), kept


def backward_step(
    step: CompiledStep,
    rows: PackedRows,
    needs: tuple[bool, ...],
    tensors: Sequence[Tensor | None],
    kept: Tensor,
    grads: Sequence[Tensor | None],
    ahead: bool,
) -> list[Tensor | None]:
    """The gradients of the leaves."""
    graph, programs = step.graph, step.programs(needs, ahead)
    B, S, width = rows.B, rows.S, step.out_width
    inputs, vectors, matrices, _ = step.split(tensors)
    d_inputs = [
        empty(kept, S, ld) if covered else kept.new_zeros(S, ld)
        for ld, covered in zip(programs.input_gradient_lds, programs.covers, strict=True)
    ]
    d_products = workspace(kept, S * programs.product_size)
    sums = [empty(kept, width) for width in programs.sums]
    d_matrices = [empty(kept, *shape) for shape in programs.matrix_gradient_shapes]
    d_states = [
        empty(kept, B, w) if need else None
        for w, need in zip(graph.state_widths, needs[len(needs) - len(graph.state_widths) :], strict=True)
    ]
    numbers: list[int] = []
    copies: list[Tensor] = []
    _add_tensors(numbers, copies, inputs)
    if programs.kept_size:
        numbers += (kept.data_ptr(), kept.numel())
    if width:
        grad_out, *grads = grads
        if grad_out is None:
            grad_out = kept.new_zeros(S, width)
        _add_tensors(numbers, copies, (grad_out,))
    _add_outputs(numbers, d_inputs)
    if programs.product_size:
        numbers += (d_products.data_ptr(), d_products.numel())
    _add_tensors(numbers, copies, vectors)
    _add_tensors(numbers, copies, grads)
    _add_tensors(numbers, copies, d_states)
    _add_outputs(numbers, sums)
    _add_outputs(numbers, d_matrices)
    programs.backward.run(
        threads=torch.get_num_threads(),
        shape=(rows.T, B, S),
        batch_sizes=0 if rows.batch_sizes is None else rows.batch_sizes.data_ptr(),
        reverse=not rows.reverse,
        tensors=numbers,
        matrices=_read_matrices(graph, copies, matrices),
    )
    results: list[Tensor | None] = [None] * len(tensors)
    for k, d_input in zip(programs.input_gradients, d_inputs, strict=True):
        width = graph.inputs[k].width
        results[k] = d_input if d_input.size(1) == width else d_input[:, :width]
    taken: set[int] = set()
    for k, i in programs.vector_gradients.items():
        results[len(inputs) + k] = sums[i].clone() if i in taken else sums[i]
        taken.add(i)
    first = len(inputs) + len(vectors)
    _set_matrix_gradients(programs, needs, d_matrices, results, first)
    results[first + len(matrices) :] = d_states
    return results


def _set_matrix_gradients(
    programs: StepPrograms,
    needs: Sequence[bool],
    d_matrices: Sequence[Tensor],
    results: list[Tensor | None],
    first: int,
) -> None:
    """Set the gradients of the weight matrices, from `first` on, to those of the products over all rows."""
    graph = programs.graph
    for parts, d_transposed in zip(programs.matrix_parts, d_matrices, strict=True):
        for part in parts:
            k, leaf = first + part.matrix, graph.matrices[part.matrix]
            is_all = part.last - part.first == d_transposed.size(0)
            d_part = d_transposed if is_all else d_transposed[part.first : part.last]
            total = results[k]
            if total is None and part.is_whole:
                results[k] = d_part if leaf.transposed else d_part.t()
                continue
            total = results[k] = _zeros(leaf, programs.dtype) if total is None else total
            used = total.t() if leaf.transposed else total
            used[part.rows, part.columns] += d_part.t()
    for k, leaf in enumerate(graph.matrices, first):
        if needs[k] and results[k] is None:
            results[k] = _zeros(leaf, programs.dtype)


def _zeros(leaf: Leaf, dtype: torch.dtype) -> Tensor:
    """Zeros of the shape of a matrix."""
    return torch.zeros((leaf.width, leaf.rows) if leaf.transposed else (leaf.rows, leaf.width), dtype=dtype)


class _StepFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: CompiledStep, rows: PackedRows, as_layer: bool, *tensors: Tensor | None) -> Any:
        if rows.batch_sizes is not None:
            rows = rows._replace(batch_sizes=rows.batch_sizes.clone())  # the caller may change them before backward
        needs = ctx.needs_input_grad[3:]
        results, kept = forward_step(step, rows, as_layer, needs, tensors, computes_ahead(rows))
        ctx.step, ctx.rows, ctx.as_layer, ctx.needs = step, rows, as_layer, needs
        ctx.shapes, ctx.kept = [None if t is None else t.shape for t in tensors], kept.numel()
        ctx.save_for_backward(*tensors, kept)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        step, rows = ctx.step, ctx.rows
        *tensors, kept = ctx.saved_tensors
        if not torch.is_grad_enabled() and are_readable(grads, step.dtype) and _are_unchanged(ctx, tensors, kept):
            return (None, None, None, *backward_step(step, rows, ctx.needs, tensors, kept, grads, computes_ahead(rows)))
        for tensor in tensors:
            if tensor is not None and tensor.is_cpu and not tensor.data_ptr():
                materialize(tensor)  # raises an error where the storage was freed
        if ctx.as_layer:
            grads = tuple(None if g is None else g.flatten(0, 1) for g in grads)
        return (None, None, None, *replay_step(step, rows, tensors, ctx.needs, grads))


def _are_unchanged(ctx: Any, tensors: Sequence[Tensor | None], kept: Tensor) -> bool:
    """Whether saved tensors are as the forward pass saw them: neither `Tensor.data` nor a hook has replaced them."""
    dtype = ctx.step.dtype
    for tensor, shape in zip(tensors, ctx.shapes, strict=True):
        if tensor is not None and (tensor.shape != shape or tensor.dtype is not dtype or not tensor.is_cpu):
            return False
    return kept.numel() == ctx.kept and kept.dtype is dtype and kept.is_cpu and is_materialized(kept)


def torch_step_recurrence(
    step: CompiledStep, rows: PackedRows, tensors: Sequence[Tensor | None], multiply: Multiply = torch.matmul
) -> tuple[Tensor, ...]:
    """The same as the vector machine computes, with torch."""
    graph = step.graph
    inputs, vectors, matrices, states = step.split(tensors)
    matrices = _as_used(graph, matrices)
    like = next(t for t in tensors if t is not None)
    states = [
        like.new_zeros(rows.B, width) if s is None else s for s, width in zip(states, graph.state_widths, strict=True)
    ]
    values = [*graph.out, *(piece for pieces in graph.next_states for piece in pieces)]
    counts = [len(graph.out), *map(len, graph.next_states)]

    def run(at: slice, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        pieces = evaluate(values, Leaves([x[at] for x in inputs], vectors, matrices, state), multiply)
        ends = list(accumulate(counts, initial=0))
        out, *next_state = (torch.cat(pieces[a:b], 1) if b > a else pieces[0] for a, b in pairwise(ends))
        return out, tuple(next_state)

    out, final = unroll_packed(run, rows.sizes(), tuple(states), rows.reverse)
    return (out, *final) if graph.out else final


def replay_step(
    step: CompiledStep,
    rows: PackedRows,
    tensors: Sequence[Tensor | None],
    needs: Sequence[bool],
    grads: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradients by a second forward pass with torch; differentiable where grad mode is on."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: a leaf may be computed from another, and has its own gradient all the same.
        aliases = [None if t is None else t.view_as(t) for t in tensors]
        outputs = torch_step_recurrence(step, rows, aliases)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
        results: list[Tensor | None] = [None] * len(tensors)
        wanted = [
            (i, alias) for i, (alias, need) in enumerate(zip(aliases, needs, strict=True)) if alias is not None and need
        ]
        if pairs and wanted:
            gradients = torch.autograd.grad(
                [o for o, _ in pairs],
                [alias for _, alias in wanted],
                [g for _, g in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
            for (i, _), gradient in zip(wanted, gradients, strict=True):
                results[i] = gradient
    return results
