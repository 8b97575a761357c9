"""Files in pieces: each is cut at boundaries of its format, and each piece can be read alone.

The parts of a corpus are "train", the training data, and "dev", the validation data.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ohlol.config import DataSettings
from ohlol.data import formats
from ohlol.data.iteration import iterate_examples, iterate_series
from ohlol.data.lines import Example, FileRange, Lines
from ohlol.data.opening import open_utf8
from ohlol.data.raw_data import RawData, data_from_examples
from ohlol.data.readers.base import Reader
from ohlol.data.readers.series import Series
from ohlol.data.split import CONTEXT_ROWS, cut_in_time, split_in_time
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.utils.errors import InputError

SHORTEST_SERIES = 2
"""Rows of the shortest series, since the target is the next row."""
SYMBOLS_AT_ONCE = 1 << 16
"""About how many symbols are encoded at once."""


@dataclass(frozen=True)
class Piece:
    """A part of a file that is encoded at once."""

    number: int
    span: FileRange
    part: str
    """The part of the corpus it belongs to, or "" where its sequences are divided between both."""


@dataclass(frozen=True)
class Plan:
    """The work; the result of a piece depends on nothing else."""

    settings: DataSettings
    reader: Reader
    """Sent to each process with the plan, so that a reader that a user registered is registered there too."""
    pieces: tuple[Piece, ...]
    dev_fraction: float
    seed: int
    with_targets: bool

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.settings.task or ""

    @property
    def kind(self) -> TargetKind:
        """The kind of the targets."""
        return TARGET_KINDS[self.task]


def source_of(file: str) -> dict[str, Any]:
    """A file as the manifest lists it; raises InputError where it cannot be read."""
    try:
        status = Path(file).stat()
    except OSError as error:
        raise InputError("{path}: cannot be read ({error})", path=file, error=error.strerror) from None
    return {"file": file, "bytes": status.st_size, "modified": status.st_mtime_ns}


def make_plan(
    files: Sequence[str], settings: DataSettings, dev_fraction: float, seed: int, with_targets: bool, piece: int
) -> Plan:
    """Infer the settings from the first file and cut all files into pieces; raises InputError."""
    settings = formats.resolve(files[0], settings, with_targets=with_targets)
    if TARGET_KINDS[settings.task or ""].horizon:
        raise InputError(
            "{files}: the task {task} reads whole series, which are not encoded: give the files to `ohlol train`",
            files=files[0],
            task=settings.task,
        )
    plan = Plan(settings, formats.reader_of(settings), (), dev_fraction, seed, with_targets)
    pieces: list[Piece] = []
    for file in files:
        for span, part in _cut(file, plan, piece):
            pieces.append(Piece(len(pieces), span, part))
    return Plan(settings, plan.reader, tuple(pieces), dev_fraction, seed, with_targets)


def _cut(file: str, plan: Plan, piece: int) -> Iterator[tuple[FileRange, str]]:
    """The pieces of a file, and the part of the corpus that each belongs to."""
    try:
        with open_utf8(file, plan.settings.encoding) as handle:
            size = handle.seek(0, io.SEEK_END)
    except OSError as error:
        raise InputError("{path}: cannot be read ({error})", path=file, error=error.strerror) from None
    if not size:
        raise InputError("{file}: no sequences; the file is empty", file=file)
    if plan.kind.numeric:  # a series, however long, is one sequence
        yield FileRange(file, 0, size, 1), ""
        return
    try:
        dev_start = _dev_start(file, size, plan) if plan.reader.is_text else 0
        for span in plan.reader.ranges(file, plan.settings, piece, with_targets=plan.with_targets, also_at=dev_start):
            part = ("train" if span.start < dev_start else "dev") if plan.reader.is_text else ""
            yield span, part
    except OSError as error:
        raise InputError("{path}: cannot be read ({error})", path=file, error=error.strerror) from None


def _dev_start(file: str, size: int, plan: Plan) -> int:
    """The offset at which the end of a text that is set apart begins."""
    if not plan.dev_fraction:
        return size
    encoding = plan.settings.encoding
    boundary = plan.reader.boundary(Lines(file, encoding), plan.settings, with_targets=plan.with_targets)
    with open_utf8(file, encoding) as handle:
        return min(boundary(handle, 0, size - round(size * plan.dev_fraction)), size)


def split_examples(plan: Plan, piece: Piece) -> Iterator[tuple[str, RawData]]:
    """The sequences of a piece, some at a time, each with the part of the corpus that it belongs to."""
    random = np.random.default_rng((plan.seed, piece.number))
    examples: dict[str, list[Example]] = {"train": [], "dev": []}
    symbols = 0
    in_time = plan.kind.shifted
    for example in iterate_examples(piece.span, plan.settings, with_targets=plan.with_targets):
        is_dev = not in_time and plan.dev_fraction and random.random() < plan.dev_fraction
        examples["dev" if is_dev else "train"].append(example)
        symbols += len(example.input)
        if symbols >= SYMBOLS_AT_ONCE:
            yield from _split_parts(plan, examples)
            examples, symbols = {"train": [], "dev": []}, 0
    yield from _split_parts(plan, examples)


def _split_parts(plan: Plan, examples: dict[str, list[Example]]) -> Iterator[tuple[str, RawData]]:
    has_targets = plan.with_targets and not plan.kind.shifted
    for part, part_examples in examples.items():
        if not part_examples:
            continue
        data = data_from_examples(part_examples, plan.settings, with_targets=has_targets)
        if not plan.kind.shifted or not plan.dev_fraction:
            yield part, data
            continue
        early, late = split_in_time(data, plan.dev_fraction)
        yield "train", early
        if late is not None:
            yield "dev", late


def part_lengths(plan: Plan, piece: Piece) -> dict[str, int]:
    """How many rows of a series each part has; its end is set apart, as by `split.split_in_time`.

    Raises:
        InputError: the series has fewer than two rows, or cannot be read.
    """
    rows = sum(len(part.inputs) for part in iterate_series(piece.span.file, plan.settings, with_targets=False))
    train = cut_in_time(rows, plan.dev_fraction)
    if rows < SHORTEST_SERIES:
        raise InputError(
            "{file}: a series of one row; the target is the next row, so it needs two at least",
            file=piece.span.file,
        )
    if not SHORTEST_SERIES <= train < rows:
        return {"train": rows}
    return {"train": train, "dev": rows - train + CONTEXT_ROWS}


def split_rows(plan: Plan, piece: Piece, lengths: dict[str, int]) -> Iterator[tuple[str, int, Series]]:
    """The rows of a series, some at a time: their part, the number of rows of that part before them, and the rows."""
    part, passed, context = "train", 0, None
    for rows in iterate_series(piece.span.file, plan.settings, with_targets=plan.with_targets):
        while len(rows.inputs):
            if passed == lengths[part] and context is not None:
                part, passed = "dev", CONTEXT_ROWS
                yield part, 0, context
            first, rows = rows.split(lengths[part] - passed)
            yield part, passed, first
            passed += len(first.inputs)
            context = first.split(len(first.inputs) - CONTEXT_ROWS)[1]
