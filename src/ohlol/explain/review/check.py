"""A check of the review: its name, what it tells, and the function that finds its mistake."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ohlol.explain.review.program import Program
from ohlol.utils.registry import Registry

Places = Iterator[tuple[ast.AST, str]]
"""Where a mistake is, and the line that fixes it."""


@dataclass(frozen=True)
class Check:
    """One mistake that people make.

    Attributes:
        name: what `ohlol review` calls it, and its heading in docs/review.md.
        why: why it is wrong, in English.
        find: yields the places of a program with the mistake, each with the line that fixes it.
    """

    name: str
    why: str
    find: Callable[[Program], Places]


CHECKS = Registry[Check]("check", "ohlol.explain.review.checks")
"""The checks by name."""


def check(name: str, why: str) -> Callable[[Callable[[Program], Places]], Callable[[Program], Places]]:
    """Register a function as a check, with its message in English, which is in the catalogue."""

    def register(find: Callable[[Program], Places]) -> Callable[[Program], Places]:
        CHECKS.add(name, Check(name, why, find))
        return find

    return register


def watched(name: str, why: str) -> None:
    """Register a mistake that only shows while a program runs; no part of its text is searched for it."""
    CHECKS.add(name, Check(name, why, lambda program: iter(())))
