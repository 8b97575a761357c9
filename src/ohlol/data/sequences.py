"""Files become sequences, each by the reader of its format; knows nothing of ids, batches or models.

`read` gives all sequences of some files at once, `stream` those of one file or of standard input as they come.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.config import FORMATS, LEVELS, TASKS, DataSettings
from ohlol.data.lines import (
    STDIN,
    Example,
    Lines,
    Place,
    Span,
    json_object,
    looks_like_json,
    nfc,
    shown,
)
from ohlol.data.readers import columns, labelled, tables
from ohlol.data.readers.arrow import arrow_table
from ohlol.data.readers.formats import COLUMNAR, JSON, format_of, has_tab, table_kind
from ohlol.utils.errors import InputError

TASKS_OF = {
    "pairs": ("label",),
    "conll": ("label",),
    "segment": ("label",),
    "text": ("next",),
    "columns": ("classify", "forecast"),
}
"""The tasks each format serves."""
Symbols = list[str] | str
"""A sequence: a string stands for its characters, a list for its words."""
Path_ = str | Path


@dataclass(frozen=True)
class Corpus:
    """The sequences of some files and what should come out of them."""

    task: str
    """One of `TASKS`."""
    settings: DataSettings
    """With what was told from the files filled in, so that a like file is read alike."""
    inputs: list[Symbols] | list[NDArray[np.float64]]
    """Symbols, or for forecast rows of numbers (T, I)."""
    targets: list[Symbols] | list[str] | list[NDArray[np.float64]] | None
    """For label one symbol a step, for classify one label, for forecast rows of numbers (T, F); None for next."""
    places: list[Place]
    """The file and line where each sequence starts."""
    columns: tuple[str, ...] = ()
    """For forecast, the names of the I input columns."""
    target_columns: tuple[str, ...] = ()
    """For forecast, the names of the F target columns."""


def read(paths: Path_ | Sequence[Path_], settings: DataSettings | None = None, *, targets: bool = True) -> Corpus:
    """Read files of one format.

    Args:
        paths: one or more files; "-" is standard input.
        settings: what is known of the format; what is None is told from the first file.
        targets: whether the targets are read. Without them they may be absent from the files, and where a label or a
            class is to be predicted a file may be plain text with a sequence a line.

    Raises:
        InputError: a file is missing, empty or not what its format wants, with its name and the line.
    """
    settings = checked(settings or DataSettings())
    files = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not files:
        raise InputError("no file to read; give one at least")
    examples: list[Example] = []
    series: list[columns.Series] = []
    starts: list[Place] = []
    for path in files:
        before = len(examples)
        settings, found = _open(path, settings, targets)
        if isinstance(found, Numbers):
            series.append(columns.joined(found.parts))
            starts.append(Place(_name(path), 1))
            continue
        examples.extend(found)
        if len(examples) == before:
            raise InputError(f"{_name(path)}: no sequences; the file is empty")
    if targets and settings.format == "conll" and all(set(example.target or "") == {"_"} for example in examples):
        raise InputError(
            f"{_name(files[0])}: column {shown(settings.target)} holds only _; choose another with --target"
        )
    task = settings.task or ""
    if series:
        wanted = [one.targets for one in series if one.targets is not None]
        names = series[0].input_names, series[0].target_names
        return Corpus(task, settings, [one.inputs for one in series], wanted if targets else None, starts, *names)
    answers: Any = [example.target for example in examples] if targets and task != "next" else None
    return Corpus(
        task, settings, [example.input for example in examples], answers, [example.place for example in examples]
    )


def stream(path: Path_, settings: DataSettings) -> Iterator[tuple[Symbols | NDArray[np.float64], Place]]:
    """The inputs of one file, each as soon as its lines are there, with the place where it starts.

    Raises:
        InputError: as `read` does, once the line at fault is reached.
    """
    settings, found = _open(path, checked(settings), targets=False)
    if isinstance(found, Numbers):
        yield columns.joined(found.parts).inputs, Place(_name(path), 1)
        return
    for example in found:
        yield example.input, example.place


def told(path: Path_, settings: DataSettings, *, targets: bool = True) -> DataSettings:
    """The settings with all that a file tells of itself filled in; raises InputError."""
    return _open(path, checked(settings), targets, keep=False)[0]


def examples(span: Path_ | Span, settings: DataSettings, *, targets: bool = True) -> Iterator[Example]:
    """The sequences of a file or of a stretch of it, one at a time; settings are those that `told` gave.

    Raises:
        InputError: as `read` does, once the line at fault is reached.
    """
    found = _open(span, settings, targets)[1]
    assert not isinstance(found, Numbers)
    return found


def series(path: Path_, settings: DataSettings, *, targets: bool = True) -> Iterator[columns.Series]:
    """The rows of numbers of one file, some at a time; settings are those that `told` gave.

    Raises:
        InputError: as `read` does, once the row at fault is reached.
    """
    found = _open(path, settings, targets)[1]
    assert isinstance(found, Numbers)
    return found.parts


def symbols_of(text: str, settings: DataSettings) -> Symbols:
    """A text as one sequence, as the model of these settings reads it.

    Raises:
        InputError: the text is empty or holds bytes that are not UTF-8.

    >>> symbols_of("to be", DataSettings(level="word"))
    ['to', 'be']
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"character {error.start + 1} of the text is not UTF-8; give text in UTF-8") from None
    text = nfc(text)
    symbols = text_words(text) if settings.task == "next" and settings.level == "word" else None
    symbols = labelled.split(text, settings.level) if symbols is None else symbols
    if not symbols:
        raise InputError("the text is empty; give one symbol at least")
    return symbols


def sequences_from_pairs(pairs: Sequence[tuple[str | Sequence[str], str | Sequence[str]]]) -> Corpus:
    """The corpus of pairs given as values: strings for characters, or lists of words.

    Raises:
        InputError: the sides of a pair differ in length or kind; it names the pair's number.
    """
    examples: list[Example] = []
    level = "char" if pairs and isinstance(pairs[0][0], str) else "word"
    for i, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise InputError(f"pair {i}: {len(pair)} sides; a pair is an input and a target")
        sides = [_side(side, i, level) for side in pair]
        try:
            examples.append(labelled.checked_pair(Place("pair", i), sides[0], sides[1], level))
        except InputError as error:
            raise InputError(str(error).replace("pair:", "pair ", 1)) from None
    if not examples:
        raise InputError("no pairs; give one at least")
    settings = DataSettings(task="label", format="pairs", level=level)
    inputs = [example.input for example in examples]
    return Corpus(
        "label",
        settings,
        inputs,
        [example.target or "" for example in examples],
        [example.place for example in examples],
    )


def _side(side: str | Sequence[str], pair: int, level: str) -> Symbols:
    if isinstance(side, str) == (level == "word"):
        raise InputError(
            f"pair {pair}: strings and lists do not mix; give every side as a {'string' if level == 'char' else 'list'}"
        )
    if isinstance(side, str):
        return symbols_of(side, DataSettings(level=level)) if side else side
    words: list[Any] = list(side)
    if not all(isinstance(word, str) for word in words):
        raise InputError(f"pair {pair}: a list must hold strings")
    return [nfc(word) for word in words]


def checked(settings: DataSettings) -> DataSettings:
    """The settings, their choices being among those there are and serving one another."""
    for flag, value, choices in (
        ("task", settings.task, TASKS),
        ("format", settings.format, FORMATS),
        ("level", settings.level, LEVELS),
    ):
        if value is not None and value not in choices:
            raise InputError(f"--{flag} {shown(value)} is none of {', '.join(choices)}")
    if settings.format is None:
        return settings
    tasks = TASKS_OF[settings.format]
    if settings.task is not None and settings.task not in tasks:
        fit = ", ".join(name for name, served in TASKS_OF.items() if settings.task in served)
        raise InputError(f"format {settings.format} does not serve task {settings.task}; take {fit}")
    wanted = {"conll": "word", "segment": "char"}.get(settings.format)
    if wanted and settings.level not in (None, wanted):
        other = "segment" if settings.format == "conll" else "conll"
        raise InputError(f"format {settings.format} has the level {wanted}; for {settings.level} take {other}")
    return replace(settings, task=tasks[0] if len(tasks) == 1 else settings.task, level=wanted or settings.level)


def _name(path: Path_) -> str:
    return "stdin" if str(path) == STDIN else str(path)


@dataclass(frozen=True)
class Numbers:
    """One series of numbers, some rows at a time."""

    parts: Iterator[columns.Series]


def _open(
    path: Path_ | Span, settings: DataSettings, targets: bool, *, keep: bool = True
) -> tuple[DataSettings, Iterator[Example] | Numbers]:
    """A file's sequences, and the settings with all that the file's head tells filled in.

    Where all rows tell, they are kept, unless nobody is going to read the sequences.
    """
    lines = Lines(path)
    head = lines.head
    kind = settings.format or ("columns" if lines.suffix in COLUMNAR else format_of(head, settings))
    settings = checked(replace(settings, format=kind))
    if kind == "text":
        level = settings.level or "char"
        return replace(settings, level=level), _text(lines, level)
    if kind == "columns":
        return _columns(lines, settings, targets, keep)
    if kind == "pairs":
        return _pairs(lines, settings, targets)
    if not targets and lines.suffix in JSON:
        return settings, labelled.json_pairs(lines, replace(settings, input=None), targets)
    if kind == "conll" and (targets or has_tab(lines)):
        layout = labelled.Layout.told(head, settings, targets)
        return layout.resolved(settings), labelled.conll(lines, layout)
    if kind == "segment" and has_tab(lines):
        return settings, labelled.segmented_conll(lines, settings, targets)
    if kind == "segment":
        return settings, labelled.segmented_lines(lines, targets)
    return settings, _plain(lines, settings.level)


def _pairs(lines: Lines, settings: DataSettings, targets: bool) -> tuple[DataSettings, Iterator[Example]]:
    first, key = lines.head.first(), settings.input or "input"
    if lines.suffix not in JSON and not looks_like_json(first, key):
        settings = replace(settings, level=settings.level or "char")
        return settings, labelled.tsv_pairs(lines, settings.level or "char", targets)
    told = "word" if looks_like_json(first, key) and isinstance(json_object(first)[nfc(key)], list) else "char"
    settings = replace(settings, level=settings.level or told)
    return settings, labelled.json_pairs(lines, settings, targets)


def _columns(
    lines: Lines, settings: DataSettings, targets: bool, keep: bool
) -> tuple[DataSettings, Iterator[Example] | Numbers]:
    kind = table_kind(lines, settings, targets)
    if kind == "plain":
        return settings, _plain(lines, settings.level)
    if kind == "columnar":
        table = arrow_table(str(lines.path), lines.span)
    else:
        table = tables.json_table(lines) if kind == "json" else tables.csv_table(lines, settings)
    settings = columns.resolved(table, settings, keep=keep)
    if settings.task == "forecast":
        return settings, Numbers(columns.series(table, settings, targets))
    return settings, columns.classified(table, settings, targets)


def _plain(lines: Lines, level: str | None) -> Iterator[Example]:
    """A sequence a line."""
    for text, place in lines:
        if text.strip():
            yield Example(labelled.split(nfc(text), level), None, place)


def _text(lines: Lines, level: str) -> Iterator[Example]:
    """The whole file as one sequence."""
    parts = [line.text for line in lines]
    text = nfc("\n".join(parts) + ("\n" if lines.ended else ""))
    symbols = text_words(text) if level == "word" else text
    if symbols:
        yield Example(symbols, None, Place(lines.file, 1))


def text_words(text: str) -> list[str]:
    """Words, with each line end a symbol of its own."""
    first, *rest = text.split("\n")
    words = first.split()
    for line in rest:
        words.append("\n")
        words.extend(line.split())
    return words
