"""Text: a file is one long sequence, each symbol the target of the one before it."""

from collections.abc import Iterator

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Lines, Place, nfc, quote
from ohlol.data.readers.base import POSSIBLE, Confidence, Reader
from ohlol.data.readers.cutting import Boundary, text_boundary
from ohlol.data.symbols import split_lines
from ohlol.data.targets import TargetKind
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

COMPARED_LINES, MIN_LINES = 20, 4
"""Lines from the start of a file that are compared, and of which at least so many show columns."""
TABLE_MARKS = ("\t", ";", "|", ",")
"""What may separate columns."""


def _has_columns(texts: list[str], mark: str) -> bool:
    """Whether all lines have a delimiter as often, and not before a space, as a mark of a sentence has."""
    counts = {text.count(mark) for text in texts}
    is_prose = mark in ",;" and any(mark + " " in text for text in texts)
    return len(texts) >= MIN_LINES and len(counts) == 1 and counts != {0} and not is_prose


class TextReader(Reader):
    """Plain text."""

    name = "text"
    targets = (TargetKind(shifted=True),)
    is_text = True

    def recognize(self, start: Lines, settings: DataSettings) -> Confidence | None:
        """Any file can be a text."""
        del start, settings
        return Confidence(POSSIBLE, translate("it has the form of no other format"))

    def check_inferred(self, start: Lines, settings: DataSettings) -> None:
        """Ask where lines have columns, as those of a table; warn of a page of HTML."""
        if settings.task is not None:
            return
        texts = [line.text for line in start.start(COMPARED_LINES) if line.text.strip()]
        mark = next((mark for mark in TABLE_MARKS if _has_columns(texts, mark)), None)
        if mark is not None:
            raise InputError(
                "{file}: its lines have {count} columns separated by {mark}; for a table, choose its "
                "columns with `input` and `target`{value}; to read the file as a text, choose `task` next",
                file=start.file,
                count=texts[0].count(mark) + 1,
                mark=quote(mark),
                value=translate(", with commas") * (mark == "|"),
            )

    def examples(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Iterator[Example]:
        """The whole file as one sequence; its targets are its own symbols."""
        parts = [line.text for line in lines]
        symbols = split_lines(nfc("\n".join(parts) + ("\n" if lines.ended else "")), settings.level)
        if symbols:
            yield Example(symbols, None, Place(lines.file, 1))

    def boundary(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Boundary:
        """After a line end or a space."""
        del lines, settings, with_targets
        return text_boundary
