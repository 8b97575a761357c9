"""Doubts about texts with a class each: what shows that the classes, or the texts, are something else.

As in `doubts`, a check raises one InputError, or warns where going on is safe.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterable
from unicodedata import category, normalize

from ohlol.data.lines import quote
from ohlol.data.readers.column_names import list_names
from ohlol.data.readers.column_stats import MISSING, TableStats
from ohlol.data.readers.tables import is_empty, number
from ohlol.data.span_labels import are_span_labels
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.translation import translate

FEW_CLASSES = 20
"""Different numbers that can be the classes of a target, such as marks; more are quantities."""
FEW_ROWS = 10
"""Rows below which the number of classes shows nothing."""
DIGITS = re.compile(r"\d")


def check_classes(stats: TableStats, source: int | None, target: int) -> None:
    """Ask where a target looks like a quantity, or the input like a number; raises InputError."""
    column, name = stats.columns[target], quote(stats.names[target])
    distinct = len(column.values)
    settle = translate("if they are classes, say so with `task` classify")
    if column.filled >= FEW_ROWS and column.is_meant_numeric:
        if distinct > FEW_CLASSES or distinct > column.counted / 2:
            at_least = translate("at least ") * (column.counted < column.filled)
            raise InputError(
                "{file}: the target {name} holds {at_least}{distinct} different numbers, such as "
                "{names}, more than the {few_classes} that classes mostly have; if they are quantities, "
                "predict them with `task` regress; {settle}",
                file=stats.file,
                name=name,
                at_least=at_least,
                distinct=distinct,
                names=list_names(tuple(list(column.values)[:3])),
                few_classes=FEW_CLASSES,
                settle=settle,
            )
    elif column.filled >= FEW_ROWS and (distinct > max(FEW_CLASSES, column.counted / 2) or distinct == column.counted):
        raise InputError(
            "{file}: the target {name} has {distinct} values in {counted} rows, such as {names}; "
            "classes repeat: choose another `target`; {settle}",
            file=stats.file,
            name=name,
            distinct=distinct,
            counted=column.counted,
            names=list_names(tuple(list(column.values)[:2])),
            settle=settle,
        )
    labels = {value.strip() for value in column.values}
    if are_span_labels(labels):
        example = list_names(tuple(sorted(labels)[:2]))
        raise InputError(
            "{file}: the target {name} holds labels of words within sentences, such as {example}, and "
            "each row would be a sequence of its own; write a word and its label a line, and a blank line "
            "after each sentence (`format` conll); to label each word alone, choose `task` classify",
            file=stats.file,
            name=name,
            example=example,
        )
    if source is not None:
        check_digits(stats, source)
        _check_identifiers(stats, source)


def _check_identifiers(stats: TableStats, source: int) -> None:
    """Ask where all inputs are different and of one form, as identifiers are; raises InputError."""
    cells = [row.cells[source] for row in stats.sample]
    forms = {DIGITS.sub("9", cell) for cell in cells if isinstance(cell, str)}
    if len(cells) >= FEW_ROWS and len(forms) == 1 and len(set(map(str, cells))) == len(cells):
        raise InputError(
            "{file}: the input {names} holds identifiers such as {cells}, all different and of one "
            "form; choose another `input`, or read them as texts with `task` classify",
            file=stats.file,
            names=quote(stats.names[source]),
            cells=quote(cells[0]),
        )


def warn_of_classes(stats: TableStats, source: int, target: int) -> None:
    """Warn of classes that may be mistakes: spelled in two ways, words for a missing value, or one class only."""
    if stats.rows < FEW_ROWS or any(isinstance(row.cells[target], (list, dict)) for row in stats.sample):
        return
    counts = Counter(str(row.cells[target]) for row in stats.sample if not is_empty(row.cells[target]))
    found: list[str] = []
    spellings: dict[object, list[str]] = {}
    for label in counts:
        spellings.setdefault(spelling(label), []).append(label)
    variants = [labels for labels in spellings.values() if len(labels) > 1]
    if variants:
        found.append(
            translate(
                "{names} are different classes, which differ in their spelling only",
                names=list_names(tuple(variants[0])),
            )
        )
    if len(counts) == 1:
        found.append(
            translate(
                "all {rows:,} rows have the class {counts}, so there is nothing to learn",
                rows=stats.rows,
                counts=quote(next(iter(counts))),
            )
        )
    if (missing := _stands_for_missing(counts)) is not None:
        found.append(
            translate(
                "the class {missing} may stand for a missing value ({counts:,} rows)",
                missing=quote(missing),
                counts=counts[missing],
            )
        )
    once = tuple(label for label, count in counts.items() if count == 1)
    if once and len(once) <= len(counts) / 2:
        found.append(
            translate(
                "{count:,} of {total:,} classes occur once: {once}",
                count=len(once),
                total=len(counts),
                once=list_names(once),
            )
        )
    texts = Counter(str(row.cells[source]).strip() for row in stats.sample if not is_empty(row.cells[source]))
    if (missing := _stands_for_missing(texts, are_words=True)) is not None:
        found.append(
            translate(
                "the text {missing} may stand for a missing value ({counts:,} rows)",
                missing=quote(missing),
                counts=texts[missing],
            )
        )
    merged = next((row for row in stats.sample if _holds_a_row(str(row.cells[source]), stats.delimiter, counts)), None)
    if merged is not None:
        found.append(
            translate(
                "the text in {place} has several lines, one of which ends with {delimiter} and a class: a quote that "
                "is not doubled may merge rows into one",
                place=merged.place,
                delimiter=quote(stats.delimiter),
            )
        )
    if len(texts) == 1:
        found.append(
            translate(
                "all {rows:,} rows have the same text, {cells}",
                rows=stats.rows,
                cells=quote(stats.sample[0].cells[source]),
            )
        )
    for problem in found:
        warnings.warn(
            translate(
                "{file}: column {names}: {problem}",
                file=stats.file,
                names=quote(stats.names[target]),
                problem=problem,
            ),
            InputWarning,
            2,
        )


def _stands_for_missing(counts: Iterable[str], *, are_words: bool = False) -> str | None:
    """The first of different texts, or words, that stands for a missing value; None where all do or none does."""
    texts = list(counts)
    missing = [text for text in texts if text.strip().lower() in MISSING and (text.isalpha() or not are_words)]
    return missing[0] if 0 < len(missing) < len(texts) else None


def _holds_a_row(text: str, delimiter: str, classes: Iterable[str]) -> bool:
    """Whether a line of a text but the last ends as a row does whose last cell is a class."""
    if not delimiter or "\n" not in text:
        return False
    return any(line.endswith(delimiter + name) for line in text.split("\n")[:-1] for name in classes)


def spelling(label: str) -> object:
    """What two spellings of a class have in common: its number, or its visible letters in lower case."""
    value = number(label)
    visible = "".join(char for char in normalize("NFKC", label) if category(char) != "Cf")
    return " ".join(visible.casefold().split()) if value is None else value


def check_digits(stats: TableStats, source: int) -> None:
    """Ask where an input that is read as a text holds numbers; raises InputError."""
    if stats.columns[source].is_meant_numeric:
        raise InputError(
            "{file}: the input {names} holds numbers, and their digits would be read as a text; name "
            "the series of each row with `series`, or, for digits as text, choose `task` classify",
            file=stats.file,
            names=quote(stats.names[source]),
        )
