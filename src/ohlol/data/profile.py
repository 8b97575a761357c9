"""The profile of a file: how it is read, what its columns and labels hold, and the doubts that training would raise."""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from statistics import median
from typing import Any

from ohlol.config import DataSettings
from ohlol.data.corpus.encoded import can_be_read_again
from ohlol.data.formats import infer_format
from ohlol.data.interpretation import Interpretation
from ohlol.data.lines import Example, FileRange, Lines, Place, name_of
from ohlol.data.readers.base import Reader
from ohlol.data.readers.column_names import find_columns
from ohlol.data.readers.column_stats import TableStats
from ohlol.data.readers.doubts import find_gaps, format_span
from ohlol.data.readers.labelled import LabelledSeries
from ohlol.data.readers.tables import Row, Table
from ohlol.data.sequences import read_panel
from ohlol.data.settings import check_settings
from ohlol.data.targets import TARGET_KINDS
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.translation import message_id, translate

SAMPLE_BYTES, SAMPLE_ROWS = 1 << 20, 1 << 15
"""Bytes and rows from the start of a file that are read."""
SHOWN_ROWS, SHOWN_LABELS, SHOWN_VALUES = 3, 10, 3
"""First rows, and most frequent labels and values of a column, in a profile."""
SHOWN_CHARACTERS = 80
"""Characters of a cell or a sequence in a profile."""


@dataclass(frozen=True)
class ColumnProfile:
    """What a column holds."""

    name: str
    role: str
    """The settings that choose it, such as "input", or "" where it is not read; several are separated by commas."""
    kind: str
    """"integer", "number", "date", "time" (Unix time), "text", "list" or "empty"; ", mostly" where cells differ."""
    missing: int
    """Cells that are empty, or hold a word for a missing value such as N/A."""
    low: float | str | None = None
    """The smallest number, or the first date."""
    high: float | str | None = None
    frequent: tuple[tuple[str, int], ...] = ()
    """The most frequent values of a column of texts, and how often they occur."""
    distinct: int = 0
    """Different values of a column of texts; at least so many."""


@dataclass(frozen=True)
class Profile:
    """What a file, or its start, holds, and how it is read."""

    file: str
    settings: DataSettings
    """Those that were chosen and inferred."""
    reading: str
    """One line: how the file is read, and why."""
    is_whole: bool
    """Whether all of it was read."""
    rows: int
    """Rows of a table; 0 of another file."""
    columns: tuple[ColumnProfile, ...]
    first: tuple[tuple[str, ...], ...]
    """The first rows, or the first sequences and their labels."""
    sequences: int = 0
    lengths: tuple[int, float, int] | None = None
    """The shortest, the median and the longest sequence."""
    labels: tuple[tuple[str, int], ...] = ()
    """The most frequent labels, and how often they occur."""
    label_count: int = 0
    time: str | None = None
    """The dates of a table: from, to, usual step and gaps."""
    warnings: tuple[str, ...] = ()
    refusal: str | None = None
    """The error with which training would end."""

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON data."""
        return {**asdict(self), "settings": self.settings.to_json()}


def profile(path: str, settings: DataSettings) -> Profile:
    """Profile a file, of which the first `SAMPLE_BYTES` are read.

    Args:
        path: a file that can be read more than once.
        settings: those chosen, as for training.

    Raises:
        InputError: it cannot be read at all.
    """
    settings = check_settings(settings)
    if not can_be_read_again(path):
        raise InputError("{path}: can be read only once, and is read several times: give a file", path=name_of(path))
    reader, settings, reason = infer_format(Lines(path, settings.encoding), settings)
    try:
        span, is_whole = reader.start(path, settings, SAMPLE_BYTES)
    except OSError as error:
        raise InputError("{path}: cannot be read ({error})", path=path, error=error.strerror) from None
    result = Profile(path, settings, f"{path}: {settings.format} ({reason})", is_whole, 0, (), ())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        result = _add_sequences(result, reader, span, reason)
    messages = tuple(str(entry.message) for entry in caught if issubclass(entry.category, InputWarning))
    result = replace(result, warnings=messages)
    try:
        table = reader.table(Lines(span, settings.encoding), result.settings, with_targets=True)
    except InputError:
        table = None
    result = result if table is None else _add_table(result, table)
    if result.refusal and not result.first:  # nothing of it could be read
        raise InputError(result.refusal)
    return result


def _add_sequences(result: Profile, reader: Reader, span: FileRange, reason: str) -> Profile:
    """Add the settings that are inferred, and what the sequences hold, or why they are refused."""
    examples: list[Example] = []
    labels: list[str] = []
    encoding = result.settings.encoding
    try:
        contents = reader.open(Lines(span, encoding), result.settings, with_targets=True)
        if contents.table is not None:
            return _add_panel(result, reason)
        settings = contents.settings
        reading = str(Interpretation(result.file, settings, reason, contents.names))
        result = replace(result, settings=settings, reading=reading)
        kind = TARGET_KINDS[settings.task or ""]
        if contents.labelled is not None:
            return _add_labelled(result, list(contents.labelled))
        for example in islice(contents.examples or (), SAMPLE_ROWS):
            examples.append(example)
            target = example.target
            if kind.has_labels and target is not None:
                labels += kind.labels_of(target)
        if not examples:
            raise InputError("{file}: no sequences; the file is empty", file=result.file)
        if kind.has_labels:
            reader.check_labels(result.file, settings, labels)
    except InputError as error:
        result = replace(result, refusal=str(error))
    counts = Counter(labels)
    lengths = sorted(len(example.input) for example in examples)
    return replace(
        result,
        is_whole=result.is_whole and len(examples) < SAMPLE_ROWS,
        sequences=len(examples),
        lengths=(lengths[0], median(lengths), lengths[-1]) if lengths else None,
        labels=tuple(counts.most_common(SHOWN_LABELS)),
        label_count=len(counts),
        first=tuple(_first(example, result) for example in examples[:SHOWN_ROWS]),
    )


def _add_panel(result: Profile, reason: str) -> Profile:
    """Add the settings and the lengths of the series of a file, all of which is read; raises InputError."""
    panel, settings, interpretation = read_panel(result.file, result.settings)
    lengths = sorted(len(series.values) for series in panel.series)
    return replace(
        result,
        settings=settings,
        reading=str(replace(interpretation, reason=reason)),
        sequences=len(lengths),
        lengths=(lengths[0], median(lengths), lengths[-1]),
    )


def _add_labelled(result: Profile, series: list[LabelledSeries]) -> Profile:
    """Add the lengths and the classes of series of numbers with a target each."""
    if not series:
        raise InputError("{file}: no sequences; the file is empty", file=result.file)
    lengths = sorted(len(one.rows) for one in series)
    counts = Counter(one.target for one in series if isinstance(one.target, str))
    return replace(
        result,
        sequences=len(series),
        lengths=(lengths[0], median(lengths), lengths[-1]),
        labels=tuple(counts.most_common(SHOWN_LABELS)),
        label_count=len(counts),
    )


def _first(example: Example, result: Profile) -> tuple[str, ...]:
    """The start of a sequence and of its labels."""
    separators = (" " if result.settings.level == "word" else "", result.settings.label_separator or " ")
    parts = [example.input] if example.target is None else [example.input, example.target]
    texts = (
        mark.join(part) if isinstance(part, list) else str(part) for part, mark in zip(parts, separators, strict=False)
    )
    return tuple(text[:SHOWN_CHARACTERS] for text in texts)


def _add_table(result: Profile, table: Table) -> Profile:
    """Add the columns of a table, its dates and its first rows."""
    errors: list[str] = []

    def rows() -> Iterator[Row]:
        try:
            yield from islice(table.rows, SAMPLE_ROWS)
        except InputError as error:  # such as a row of another length
            errors.append(str(error))

    stats = TableStats.of(table, rows())
    roles = _roles(result.settings, table)
    columns = tuple(
        _profile_column(stats, i, ", ".join(role for role, found in roles if i in found))
        for i in range(len(table.names))
    )
    return replace(
        result,
        rows=stats.rows,
        is_whole=result.is_whole and stats.rows < SAMPLE_ROWS,
        columns=columns,
        first=tuple(tuple(str(cell)[:SHOWN_CHARACTERS] for cell in row.cells) for row in stats.sample[:SHOWN_ROWS]),
        time=_describe_time(stats),
        refusal=result.refusal or next(iter(errors), None),
    )


def _roles(settings: DataSettings, table: Table) -> list[tuple[str, list[int]]]:
    roles: list[tuple[str, list[int]]] = []
    for role, names in settings.columns().items():
        try:
            roles.append((role, find_columns(table.names, names, Place(table.file, 1))))
        except InputError:  # a column that does not exist, which is the refusal
            continue
    return roles


def _profile_column(stats: TableStats, index: int, role: str) -> ColumnProfile:
    column, name = stats.columns[index], stats.names[index]
    missing = stats.rows - column.filled + column.missing
    order = stats.time_order(index)
    if order is not None and order.last is not None:
        first = next((row.cells[index] for row in stats.sample if str(row.cells[index]).strip()), None)
        kind = message_id("time") if stats.unix_unit(index) else message_id("date")
        return ColumnProfile(name, role, kind, missing, str(first), str(order.last[1]))
    if column.is_numeric or column.is_meant_numeric:
        kind = message_id("integer") if column.integers and column.numbers else message_id("number")
        bounds = (column.low, column.high) if column.low <= column.high else (None, None)
        return ColumnProfile(
            name, role, kind if column.is_numeric else f"{kind}, {message_id('mostly')}", missing, *bounds
        )
    kind = (
        message_id("list")
        if any(isinstance(row.cells[index], list) for row in stats.sample[:SHOWN_ROWS])
        else message_id("text")
    )
    frequent = tuple(Counter(column.values).most_common(SHOWN_VALUES))
    return ColumnProfile(
        name,
        role,
        kind if column.filled else message_id("empty"),
        missing,
        frequent=frequent,
        distinct=len(column.values),
    )


def _describe_time(stats: TableStats) -> str | None:
    """The first and the last date, the usual step and the gaps."""
    time = stats.time_column()
    order = None if time is None else stats.time_order(time)
    if time is None or order is None or order.last is None:
        return None
    text = translate("{low} to {high}", low=stats.sample[0].cells[time], high=order.last[1])
    if (found := find_gaps(order)) is not None:
        usual, gaps = found
        count = sum(order.steps[step][0] for step in gaps)
        text += translate(
            ", usual step {step}, gaps: {count}",
            step=format_span(usual * (stats.unix_unit(time) or 1.0)),
            count=count,
        )
    return text
