"""CoNLL: a token a line, columns separated by tabs or spaces, a blank line after each sentence."""

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Line, Lines, Place, error_at, is_row, nfc, quote
from ohlol.data.readers import json_lines
from ohlol.data.readers.base import CERTAIN, LIKELY, STRONG, Confidence, Reader
from ohlol.data.readers.column_names import find_column, list_names
from ohlol.data.readers.cutting import Boundary, sentence_boundary
from ohlol.data.readers.pairs import read_json_pairs
from ohlol.data.readers.plain_lines import read_plain_lines
from ohlol.data.span_labels import SPAN_LABEL, are_span_labels
from ohlol.data.targets import TargetKind
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.translation import message_id, translate

SUFFIXES = (".conll", ".conllu", ".conllup", ".conllx")
CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
"""The columns of CoNLL-U."""
GLOBAL_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
ID = re.compile(r"\d+([-.]\d+)?", re.ASCII)
TOKEN_NUMBER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
RANGE = re.compile(r"([1-9]\d{0,8})-([1-9]\d{0,8})", re.ASCII)
EMPTY_NODE = re.compile(r"(?:0|[1-9]\d{0,8})\.[1-9]\d{0,8}", re.ASCII)
START_LINES = 400
"""Lines from the start of a file in which its form is looked for."""
MIN_ROWS = 4
"""Rows from which on words with labels are recognized in a file of any name."""
SPAN_LIKE = re.compile(r"[O0]|[BIESLUMW][-_]\S+|\S+[-_][BIESLUMW]", re.IGNORECASE)
"""A label that marks spans in whatever form; only `SPAN_LABEL` is read as such."""
OUTSIDE = {"O", "o", "0"}
HEADER_WORDS = {"form", "token", "tokens", "word", "words", "text"}
HEADER_LABELS = {"label", "labels", "ner", "ner_tag", "ner_tags", "pos", "pos_tag", "tag", "tags", "upos", "xpos"}
"""Words and labels of a first row that names the columns."""
TAG = re.compile(r"O|[BIESLUM]-\S+|[A-Z][A-Z0-9]{0,7}\$?|-[A-Z]+-|[.,:;$#_]|``|\'\'|\"")
"""A label as treebanks and corpora of names write it."""
DOCUMENT_START = "-DOCSTART-"
"""The word that stands for the start of a document, in a sentence of its own."""
LONG_SENTENCE = 1000
"""Words of a sentence from which on a blank line seems to be missing."""
SHORT_SENTENCES = 20
"""Sentences of one word from which on, where there are no others, blank lines seem to follow words."""
UNSPECIFIED = "_"
MIN_NUMBERED = 3
"""Columns from which on the first may count the tokens: number, word and label."""


class ConllReader(Reader):
    """Words with a label each, one a line."""

    name = "conll"
    targets = (TargetKind(),)
    level = "word"

    def recognize(self, start: Lines, settings: DataSettings) -> Confidence | None:
        """By the name, by lines of words with labels, or by a first row with the ten columns of CoNLL-U."""
        if start.suffix in SUFFIXES:
            return Confidence(CERTAIN, translate("its name ends in {suffix}", suffix=start.suffix))
        first = start.first(is_token)
        if settings.level not in (None, self.level):
            return None
        if has_words_with_labels(start):
            return Confidence(STRONG, translate("its lines are words with labels"))
        if first is not None and first.text.count("\t") + 1 == len(CONLLU) and start.suffix != ".tsv":
            return Confidence(LIKELY, translate("its first row has the ten columns of CoNLL-U"))
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
        """Refuse a column whose labels are all `_`; warn of labels of spans in a form that is not read as such."""
        distinct = set(labels)
        if distinct == {UNSPECIFIED}:
            raise InputError(
                "{file}: column {target} holds only _; choose another with `target`",
                file=file,
                target=quote(settings.target),
            )
        if _seem_to_mark_spans(distinct):
            others = sorted(label for label in distinct if not SPAN_LABEL.fullmatch(label))
            if others:
                _warn(
                    translate(
                        "{file}: labels such as {labels} do not mark spans, as B-PER, I-PER and O do, and are "
                        "learned one by one; O is the letter",
                        file=file,
                        labels=quote(others[0]),
                    )
                )

    def boundary(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Boundary:
        """After a blank line."""
        del lines, settings, with_targets
        return sentence_boundary


def is_token(text: str) -> bool:
    """Whether a line is neither blank nor a comment; a comment begins with "# ", or with "#" and has no tab."""
    return is_row(text) and not text.startswith("# ")


def _is_word(text: str) -> bool:
    """Whether a line is a token and no mark of a document."""
    return is_token(text) and text.split()[0] != DOCUMENT_START


def _seem_to_mark_spans(labels: set[str]) -> bool:
    """Whether different labels mark spans, in whatever form."""
    return len(labels) > 1 and bool(labels & OUTSIDE) and all(SPAN_LIKE.fullmatch(label) for label in labels)


def has_words_with_labels(lines: Lines) -> bool:
    """Whether the lines at the start of a file are words with labels: as many columns in each, the last of labels.

    The labels are those of spans, such as B-PER, or blank lines separate sentences and the labels are few or in capital
    letters. Lines of a text hardly have this form.
    """
    start = lines.head.start(START_LINES)
    while start and not start[-1].text.strip():
        start.pop()
    rows = [_split_cells(line.text, "\t" in line.text) for line in start if is_token(line.text)]
    if len(rows) < MIN_ROWS or len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
        return False
    if any(not cell or " " in cell for row in rows for cell in row):
        return False
    labels = {row[-1] for row in rows}
    if _seem_to_mark_spans(labels):
        return True
    has_sentences = any(not line.text.strip() for line in start)
    are_tags = len(labels) <= 0.75 * len(rows) and all(TAG.fullmatch(label) for label in labels)
    return has_sentences and (are_tags or len(labels) <= len(rows) / 5)


def _begins_with_numbers(lines: Lines) -> bool:
    """Whether the first column counts the tokens of each sentence; most rows must do so, since some may be wrong."""
    number, counted, rows = 0, 0, 0
    for line in lines.head.start(START_LINES):
        if not line.text.strip():
            number = 0
        elif is_token(line.text):
            first = _split_cells(line.text, "\t" in line.text)[0]
            if TOKEN_NUMBER.fullmatch(first):
                rows += 1
                counted += int(first) == number + 1 or (number == 0 and first == "0")
                number = int(first)
            else:
                rows += ID.fullmatch(first) is None
    return counted > rows / 2


def _check_span_columns(lines: Lines, names: tuple[str, ...], place: Place) -> None:
    """Ask where labels of spans are in another column than the last, which would be learned; raises InputError."""
    start = [line.text for line in lines.head.start(START_LINES) if is_token(line.text)]
    rows = [_split_cells(text, "\t" in text) for text in start]
    columns = [{row[i] for row in rows} for i in range(len(names)) if all(len(row) == len(names) for row in rows)]
    marked = [i for i, cells in enumerate(columns) if are_span_labels(cells)]
    if len(rows) >= MIN_ROWS and marked and not are_span_labels(columns[-1]):
        raise error_at(
            place,
            translate(
                "column {column} holds labels of spans, such as {labels}, and the last, column {last}, "
                "holds others; choose the words and labels with `input` and `target`",
                column=names[marked[-1]],
                labels=quote(max(columns[marked[-1]] - {"O"})),
                last=names[-1],
            ),
        )


def has_columns(lines: Lines) -> bool:
    """Whether a file has columns rather than plain sentences, by its name or its first row."""
    row = lines.head.first(is_token)
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
        ahead = lines.until(_is_word)
        if not ahead or not _is_word(ahead[-1].text):
            raise InputError("{file}: no rows; the file is empty", file=lines.file)
        row = _split_cells(ahead[-1].text, "\t" in ahead[-1].text)
        names = tuple(str(number) for number in range(1, len(row) + 1))
        if ID.fullmatch(row[0]) and (len(row) == len(CONLLU) or (settings.input in CONLLU and len(row) < len(CONLLU))):
            names = CONLLU[: len(row)]
        elif lines.suffix == ".conllu" and len(row) == len(CONLLU):
            names = CONLLU
        elif len(row) >= MIN_NUMBERED and _begins_with_numbers(lines):
            names = ("ID", "FORM", *names[2:])
        named = False
        for line in ahead[:-1]:
            if match := GLOBAL_COLUMNS.match(line.text):
                names, named = tuple(match[1].split()), True
        place = ahead[-1].place
        if len(names) != len(row):
            raise error_at(
                place,
                translate(
                    "{count} columns, where global.columns names {expected}", count=len(row), expected=len(names)
                ),
            )
        if len(row) == 1 and with_targets:
            raise error_at(
                place, translate("one column; a row has a word and its label, separated by a tab or a space")
            )
        if not named and row[0].lower() in HEADER_WORDS and row[-1].lower() in HEADER_LABELS:
            raise error_at(
                place,
                translate(
                    "the first row, {cells}, names the columns; remove it, or write it as # global.columns = {names}",
                    cells=quote(" ".join(row)),
                    names=" ".join(row),
                ),
            )
        if len(row) > len(CONLLU) and names[0] == "ID" and not named and with_targets and not settings.target:
            raise error_at(
                place,
                translate(
                    "{count} columns, one of which holds the labels; choose it with `target`, by number from "
                    "1: {names}",
                    count=len(row),
                    names=list_names(tuple(row)),
                ),
            )
        if with_targets and not settings.target and "FORM" not in names:
            _check_span_columns(lines, names, place)
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
        comment = line.text.startswith("#") and ("\t" not in line.text or line.text.startswith("# "))
        if comment and (self.tabs or " = " in line.text):
            return None
        if line.text.startswith("#") and self.names[0] == "ID":
            return None
        cells = _split_cells(line.text, self.tabs)
        if cells[0].strip() == DOCUMENT_START:
            return None
        if comment and len(cells) != self.width:
            return None
        if len(cells) != self.width:
            marks = message_id("tabs" if self.tabs else "spaces")
            raise error_at(
                line.place,
                translate(
                    "{count} columns, where the first row has {width}, separated by {marks}",
                    count=len(cells),
                    width=self.width,
                    marks=marks,
                ),
            )
        return None if self.names[0] == "ID" and _is_range_or_empty(cells[0], line.place) else cells

    def cell(self, cells: list[str], column: int, place: Place) -> str:
        """One cell of a row, composed; raises InputError where it is empty."""
        if not cells[column]:
            raise error_at(
                place,
                translate(
                    "column {names} is empty; CoNLL writes _ for an unknown value", names=quote(self.names[column])
                ),
            )
        return nfc(cells[column])


def _is_range_or_empty(number: str, place: Place) -> bool:
    """Whether a row is a multi-word range or an empty node instead of a token; raises InputError where it is none."""
    if TOKEN_NUMBER.fullmatch(number):
        return False
    if EMPTY_NODE.fullmatch(number) or ((match := RANGE.fullmatch(number)) and int(match[1]) < int(match[2])):
        return True
    raise error_at(
        place,
        translate(
            "column 'ID' is {number}; it is the number of a token, a range such as 3-4, or a node such as 5.1",
            number=quote(number),
        ),
    )


def _check_number(cells: list[str], before: int | None, place: Place) -> int:
    """The number of a token, which follows that of the token before it; raises InputError."""
    number = int(cells[0])
    if number != before + 1 if before is not None else number > 1:
        after = (
            translate("at the start of a sentence") if before is None else translate("after {before}", before=before)
        )
        raise error_at(
            place,
            translate(
                "column 'ID' is {number} {after}; tokens are counted from 1, and a blank line ends a sentence",
                number=number,
                after=after,
            ),
        )
    return number


def _split_cells(text: str, tabs: bool) -> list[str]:
    return text.split("\t") if tabs else [cell for cell in text.split(" ") if cell]


def read_sentences(lines: Lines, layout: ColumnLayout) -> Iterator[Example]:
    """Sentences of one token a line, with a blank line after each."""
    words: list[str] = []
    labels: list[str] = []
    start = Place(lines.file, 1)
    number: int | None = None
    sentences, longest, is_written = 0, 0, False
    for line in lines:
        if not line.text.strip():
            if words:
                sentences, longest = sentences + 1, max(longest, len(words))
                yield Example(words, None if layout.target is None else labels, start)
            words, labels, number = [], [], None
            continue
        cells = layout.row(line)
        if cells is None:
            continue
        if layout.names[0] == "ID":
            number = _check_number(cells, number, line.place)
        if not words:
            start = line.place
        is_written = is_written or cells[layout.input] != UNSPECIFIED
        words.append(layout.cell(cells, layout.input, line.place))
        if len(words) == LONG_SENTENCE:
            _warn(
                translate(
                    "{start}: a sentence of {long_sentence:,} words or more; a blank line ends a sentence",
                    start=start,
                    long_sentence=LONG_SENTENCE,
                )
            )
        if layout.target is not None:
            labels.append(layout.cell(cells, layout.target, line.place))
    if words:
        sentences, longest = sentences + 1, max(longest, len(words))
        yield Example(words, None if layout.target is None else labels, start)
    if sentences and not is_written:
        raise InputError(
            "{file}: column {names} holds only _, as where a treebank is published without its text; choose another "
            "`input`, or add the words",
            file=lines.file,
            names=quote(layout.names[layout.input]),
        )
    if longest == 1 and sentences >= SHORT_SENTENCES:
        _warn(
            translate(
                "{file}: all {sentences:,} sentences have one word; a blank line ends a sentence, not a word",
                file=lines.file,
                sentences=sentences,
            )
        )


def _warn(problem: str) -> None:
    warnings.warn(problem, InputWarning, 3)
