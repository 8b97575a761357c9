"""Numbers in a form that is not read: with a thousands separator, a decimal comma, a currency or another unit."""

import re
from dataclasses import dataclass
from typing import Any

from ohlol.config import DataSettings
from ohlol.utils.translation import translate

GROUPS = " \u00a0\u2009\u202f'’_"
"""Thousands separators that are no decimal point."""
CURRENCIES = {"AUD", "BRL", "CAD", "CHF", "CNY", "EUR", "GBP", "INR", "JPY", "KRW", "RMB", "RUB", "USD"}
AFFIX = r"[^\W\d_]{1,4}|[%‰°$€£¥₩₹₽₫][^\W\d_]?"
FORM = re.compile(
    rf"(?P<open>\(?)\s*(?P<sign>[-+\u2212]?)\s*(?P<before>(?:{AFFIX}|[<>≤≥~≈±'])?)\s*[-\u2212]?"
    rf"(?P<digits>\d(?:[\d.,{GROUPS}]*\d)?)\s*(?P<after>(?:{AFFIX}|[^\W\d_]+/[^\W\d_]+|[-*†‡+]|\([^\W\d_]\))?)\s*\)?",
)
GROUPED = re.compile(rf"\d{{1,3}}([.,{GROUPS}])(?:\d{{2}}\1)*\d{{3}}(?:\1\d{{3}})*(?:(?!\1)[.,]\d+)?", re.ASCII)
"""Digits in groups of three; in India the groups before the last three have two."""
DECIMAL = re.compile(r"\d+(?:[.,]\d+)?", re.ASCII)
MARKS_BEFORE, MARKS_AFTER = set("<>≤≥~≈±"), set("-*†‡+")
"""Marks beside a number, which may be a class such as 65+ as well."""
NOT_UNITS = {"am", "pm", "st", "nd", "rd", "th", "s"}
"""Letters beside digits that make a time, an ordinal or a decade."""


SPACES = " \u00a0\u2009\u202f"


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a text file are written."""

    decimal: str = "."
    thousands: str = ""

    @staticmethod
    def of(settings: DataSettings) -> "NumberFormat":
        """The format that settings choose."""
        return NumberFormat(settings.decimal or ".", settings.thousands or "")

    def plain(self, text: str) -> str | None:
        """A number as Python writes it; None where the text is none of this format.

        >>> NumberFormat(",", ".").plain("1.037,5"), NumberFormat(",").plain("1.5")
        ('1037.5', None)
        """
        if self.decimal == "." and not self.thousands:
            return text
        marks = {" ": SPACES, "'": "'’"}.get(self.thousands, self.thousands)
        grouped = rf"\d{{1,3}}(?:[{marks}]\d{{2}})*(?:[{marks}]\d{{3}})+|" if marks else ""
        number = rf"\s*[-+]?(?:{grouped}\d+)(?:{re.escape(self.decimal)}\d*)?(?:[eE][-+]?\d+)?\s*"
        if re.fullmatch(number, text, re.ASCII) is None:
            return None
        return "".join(char for char in text if char not in marks).replace(self.decimal, ".")


PLAIN = NumberFormat()
"""The format of Python."""


def has_number_form(cell: Any) -> bool:
    """Whether a cell that is no number holds one in another form.

    >>> [has_number_form(cell) for cell in ("1,037", "1.037,5", "1 037", "$5", "5 %", "12 kg", "(3)", "\u22123", "9-")]
    [True, True, True, True, True, True, True, True, True]
    >>> [has_number_form(cell) for cell in ("2020-01-01", "3rd", "1.2.3", "line 5", "N/A", "CO2")]
    [False, False, False, False, False, False]
    """
    return match_number_form(cell) is not None


def is_marked(form: re.Match[str]) -> bool:
    """Whether a number in another form has a mark beside it, from what `match_number_form` returns.

    >>> [is_marked(form) for cell in ("65+", "< 5", "5 kg") if (form := match_number_form(cell))]
    [True, True, False]
    """
    return form["before"] in MARKS_BEFORE or form["after"] in MARKS_AFTER


def match_number_form(cell: Any) -> re.Match[str] | None:
    """The parts of a number in another form in a cell; None where it holds none."""
    return _match(cell) if isinstance(cell, str) else None


def _match(cell: str) -> re.Match[str] | None:
    match = FORM.fullmatch(cell.strip()) if len(cell) < 60 else None
    if match is None or match["after"].lower() in NOT_UNITS:
        return None
    if match["before"].isalpha() and match["before"].upper() not in CURRENCIES:  # such as "Q1"
        return None
    return match if GROUPED.fullmatch(match["digits"]) or DECIMAL.fullmatch(match["digits"]) else None


def describe_number_form(cell: str) -> str:
    """What a number in another form could mean.

    >>> describe_number_form("1,037"), describe_number_form("1.037,5")
    ('1037 (a thousands separator) or 1.037 (a decimal comma)', '1037.5 (a decimal comma)')
    >>> describe_number_form("5 %")
    "5 with '%'"
    """
    match = _match(cell)
    if match is None:
        return translate("no number")
    digits, affix = match["digits"], match["before"] or match["after"]
    grouped = GROUPED.fullmatch(digits)
    plain = digits
    if grouped is not None:
        plain = digits.replace(grouped[1], "").replace(",", ".")
    if affix or match["open"]:
        return translate("{number} with {affix!r}", number=plain.replace(",", "."), affix=affix or "()")
    if grouped is None:
        return translate("{number} (a decimal comma)", number=digits.replace(",", ".")) if "," in digits else plain
    if grouped[1] == "," and digits.count(",") == 1 and "." not in digits:
        return translate(
            "{plain} (a thousands separator) or {decimal} (a decimal comma)",
            plain=plain,
            decimal=digits.replace(",", "."),
        )
    return translate(
        "{number} (a decimal comma)" if "." in grouped[1] and "," in digits else "{number} (a thousands separator)",
        number=plain,
    )


def suggest_settings(cell: str) -> str:
    """The settings that read a number in another form, as a message ends; empty where none does.

    >>> suggest_settings("1.037,5")
    ', or set `decimal=,` and `thousands=.`'
    """
    match = _match(cell)
    if match is None or match["before"] or match["after"] or match["open"]:
        return ""
    digits = match["digits"]
    grouped = GROUPED.fullmatch(digits)
    if grouped is None:
        return translate(", or set `decimal=,`") if "," in digits else ""
    mark = " " if grouped[1] in SPACES else "'" if grouped[1] in "'’" else grouped[1]
    thousands = "`thousands` ' '" if mark == " " else f"`thousands={mark}`"
    if mark == "." and "," in digits:
        return translate(", or set `decimal=,` and {thousands}", thousands=thousands)
    is_ambiguous = mark == "," and digits.count(",") == 1 and "." not in digits
    return translate(", or set {thousands}", thousands=thousands) + translate(" or `decimal=,`") * is_ambiguous
