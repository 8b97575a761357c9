"""Numbers as text: the digits that matter, whatever the size."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.utils.numbers import decimals_for, format_decimals, format_significant


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1.000"), (-0.0012346, "-0.001235"), (123456.7, "123457"), (1e20, "1e+20"), (1e-30, "1e-30")],
)
def test_significant_digits(value: float, text: str) -> None:
    assert format_significant(value, 4) == text


@given(st.floats(1e-8, 1e15), st.integers(1, 5))
def test_the_error_is_below_the_last_digit(value: float, digits: int) -> None:
    assert float(format_significant(value, digits)) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_what_is_not_finite_has_no_decimals() -> None:
    assert decimals_for(math.inf, 4) == decimals_for(math.nan, 4) == 0
    assert format_decimals(math.nan, 3) == "nan"
