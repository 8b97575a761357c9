"""Text: a file is one long sequence, each symbol the target of the one before it."""

from collections.abc import Iterator

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Lines, Place, nfc
from ohlol.data.readers.base import POSSIBLE, Confidence, Reader
from ohlol.data.readers.cutting import Boundary, text_boundary
from ohlol.data.symbols import split_lines
from ohlol.data.targets import TargetKind


class TextReader(Reader):
    """Plain text."""

    name = "text"
    targets = (TargetKind(shifted=True),)
    is_text = True

    def recognize(self, start: Lines, settings: DataSettings) -> Confidence | None:
        """Any file can be a text."""
        del start, settings
        return Confidence(POSSIBLE, "it has the form of no other format")

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
