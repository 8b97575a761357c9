"""Programs of the vector machine (csrc/program.h) for a step graph: one for the step, one for its gradient.

Instructions are put into sections that alternate between products with weight matrices and pointwise operations. A
value that only one section uses lies in temporary memory, which is a few rows of a block and stays in the L1 cache.

Shapes: B batch, S rows of all steps, W width.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from ohlol.cells.step_gradient import MatrixGradient, Needs, Segment, StepGradient, differentiate
from ohlol.cells.step_graph import StepGraph
from ohlol.cells.step_values import REDUCTIONS, Value, reachable
from ohlol.ops.backend import step_program

MAX_MEMORIES = 512


class Place(NamedTuple):
    """A column of a memory."""

    memory: int
    column: int


class Store(NamedTuple):
    """A value that is written to a memory for each row."""

    value: Value
    place: Place


@dataclass
class Program:
    """A program in numbers, as `StepProgram` in csrc/step_program.h takes it."""

    memories: list[tuple[int, int, int, int]] = field(default_factory=list)
    instructions: list[int] = field(default_factory=list)
    sections: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    matrices: list[int] = field(default_factory=list)
    products: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    states: tuple[int, ...] = ()
    vectors: tuple[int, ...] = ()
    accumulators: tuple[int, ...] = ()
    rows: list[int] = field(default_factory=list)
    """The distance of the rows of each tensor of rows."""


def padded(width: int, dtype: torch.dtype) -> int:
    """The distance of rows that begin at a multiple of 64 bytes."""
    unit = 8 if dtype is torch.float64 else 16
    return -(-width // unit) * unit


class _Writer:
    """Writes the program that computes values from leaves and stores them."""

    def __init__(self, dtype: torch.dtype, states: tuple[int, ...], vectors: tuple[int, ...]):
        self.dtype = dtype
        self.kinds = {name: i for i, name in enumerate(step_program().memories)}
        self.operations = {name: i for i, name in enumerate(step_program().operations)}
        self.program = Program(states=states, vectors=vectors)
        self.places: dict[Value, Place] = {}
        """Where leaves and computed values lie."""
        self.stores: list[Store] = []
        self.sums: list[Store] = []
        self.joined: dict[Value, int] = {}
        """Products whose operands are stored side by side in this memory."""
        self._known_memories: dict[tuple[int, int, int, int], int] = {}
        self._matrices: dict[Any, int] = {}

    # Memories

    def memory(self, kind: str, index: int, width: int, ld: int | None = None) -> int:
        """The number of a memory, which is new unless it is known."""
        key = (self.kinds[kind], index, width, padded(width, self.dtype) if ld is None else ld)
        known = self._known_memories.get(key)
        if known is None:
            known = self._known_memories[key] = len(self.program.memories)
            self.program.memories.append(key)
        return known

    def rows(self, width: int, ld: int | None = None) -> int:
        """A memory of a new tensor of rows."""
        index = len(self.program.rows)
        self.program.rows.append(padded(width, self.dtype) if ld is None else ld)
        return self.memory("rows", index, width, self.program.rows[index])

    def number(self, value: float) -> Place:
        """A constant."""
        numbers = self.program.numbers
        same = [i for i, n in enumerate(numbers) if n == value and str(n) == str(value)]
        if not same:
            numbers.append(value)
        return Place(self.memory("number", same[0] if same else len(numbers) - 1, 1, 1), 0)

    # Writing

    def write(self) -> Program:
        """The program that computes all stores and sums."""
        plan = _Plan(self)
        for section in plan.sections:
            first = len(self.program.instructions) // 15
            for instruction in section:
                self.program.instructions += instruction
            last = len(self.program.instructions) // 15
            if section[0][0] == self.operations["matmul"]:
                self.program.sections += [n for i in range(first, last) for n in (i, i + 1)]
            else:
                self.program.sections += [first, last]
        return self.program

    def packed_matrix(self, value: Value) -> int:
        """The number of the packed matrix of a product."""
        if value.attributes[-1]:
            segments: tuple[Segment, ...] = value.attributes[0]
        else:
            segments = (Segment(*value.attributes[:5]),)
        key = (segments, value.attributes[-1])
        if key not in self._matrices:
            first = len(self.program.parts) // 5
            for segment in segments:
                self.program.parts += segment
            self.program.matrices += [first, first + len(segments), int(value.attributes[-1])]
            self._matrices[key] = len(self._matrices)
        return self._matrices[key]


class _Plan:
    """Sections, fused operations and memory of the values of a program."""

    def __init__(self, writer: _Writer):
        self.writer = writer
        self.values = self._collect()
        self.uses = Counter(arg for v in self.values for arg in v.args)
        self.uses.update(store.value for store in (*writer.stores, *writer.sums))
        self.terms: dict[Value, list[Value]] = {}
        """Values that are added to a product, by the last sum, which replaces the product."""
        self.root: dict[Value, Value] = {}
        """The product of each last sum."""
        self.inner: set[Value] = set()
        """Products and sums that are computed with their last sum, and products that are computed with a sum."""
        self.products: dict[Value, tuple[Value, Value]] = {}
        """The factors of sums that are computed as `mul_add`."""
        self._fuse_products()
        self.stage: dict[Value, int] = {}
        self._find_stages()
        self._fuse_multiplications()
        self.sections = self._emit()

    def _collect(self) -> list[Value]:
        seen: set[Value] = set()
        stack = [store.value for store in (*self.writer.stores, *self.writer.sums)]
        while stack:
            value = stack.pop()
            if value in seen or value in self.writer.places:
                continue
            if value.op == "constant":
                self.writer.places[value] = self.writer.number(value.attributes[0])
                continue
            seen.add(value)
            stack.extend(value.args)
        return sorted(seen, key=lambda v: v.order)

    def _is_leaf(self, value: Value) -> bool:
        return value in self.writer.places

    def _fuse_products(self) -> None:
        """Add input terms and biases while a product is in registers."""
        for value in self.values:
            if value.op != "add":
                continue
            for product, term in (value.args, value.args[::-1]):
                if self._is_leaf(product) or product in self.inner or self.uses[product] != 1:
                    continue
                terms = self.terms.get(product, [])
                is_product = product.op == "matmul" or product in self.root
                is_multiplied = term.op == "mul" and self.uses[term] == 1 and not self._is_leaf(term)  # mul_add
                is_term = term.op != "constant" and term not in self.inner and not is_multiplied
                is_wide = product.width == value.width == term.width
                if is_product and is_term and is_wide and len(terms) < 2:
                    self.root[value] = self.root.pop(product, product)
                    self.terms[value] = [*self.terms.pop(product, []), term]
                    self.inner.add(product)
                    break

    def _operands(self, value: Value) -> list[Value]:
        """What an instruction reads."""
        if value in self.root:
            return [*self.root[value].args, *self.terms[value]]
        if value in self.products:
            a, b = self.products[value]
            (other,) = [arg for arg in value.args if arg not in self.inner] or [value.args[0]]
            return [a, b, other]
        return list(value.args)

    def _is_matmul(self, value: Value) -> bool:
        return value.op == "matmul" or value in self.root

    def _find_stages(self) -> None:
        """Odd stages are pointwise, even ones products; a stage reads the results of earlier ones."""
        for value in self.values:
            if value in self.inner:
                continue
            before = max((self.stage.get(arg, -1) for arg in self._operands(value)), default=-1)
            if self._is_matmul(value):
                self.stage[value] = before + 1 if before % 2 else before + 2
            else:
                self.stage[value] = before if before % 2 else before + 1

    def _fuse_multiplications(self) -> None:
        """a * b + c, where nothing else needs a * b."""
        for value in self.values:
            if value.op != "add" or value in self.root or value in self.inner:
                continue
            for product, other in (value.args, value.args[::-1]):
                if (
                    product.op == "mul"
                    and product is not other
                    and self.uses[product] == 1
                    and product not in self.inner
                    and not self._is_leaf(product)
                    and product.width == value.width
                    and self.stage.get(product) == self.stage.get(value)
                ):
                    self.products[value] = (product.args[0], product.args[1])
                    self.inner.add(product)
                    break

    # Emission

    def _emit(self) -> list[list[list[int]]]:
        by_stage: dict[int, list[Value]] = defaultdict(list)
        for value in self.values:
            if value not in self.inner:
                by_stage[self.stage[value]].append(value)
        stores: dict[Value, list[Store]] = defaultdict(list)
        for store in self.writer.stores:
            stores[store.value].append(store)
        extra: dict[int, list[tuple[str, Store]]] = defaultdict(list)
        local = self._find_locals(by_stage, stores)
        for value, of_value in stores.items():
            rest = of_value[:]
            if value in self.stage and (primary := self._primary(of_value)) is not None:
                self.writer.places[value] = primary.place
                rest.remove(primary)
            for store in rest:
                extra[self._pointwise_stage(value)].append(("copy", store))
        for store in self.writer.sums:
            extra[self._pointwise_stage(store.value)].append(("accumulate", store))
        allocator = _Allocator(self.writer)
        last_use = self._last_uses(by_stage, extra)
        sections: list[list[list[int]]] = []
        for stage in sorted({*by_stage, *extra}):
            section: list[list[int]] = []
            for value in by_stage.get(stage, ()):
                if value not in self.writer.places:
                    kind = "local" if value in local or self._is_matmul(value) else "temporary"
                    freed = [v for v in self._operands(value) if last_use.get(v) == value and v.width == value.width]
                    allocator.place(value, kind, freed if not self._is_matmul(value) else [])
                section.append(self._instruction(value))
                allocator.release([v for v in self._operands(value) if last_use.get(v) == value])
            section += [self._extra_instruction(op, store) for op, store in extra.get(stage, ())]
            allocator.end_section()
            if section:
                sections.append(section)
            allocator.release([v for v in self.values if last_use.get(v) == stage])
        return sections

    def _pointwise_stage(self, value: Value) -> int:
        stage = self.stage.get(value, -1)
        return stage if stage % 2 else stage + 1

    def _primary(self, stores: Sequence[Store]) -> Store | None:
        """The store that a value is computed into, if its memory can be read back fast."""
        memories, kinds = self.writer.program.memories, self.writer.kinds

        def rank(store: Store) -> int:
            kind, _, width, ld = memories[store.place.memory]
            if kind == kinds["state_after"] and store.place.column == 0 and width == store.value.width:
                return 0
            unit = 8 if self.writer.dtype is torch.float64 else 16
            if store.place.column % unit == 0 and (
                store.value.width % unit == 0 or ld == padded(width, self.writer.dtype)
            ):
                return 1
            return 2

        best = min(stores, key=rank)
        return best if rank(best) < 2 else None

    def _find_locals(self, by_stage: Mapping[int, list[Value]], stores: Mapping[Value, list[Store]]) -> set[Value]:
        """Values that another section reads."""
        local: set[Value] = set()
        for stage, values in by_stage.items():
            for value in values:
                local.update(v for v in self._operands(value) if self.stage.get(v, stage) != stage)
        for value in [*stores, *(s.value for s in self.writer.sums)]:
            if value in self.stage and self._pointwise_stage(value) != self.stage[value]:
                local.add(value)
        return local

    def _last_uses(
        self, by_stage: Mapping[int, list[Value]], extra: Mapping[int, list[tuple[str, Store]]]
    ) -> dict[Value, Value | int]:
        """The last value that reads a value, or the stage at whose end it is free."""
        last: dict[Value, Value | int] = {}
        for stage in sorted({*by_stage, *extra}):
            for value in by_stage.get(stage, ()):
                for operand in self._operands(value):
                    # A section runs once for each of its blocks of rows, so local memory is free at its end only.
                    crosses = self.stage.get(operand) != stage or self._is_matmul(operand)
                    last[operand] = stage if crosses else value
            for _, store in extra.get(stage, ()):
                last[store.value] = stage
        return last

    def _instruction(self, value: Value) -> list[int]:
        operations = self.writer.operations
        place = self.writer.places[value]
        if self._is_matmul(value):
            product = self.root.get(value, value)
            joined = self.writer.joined.get(product)
            operand = self.writer.places[product.args[0]] if joined is None else Place(joined, 0)
            terms = [self.writer.places[term] for term in self.terms.get(value, ())]
            return _encode(
                operations["matmul"], value.width, self.writer.packed_matrix(product), place,
                [(p, False) for p in (operand, *terms)],
            )  # fmt: skip
        if value in self.products:
            return _encode(operations["mul_add"], value.width, -1, place, self._read(value))
        op = "copy" if value.op == "repeat" else value.op
        width = value.args[0].width if value.op in REDUCTIONS else value.width
        return _encode(operations[op], width, -1, place, self._read(value))

    def _read(self, value: Value) -> list[tuple[Place, bool]]:
        width = value.args[0].width if value.op in REDUCTIONS else value.width
        return [(self.writer.places[v], v.width == 1 and width > 1) for v in self._operands(value)]

    def _extra_instruction(self, op: str, store: Store) -> list[int]:
        return _encode(
            self.writer.operations[op], store.value.width, -1, store.place,
            [(self.writer.places[store.value], False)],
        )  # fmt: skip


def _encode(op: int, width: int, matrix: int, result: Place, operands: Sequence[tuple[Place, bool]]) -> list[int]:
    numbers = [op, width, matrix, *result, 0]
    for place, is_scalar in operands:
        numbers += [*place, int(is_scalar)]
    for _ in range(3 - len(operands)):
        numbers += [-1, 0, 0]
    return numbers


class _Allocator:
    """Places values in local or temporary memory, which later values use again."""

    def __init__(self, writer: _Writer):
        self.writer = writer
        self.ends = {"local": 0, "temporary": 0}
        self.free: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.taken: dict[Value, tuple[str, int, int]] = {}

    def place(self, value: Value, kind: str, dying: Iterable[Value]) -> None:
        """Place a value, possibly over an operand that nothing reads later."""
        self.release(v for v in dying if self.taken.get(v, ("", 0, 0))[0] == kind)
        ld = padded(value.width, self.writer.dtype)
        free = self.free[kind, ld]
        if free:
            offset = free.pop()
        else:
            offset = self.ends[kind]
            self.ends[kind] += ld
        self.taken[value] = (kind, ld, offset)
        self.writer.places[value] = Place(self.writer.memory(kind, offset, value.width), 0)

    def release(self, values: Iterable[Value]) -> None:
        """Free the memory of values."""
        for value in values:
            if value in self.taken:
                kind, ld, offset = self.taken.pop(value)
                self.free[kind, ld].append(offset)

    def end_section(self) -> None:
        """Free all temporaries."""
        self.release([v for v, (kind, _, _) in self.taken.items() if kind == "temporary"])


# The two programs of a step


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
    """A `StepProgram` of the kernels; its rows are the inputs, what `before` computes, the output and `saved`."""
    backward: Any
    """Its rows are the inputs, the output's gradient, `saved`, the gradients of inputs and those of products."""
    before: Any = None
    """Computes values that do not depend on the state; its rows are the inputs and these values."""
    before_lds: tuple[int, ...] = ()
    """The distance of the rows of each of these values."""
    saved_lds: tuple[int, ...] = ()
    """The distance of the rows of each saved value."""
    gradient: StepGradient | None = None
    input_gradients: tuple[int, ...] = ()
    """The inputs whose gradients the backward pass writes."""
    vector_gradients: dict[int, int] = field(default_factory=dict)
    """The sum over rows that is the gradient of each vector."""
    sums: tuple[int, ...] = ()
    """The width of each sum."""
    product_lds: tuple[int, ...] = ()
    """The distance of the rows of each tensor with the gradients of products."""
    matrix_gradients: tuple[MatrixGradient, ...] = ()
    """The products over rows that the backward pass computes, each (width, K)."""
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
    forward = _write_forward(graph, dtype, gradient, before)
    programs = StepPrograms(graph, dtype, step_program().build(forward, dtype), None)
    if before:
        programs.before = step_program().build(_write_before(graph, dtype, before), dtype)
        programs.before_lds = tuple(padded(value.width, dtype) for value in before)
    if gradient is None or needs is None:
        return programs
    programs.gradient = gradient
    programs.saved_lds = tuple(padded(value.width, dtype) for value in gradient.saved)
    programs.input_gradients = tuple(sorted(gradient.inputs))
    programs.covers = tuple(
        sum(v.width for v in gradient.inputs[k].values()) == graph.inputs[k].width for k in programs.input_gradients
    )
    programs.backward = step_program().build(_write_backward(programs, gradient, needs), dtype)
    return programs


def _start(graph: StepGraph, dtype: torch.dtype) -> tuple[_Writer, list[int]]:
    """A writer that knows the inputs and vectors; the memories of the inputs."""
    writer = _Writer(dtype, graph.state_widths, tuple(leaf.width for leaf in graph.vectors))
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
    writer.stores += [Store(value, Place(writer.rows(value.width), 0)) for value in before]
    return writer.write()


def _write_forward(
    graph: StepGraph, dtype: torch.dtype, gradient: StepGradient | None, before: Sequence[Value]
) -> Program:
    writer, _ = _start(graph, dtype)
    for value in before:
        writer.places[value] = Place(writer.rows(value.width), 0)
    for value in graph.builder.values:
        if value.op == "state":
            k, column = value.attributes
            writer.places[value] = Place(writer.memory("state_before", k, graph.state_widths[k]), column)
    if graph.out:
        width = sum(piece.width for piece in graph.out)
        writer.stores += _stores(graph.out, writer.rows(width, width))
    for k, pieces in enumerate(graph.next_states):
        writer.stores += _stores(pieces, writer.memory("state_after", k, graph.state_widths[k]))
    for value in gradient.saved if gradient is not None else ():
        writer.stores.append(Store(value, Place(writer.rows(value.width), 0)))
    return writer.write()


def _write_backward(programs: StepPrograms, gradient: StepGradient, needs: Needs) -> Program:
    """The backward program; the tensors that it writes are noted in `programs`."""
    graph = programs.graph
    writer, _ = _start(graph, programs.dtype)
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
    for value in gradient.saved:
        writer.places[value] = Place(writer.rows(value.width), 0)
    for k in sorted(gradient.inputs):
        memory = writer.rows(graph.inputs[k].width)
        writer.stores += [Store(v, Place(memory, column)) for column, v in gradient.inputs[k].items()]
    by_gradients: dict[tuple[Value, ...], int] = {}
    for product in gradient.matrices:
        if product.gradients not in by_gradients:
            by_gradients[product.gradients] = _store_product(writer, product)
    for value in graph.builder.values:
        if value.op == "matmul" and value.attributes[-1]:
            writer.joined[value] = by_gradients[value.args]
    programs.product_lds = tuple(padded(sum(v.width for v in g), programs.dtype) for g in by_gradients)
    for product in gradient.matrices:
        if any(needs.matrices[segment.matrix] for segment in product.segments):
            programs.matrix_gradients += (product,)
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


def _write_sums(writer: _Writer, programs: StepPrograms, gradient: StepGradient) -> None:
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


def _store_product(writer: _Writer, product: MatrixGradient) -> int:
    """The memory of the gradients of products with one operand, side by side."""
    memory = writer.rows(product.width)
    writer.stores += _stores(product.gradients, memory)
    return memory
