"""CoNLL: a token a line, columns separated by tabs or spaces, a blank line after each sentence."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Line, Lines, Place, error_at, is_row, nfc, quote
from ohlol.data.readers import json_lines
from ohlol.data.readers.base import CERTAIN, LIKELY, Confidence, Reader
from ohlol.data.readers.column_names import find_column
from ohlol.data.readers.cutting import Boundary, sentence_boundary
from ohlol.data.readers.pairs import read_json_pairs
from ohlol.data.readers.plain_lines import read_plain_lines
from ohlol.data.targets import TargetKind
from ohlol.utils.errors import InputError

SUFFIXES = (".conll", ".conllu", ".conllup", ".conllx")
CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
"""The columns of CoNLL-U."""
GLOBAL_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
ID = re.compile(r"\d+([-.]\d+)?", re.ASCII)
UNSPECIFIED = "_"


class ConllReader(Reader):
    """Words with a label each, one a line."""

    name = "conll"
    targets = (TargetKind(),)
    level = "word"

    def recognize(self, start: Lines, settings: DataSettings) -> Confidence | None:
        """By the name, or by a first row with the ten columns of CoNLL-U."""
        if start.suffix in SUFFIXES:
            return Confidence(CERTAIN, f"its name ends in {start.suffix}")
        first = start.first(is_row)
        if first is not None and first.text.count("\t") + 1 == len(CONLLU) and start.suffix != ".tsv":
            return Confidence(LIKELY, "its first row has the ten columns of CoNLL-U")
        return None

    def resolve(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> DataSettings:
        """The settings with the names of the columns."""
        if not self._has_layout(lines, with_targets):
            return settings
        return ColumnLayout.infer(lines.head, settings, with_targets=with_targets).complete(settings)

    def examples(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Iterator[Example]:
        """Sentences; without targets the file may also be JSON objects with an input, or plain text."""
        if not self._has_layout(lines, with_targets):
            if lines.suffix in json_lines.SUFFIXES:
                return read_json_pairs(lines, replace(settings, input=None), with_targets=False)
            return read_plain_lines(lines, settings.level)
        return read_sentences(lines, ColumnLayout.infer(lines.head, settings, with_targets=with_targets))

    def _has_layout(self, lines: Lines, with_targets: bool) -> bool:
        return with_targets or (lines.suffix not in json_lines.SUFFIXES and has_columns(lines))

    def check_labels(self, file: str, settings: DataSettings, labels: Iterable[str]) -> None:
        """Refuse a column whose labels are all `_`."""
        if all(label == UNSPECIFIED for label in labels):
            raise InputError(f"{file}: column {quote(settings.target)} holds only _; choose another with `target`")

    def boundary(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Boundary:
        """After a blank line."""
        del lines, settings, with_targets
        return sentence_boundary


def has_columns(lines: Lines) -> bool:
    """Whether a file has columns rather than plain sentences, by its name or its first row."""
    row = lines.head.first(is_row)
    return lines.suffix in SUFFIXES or (row is not None and "\t" in row.text)


@dataclass(frozen=True)
class ColumnLayout:
    """The columns of a CoNLL file, and which of them are read."""

    names: tuple[str, ...]
    width: int
    tabs: bool
    """Whether columns are separated by tabs instead of spaces."""
    input: int
    target: int | None

    @classmethod
    def infer(cls, lines: Lines, settings: DataSettings, *, with_targets: bool) -> "ColumnLayout":
        """Infer the layout from the first row, from `# global.columns` and from the columns that were chosen.

        Raises:
            InputError: there are no rows, or no such column.
        """
        ahead = lines.until(is_row)
        if not ahead or not is_row(ahead[-1].text):
            raise InputError(f"{lines.file}: no rows; the file is empty")
        row = _split_cells(ahead[-1].text, "\t" in ahead[-1].text)
        names = tuple(str(number) for number in range(1, len(row) + 1))
        if ID.fullmatch(row[0]) and (len(row) == len(CONLLU) or (settings.input in CONLLU and len(row) < len(CONLLU))):
            names = CONLLU[: len(row)]
        for line in ahead[:-1]:
            if match := GLOBAL_COLUMNS.match(line.text):
                names = tuple(match[1].split())
        place = ahead[-1].place
        if len(names) != len(row):
            raise error_at(place, f"{len(row)} columns, where global.columns names {len(names)}")
        first = "FORM" if "FORM" in names else names[0]
        last = "UPOS" if "UPOS" in names else names[-1]
        if not with_targets and len(row) == 1:
            column, target = 0, None
        else:
            column = find_column(names, settings.input or first, place)
            target = find_column(names, settings.target or last, place) if with_targets else None
        return cls(names, len(row), "\t" in ahead[-1].text, column, target)

    def complete(self, settings: DataSettings) -> DataSettings:
        """The settings with the names of the columns."""
        target = settings.target if self.target is None else self.names[self.target]
        return replace(settings, input=settings.input or self.names[self.input], target=target)

    def row(self, line: Line) -> list[str] | None:
        """The cells of a line; None for comments, multi-word ranges and empty nodes.

        Raises:
            InputError: it has another number of columns than the first row.
        """
        comment = line.text.startswith("#") and "\t" not in line.text
        if comment and (self.tabs or " = " in line.text):
            return None
        cells = _split_cells(line.text, self.tabs)
        if comment and len(cells) != self.width:
            return None
        if len(cells) != self.width:
            raise error_at(line.place, f"{len(cells)} columns, where the first row has {self.width}")
        if self.names[0] == "ID" and ("-" in cells[0] or "." in cells[0]) and ID.fullmatch(cells[0]):
            return None
        return cells

    def cell(self, cells: list[str], column: int, place: Place) -> str:
        """One cell of a row, composed; raises InputError where it is empty."""
        if not cells[column]:
            raise error_at(place, f"column {quote(self.names[column])} is empty; CoNLL writes _ for an unknown value")
        return nfc(cells[column])


def _split_cells(text: str, tabs: bool) -> list[str]:
    return text.split("\t") if tabs else [cell for cell in text.split(" ") if cell]


def read_sentences(lines: Lines, layout: ColumnLayout) -> Iterator[Example]:
    """Sentences of one token a line, with a blank line after each."""
    words: list[str] = []
    labels: list[str] = []
    start = Place(lines.file, 1)
    for line in lines:
        if not line.text.strip():
            if words:
                yield Example(words, None if layout.target is None else labels, start)
            words, labels = [], []
            continue
        cells = layout.row(line)
        if cells is None:
            continue
        if not words:
            start = line.place
        words.append(layout.cell(cells, layout.input, line.place))
        if layout.target is not None:
            labels.append(layout.cell(cells, layout.target, line.place))
    if words:
        yield Example(words, None if layout.target is None else labels, start)
