"""Which parts of a program compute gradients, and which run without them."""

import ast
from collections.abc import Iterator

from ohlol.explain.review.names import Function, calls_method, dotted
from ohlol.explain.review.program import Program, calls_in

NO_GRAD = ("no_grad", "inference_mode", "set_grad_enabled", "detach", "enable_grad")


def calls_backward(program: Program, call: ast.Call) -> bool:
    """Whether a call is `backward`, or of a function of the program that calls it."""
    if calls_method(call, ("backward",)):
        return True
    training = [f.name for f in program.functions if any(calls_method(c, ("backward",)) for c in calls_in(f))]
    return calls_method(call, training)


def is_in_no_grad(program: Program, node: ast.AST) -> bool:
    """Whether a place is in `with torch.no_grad()`, or in a function decorated with it."""
    return any(word in head for head in _heads_around(program, node, 1) for word in ("no_grad", "inference_mode"))


def is_without_gradients(program: Program, node: ast.AST) -> bool:
    """Whether a part of a program runs without gradients: by itself, by what is around it, or by all its callers."""
    inside = [*calls_in(node), *(part for part in ast.walk(node) if isinstance(part, ast.Attribute))]
    if any(dotted(getattr(part, "func", part)).rpartition(".")[2] in NO_GRAD for part in inside):
        return True
    if any(name in head for head in _heads_around(program, node) for name in NO_GRAD):
        return True
    if isinstance(node, Function):
        callers = [call for call in program.calls if calls_method(call, (node.name,))]
        return bool(callers) and all(is_without_gradients(program, call) for call in callers)
    return False


def _heads_around(program: Program, node: ast.AST, functions: int | None = None) -> Iterator[str]:
    """The contexts of `with` and the decorators around a place, up to those of so many functions."""
    while node in program.parents and functions != 0:
        node = program.parents[node]
        if isinstance(node, ast.With):
            yield from map(ast.unparse, node.items)
        elif isinstance(node, Function):
            yield from map(ast.unparse, node.decorator_list)
            functions = None if functions is None else functions - 1
