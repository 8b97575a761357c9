"""Segmentation: sentences with spaces between words become characters with B M E S labels."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Lines, nfc
from ohlol.data.readers import json_lines
from ohlol.data.readers.base import Reader
from ohlol.data.readers.conll import ColumnLayout, has_columns, read_sentences
from ohlol.data.readers.cutting import Boundary, line_boundary, sentence_boundary
from ohlol.data.readers.pairs import read_json_pairs
from ohlol.data.targets import TargetKind
from ohlol.utils.errors import InputError


class SegmentReader(Reader):
    """Sentences with spaces between words, one a line, or the forms of a CoNLL file.

    It is never recognized: any text has spaces between words.
    """

    name = "segment"
    targets = (TargetKind(),)
    level = "char"

    def resolve(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> DataSettings:
        """The level; columns can be chosen in a CoNLL file alone."""
        if with_targets and not has_columns(lines):
            self.refuse_columns(lines.file, settings)
        return super().resolve(lines, settings, with_targets=with_targets)

    def examples(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Iterator[Example]:
        """Sentences; without targets a line is read as it stands."""
        if not with_targets and lines.suffix in json_lines.SUFFIXES:
            return read_json_pairs(lines, replace(settings, input=None), with_targets=False)
        return (_segment_conll if has_columns(lines) else _segment_lines)(lines, settings, with_targets)

    def boundary(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Boundary:
        """After a line, or after a blank line of a CoNLL file."""
        del settings, with_targets
        return sentence_boundary if has_columns(lines) else line_boundary

    def render(self, symbols: Sequence[str], labels: Sequence[str]) -> str:
        """The words, with spaces between them."""
        return " ".join(join_words(symbols, labels))


def label_words(words: list[str]) -> str:
    """The label of every character: begin, middle and end of a word, or a single one.

    >>> label_words(["ohlol", "is", "a"])
    'BMMMEBES'
    """
    return "".join("S" if len(word) == 1 else "B" + "M" * (len(word) - 2) + "E" for word in words)


def join_words(symbols: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The words of labelled characters; a word begins at B and S, and after E and S.

    >>> join_words("看似简单", ["B", "E", "B", "E"])
    ['看似', '简单']
    """
    words: list[str] = []
    previous = "E"
    for symbol, label in zip(symbols, labels, strict=True):
        if label in "BS" or previous in "ES":
            words.append(symbol)
        else:
            words[-1] += symbol
        previous = label
    return words


def _segment_lines(lines: Lines, _: DataSettings, with_targets: bool) -> Iterator[Example]:
    count, has_spaces = 0, False
    for text, place in lines:
        if text.strip():
            words = nfc(text).split()
            count, has_spaces = count + 1, has_spaces or len(words) > 1
            yield (
                Example("".join(words), label_words(words), place) if with_targets else Example(nfc(text), None, place)
            )
    if with_targets and count > 1 and not has_spaces:
        raise InputError("{file}: no line has a space, and spaces separate the words to learn", file=lines.file)


def _segment_conll(lines: Lines, settings: DataSettings, with_targets: bool) -> Iterator[Example]:
    for sentence in read_sentences(lines, ColumnLayout.infer(lines.head, settings, with_targets=False)):
        words = list(sentence.input)
        yield Example("".join(words), label_words(words) if with_targets else None, sentence.place)
