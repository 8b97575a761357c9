"""Pairs: an input and a target with as many symbols: in two columns, as JSON objects, or in a table in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ohlol.config import DataSettings
from ohlol.data.frames import RecordLines, Records
from ohlol.data.lines import FRAME, Example, Line, Lines, Place, error_at, is_row, nfc
from ohlol.data.readers import json_lines
from ohlol.data.readers.base import LAST_RESORT, LIKELY, Confidence, Reader
from ohlol.data.readers.column_names import list_names
from ohlol.data.readers.json_lines import is_strings, json_object, looks_like_json
from ohlol.data.readers.plain_lines import require_symbols
from ohlol.data.symbols import Symbols, split_line
from ohlol.data.targets import TargetKind
from ohlol.utils.translation import message_id, translate

INPUT, TARGET = "input", "target"
"""The keys of a JSON object, unless the settings choose others."""
UNITS = {"char": message_id("characters"), "word": message_id("words")}


class PairsReader(Reader):
    """Two columns separated by a tab, JSON objects with an input and a target, or two columns of a table in memory."""

    name = "pairs"
    targets = (TargetKind(),)

    def recognize(self, start: Lines, settings: DataSettings) -> Confidence | None:
        """Two columns of equal length, or JSON pairs; anything where a task with a label for each step is chosen."""
        if not (settings.input or settings.target):
            if is_json(start):
                if is_json_pair(start.first(is_row)):
                    return Confidence(LIKELY, translate("its first object has an input and a target of equal length"))
            elif _has_equal_columns(start, settings.level):
                return Confidence(LIKELY, translate("its first row has two columns of equal length"))
        return (
            None
            if settings.task is None
            else Confidence(LAST_RESORT, translate("the task {task} reads pairs", task=settings.task))
        )

    def resolve(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> DataSettings:
        """The level: words where the input of the first object or row is a list, else characters."""
        del with_targets
        key = nfc(settings.input or INPUT)
        if isinstance(lines, RecordLines):
            first, _ = next(_record_entries(lines.records), ({}, None))
        else:
            line = lines.head.first()
            first = json_object(line) if looks_like_json(line, settings.input or INPUT) else {}
        is_list = isinstance(first.get(key), list)
        return replace(settings, level=settings.level or ("word" if is_list else "char"))

    def examples(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Iterator[Example]:
        """A pair for each row, or for each line that is not blank."""
        if isinstance(lines, RecordLines):
            return _read_entries(_record_entries(lines.records), settings, with_targets=with_targets)
        if lines.suffix in json_lines.SUFFIXES or looks_like_json(lines.head.first(), settings.input or INPUT):
            return read_json_pairs(lines, settings, with_targets=with_targets)
        return _read_tsv_pairs(lines, settings.level or "char", with_targets)


def is_json(start: Lines) -> bool:
    """Whether a file holds JSON objects, by its name or, where that has no suffix, by its first row."""
    return start.suffix in json_lines.SUFFIXES or (start.suffix == "" and looks_like_json(start.first(is_row), INPUT))


def is_json_pair(first: Line | None) -> bool:
    """Whether the first line of a file is an object with an input and a target that can be a pair."""
    if not looks_like_json(first, INPUT, TARGET):
        return False
    entries = json_object(first)
    source, target = entries[INPUT], entries[TARGET]
    if is_strings(source) and is_strings(target):
        return True
    return isinstance(source, str) and isinstance(target, str) and len(source) == len(target)


def _has_equal_columns(start: Lines, level: str | None) -> bool:
    first = start.first(is_row)
    cells = first.text.split("\t") if first else []
    return len(cells) == 2 and len({len(split_line(nfc(cell), level)) for cell in cells}) == 1


def check_pair(place: Place, source: Symbols, target: Symbols, level: str) -> Example:
    """An example whose input and target have the same length.

    Raises:
        InputError: their lengths differ, or both are empty.
    """
    if len(source) != len(target):
        raise error_at(
            place,
            translate(
                "input has {count} {units}, target {target_count}; every step of a pair needs its own label; for "
                "one label of each text choose `input` and `target`",
                count=len(source),
                units=translate(UNITS[level]),
                target_count=len(target),
            ),
        )
    return Example(require_symbols(place, source), target, place)


def _read_tsv_pairs(lines: Lines, level: str, with_targets: bool) -> Iterator[Example]:
    """Two columns of equal length; without targets the second may be missing."""
    for text, place in lines:
        if "\t" not in text and not text.strip():
            continue
        columns = [split_line(nfc(column), level) for column in text.split("\t")]
        if len(columns) > 2 or len(columns) < 1 + with_targets:
            raise error_at(
                place,
                translate("columns in this line: {count}; a pair is two, separated by one tab", count=len(columns)),
            )
        if with_targets:
            yield check_pair(place, columns[0], columns[1], level)
        else:
            yield Example(require_symbols(place, columns[0]), None, place)


def read_json_pairs(lines: Lines, settings: DataSettings, *, with_targets: bool) -> Iterator[Example]:
    """Objects with an input and a target, both strings or both lists of strings."""
    entries = ((json_object(line), line.place) for line in lines if line.text.strip())
    return _read_entries(entries, settings, with_targets=with_targets)


def _record_entries(records: Records) -> Iterator[tuple[dict[str, Any], Place]]:
    """The rows of a table in memory, as JSON objects are read."""
    for number, cells in enumerate(records.rows(), 1):
        yield dict(zip(records.names, map(_composed, cells), strict=True)), Place(FRAME, number)


def _composed(cell: Any) -> Any:
    if is_strings(cell):
        return [nfc(entry) for entry in cell]
    return nfc(cell) if isinstance(cell, str) else cell


def _read_entries(
    entries: Iterable[tuple[dict[str, Any], Place]], settings: DataSettings, *, with_targets: bool
) -> Iterator[Example]:
    level = settings.level or "char"
    for entry, place in entries:
        source = _symbols(entry, place, settings.input or INPUT, level)
        if with_targets:
            yield check_pair(place, source, _symbols(entry, place, settings.target or TARGET, level), level)
        else:
            yield Example(require_symbols(place, source), None, place)


def _symbols(entry: dict[str, Any], place: Place, key: str, level: str) -> Symbols:
    if key not in entry:
        raise error_at(place, translate('no "{key}"; there are {names}', key=key, names=list_names(tuple(entry))))
    value: Any = entry[key]
    if isinstance(value, str):
        return split_line(value, level)
    if not is_strings(value):
        raise error_at(place, translate('"{key}" must be a string or a list of strings', key=key))
    if level == "char":
        raise error_at(
            place,
            translate(
                '"{key}" is a list, and characters are read from a string; with `level` word lists are read', key=key
            ),
        )
    return value
