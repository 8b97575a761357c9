"""Plain text with a sequence in each line: inputs without targets, for a model that labels or classifies them."""

from collections.abc import Iterator

from ohlol.data.lines import Example, Lines, Place, error_at, nfc
from ohlol.data.symbols import Symbols, split_line
from ohlol.utils.translation import translate


def read_plain_lines(lines: Lines, level: str | None) -> Iterator[Example]:
    """A sequence for each line that is not blank."""
    for text, place in lines:
        if text.strip():
            yield Example(split_line(nfc(text), level), None, place)


def require_symbols(place: Place, sequence: Symbols) -> Symbols:
    """The sequence; raises InputError where it is empty."""
    if not sequence:
        raise error_at(place, translate("the sequence is empty; give it one symbol at least or leave the line out"))
    return sequence
