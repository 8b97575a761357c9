"""A program as a syntax tree with the places, names and values that the checks of a review look at."""

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from ohlol.explain.review.dataflow import Interpreter
from ohlol.explain.review.names import Function, Imports, calls_method
from ohlol.explain.review.values import Value
from ohlol.utils.errors import InputError

Loop = ast.For | ast.While | ast.AsyncFor
BATCH = re.compile(r"(^|[_.])(batch|batchsize|batch_size|bs|bsz|b|n_batch|num_batch|n_samples)$", re.IGNORECASE)
TIME = re.compile(
    r"(^|[_.])(t|seq|seqlen|seq_len|seq_length|sequence_length|steps?|num_steps|time|timesteps?|max_len|length)$", re.I
)
EVALUATION = re.compile(r"(^|_)(eval|evaluate|evaluation|test|valid|validate|validation)(_|$)", re.IGNORECASE)
PREDICTION = re.compile(r"(^|_)(predict|infer|inference|sample|generate)(_|$)", re.IGNORECASE)
"""Names of functions that evaluate a model, and of those that predict with it."""


class Program:
    """A parsed program.

    Args:
        source: its text.
        name: the file, for messages.

    Raises:
        InputError: the text is no Python.
    """

    def __init__(self, source: str, name: str = "program") -> None:
        try:
            self.tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise InputError(
                "{name}:{line}: not a Python program: {error}", name=name, line=line, error=getattr(error, "msg", error)
            ) from None
        except (RecursionError, MemoryError):
            raise too_deep(name) from None
        self.name, self.lines = name, source.splitlines()
        self.parents = {child: parent for parent in ast.walk(self.tree) for child in ast.iter_child_nodes(parent)}
        self.nodes = list(self.parents)
        self.imports = Imports(self.nodes)
        try:
            self.values = Interpreter(self.tree, self.imports).values
        except RecursionError:
            raise too_deep(name) from None

    @cached_property
    def calls(self) -> list[ast.Call]:
        """Every call, in the order of the lines."""
        calls = [node for node in self.nodes if isinstance(node, ast.Call)]
        return sorted(calls, key=lambda call: (call.lineno, call.col_offset))

    @cached_property
    def functions(self) -> list[Function]:
        """Every function and method."""
        return [node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    def value(self, node: ast.AST | None) -> Value | None:
        """What an expression stands for, where the program shows it."""
        return None if node is None else self.values.get(node)

    def callee(self, call: ast.Call) -> str:
        """The full name of what is called, such as "torch.nn.functional.one_hot"."""
        return self.imports.full_name(call.func)

    def calls_of(self, *names: str) -> Iterator[ast.Call]:
        """The calls of functions of torch, by the last part of their names."""
        for call in self.calls:
            path, _, name = self.callee(call).rpartition(".")
            if name in names and path.startswith("torch"):
                yield call

    def methods(self, *names: str, inside: ast.AST | None = None) -> Iterator[tuple[ast.Call, ast.Attribute]]:
        """The calls of methods of these names, with their receivers."""
        for call in self.calls if inside is None else calls_in(inside):
            if isinstance(call.func, ast.Attribute) and call.func.attr in names:
                yield call, call.func

    @cached_property
    def has_data(self) -> bool:
        """Whether a program makes its batches or trains; a file with a model alone leaves that to another file."""
        names = ("backward", "pad_sequence", "DataLoader", "tensor", "Tensor", "LongTensor", "randn", "rand", "randint")
        return self.mentions(*names)

    def mentions(self, *names: str) -> bool:
        """Whether the program calls anything of one of these names."""
        return any(calls_method(call, names) for call in self.calls)

    def loops_around(self, node: ast.AST) -> Iterator[Loop]:
        """The loops around a place within its function, from the inside."""
        while node in self.parents:
            child, node = node, self.parents[node]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                return
            if isinstance(node, Loop) and child is not getattr(node, "iter", None):
                yield node

    def function_around(self, node: ast.AST) -> Function | ast.Module:
        """The function around a place, or the module."""
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                return node
        return self.tree

    def within(self, node: ast.AST, ancestor: ast.AST) -> bool:
        """Whether a node is inside another."""
        while node in self.parents and node is not ancestor:
            node = self.parents[node]
        return node is ancestor

    def losses(self) -> Iterator[tuple[ast.Call, str, ast.expr | None, ast.expr | None]]:
        """Every loss that is computed: the call, the name of the loss, its input and its target."""
        for call in self.calls:
            value = self.value(call)
            if value is not None and value.kind == "loss_value":
                arguments = dict(zip(("input", "target"), call.args, strict=False))
                arguments |= {word.arg: word.value for word in call.keywords if word.arg in ("input", "target")}
                yield call, value.name, arguments.get("input"), arguments.get("target")

    def line(self, node: ast.AST) -> str:
        """The line of a place, without its indentation."""
        return self.lines[getattr(node, "lineno", 1) - 1].strip()

    def replace(self, node: ast.expr, text: str) -> str:
        """The line or lines of an expression with another text in its place, on one line without indentation."""
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before = self.lines[first].encode()[: node.col_offset].decode(errors="replace")
        after = self.lines[last].encode()[node.end_col_offset or 0 :].decode(errors="replace")
        return (before + text + after).strip()


def too_deep(name: str) -> InputError:
    """The error for a program whose expressions are nested more deeply than Python can follow."""
    return InputError("{name}: nested too deeply to be reviewed", name=name)


def calls_in(node: ast.AST) -> list[ast.Call]:
    """The calls inside a part of a program."""
    return [part for part in ast.walk(node) if isinstance(part, ast.Call)]


def read_program(path: Path) -> Program:
    """Parse a file.

    Raises:
        InputError: it is no Python program.
        OSError: it cannot be read.
    """
    try:
        source = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("{path}: not UTF-8 at byte {start}", path=path, start=error.start) from None
    return Program(source, str(path))
