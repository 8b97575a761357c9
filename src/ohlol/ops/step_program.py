"""Programs of the vector machine (csrc/program.h) for a step graph: one for the step, one for its gradient.

Shapes: B batch, S rows of all steps, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from ohlol.cells.step_gradient import MatrixGradient, Needs, Segment, StepGradient, differentiate
from ohlol.cells.step_lowering import StepGraph
from ohlol.cells.step_values import Value, reachable
from ohlol.ops.backend import step_program
from ohlol.ops.program_writer import Place, Program, ProgramWriter, Store, padded


class MatrixPart(NamedTuple):
    """Rows of a product over all rows: the gradient of a part of a matrix, transposed."""

    matrix: int
    first: int
    last: int
    is_whole: bool
    """Whether the part is the whole matrix."""
    rows: slice
    """Of the matrix as the step reads it; likewise its columns."""
    columns: slice


@dataclass
class StepPrograms:
    """What the forward and the backward pass of a step run, and the tensors of rows that they read and write."""

    graph: StepGraph
    dtype: torch.dtype
    forward: Any
    """A `StepProgram` of the kernels; its tensors of rows are the inputs, the kept values and the output."""
    backward: Any
    """Its tensors of rows are the inputs, the kept values, the output's gradient, the gradients of inputs and those of
    products."""
    before: Any = None
    """Computes the first kept values, which do not depend on the state."""
    before_work: int = 0
    """Multiplications of it for each row."""
    kept_size: int = 0
    """Numbers for each row of all values that are kept for later steps or for the backward pass."""
    gradient: StepGradient | None = None
    input_gradients: tuple[int, ...] = ()
    """The inputs whose gradients the backward pass writes."""
    input_gradient_lds: tuple[int, ...] = ()
    """The distance of the rows of each."""
    vector_gradients: dict[int, int] = field(default_factory=dict)
    """The sum over rows that is the gradient of each vector."""
    sums: tuple[int, ...] = ()
    """The width of each sum."""
    product_size: int = 0
    """Numbers for each row of the gradients of products."""
    matrix_gradient_shapes: tuple[tuple[int, int], ...] = ()
    """Of the products over rows that the backward pass computes, each (width, K)."""
    matrix_parts: tuple[tuple[MatrixPart, ...], ...] = ()
    """The rows of each product that are the gradient of a part of a matrix."""
    covers: tuple[bool, ...] = ()
    """Whether all columns of these inputs are written."""


def compile_step(graph: StepGraph, dtype: torch.dtype, needs: Needs | None, ahead: bool = False) -> StepPrograms:
    """The programs of a step graph.

    Args:
        graph: the step.
        dtype: float32 or float64.
        needs: the leaves that need a gradient; None without a backward pass.
        ahead: whether products of the input are computed for all steps before the first one, which reads their weights
            once instead of at each step.

    Raises:
        ValueError: the program does not fit into the machine.
    """
    gradient = None if needs is None else differentiate(graph, needs)
    before = _find_before(graph, gradient) if ahead else ()
    saved = () if gradient is None else gradient.saved
    kept = (*before, *(value for value in saved if value not in before))
    forward = _write_forward(graph, dtype, kept, before)
    programs = StepPrograms(graph, dtype, step_program().build(forward, dtype), None)
    programs.kept_size = sum(padded(value.width, dtype) for value in kept)
    if before:
        programs.before = step_program().build(_write_before(graph, dtype, before), dtype)
        programs.before_work = sum(v.width for v in before) * max(leaf.width for leaf in graph.inputs)
    if gradient is None or needs is None:
        return programs
    programs.gradient = gradient
    programs.input_gradients = tuple(sorted(gradient.inputs))
    programs.input_gradient_lds = tuple(padded(graph.inputs[k].width, dtype) for k in programs.input_gradients)
    programs.covers = tuple(
        sum(v.width for v in gradient.inputs[k].values()) == graph.inputs[k].width for k in programs.input_gradients
    )
    programs.backward = step_program().build(_write_backward(programs, gradient, kept, needs), dtype)
    return programs


def _start(graph: StepGraph, dtype: torch.dtype) -> tuple[ProgramWriter, list[int]]:
    """A writer that knows the inputs and vectors; the memories of the inputs."""
    writer = ProgramWriter(dtype, graph.state_widths, tuple(leaf.width for leaf in graph.vectors))
    inputs = [writer.rows(leaf.width, leaf.width) for leaf in graph.inputs]
    for value in graph.builder.values:
        if value.op == "input":
            index, column = value.attributes
            writer.places[value] = Place(inputs[index], column)
        elif value.op == "vector":
            index, column = value.attributes
            writer.places[value] = Place(writer.memory("vector", index, graph.vectors[index].width), column)
    return writer, inputs


def _find_before(graph: StepGraph, gradient: StepGradient | None) -> tuple[Value, ...]:
    """Values with a product of the input and without the state, which are saved or read by values with the state."""
    results = [*graph.out, *(piece for pieces in graph.next_states for piece in pieces)]
    saved = gradient.saved if gradient is not None else ()
    by_state: set[Value] = set()
    by_product: set[Value] = set()
    read: set[Value] = {*results, *saved}
    for value in sorted(reachable(results), key=lambda v: v.order):
        if value.op == "state" or any(arg in by_state for arg in value.args):
            by_state.add(value)
            read.update(value.args)
        elif value.op == "matmul" or any(arg in by_product for arg in value.args):
            by_product.add(value)
    return tuple(sorted(read & by_product, key=lambda v: v.order))


def _write_before(graph: StepGraph, dtype: torch.dtype, before: Sequence[Value]) -> Program:
    """The program of these values, for all rows."""
    writer, _ = _start(graph, dtype)
    writer.program.states = ()
    writer.stores += [Store(value, Place(writer.rows(value.width, follows=k > 0), 0)) for k, value in enumerate(before)]
    return writer.write()


def _write_forward(graph: StepGraph, dtype: torch.dtype, kept: Sequence[Value], before: Sequence[Value]) -> Program:
    writer, _ = _start(graph, dtype)
    for k, value in enumerate(kept):
        place = Place(writer.rows(value.width, follows=k > 0), 0)
        if k < len(before):
            writer.places[value] = place
        else:
            writer.stores.append(Store(value, place))
    for value in graph.builder.values:
        if value.op == "state":
            k, column = value.attributes
            writer.places[value] = Place(writer.memory("state_before", k, graph.state_widths[k]), column)
    if graph.out:
        width = sum(piece.width for piece in graph.out)
        writer.stores += _stores(graph.out, writer.rows(width, width))
    for k, pieces in enumerate(graph.next_states):
        writer.stores += _stores(pieces, writer.memory("state_after", k, graph.state_widths[k]))
    return writer.write()


def _write_backward(programs: StepPrograms, gradient: StepGradient, kept: Sequence[Value], needs: Needs) -> Program:
    """The backward program; the tensors that it writes are noted in `programs`."""
    graph = programs.graph
    writer, _ = _start(graph, programs.dtype)
    saved = set(gradient.saved)
    for k, value in enumerate(kept):
        if value in saved:
            writer.places[value] = Place(writer.rows(value.width, follows=k > 0), 0)
        else:
            writer.skip_rows(value.width, follows=k > 0)
    if graph.out:
        width = sum(piece.width for piece in graph.out)
        grad_out = writer.rows(width, width)
        for value in graph.builder.values:
            if value.op == "grad_out":
                writer.places[value] = Place(grad_out, value.attributes[0])
    for value in graph.builder.values:
        if value.op == "grad_state":
            k, column = value.attributes
            writer.places[value] = Place(writer.memory("state_before", k, graph.state_widths[k]), column)
    for k in sorted(gradient.inputs):
        memory = writer.rows(graph.inputs[k].width)
        writer.stores += [Store(v, Place(memory, column)) for column, v in gradient.inputs[k].items()]
    by_gradients: dict[tuple[Value, ...], int] = {}
    for product in gradient.matrices:
        if product.gradients not in by_gradients:
            by_gradients[product.gradients] = writer.rows(product.width, follows=bool(by_gradients))
            writer.stores += _stores(product.gradients, by_gradients[product.gradients])
    for value in graph.builder.values:
        # The builder also holds the products of other choices of leaves.
        if value.op == "matmul" and value.attributes[-1] and value.args in by_gradients:
            writer.joined[value] = by_gradients[value.args]
    programs.product_size = sum(padded(sum(v.width for v in g), programs.dtype) for g in by_gradients)
    for product in gradient.matrices:
        if any(needs.matrices[segment.matrix] for segment in product.segments):
            programs.matrix_gradient_shapes += ((product.width, product.operand.width),)
            programs.matrix_parts += (_matrix_parts(graph, product, needs),)
            operand = writer.places[product.operand]
            width = product.operand.width
            writer.program.products += [*operand, width, by_gradients[product.gradients], 0, product.width]
    _write_sums(writer, programs, gradient)
    for k, pieces in enumerate(gradient.states):
        writer.stores += _stores(pieces, writer.memory("state_after", k, graph.state_widths[k]))
    return writer.write()


def _matrix_parts(graph: StepGraph, product: MatrixGradient, needs: Needs) -> tuple[MatrixPart, ...]:
    """The parts of matrices in a product, those with adjacent columns joined."""
    groups: list[list[Segment]] = []
    for segment in product.segments:
        last = groups[-1][-1] if groups else None
        if last is not None and segment[:3] == last[:3] and segment.first_column == last.last_column:
            groups[-1].append(segment)
        else:
            groups.append([segment])
    parts: list[MatrixPart] = []
    at = 0
    for group in groups:
        first, last = group[0], group[-1]
        width, leaf = last.last_column - first.first_column, graph.matrices[first.matrix]
        is_whole = width == leaf.width and last.last_row - first.first_row == leaf.rows
        if needs.matrices[first.matrix]:
            rows, columns = slice(first.first_row, first.last_row), slice(first.first_column, last.last_column)
            parts.append(MatrixPart(first.matrix, at, at + width, is_whole, rows, columns))
        at += width
    return tuple(parts)


def _write_sums(writer: ProgramWriter, programs: StepPrograms, gradient: StepGradient) -> None:
    """Sums over rows for the gradients of vectors; vectors with the same gradient, such as two biases, share one."""
    known: dict[tuple[Any, ...], int] = {}
    widths: list[int] = []
    for k in sorted(gradient.vectors):
        width, by_column = programs.graph.vectors[k].width, gradient.vectors[k]
        key = (width, *sorted((column, value.order) for column, value in by_column.items()))
        if key not in known:
            known[key] = len(known)
            memory = writer.memory("accumulator", known[key], width)
            writer.sums += [Store(value, Place(memory, column)) for column, value in by_column.items()]
            widths.append(width)
        programs.vector_gradients[k] = known[key]
    programs.sums = writer.program.accumulators = tuple(widths)


def _stores(pieces: Sequence[Value], memory: int) -> list[Store]:
    stores: list[Store] = []
    column = 0
    for piece in pieces:
        stores.append(Store(piece, Place(memory, column)))
        column += piece.width
    return stores
