"""Names of tasks and heads are literals in their own modules only; the rest of the package uses the registries."""

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import ohlol
from ohlol.models.heads import HEADS
from ohlol.tasks import TASKS

PACKAGE = Path(ohlol.__file__).parent
LIMIT = 15
"""Most string literals that may equal a name: those that are words of another meaning, and the defaults of settings."""
NAMES: list[tuple[Collection[str], str]] = [
    (("classify", "forecast", "label", "multilabel", "next", "next_row", "regress"), "tasks"),
    (
        (
            "absolute",
            "crf",
            "identity",
            "negative_binomial",
            "normal",
            "quantile",
            "regression",
            "sigmoid",
            "softmax",
            "student_t",
        ),
        "models/heads",
    ),
]
"""The names that ohlol brings, and the package of their modules."""


def literals(tree: ast.AST, names: Collection[str]) -> Iterator[ast.Constant]:
    """The string literals that equal a name and are not keys: of a dict, or in square brackets."""
    keys = {id(key) for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}
    keys |= {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    for node in ast.walk(tree):
        is_name = isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
        if is_name and id(node) not in keys:
            yield node


def test_keys_are_not_reported_as_literals() -> None:
    tree = ast.parse(
        '{"label": 1}["label"]\nif task == "label" or task in ("next", "other"):\n    f("labels", x="label")'
    )
    assert [node.value for node in literals(tree, ("label", "next"))] == ["label", "next", "label"]


def test_all_names_are_counted() -> None:
    assert set(NAMES[0][0]) == set(TASKS)
    assert set(NAMES[1][0]) == set(HEADS)


# A cell has activations, one of which has the name of a head.
@pytest.mark.parametrize(("names", "package"), NAMES, ids=["tasks", "heads"])
def test_names_are_rarely_literals_elsewhere(names: Collection[str], package: str) -> None:
    places: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent in (PACKAGE / package, PACKAGE / "cells") or path == PACKAGE / "config.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        places += [f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value}" for node in literals(tree, names)]
    assert len(places) <= LIMIT, "\n".join(places)
