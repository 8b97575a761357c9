"""Names in a program: what imports stand for, and what a call calls."""

import ast
from collections.abc import Collection, Iterable

Function = ast.FunctionDef | ast.AsyncFunctionDef
SHORT_NAMES = {
    "nn": "torch.nn",
    "F": "torch.nn.functional",
    "optim": "torch.optim",
    "DataLoader": "torch.utils.data.DataLoader",
}
"""What names usually stand for in programs without the import, such as a cell of a notebook."""


class Imports:
    """What the imported names of a program stand for."""

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        self.names = dict(SHORT_NAMES)
        self.star = ""
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.names[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self.names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                    if alias.name == "*" and node.module == "torch.nn":
                        self.star = node.module

    def full_name(self, node: ast.AST) -> str:
        """A dotted name with the first part replaced by what it was imported as; empty for other expressions."""
        name = dotted(node)
        first, _, rest = name.partition(".")
        path = self.names.get(first, first)
        if self.star and path == first and first[:1].isupper():  # a class of `from torch.nn import *`
            path = f"{self.star}.{first}"
        return f"{path}.{rest}" if rest else path


def dotted(node: ast.AST | None) -> str:
    """A name such as `self.rnn.weight`; an empty string for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def calls_method(call: ast.Call, names: Collection[str]) -> bool:
    """Whether a call is of a function or a method of one of these names."""
    function = call.func
    return getattr(function, "attr", getattr(function, "id", "")) in names


def argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    """An argument of a call by its position or its name."""
    for word in call.keywords:
        if word.arg == name:
            return word.value
    plain = call.args[: position + 1]
    return plain[position] if len(plain) > position and not any(isinstance(a, ast.Starred) for a in plain) else None
