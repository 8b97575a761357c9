"""Errors quote untrusted text on one line, in at most `MAX_QUOTED` characters, without control characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.utils.errors import (
    MAX_MESSAGE,
    MAX_QUOTED,
    InputError,
    TooLarge,
    describe_error,
    shorten,
    shorten_message,
)


@given(st.text())
def test_a_shortened_text_is_printable(text: str) -> None:
    result = shorten(text)
    assert len(result) <= MAX_QUOTED
    assert result.isprintable()


def test_a_short_text_is_unchanged() -> None:
    assert shorten("ohlol: 你好") == "ohlol: 你好"
    assert shorten("a" * (MAX_QUOTED - 1)) == "a" * (MAX_QUOTED - 1)


def test_a_long_text_ends_with_an_ellipsis() -> None:
    assert shorten("a" * 2 * MAX_QUOTED) == "a" * (MAX_QUOTED - 1) + "…"


def test_control_characters_are_escaped() -> None:
    assert shorten("\x1b[31mred\r\n") == r"\x1b[31mred\r\n"


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
    assert describe_error(error) == text


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    assert shorten_message("a\nb") == "a b"
    message = shorten_message("x" * 100_000 + ": File name too long")
    assert len(message) <= MAX_MESSAGE
    assert message.endswith(": File name too long")
