"""A claim holds only for equal tensors, and a wrong call is reported with what it gives."""

import pytest
import torch

from ohlol.explain.claims import TOLERANCE, attempt, compare


@pytest.mark.parametrize(("difference", "holds"), [(0.0, True), (TOLERANCE / 2, True), (1e-9, False)])
def test_a_claim_holds_up_to_rounding(difference: float, holds: bool) -> None:
    left = torch.zeros(3, 2, dtype=torch.float64)
    right = left.clone()
    right[2, 1] = difference
    equality = compare("a == b", left, right, "an example")
    assert (equality.holds, equality.largest_difference) == (holds, difference)


def test_a_call_that_raises_and_one_that_does_not() -> None:
    wrong = attempt("eye(2) + ones(3)", lambda: torch.eye(2) + torch.ones(3), "equal sizes")
    assert wrong.result is None
    assert wrong.error is not None
    assert wrong.error.startswith("RuntimeError: The size of tensor a (2)")
    silent = attempt("eye(2) + ones(2)", lambda: torch.eye(2) + torch.ones(2), "none")
    assert (silent.error, silent.result) == (None, (2, 2))
