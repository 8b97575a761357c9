"""Files are cut into pieces where lines begin, each of which can be read alone; knows nothing of ids or processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ohlol.data import readers
from ohlol.data.lines import LINE_LIMIT, Example, Span
from ohlol.data.readers import ARROW, CONLL, Corpus
from ohlol.data.split import in_time
from ohlol.errors import InputError
from ohlol.settings import DataSettings

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
    settings = readers.told(files[0], settings, targets=targets)
    pieces: list[Piece] = []
    for file in files:
        for span, part in _spans(file, settings, dev_fraction, piece):
            pieces.append(Piece(len(pieces), span, part))
    return Plan(settings, tuple(pieces), dev_fraction, seed, targets)


def _spans(file: str, settings: DataSettings, dev_fraction: float, piece: int) -> Iterator[tuple[Span, str]]:
    size = source_of(file)["bytes"]
    if not size:
        raise InputError(f"{file}: no sequences; the file is empty")
    text = settings.format == "text"
    try:
        with Path(file).open("rb") as handle:
            boundary = _boundary_of(handle, file, settings)
            apart = size
            if text and dev_fraction:
                apart = min(_text_boundary(handle, size - round(size * dev_fraction)), size)
            start, line = 0, 1
            while start < size:
                end = apart if start < apart else size
                if boundary is not None and end - start > piece:
                    end = min(boundary(handle, start + piece), end)
                part = ("train" if start < apart else "dev") if text else ""
                yield Span(file, start, end, line), part
                line += _line_ends(handle, start, end) if end < size else 0
                start = end
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def _boundary_of(handle: BinaryIO, file: str, settings: DataSettings) -> Callable[[BinaryIO, int], int] | None:
    """How a file is cut; None where that cannot be told from its bytes alone."""
    if settings.format == "text":
        return _text_boundary
    head = handle.read(1 << 16)
    suffix = Path(file).suffix.lower()
    if settings.format == "conll" or (settings.format == "segment" and (suffix in CONLL or b"\t" in head)):
        return None if b"global.columns" in head else _sentence_boundary
    if settings.format == "columns" and (suffix in ARROW or not head.lstrip().startswith(b"{")):
        return None  # a cell may hold line ends, and the columns' names stand in the first line
    return _line_boundary


def _text_boundary(handle: BinaryIO, at: int) -> int:
    """Behind the next line end, or where none is near behind the next space: `text_pieces` ends there too."""
    handle.seek(at)
    passed = 0
    while block := handle.read(1 << 16):
        for mark in (b"\n", b" "):
            if (found := block.find(mark)) >= 0:
                return at + passed + found + 1
        passed += len(block)
    return at + passed


def _line_boundary(handle: BinaryIO, at: int) -> int:
    handle.seek(at)
    handle.readline(LINE_LIMIT + 1)
    return handle.tell()


def _sentence_boundary(handle: BinaryIO, at: int) -> int:
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


def sequences(plan: Plan, piece: Piece) -> Iterator[tuple[str, Corpus]]:
    """The sequences of a piece, some at a time, and which part they belong to."""
    if plan.task == "forecast":
        corpus = readers.read(piece.span.file, plan.settings, targets=plan.targets)
        early, late = in_time(corpus, plan.dev_fraction) if plan.dev_fraction else (corpus, None)
        yield "train", early
        if late is not None:
            yield "dev", late
        return
    chance = np.random.default_rng((plan.seed, piece.number))
    some: dict[str, list[Example]] = {"train": [], "dev": []}
    symbols = 0
    for example in readers.examples(piece.span, plan.settings, targets=plan.targets):
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
