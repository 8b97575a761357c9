"""Numbers as text with the digits that matter."""

import math

MAX_DECIMALS, MAX_WHOLE = 12, 16
"""Decimals, and digits before the point, beyond which a number is written with an exponent."""


def decimals_for(value: float, digits: int) -> int:
    """The decimals that show a number with so many significant digits, at least 0; 0 for zero and infinity.

    >>> decimals_for(0.0123, 3), decimals_for(4567.0, 3), decimals_for(0.0, 3)
    (4, 0, 0)
    """
    if not value or not math.isfinite(value):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def format_decimals(value: float, decimals: int) -> str:
    """A number with so many decimals; a very large or a very small one with an exponent.

    >>> format_decimals(1234.5678, 2), format_decimals(1.5e-20, 24)
    ('1234.57', '1.5e-20')
    """
    if decimals > MAX_DECIMALS or abs(value) >= 10**MAX_WHOLE:
        return f"{value:.6g}"
    return f"{value:.{decimals}f}"


def format_significant(value: float, digits: int) -> str:
    """A number with so many significant digits, and all digits before the point.

    >>> format_significant(0.012345, 3), format_significant(45678.9, 3)
    ('0.0123', '45679')
    """
    return format_decimals(value, decimals_for(value, digits))
