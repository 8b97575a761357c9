"""A cell is described in its own module only: other modules contain no names of cells and no numbers of gates."""

import ast
from collections import Counter
from pathlib import Path

import ohlol
from ohlol.cells import CELLS

SOURCE = Path(ohlol.__file__).parent
MOST_LITERALS = 15


def literals(path: Path) -> list[ast.Constant]:
    """The constants of a module, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]


def modules() -> list[Path]:
    return [path for path in SOURCE.rglob("*.py") if path.parent != SOURCE / "cells" and path != SOURCE / "config.py"]


def test_names_of_cells_are_rarely_literals() -> None:
    names = set(CELLS) | {spec.onnx.name for spec in CELLS.values() if spec.onnx is not None}
    names |= {f"{name}cell" for name in CELLS}
    found = Counter(
        f"{path.relative_to(SOURCE)}: {node.value}"
        for path in modules()
        if path.name != "__init__.py"  # the names in __all__ are classes
        for node in literals(path)
        if isinstance(node.value, str) and node.value in names
    )
    assert found.total() <= MOST_LITERALS, found


def test_gates_are_counted_in_one_place() -> None:
    """No table from names of cells to numbers, or from numbers to names of cells."""
    names = set(CELLS)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict):
                keys = {k.value for k in node.keys if isinstance(k, ast.Constant)}
                values = {v.value for v in node.values if isinstance(v, ast.Constant)}
                assert not keys & names, f"{path.relative_to(SOURCE)}:{node.lineno}"
                assert not values & names, f"{path.relative_to(SOURCE)}:{node.lineno}"
