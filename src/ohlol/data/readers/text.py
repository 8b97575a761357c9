"""Text: a file is one long sequence, each symbol the target of the one before it."""

import re
from collections.abc import Iterator

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Lines, Place, nfc, quote
from ohlol.data.readers.base import POSSIBLE, Confidence, Reader
from ohlol.data.readers.cutting import Boundary, text_boundary
from ohlol.data.readers.json_lines import looks_like_json
from ohlol.data.readers.tables import number
from ohlol.data.symbols import split_lines
from ohlol.data.targets import TargetKind
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

COMPARED_LINES, MIN_LINES = 20, 4
"""Lines from the start of a file that are compared, and of which at least so many show columns."""
ARFF = ("@relation", "@attribute")
"""The first words of ARFF and TSF files."""
TAGGED = re.compile(r"\S+[/_|][A-Z][A-Z0-9$]{0,6}|(\W+)[/_|]\W+")
"""A word with the tag of its part of speech, such as runs/VBZ, or a mark with itself."""
TABLE_MARKS = ("\t", ";", "|", ",")
"""What may separate columns."""


def _has_columns(texts: list[str], mark: str) -> bool:
    """Whether all lines have a delimiter as often, and not before a space, as a mark of a sentence has."""
    counts = {text.count(mark) for text in texts}
    is_prose = mark in ",;" and any(mark + " " in text for text in texts)
    return len(texts) >= MIN_LINES and len(counts) == 1 and counts != {0} and not is_prose


def _check_lines(file: str, texts: list[str]) -> None:
    """Ask where lines are numbers, words with tags, or a file of another program; raises InputError."""
    cells = [text.split() for text in texts]
    words = [word for row in cells for word in row]
    if texts and texts[0].lower().startswith(ARFF):
        problem = translate("it begins as ARFF or TSF, which is not read; write it as CSV, or as a .ts file")
    elif len(texts) >= MIN_LINES and len({len(row) for row in cells}) == 1 and _holds_numbers(cells[1:]):
        problem = (
            translate("its lines are numbers; for a series of numbers choose `task` forecast")
            if len(cells[0]) == 1
            else translate(
                "its lines have {count} columns separated by spaces, with numbers; for a table, separate them by "
                "commas",
                count=len(cells[0]),
            )
        )
    elif len(words) >= 2 * MIN_LINES and len(words) >= 2 * len(texts) and all(map(TAGGED.fullmatch, words)):
        problem = translate(
            "its words have tags, such as {word}; to label words, write a word and its tag a line, separated by a "
            "tab, and a blank line after each sentence",
            word=quote(cells[0][0]),
        )
    else:
        return
    raise InputError("{file}: {problem}; to read the file as a text, choose `task` next", file=file, problem=problem)


def _holds_numbers(rows: list[list[str]]) -> bool:
    """Whether at least half of the columns hold numbers, also with their index before a colon, in each row."""
    columns = list(zip(*rows, strict=True))
    numeric = [all(number(cell.partition(":")[2] or cell) is not None for cell in column) for column in columns]
    return 2 * sum(numeric) >= len(columns)


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
            if looks_like_json(start.first()):
                raise InputError(
                    "{file}: its lines are JSON objects, and the names of their keys would be learned as text: write "
                    "the texts alone to a file; to read this one as it stands, choose `format` text",
                    file=start.file,
                )
            return
        if chosen := settings.columns():
            raise InputError(
                "{file}: `{name}` chooses columns, and its lines have none that are named so; for a table, the "
                "columns are separated by commas, semicolons or tabs, below their names",
                file=start.file,
                name=next(iter(chosen)),
            )
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
        _check_lines(start.file, texts)

    def resolve(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> DataSettings:
        """The level; no columns can be chosen."""
        if with_targets:
            self.refuse_columns(lines.file, settings)
        return super().resolve(lines, settings, with_targets=with_targets)

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
