"""A step graph over packed sequences as one autograd function.

Torch computes what depends on weights alone and what depends on the input, for all steps at once; the vector machine
computes the rest, forward and backward. A double backward runs the step's operations with torch.

Shapes: T steps, B sequences, S rows of all steps, I input size, W width, O width of the output.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ohlol.cells.step_gradient import Needs
from ohlol.cells.step_lowering import StepGraph
from ohlol.cells.step_trace import run_operations
from ohlol.cells.step_values import Leaves, evaluate
from ohlol.cells.unroll import unroll_packed
from ohlol.ops.backend import empty
from ohlol.ops.program_writer import padded
from ohlol.ops.step_program import StepPrograms, compile_step
from ohlol.ops.validation import are_readable, materialize

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
        self._programs: dict[tuple[Needs | None, bool], StepPrograms] = {}

    def programs(self, needs: Needs | None, ahead: bool) -> StepPrograms:
        """The programs for these gradients; `ahead` computes products of the input before the first step."""
        programs = self._programs.get((needs, ahead))
        if programs is None:
            programs = self._programs[needs, ahead] = compile_step(self.graph, self.dtype, needs, ahead)
        return programs


def run_step(
    step: CompiledStep, weights: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor], rows: PackedRows
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over packed sequences.

    Args:
        step: the cell.
        weights: its parameters and buffers by name.
        x: (S, I).
        state: the initial states, each (B, W).
        rows: where the sequences lie.

    Returns:
        The outputs (S, O) and the final states, each (B, W).
    """
    graph = step.graph
    trace = graph.trace
    values: dict[int, Tensor] = {i: weights[name] for i, name in enumerate(trace.weights)}
    values.update(trace.constants)
    values[trace.x] = x
    run_operations(graph.weight_operations, values, rows.S)
    run_operations(graph.input_operations, values, rows.S)
    inputs = [_shaped(values[leaf.value], (rows.S, leaf.width)) for leaf in graph.inputs]
    vectors = [_shaped(values[leaf.value], (leaf.width,)) for leaf in graph.vectors]
    matrices = [values[leaf.value] for leaf in graph.matrices]
    tensors = (*inputs, *vectors, *matrices, *state)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        results = _StepFunction.apply(step, rows, *tensors)
        assert isinstance(results, tuple)
    else:
        results, _ = _forward(step, rows, None, tensors)
    if graph.out:
        return results[0], tuple(results[1:])
    return values[graph.out_value], tuple(results)


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return tensor if tensor.shape == shape else tensor.reshape(shape)


def _as_used(graph: StepGraph, matrices: Sequence[Tensor]) -> list[Tensor]:
    """Matrices, transposed where the step reads their transposes."""
    return [m.t() if leaf.transposed else m for leaf, m in zip(graph.matrices, matrices, strict=True)]


def _with_memory(matrix: Tensor) -> Tensor:
    """The same numbers in memory, in any layout."""
    has_memory = not matrix.is_cpu or matrix.data_ptr() or not matrix.numel()
    return matrix if has_memory and not matrix.is_neg() else materialize(matrix)


def _addresses(tensors: Sequence[Tensor | None]) -> list[int]:
    """The address and the length of each tensor."""
    return [n for t in tensors for n in ((0, 0) if t is None else (t.data_ptr(), t.numel()))]


def _parts(tensor: Tensor, lds: Sequence[int], S: int) -> list[int]:
    """The address and the length of adjacent tensors of S rows."""
    numbers: list[int] = []
    address, size = tensor.data_ptr(), tensor.element_size()
    for ld in lds:
        numbers += [address, S * ld]
        address += S * ld * size
    return numbers


def _matrix_views(matrices: Sequence[Tensor]) -> list[int]:
    """Address, length, shape and strides of each matrix."""
    views: list[int] = []
    for matrix in matrices:
        (rows, columns), (row_stride, column_stride) = matrix.shape, matrix.stride()
        length = (rows - 1) * row_stride + (columns - 1) * column_stride + 1
        views += [matrix.data_ptr(), length, rows, columns, row_stride, column_stride]
    return views


def _computes_ahead(rows: PackedRows) -> bool:
    """Whether products of the input are computed for all steps at once: with few rows a step would wait for weights."""
    return rows.B < MANY_ROWS and rows.T > 1


def _split(graph: StepGraph, tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], ...]:
    """The inputs, vectors, matrices and states among the leaves."""
    parts: list[Sequence[Tensor]] = []
    at = 0
    for leaves in (graph.inputs, graph.vectors, graph.matrices, graph.state_widths):
        parts.append(tensors[at : at + len(leaves)])
        at += len(leaves)
    return tuple(parts)


def _needs_of(graph: StepGraph, needs: Sequence[bool]) -> Needs:
    """Which leaves need a gradient, by kind."""
    parts: list[tuple[bool, ...]] = []
    at = 0
    for leaves in (graph.inputs, graph.vectors, graph.matrices, graph.state_widths):
        parts.append(tuple(needs[at : at + len(leaves)]))
        at += len(leaves)
    return Needs(*parts)


def _forward(
    step: CompiledStep, rows: PackedRows, needs: Needs | None, tensors: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The outputs, if the step computes them, with the final states; and what the backward pass reads."""
    graph, programs = step.graph, step.programs(needs, _computes_ahead(rows))
    inputs, vectors, matrices, states = _split(graph, tensors)
    like = states[0]
    out = [empty(like, rows.S, sum(piece.width for piece in graph.out))] if graph.out else []
    saved = empty(like, rows.S * sum(programs.saved_lds))
    final = [empty(like, rows.B, width) for width in graph.state_widths]
    inputs = [materialize(t) for t in inputs]
    vectors = [materialize(t) for t in vectors]
    matrices = [_with_memory(t) for t in _as_used(graph, matrices)]
    states = [materialize(t) for t in states]
    before = empty(like, rows.S * sum(programs.before_lds))
    before_rows = _parts(before, programs.before_lds, rows.S)
    if programs.before is not None:
        work = rows.S * sum(programs.before_lds) * max(leaf.width for leaf in graph.inputs)
        programs.before.run(
            threads=torch.get_num_threads() if work > SERIAL_AHEAD else 1,
            T=1,
            B=rows.S,
            S=rows.S,
            batch_sizes=0,
            reverse=False,
            rows=_addresses(inputs) + before_rows,
            vectors=_addresses(vectors),
            matrices=_matrix_views(matrices),
            initial=[],
            final=[],
            accumulators=[],
            products=[],
        )
    programs.forward.run(
        threads=torch.get_num_threads(),
        T=rows.T,
        B=rows.B,
        S=rows.S,
        batch_sizes=0 if rows.batch_sizes is None else rows.batch_sizes.data_ptr(),
        reverse=rows.reverse,
        rows=_addresses(inputs) + before_rows + _addresses(out) + _parts(saved, programs.saved_lds, rows.S),
        vectors=_addresses(vectors),
        matrices=_matrix_views(matrices),
        initial=_addresses(states),
        final=_addresses(final),
        accumulators=[],
        products=[],
    )
    return (*out, *final), saved


def _backward(
    step: CompiledStep,
    rows: PackedRows,
    needs: Needs,
    tensors: Sequence[Tensor],
    saved: Tensor,
    grads: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradients of the leaves."""
    graph, programs = step.graph, step.programs(needs, _computes_ahead(rows))
    gradient = programs.gradient
    assert gradient is not None
    inputs, vectors, matrices, states = _split(graph, tensors)
    like = states[0]
    grad_out: list[Tensor] = []
    if graph.out:
        width = sum(piece.width for piece in graph.out)
        grad_out = [torch.zeros(rows.S, width, dtype=step.dtype) if grads[0] is None else materialize(grads[0])]
        grads = grads[1:]
    d_inputs = [
        empty(like, rows.S, padded(graph.inputs[k].width, step.dtype))
        if covered
        else torch.zeros(rows.S, padded(graph.inputs[k].width, step.dtype), dtype=step.dtype)
        for k, covered in zip(programs.input_gradients, programs.covers, strict=True)
    ]
    d_products = empty(like, rows.S * sum(programs.product_lds))
    sums = [empty(like, width) for width in programs.sums]
    d_states = [empty(like, rows.B, width) for width in graph.state_widths]
    d_matrices = [empty(like, product.width, product.operand.width) for product in programs.matrix_gradients]
    kept = (
        [*map(materialize, inputs)],
        [*map(materialize, vectors)],
        [_with_memory(t) for t in _as_used(graph, matrices)],
    )
    initial = [None if g is None else materialize(g) for g in grads]
    programs.backward.run(
        threads=torch.get_num_threads(),
        T=rows.T,
        B=rows.B,
        S=rows.S,
        batch_sizes=0 if rows.batch_sizes is None else rows.batch_sizes.data_ptr(),
        reverse=not rows.reverse,
        rows=[
            *_addresses([*kept[0], *grad_out]),
            *_parts(saved, programs.saved_lds, rows.S),
            *_addresses(d_inputs),
            *_parts(d_products, programs.product_lds, rows.S),
        ],
        vectors=_addresses(kept[1]),
        matrices=_matrix_views(kept[2]),
        initial=_addresses(initial),
        final=_addresses(d_states),
        accumulators=_addresses(sums),
        products=_addresses(d_matrices),
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
    results[first : first + len(matrices)] = _matrix_gradients(programs, needs, d_matrices)
    results[first + len(matrices) :] = [d if need else None for d, need in zip(d_states, needs.states, strict=True)]
    return results


def _matrix_gradients(programs: StepPrograms, needs: Needs, d_matrices: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of the weight matrices, of the products over all rows."""
    graph = programs.graph
    results: list[Tensor | None] = [None] * len(graph.matrices)
    for parts, d_transposed in zip(programs.matrix_parts, d_matrices, strict=True):
        for part in parts:
            leaf, d_part = graph.matrices[part.matrix], d_transposed[part.first : part.last]
            total = results[part.matrix]
            if total is None and part.is_whole:
                results[part.matrix] = d_part if leaf.transposed else d_part.t()
                continue
            shape = (leaf.width, leaf.rows) if leaf.transposed else (leaf.rows, leaf.width)
            total = torch.zeros(shape, dtype=programs.dtype) if total is None else total
            used = total.t() if leaf.transposed else total
            used[part.rows, part.columns] += d_part.t()
            results[part.matrix] = total
    for k, leaf in enumerate(graph.matrices):
        if needs.matrices[k] and results[k] is None:
            shape = (leaf.width, leaf.rows) if leaf.transposed else (leaf.rows, leaf.width)
            results[k] = torch.zeros(shape, dtype=programs.dtype)
    return results


class _StepFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: CompiledStep, rows: PackedRows, *tensors: Tensor) -> Any:
        if rows.batch_sizes is not None:
            rows = rows._replace(batch_sizes=rows.batch_sizes.clone())  # the caller may change them before backward
        needs = _needs_of(step.graph, ctx.needs_input_grad[2:])
        results, saved = _forward(step, rows, needs, tensors)
        ctx.step, ctx.rows, ctx.needs, ctx.count = step, rows, needs, len(tensors)
        ctx.layouts = [(t.shape, t.dtype) for t in (*tensors, saved)]
        ctx.save_for_backward(*tensors, saved)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        step, rows = ctx.step, ctx.rows
        kept = ctx.saved_tensors
        tensors, saved = kept[: ctx.count], kept[-1]
        is_same = [(t.shape, t.dtype) for t in kept] == ctx.layouts and all(t.is_cpu for t in kept)
        for tensor in kept:
            _with_memory(tensor)  # which raises an error where a storage was freed
        if torch.is_grad_enabled() or not is_same or not are_readable(grads, step.dtype):
            return (None, None, *_replay(step.graph, rows, tensors, ctx.needs_input_grad[2:], grads))
        return (None, None, *_backward(step, rows, ctx.needs, tensors, saved, grads))


def torch_step_recurrence(graph: StepGraph, rows: PackedRows, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The same as the vector machine computes, with torch."""
    inputs, vectors, matrices, states = _split(graph, tensors)
    matrices = _as_used(graph, matrices)
    values = [*graph.out, *(piece for pieces in graph.next_states for piece in pieces)]
    counts = [len(graph.out), *map(len, graph.next_states)]

    def step(at: slice, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        pieces = evaluate(values, Leaves([x[at] for x in inputs], vectors, matrices, state))
        ends = list(accumulate(counts, initial=0))
        out, *next_state = (torch.cat(pieces[a:b], 1) if b > a else pieces[0] for a, b in pairwise(ends))
        return out, tuple(next_state)

    out, final = unroll_packed(step, rows.sizes(), tuple(states), rows.reverse)
    return (out, *final) if graph.out else final


def _replay(
    graph: StepGraph,
    rows: PackedRows,
    tensors: Sequence[Tensor],
    needs: Sequence[bool],
    grads: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradients by a second forward pass with torch; differentiable where grad mode is on."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: a leaf may be computed from another, and has its own gradient all the same.
        aliases = [t.view_as(t) for t in tensors]
        outputs = torch_step_recurrence(graph, rows, aliases)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
        results: list[Tensor | None] = [None] * len(tensors)
        wanted = [i for i, need in enumerate(needs) if need]
        if pairs and wanted:
            found = torch.autograd.grad(
                [o for o, _ in pairs],
                [aliases[i] for i in wanted],
                [g for _, g in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
            for i, grad in zip(wanted, found, strict=True):
                results[i] = grad
    return results
