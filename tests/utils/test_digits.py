"""Digits are read as an integer only if they are ASCII and few."""

import pytest

from ohlol.utils.digits import parse_digits


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("42", 42), ("007", 7), ("999999999", 999_999_999)])
def test_digits_are_an_integer(text: str, number: int) -> None:
    assert parse_digits(text) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1_0", "1.0", "\uff11", "\u0661", "\u00b2", "1" * 10, "9" * 5000]
)
def test_other_text_is_not(text: str) -> None:
    assert parse_digits(text) is None


def test_the_number_of_digits_can_be_chosen() -> None:
    assert parse_digits("1" * 18, 18) == int("1" * 18)
    assert parse_digits("1" * 19, 18) is None
