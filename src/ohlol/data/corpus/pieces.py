"""Files are cut into pieces where lines or rows begin, each read alone; knows nothing of ids or processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.lines import LINE_LIMIT, Example, Lines, Span
from ohlol.data.readers.arrow import groups
from ohlol.data.readers.columns import Series
from ohlol.data.readers.formats import COLUMNAR, has_tab, table_kind
from ohlol.data.readers.tables import csv_boundary, delimiter_of
from ohlol.data.sequences import Corpus
from ohlol.utils.errors import InputError

SHORTEST = 2
"""Rows of the shortest series: the next row is the target."""
AT_ONCE = 1 << 16
"""Symbols, or thereabouts, given out at once where sequences are read one by one."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a file that is encoded in one go."""

    number: int
    span: Span
    part: str
    """What it belongs to, or "" where its sequences are dealt out one by one."""


@dataclass(frozen=True)
class Plan:
    """What is to be done; a piece's result depends on nothing else."""

    settings: DataSettings
    pieces: tuple[Piece, ...]
    dev_fraction: float
    seed: int
    targets: bool

    @property
    def task(self) -> str:
        """label, next, classify or forecast."""
        return self.settings.task or ""

    @property
    def spelled(self) -> bool:
        """Whether words are spelled."""
        return self.task in ("label", "classify") and self.settings.level == "word"

    @property
    def paired(self) -> bool:
        """Whether characters are read with their neighbours."""
        return self.task == "label" and self.settings.level == "char"


def source_of(file: str) -> dict[str, Any]:
    """A file as the manifest names it; raises InputError where it cannot be read."""
    try:
        about = Path(file).stat()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    return {"file": file, "bytes": about.st_size, "modified": about.st_mtime_ns}


def make_plan(
    files: Sequence[str], settings: DataSettings, dev_fraction: float, seed: int, targets: bool, piece: int
) -> Plan:
    """Tell the format and cut the files into pieces; raises InputError."""
    settings = sequences.told(files[0], settings, targets=targets)
    pieces: list[Piece] = []
    for file in files:
        for span, part in _spans(file, settings, dev_fraction, piece, targets):
            pieces.append(Piece(len(pieces), span, part))
    return Plan(settings, tuple(pieces), dev_fraction, seed, targets)


Cut = tuple[Span, str]
"""A piece of a file, and what it belongs to."""


def _spans(file: str, settings: DataSettings, dev_fraction: float, piece: int, targets: bool) -> Iterator[Cut]:
    size = source_of(file)["bytes"]
    if not size:
        raise InputError(f"{file}: no sequences; the file is empty")
    text = settings.format == "text"
    if settings.task == "forecast":
        yield Span(file, 0, size, 1), ""  # one series, however long, is one sequence
        return
    if settings.format == "columns" and Path(file).suffix.lower() in COLUMNAR:
        yield from _groups(file, piece)
        return
    try:
        with Path(file).open("rb") as handle:
            boundary = _boundary_of(file, settings, targets)
            apart = size
            if text and dev_fraction:
                apart = min(_text_boundary(handle, 0, size - round(size * dev_fraction)), size)
            start, line = 0, 1
            while start < size:
                end = apart if start < apart else size
                if end - start > piece:
                    end = min(boundary(handle, start, start + piece), end)
                part = ("train" if start < apart else "dev") if text else ""
                yield Span(file, start, end, line), part
                line += _line_ends(handle, start, end) if end < size else 0
                start = end
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def _groups(file: str, piece: int) -> Iterator[Cut]:
    """The groups of rows of a Parquet or Arrow file, as many together as have the bytes of a piece when unpacked."""
    start = size = rows = 0
    row = 1
    found = groups(file)
    for number, group in enumerate(found, 1):
        size, rows = size + group.size, rows + group.rows
        if size >= piece or number == len(found):
            yield Span(file, start, number, row), ""
            start, row, size, rows = number, row + rows, 0, 0


Boundary = Callable[[BinaryIO, int, int], int]
"""The first place, from a second one on, where a piece can begin, where one begins at a first."""


def _boundary_of(file: str, settings: DataSettings, targets: bool) -> Boundary:
    """How a file is cut."""
    lines = Lines(file)
    if settings.format == "text":
        return _text_boundary
    if settings.format == "conll" or (settings.format == "segment" and has_tab(lines)):
        return _sentence_boundary
    if settings.format == "columns" and table_kind(lines, settings, targets) == "csv":
        return partial(csv_boundary, delimiter=delimiter_of(lines))
    return _line_boundary


def _text_boundary(handle: BinaryIO, _: int, at: int) -> int:
    """Behind the next line end, or where none is near behind the next space: `text_pieces` ends there too."""
    handle.seek(at)
    passed = 0
    while block := handle.read(1 << 16):
        for mark in (b"\n", b" "):
            if (found := block.find(mark)) >= 0:
                return at + passed + found + 1
        passed += len(block)
    return at + passed


def _line_boundary(handle: BinaryIO, _: int, at: int) -> int:
    handle.seek(at)
    handle.readline(LINE_LIMIT + 1)
    return handle.tell()


def _sentence_boundary(handle: BinaryIO, _: int, at: int) -> int:
    """Behind the next blank line."""
    handle.seek(at)
    handle.readline(LINE_LIMIT + 1)  # perhaps the rest of one
    while (line := handle.readline(LINE_LIMIT + 1)) and line.strip():
        pass
    return handle.tell()


def _line_ends(handle: BinaryIO, start: int, end: int) -> int:
    handle.seek(start)
    found = 0
    while start < end and (block := handle.read(min(1 << 20, end - start))):
        found += block.count(b"\n")
        start += len(block)
    return found


def split_examples(plan: Plan, piece: Piece) -> Iterator[tuple[str, Corpus]]:
    """The sequences of a piece, some at a time, and which part they belong to."""
    chance = np.random.default_rng((plan.seed, piece.number))
    some: dict[str, list[Example]] = {"train": [], "dev": []}
    symbols = 0
    for example in sequences.examples(piece.span, plan.settings, targets=plan.targets):
        part = "dev" if plan.dev_fraction and chance.random() < plan.dev_fraction else "train"
        some[part].append(example)
        symbols += len(example.input)
        if symbols >= AT_ONCE:
            yield from _corpora(plan, some)
            some, symbols = {"train": [], "dev": []}, 0
    yield from _corpora(plan, some)


def _corpora(plan: Plan, some: dict[str, list[Example]]) -> Iterator[tuple[str, Corpus]]:
    for part, examples in some.items():
        if examples:
            targets = cast("Any", [example.target for example in examples]) if plan.targets else None
            places = [example.place for example in examples]
            yield part, Corpus(plan.task, plan.settings, [example.input for example in examples], targets, places)


def lengths(plan: Plan, piece: Piece) -> dict[str, int]:
    """How many rows of a series belong to each part: its end is measured, as in `split.in_time`.

    Raises:
        InputError: it is not a series of two rows at least, or cannot be read.
    """
    rows = sum(len(part.inputs) for part in sequences.series(piece.span.file, plan.settings, targets=False))
    late = round(rows * plan.dev_fraction)
    if rows < SHORTEST:
        raise InputError(
            f"{piece.span.file}: a series of one row; the next row is the target, so it takes two at least"
        )
    return {"train": rows - late, "dev": late} if min(late, rows - late) >= SHORTEST else {"train": rows}


def rows(plan: Plan, piece: Piece, parts: dict[str, int]) -> Iterator[tuple[str, int, Series]]:
    """The rows of a series, some at a time: the part they belong to, how many of that come before, and they."""
    part, passed = "train", 0
    for found in sequences.series(piece.span.file, plan.settings, targets=plan.targets):
        while len(found.inputs):
            if passed == parts[part]:
                part, passed = "dev", 0
            first, found = found.cut(parts[part] - passed)
            yield part, passed, first
            passed += len(first.inputs)
