"""Integers written in digits, in text of unknown origin."""

MAX_DIGITS = 9
"""Digits of the longest integer that is read: it fits into 32 bits, and Python refuses to convert 4,301 digits."""


def parse_digits(text: str, max_digits: int = MAX_DIGITS) -> int | None:
    """The integer that ASCII digits stand for; None if the text is anything else or longer.

    >>> parse_digits("007"), parse_digits("-7"), parse_digits("7" * 10)
    (7, None, None)
    """
    is_integer = text.isascii() and text.isdecimal() and len(text) <= max_digits
    return int(text) if is_integer else None
