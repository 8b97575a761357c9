"""Texts as sequences of symbols: characters or words."""

from ohlol.config import DataSettings
from ohlol.data.lines import nfc
from ohlol.data.targets import TARGET_KINDS
from ohlol.utils.errors import InputError

Symbols = list[str] | str
"""A sequence: a string stands for its characters, a list for its words."""


def split_line(text: str, level: str | None) -> Symbols:
    """The symbols of one line or cell: the words between white space at the level "word", else its characters."""
    return text.split() if level == "word" else text


def split_lines(text: str, level: str | None) -> Symbols:
    r"""The symbols of a text of several lines, in which a line end is a symbol at both levels.

    >>> split_lines("to be\nor", "word")
    ['to', 'be', '\n', 'or']
    """
    if level != "word":
        return text
    first, *rest = text.split("\n")
    words = first.split()
    for line in rest:
        words.append("\n")
        words.extend(line.split())
    return words


def split_text(text: str, settings: DataSettings) -> Symbols:
    """A text as one sequence, as the model with these settings reads it.

    Raises:
        InputError: the text is empty or holds bytes that are not UTF-8.

    >>> split_text("to be", DataSettings(level="word"))
    ['to', 'be']
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            "character {start} of the text is not UTF-8; give text in UTF-8", start=error.start + 1
        ) from None
    continues_text = settings.task is not None and TARGET_KINDS[settings.task].continues_text
    symbols = (split_lines if continues_text else split_line)(nfc(text), settings.level)
    if not symbols:
        raise InputError("the text is empty; give one symbol at least")
    return in_reading_order(symbols, settings)


def in_reading_order(symbols: Symbols, settings: DataSettings) -> Symbols:
    """The symbols of a text in the order in which they are read."""
    return symbols[::-1] if settings.reversed else symbols
