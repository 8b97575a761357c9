"""The source lines that a cell runs in one step, each with the numbers that it computes.

Shapes: W numbers of one tensor.
"""

import ast
import linecache
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RETURNED = "return"
"""The name of the value of a `return` statement."""
MAX_DEPTH = 3
"""Levels of tuples and lists whose tensors are found."""
_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, eq=False)
class SourceLine:
    """One statement of a cell that ran, or the head of a `for`, `if` or `with`."""

    file: str
    line: int
    """The number of its first line in the file."""
    text: str | None
    """Its source without indentation, in one or more lines; None where the source is not available."""
    depth: int
    """0 in `forward` of the cell, 1 in a function that it calls, and so on."""
    values: dict[str, NDArray[np.float64]]
    """Each tensor that it assigned or changed by the name of the local variable, such as `h` or `gates[1]`, and the
    value of a `return` as `return`, each (W,): the numbers of the row, of a tensor of several axes one after the
    other."""

    @staticmethod
    def is_return(name: str) -> bool:
        """Whether a name in `values` is that of a value of `return`, not of a variable."""
        return name.partition("[")[0] == RETURNED

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the name of the file alone: folders are those of the machine."""
        values = {name: numbers.tolist() for name, numbers in self.values.items()}
        return {"file": Path(self.file).name, "line": self.line, "text": self.text, "depth": self.depth, "values": values}


def record_lines(cell: torch.nn.Module, x: Tensor, state: Any) -> tuple[Any, tuple[SourceLine, ...]]:
    """Run one step of a cell on one row and record the lines that run.

    These are the lines of the cell's own code: of its packages and of files that are no installed package, not those of
    torch. They are in the order in which they begin, a line of a loop once for each time it runs; a line that calls a
    function stands before those of the function. A matrix without the batch axis, such as a weight, is left out.

    Args:
        cell: a module with `forward(x, state)`.
        x: (1, I).
        state: as the cell takes it.

    Returns:
        What the cell returns, and the lines; none for a cell of torch itself, or for compiled code.

    >>> cell = torch.nn.GRUCell(3, 2)
    >>> h, lines = record_lines(cell, torch.ones(1, 3), torch.zeros(1, 2))
    >>> h.shape, lines
    (torch.Size([1, 2]), ())
    """
    recorder, previous = _Recorder(cell), sys.gettrace()
    sys.settrace(recorder.trace_call)
    try:
        result = cell(x, state)
    finally:
        sys.settrace(previous)  # a debugger's, for example
    return result, tuple(SourceLine(r.file, r.line, r.text, r.depth, r.values) for r in recorder.records)


@dataclass
class _Record:
    """A statement that has begun."""

    file: str
    line: int
    text: str | None
    depth: int
    statement: ast.stmt | None
    values: dict[str, NDArray[np.float64]] = field(default_factory=dict[str, NDArray[np.float64]])


@dataclass
class _Running:
    """A frame of the cell's code that is running."""

    before: dict[str, tuple[Tensor, int]]
    """The tensors in its local variables before the current statement, with their versions."""
    depth: int
    record: _Record | None = None
    """The current statement."""


class _Recorder:
    """A trace function: Python calls it for each new frame, and what it returns for each line of that frame."""

    def __init__(self, cell: torch.nn.Module) -> None:
        packages = {type(module).__module__.partition(".")[0] for module in cell.modules()}
        self.packages = packages - {"torch"}
        self.records: list[_Record] = []
        self.statements: dict[str, dict[int, ast.stmt]] = {}
        """Of each file."""
        self.running: dict[FrameType, _Running] = {}

    def trace_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self._is_cell_code(frame):
            return None
        self.running[frame] = _Running(_tensors_of(frame), len(self.running))
        return self._trace

    def _is_cell_code(self, frame: FrameType) -> bool:
        """Whether a frame runs code of the cell; a comprehension or a lambda is a part of the line that has it."""
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_name.startswith("<") or package == "torch":
            return False
        file = frame.f_code.co_filename
        if package in self.packages:
            return True
        is_generated = file.startswith("<")
        return not (is_generated or file.startswith(_STANDARD_LIBRARY) or _INSTALLED & set(Path(file).parts))

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        running = self.running[frame]
        if event == "line":
            self._begin(running, frame)
        elif event == "return":
            self._end(running, frame)
            record = running.record
            if record is not None and (record.statement is None or isinstance(record.statement, ast.Return)):
                record.values.update({name: _row(t) for name, t in _find_tensors(RETURNED, argument, 0) if _is_row(t)})
            del self.running[frame]
        return self._trace

    def _begin(self, running: _Running, frame: FrameType) -> None:
        file = frame.f_code.co_filename
        if file not in self.statements:
            self.statements[file] = _find_statements("".join(linecache.getlines(file)))
        statement = self.statements[file].get(frame.f_lineno)
        current = running.record
        if current is not None and statement is not None and current.statement is statement:
            return  # another line of the same statement
        self._end(running, frame)
        if isinstance(statement, ast.With) and current is not None and current.line > statement.lineno:
            running.record = None  # the end of the block
            return
        line, text = frame.f_lineno, None
        if statement is not None:
            line, text = statement.lineno, _source_of(file, statement)
        running.record = _Record(file, line, text, running.depth, statement)
        self.records.append(running.record)

    def _end(self, running: _Running, frame: FrameType) -> None:
        """Keep what the current statement assigned and changed."""
        after = _tensors_of(frame)
        record = running.record
        if record is not None:
            assigned = _names_assigned(record.statement)
            for name, (tensor, version) in after.items():
                known, known_version = running.before.get(name, (None, 0))
                is_same = known is tensor and known_version == version and name.partition("[")[0] not in assigned
                if not is_same and _is_row(tensor):
                    record.values[name] = _row(tensor)
        running.before = after


def _tensors_of(frame: FrameType) -> dict[str, tuple[Tensor, int]]:
    """The tensors in the local variables of a frame, with their versions."""
    found = (pair for name, value in frame.f_locals.items() for pair in _find_tensors(name, value, 0))
    return {name: (tensor, 0 if tensor.is_inference() else tensor._version) for name, tensor in found}


def _find_tensors(name: str, value: Any, depth: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a value with their names: a value itself, or what tuples and lists hold."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, (tuple, list)) and depth < MAX_DEPTH:
        for k, item in enumerate(value):
            yield from _find_tensors(f"{name}[{k}]", item, depth + 1)


def _is_row(tensor: Tensor) -> bool:
    """Whether a tensor is a number, a vector, or has an axis of one row."""
    return tensor.dim() < 2 or 1 in tensor.shape


def _row(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().flatten().clone().numpy()


# Statements


def _find_statements(source: str) -> dict[int, ast.stmt]:
    """The innermost statement at each line of a source file."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    statements: dict[int, ast.stmt] = {}
    for node in ast.walk(tree):  # outer statements come first
        if isinstance(node, ast.stmt):
            statements.update(dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), node))
    return statements


def _last_line(statement: ast.stmt) -> int:
    """The last line of a statement; of one with a block, that of its head."""
    inner = (node.lineno for node in ast.walk(statement) if isinstance(node, ast.stmt) and node is not statement)
    first = min(inner, default=None)
    return max(statement.lineno, first - 1) if first else statement.end_lineno or statement.lineno


def _source_of(file: str, statement: ast.stmt) -> str:
    """The lines of a statement, without the indentation of the first."""
    lines = linecache.getlines(file)[statement.lineno - 1 : _last_line(statement)]
    return textwrap.dedent("".join(lines)).rstrip()


def _names_assigned(statement: ast.stmt | None) -> frozenset[str]:
    """The names that a statement, or the head of a block, assigns."""
    if statement is None:
        return frozenset()
    last = _last_line(statement)
    nodes = (node for node in ast.walk(statement) if isinstance(node, ast.Name) and node.lineno <= last)
    return frozenset(node.id for node in nodes if isinstance(node.ctx, ast.Store))
