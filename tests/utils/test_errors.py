"""Errors quote external text on one line, in at most `SAID` characters, without control characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.utils.errors import SAID, InputError, TooLarge, cut, short


@given(st.text())
def test_a_shortened_text_is_printable(text: str) -> None:
    result = cut(text)
    assert len(result) <= SAID
    assert result.isprintable()


def test_a_short_text_is_unchanged() -> None:
    assert cut("ohlol: 你好") == "ohlol: 你好"
    assert cut("a" * (SAID - 1)) == "a" * (SAID - 1)


def test_a_long_text_ends_with_an_ellipsis() -> None:
    assert cut("a" * 2 * SAID) == "a" * (SAID - 1) + "…"


def test_control_characters_are_escaped() -> None:
    assert cut("\x1b[31mred\r\n") == r"\x1b[31mred\r\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\nlines"), "two lines"),
        (InputError("a  message"), "a message"),
        (TooLarge("too large"), "too large"),
        (KeyError("name"), "KeyError('name')"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError('division by zero')"),
    ],
)
def test_an_error_is_named_unless_its_text_is_a_message(error: Exception, text: str) -> None:
    assert short(error) == text
