"""Reader: what a file format defines, and the registry of formats.

To add a format, write a subclass of `Reader` in a module of its own and call `register` with an instance. From then on
its files are recognized, read, encoded and predicted like any other.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ohlol.config import DataSettings
from ohlol.data.lines import Example, FileRange, Lines
from ohlol.data.readers.cutting import Boundary, cut_file, first_piece, line_boundary
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.registry import Registry
from ohlol.utils.translation import join_list, translate

if TYPE_CHECKING:
    from ohlol.data.readers.labelled import LabelledSeries
    from ohlol.data.readers.series import Series  # numpy, which `ohlol --help` does without
    from ohlol.data.readers.tables import Table

CERTAIN = 1.0
"""Confidence where the name of the file has a suffix of this format."""
STRONG = 0.9
"""Confidence where the first rows together have a form that hardly occurs in another format."""
LIKELY = 0.8
"""Confidence where the first row has a form that hardly occurs in another format."""
PROBABLE = 0.6
"""Confidence where the first row suits this format better than most others."""
POSSIBLE = 0.3
"""Confidence where nothing in the file contradicts this format."""
LAST_RESORT = 0.1
"""Confidence of a format that is read only where no other serves the task."""


FASTTEXT_LABEL = "__label__"
HTML = ("<!doctype html", "<html")
"""How files of other programs begin."""


class Confidence(NamedTuple):
    """How sure a reader is that a file is of its format."""

    score: float
    """In [0, 1]; the reader with the highest score reads the file, and the one registered first where scores tie."""
    reason: str
    """Why, as a message says it: "its name ends in .csv"."""


@dataclass(frozen=True)
class Contents:
    """A file that was opened: sequences of symbols or, for a task on numbers, a table."""

    settings: DataSettings
    """Complete: with everything that was inferred from the file; of a table of numbers, as they were chosen."""
    examples: Iterator[Example] | None = None
    series: "Iterator[Series] | None" = None
    names: tuple[str, ...] = ()
    """The names of all columns, where the file is a table."""
    table: "Table | None" = None
    """Of numbers, whose parts `panels.read_panels` infers."""
    labelled: "Iterator[LabelledSeries] | None" = None
    """Series of numbers with a target each."""


class Reader:
    """A file format.

    A subclass sets `name` and `targets` and defines `recognize` and `examples`; one whose columns, keys or levels are
    inferred from the file defines `resolve` too. `recognize` and `resolve` look at lines with `Lines.first` and
    `Lines.until`, which consume none, so that `examples` still gets all of them, also from standard input.
    """

    name: str
    """The value of the setting `format`."""
    targets: tuple[TargetKind, ...]
    """The kinds of targets that a file of this format holds; it serves every task with targets of such a kind."""
    level: str | None = None
    """The only level that this format has; None where it has all."""
    binary_suffixes: tuple[str, ...] = ()
    """Suffixes of files that are not text and that only this reader reads."""
    is_text: bool = False
    """Whether a file is one text, read as it stands, so that it can be encoded without splitting it into symbols."""

    def serves(self, task: str) -> bool:
        """Whether the files of this format suit a task."""
        return TARGET_KINDS[task] in self.targets

    def recognize(self, start: Lines, settings: DataSettings) -> Confidence | None:
        """How sure this reader is that a file is of its format; None where it is not, or where nothing shows it.

        Args:
            start: the lines from the start of the file. Look at them with `first` or `until`; iteration would consume
                lines, which are then missing when the file is read.
            settings: those chosen; `task`, where it is chosen, is one that this format serves.
        """
        del start, settings
        return None

    def check_inferred(self, start: Lines, settings: DataSettings) -> None:
        """Raise InputError where a file whose format was not chosen may have another one than this."""
        del start, settings

    def resolve(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> DataSettings:
        """Complete the settings with what is inferred from the file.

        No line is consumed, since `open` reads the same lines next; a reader that overrides `open` may consume them.

        Args:
            lines: of the file, or of a part of it.
            settings: those chosen; their task, format and level suit this format.
            with_targets: whether targets are read too.

        Raises:
            InputError: something cannot be inferred, or a column that was chosen does not exist.
        """
        del lines, with_targets
        return replace(settings, level=settings.level or "char")

    def examples(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Iterator[Example]:
        """The sequences of a file or of a part of it, one at a time, with their places.

        Raises:
            InputError: a line is not of this format, once it is reached.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `examples`")

    def open(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Contents:
        """Infer the settings and read the sequences, in one pass; arguments and errors are those of `resolve`."""
        settings = self.resolve(lines, settings, with_targets=with_targets)
        return Contents(settings, self.examples(lines, settings, with_targets=with_targets))

    def table(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> "Table | None":
        """The columns of a file and its rows; None where it is no table."""
        del lines, settings, with_targets
        return None

    def check_labels(self, file: str, settings: DataSettings, labels: Iterable[str]) -> None:
        """Raise InputError where the labels of all files show that the wrong column was read."""
        del file, settings, labels

    def refuse_columns(self, file: str, settings: DataSettings) -> None:
        """Raise InputError where columns are chosen; for files of a format that has none."""
        if chosen := settings.columns():
            raise InputError(
                "{file}: `{name}` chooses columns, and a file of the format {format} has none: leave it out",
                file=file,
                name=next(iter(chosen)),
                format=self.name,
            )

    def boundary(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Boundary:
        """Where a file may be cut so that each piece can be read alone: by default after any line."""
        del lines, settings, with_targets
        return line_boundary

    def ranges(
        self, file: str, settings: DataSettings, piece: int, *, with_targets: bool, also_at: int = 0
    ) -> Iterator[FileRange]:
        """Cut a file into pieces that can be read alone.

        Args:
            file: its path.
            settings: complete.
            piece: bytes of a piece, about.
            with_targets: whether targets are read.
            also_at: an offset at which a piece ends in any case; it is one of `boundary`.

        Raises:
            InputError, OSError: the file cannot be read.
        """
        boundary = self.boundary(Lines(file, settings.encoding), settings, with_targets=with_targets)
        return cut_file(file, boundary, piece, also_at, settings.encoding)

    def start(self, file: str, settings: DataSettings, size: int) -> tuple[FileRange, bool]:
        """The first piece of a file with targets, of about `size` bytes, and whether it is all of it.

        Raises:
            InputError, OSError: the file cannot be read.
        """
        boundary = self.boundary(Lines(file, settings.encoding), settings, with_targets=True)
        return first_piece(file, boundary, size, settings.encoding)

    def render(self, symbols: Sequence[str], labels: Sequence[str]) -> str | None:
        """A labelled sequence as text of this format; None where the labels alone are the prediction."""
        del symbols, labels
        return None


READERS: Registry[Reader] = Registry("format", package="ohlol.data.readers")
"""The readers by the name of their format."""


def register(reader: Reader) -> None:
    """Add a reader.

    Raises:
        ValueError: another reader has this name.
    """
    READERS.add(reader.name, reader)


def infer_reader(start: Lines, settings: DataSettings) -> tuple[Reader, Confidence]:
    """The reader of a file whose format was not chosen, and the reason.

    Raises:
        InputError: no format serves the task, or the file cannot be read.
    """
    for reader in READERS.values():
        if start.suffix in reader.binary_suffixes:
            return reader, Confidence(CERTAIN, translate("its name ends in {suffix}", suffix=start.suffix))
    confidences = [
        (reader, confidence)
        for reader in READERS.values()
        if settings.task is None or reader.serves(settings.task)
        if (confidence := reader.recognize(start, settings)) is not None
    ]
    if not confidences:
        raise InputError(
            "{file}: its format is not recognized; choose it with `format`: {readers}",
            file=start.file,
            readers=join_list(READERS),
        )
    reader, confidence = max(confidences, key=lambda candidate: candidate[1].score)
    _check_start(start, settings)
    reader.check_inferred(start, settings)
    return reader, confidence


def _check_start(start: Lines, settings: DataSettings) -> None:
    """Refuse files that begin as those of fastText, and warn of pages of HTML; raises InputError."""
    first = start.first()
    if first is None or settings.task is not None:
        return
    if first.text.startswith(FASTTEXT_LABEL):
        raise InputError(
            "{file}: its lines begin with {fasttext_label}, as files of fastText; write a tab after "
            "the labels and choose `task` classify with `input` 2 and `target` 1; to read the file as a "
            "text, choose `task` next",
            file=start.file,
            fasttext_label=FASTTEXT_LABEL,
        )
    if f" {FASTTEXT_LABEL}" in first.text:
        raise InputError(
            "{file}: its lines hold {fasttext_label}, as files of fastText; write a tab before the labels and choose "
            "`task` classify with `input` 1 and `target` 2; to read the file as a text, choose `task` next",
            file=start.file,
            fasttext_label=FASTTEXT_LABEL,
        )
    if first.text.lstrip().lower().startswith(HTML):
        warnings.warn(
            translate("{file}: is a page of HTML, and its tags are read as text", file=start.file),
            InputWarning,
            2,
        )


def default_task(kind: TargetKind) -> str:
    """The task for targets of a kind: the first that was registered."""
    return next(task for task, targets in TARGET_KINDS.items() if targets == kind)


def default_reader(task: str) -> Reader:
    """The reader for data of a task that came from no file: the first that serves it."""
    return next(reader for reader in READERS.values() if reader.serves(task))
