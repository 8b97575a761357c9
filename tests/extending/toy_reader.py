"""A toy format: rules of the form `input => target`, with as many words on both sides, and comments after `;`."""

from collections.abc import Iterator

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Lines, error_at, nfc
from ohlol.data.readers.base import CERTAIN, Confidence, Reader, register
from ohlol.data.targets import TargetKind

ARROW = " => "


class RulesReader(Reader):
    """A rule in each line."""

    name = "rules"
    targets = (TargetKind(),)
    level = "word"

    def recognize(self, start: Lines, settings: DataSettings) -> Confidence | None:
        """By the arrow in the first rule."""
        first = start.first(is_rule)
        if first is None or ARROW not in first.text:
            return None
        return Confidence(CERTAIN, "its first line has an arrow")

    def examples(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Iterator[Example]:
        """A pair for each rule; without targets the arrow may be missing."""
        for text, place in lines:
            if not is_rule(text):
                continue
            source, arrow, target = nfc(text).partition(ARROW)
            words, labels = source.split(), target.split()
            if with_targets and (not arrow or len(words) != len(labels)):
                raise error_at(place, f"{len(words)} words and {len(labels)} labels; a rule has as many of both")
            yield Example(words, labels if with_targets else None, place)


def is_rule(text: str) -> bool:
    """Whether a line is neither blank nor a comment."""
    return bool(text.strip()) and not text.startswith(";")


register(RulesReader())
