"""Lines with a label a step become examples: pairs, CoNLL, segmented text; knows nothing of how a format is told."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Line, Lines, Place, fault, is_row, is_strings, json_object, nfc, shown
from ohlol.utils.errors import InputError

CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
GLOBAL_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
ID = re.compile(r"\d+([-.]\d+)?", re.ASCII)
UNIT = {"char": "characters", "word": "words"}


def split(text: str, level: str | None) -> list[str] | str:
    """A text as one sequence: the string itself for its characters, or the list of its words."""
    return text.split() if level == "word" else text


def checked_pair(place: Place, given: list[str] | str, wanted: list[str] | str, level: str) -> Example:
    """An example, its two sides of one length and not empty."""
    if len(given) != len(wanted):
        raise fault(
            place,
            f"input has {len(given)} {UNIT[level]}, target {len(wanted)}; every step of a pair needs its own label",
        )
    return Example(filled(place, given), wanted, place)


def filled(place: Place, sequence: list[str] | str) -> list[str] | str:
    """The sequence, which must hold something."""
    if not sequence:
        raise fault(place, "the sequence is empty; give it one symbol at least or leave the line out")
    return sequence


def tsv_pairs(lines: Lines, level: str, targets: bool) -> Iterator[Example]:
    """Two columns of equal length a line; without targets the second may be absent."""
    for text, place in lines:
        if "\t" not in text and not text.strip():
            continue
        columns = [split(nfc(column), level) for column in text.split("\t")]
        if len(columns) > 2 or len(columns) < 1 + targets:
            raise fault(place, f"columns in this line: {len(columns)}; a pair is two, separated by one tab")
        if targets:
            yield checked_pair(place, columns[0], columns[1], level)
        else:
            yield Example(filled(place, columns[0]), None, place)


def json_pairs(lines: Lines, settings: DataSettings, targets: bool) -> Iterator[Example]:
    """Objects with an "input" and a "target", both lists of strings or both strings."""
    level = settings.level or "char"
    for line in lines:
        if not line.text.strip():
            continue
        given = _json_side(line, settings.input or "input", level)
        if targets:
            yield checked_pair(line.place, given, _json_side(line, settings.target or "target", level), level)
        else:
            yield Example(filled(line.place, given), None, line.place)


def _json_side(line: Line, key: str, level: str) -> list[str] | str:
    entries = json_object(line)
    if key not in entries:
        raise fault(line.place, f'no "{key}"; there are {listed(tuple(entries))}')
    value: Any = entries[key]
    if isinstance(value, str):
        return split(value, level)
    if not is_strings(value):
        raise fault(line.place, f'"{key}" must be a string or a list of strings')
    if level == "char":
        raise fault(line.place, f'"{key}" is a list, where characters are read from a string; --level word reads lists')
    return value


@dataclass(frozen=True)
class Layout:
    """Which columns of a CoNLL file are read."""

    names: tuple[str, ...]
    width: int
    tabs: bool
    input: int
    target: int | None

    @classmethod
    def told(cls, lines: Lines, settings: DataSettings, targets: bool) -> "Layout":
        """The layout of a file, from its first row, its `# global.columns` and the columns asked for."""
        ahead = lines.until(is_row)
        if not ahead or not is_row(ahead[-1].text):
            raise InputError(f"{lines.file}: no rows; the file is empty")
        row = _cells(ahead[-1].text, "\t" in ahead[-1].text)
        names = tuple(str(number) for number in range(1, len(row) + 1))
        if ID.fullmatch(row[0]) and (len(row) == len(CONLLU) or (settings.input in CONLLU and len(row) < len(CONLLU))):
            names = CONLLU[: len(row)]
        for line in ahead[:-1]:
            if found := GLOBAL_COLUMNS.match(line.text):
                names = tuple(found[1].split())
        place = ahead[-1].place
        if len(names) != len(row):
            raise fault(place, f"{len(row)} columns, where global.columns names {len(names)}")
        first = "FORM" if "FORM" in names else names[0]
        last = "UPOS" if "UPOS" in names else names[-1]
        if not targets and len(row) == 1:
            column, target = 0, None
        else:
            column = find(names, settings.input or first, place)
            target = find(names, settings.target or last, place) if targets else None
        return cls(names, len(row), "\t" in ahead[-1].text, column, target)

    def resolved(self, settings: DataSettings) -> DataSettings:
        """The settings with the columns' names filled in."""
        target = settings.target if self.target is None else self.names[self.target]
        return replace(settings, input=settings.input or self.names[self.input], target=target)

    def row(self, line: Line) -> list[str] | None:
        """The cells of a line; None for comments, multi-word ranges and empty nodes."""
        comment = line.text.startswith("#") and "\t" not in line.text
        if comment and (self.tabs or " = " in line.text):
            return None
        cells = _cells(line.text, self.tabs)
        if comment and len(cells) != self.width:
            return None
        if len(cells) != self.width:
            raise fault(line.place, f"{len(cells)} columns, where the first row has {self.width}")
        if self.names[0] == "ID" and ("-" in cells[0] or "." in cells[0]) and ID.fullmatch(cells[0]):
            return None
        return cells


def _cells(text: str, tabs: bool) -> list[str]:
    return text.split("\t") if tabs else [cell for cell in text.split(" ") if cell]


def listed(names: tuple[str, ...]) -> str:
    """The names of columns as a message gives them."""
    more = f" and {len(names) - LISTED} more" * (len(names) > LISTED)
    return (", ".join(map(shown, names[:LISTED])) or "none") + more


LISTED = 20
"""Names of columns that a message lists."""


def find(names: tuple[str, ...], wanted: str, place: Place) -> int:
    """Where the column stands that is wanted by name, or by number from 1."""
    if names.count(wanted) > 1:
        raise fault(place, f"{names.count(wanted)} columns are named {shown(wanted)}; give the column's number")
    if wanted in names:
        return names.index(wanted)
    if wanted.isascii() and wanted.isdigit() and len(wanted) < SHORT and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    raise fault(place, f"no column {shown(wanted)}; there are {listed(names)}")


SHORT = 10
"""Digits that no column's number reaches."""


def conll(lines: Lines, layout: Layout) -> Iterator[Example]:
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
        words.append(_cell(cells, layout, layout.input, line.place))
        if layout.target is not None:
            labels.append(_cell(cells, layout, layout.target, line.place))
    if words:
        yield Example(words, None if layout.target is None else labels, start)


def _cell(cells: list[str], layout: Layout, column: int, place: Place) -> str:
    if not cells[column]:
        raise fault(place, f"column {shown(layout.names[column])} is empty; CoNLL writes _ for what is not known")
    return nfc(cells[column])


def bmes(words: list[str]) -> str:
    """The label of every character: begin, middle and end of a word, or a single one.

    >>> bmes(["ohlol", "is", "a"])
    'BMMMEBES'
    """
    return "".join("S" if len(word) == 1 else "B" + "M" * (len(word) - 2) + "E" for word in words)


def segmented_lines(lines: Lines, targets: bool) -> Iterator[Example]:
    """A sentence a line, its words separated by white space; without targets the line is read as it stands."""
    for text, place in lines:
        if text.strip():
            words = nfc(text).split()
            yield Example("".join(words), bmes(words), place) if targets else Example(nfc(text), None, place)


def segmented_conll(lines: Lines, settings: DataSettings, targets: bool) -> Iterator[Example]:
    """The same from the forms of a CoNLL file."""
    for words, _, place in conll(lines, Layout.told(lines.head, settings, targets=False)):
        yield Example("".join(words), bmes(list(words)) if targets else None, place)
