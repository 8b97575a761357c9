"""Writes a program of the vector machine (csrc/program.h) that computes values from leaves and stores them.

Instructions are put into sections that alternate between products with weight matrices and pointwise operations. A
value that only one section uses lies in temporary memory, which is a few rows of a block and stays in the L1 cache.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from ohlol.cells.step_gradient import Segment
from ohlol.cells.step_values import REDUCTIONS, Value
from ohlol.ops.backend import step_program


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
    """The distance of the rows of each memory of rows."""
    layout: list[tuple[int, int, int]] = field(default_factory=list)
    """The memories of rows in the order in which they lie in the tensors of a call: the tensor, the memory's index, or
    -1 for rows that the program does not use, and the distance of rows."""


def padded(width: int, dtype: torch.dtype) -> int:
    """The distance of rows that begin at a multiple of 64 bytes."""
    unit = 8 if dtype is torch.float64 else 16
    return -(-width // unit) * unit


class ProgramWriter:
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

    def rows(self, width: int, ld: int | None = None, *, follows: bool = False) -> int:
        """A new memory of rows, in a tensor of its own, or in the last one where it follows another memory."""
        index = len(self.program.rows)
        self.program.rows.append(padded(width, self.dtype) if ld is None else ld)
        self._extend_layout(index, self.program.rows[index], follows)
        return self.memory("rows", index, width, self.program.rows[index])

    def skip_rows(self, width: int, *, follows: bool = False) -> None:
        """Leave out rows of a tensor that the program does not use."""
        self._extend_layout(-1, padded(width, self.dtype), follows)

    def _extend_layout(self, index: int, ld: int, follows: bool) -> None:
        layout = self.program.layout
        tensor = layout[-1][0] + 1 if layout else 0
        layout.append((tensor - 1 if follows else tensor, index, ld))

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

    def __init__(self, writer: ProgramWriter):
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

    def __init__(self, writer: ProgramWriter):
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
