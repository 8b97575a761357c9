"""Claims about tensors that were compared, and wrong calls that were made."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Shape = tuple[int, ...]

TOLERANCE = 1e-12
"""The largest difference between two float64 results that differ only in the order of their sums."""


@dataclass(frozen=True)
class TensorShape:
    """One tensor: its name, its shape, and the shape in letters."""

    name: str
    shape: Shape
    letters: str


@dataclass(frozen=True)
class Equality:
    """A claim, whether it holds, and the largest difference between its two sides."""

    claim: str
    holds: bool
    largest_difference: float
    why: str


@dataclass(frozen=True)
class Mistake:
    """A wrong call: the error that torch raises, or None and the shape of the output where it raises none."""

    call: str
    error: str | None
    result: Shape | None
    fix: str


def largest_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference of two tensors of one shape."""
    return float((a - b).abs().max())


def compare(claim: str, left: Tensor, right: Tensor, why: str) -> Equality:
    """Compare two float64 tensors of one shape; the claim holds if they differ by at most `TOLERANCE`."""
    difference = largest_difference(left, right)
    return Equality(claim, difference <= TOLERANCE, difference, why)


def attempt(call: str, make: Callable[[], Tensor], fix: str) -> Mistake:
    """Make a wrong call; its result is the shape of what it returns, or the error that it raises."""
    try:
        return Mistake(call, None, tuple(make().shape), fix)
    except Exception as error:  # the report shows what torch raises, whatever its type
        return Mistake(call, f"{type(error).__name__}: {error}", None, fix)
