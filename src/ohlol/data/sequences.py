"""Sequences of data files, each read by the reader of its format.

`read` returns all sequences of some files at once; `iterate_inputs` returns those of one file or of standard input as
they arrive.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, starmap
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ohlol.config import DataSettings
from ohlol.data.frames import Records, read_records
from ohlol.data.interpretation import Interpretation, describe_panel
from ohlol.data.lines import Example, FileRange, Lines, Place, StaticCell, name_of, nfc
from ohlol.data.panel import Panel, TimeStep
from ohlol.data.readers.base import READERS, Contents, Reader, default_reader, default_task, infer_reader
from ohlol.data.readers.column_names import split_names
from ohlol.data.readers.columns import PANEL
from ohlol.data.readers.labelled import LabelledSeries
from ohlol.data.readers.pairs import check_pair
from ohlol.data.readers.series import Series, join_series
from ohlol.data.settings import check_settings
from ohlol.data.statics import StaticText
from ohlol.data.symbols import Symbols, split_line, split_lines
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.utils.errors import InputError
from ohlol.utils.files import check_encodable
from ohlol.utils.translation import join_list, translate

FilePath = str | Path | Records
"""A file, or a table in memory."""


@dataclass(frozen=True)
class RawData:
    """The sequences of some files and their targets, in memory and not encoded."""

    task: str
    """A name in `TARGET_KINDS`."""
    settings: DataSettings
    """Complete, so that a file of the same kind is read in the same way."""
    inputs: list[Symbols] | list[NDArray[np.float64]]
    """Symbols, or rows of numbers (T, I)."""
    targets: list[Symbols] | list[str] | list[float] | list[NDArray[np.float64]] | None
    """A label for each step, a label, a set of labels or a number for each sequence, or rows of numbers (T, F).

    None where targets are not read or the inputs are their own targets."""
    places: list[Place]
    """The file and line where each sequence starts."""
    columns: tuple[str, ...] = ()
    """Of numbers: the names of the I input columns."""
    target_columns: tuple[str, ...] = ()
    """Of numbers: the names of the F target columns; one for a number for each sequence."""
    interpretation: Interpretation | None = field(default=None, repr=False, compare=False)
    """How the first file was read, and why; None for data that came from no file."""
    names: tuple[str, ...] = ()
    """The names of the series, where the sequences are series of numbers with a target each."""
    statics: list[tuple[StaticCell, ...]] = field(default_factory=list[tuple[StaticCell, ...]])
    """The cells of the static columns of each sequence; empty where there are none."""
    panel: Panel | None = None
    """The series, whose values `inputs` are, where the targets are a horizon."""

    @property
    def kind(self) -> TargetKind:
        """The kind of the targets."""
        return TARGET_KINDS[self.task].of_rows(bool(self.columns))

    @property
    def static_columns(self) -> tuple[str, ...]:
        """The names of the static columns beside sequences of symbols."""
        return tuple(split_names(self.settings.static)) if self.settings.static and not self.kind.horizon else ()

    def texts(self) -> list[Any]:
        """The sequences of symbols, with their static cells where they have some."""
        return list(starmap(StaticText, zip(self.inputs, self.statics, strict=True))) if self.statics else self.inputs

    def series(self) -> list[LabelledSeries]:
        """The series of numbers with a target each, with their names but without their targets."""
        parts = zip(self.inputs, self.places, self.names, strict=True)
        return [LabelledSeries(cast("NDArray[np.float64]", rows), None, place, name) for rows, place, name in parts]


def read(
    paths: FilePath | Sequence[FilePath], settings: DataSettings | None = None, *, with_targets: bool = True
) -> RawData:
    """Read files of one format.

    Args:
        paths: one or more files; "-" is standard input.
        settings: those chosen; what is None is inferred from the first file.
        with_targets: whether the targets are read. Without them they may be missing from the files, and for a task with
            labels a file may be plain text with a sequence in each line.

    Raises:
        InputError: a file is missing or empty, or not of its format; the message names the file and the line.
    """
    settings = check_settings(settings or DataSettings())
    files = [paths] if isinstance(paths, (str, Path, Records)) else list(paths)
    if not files:
        raise InputError("no file to read; give one at least")
    examples: list[Example] = []
    labelled: list[LabelledSeries] = []
    series: list[Series] = []
    starts: list[Place] = []
    tables: list[Contents] = []
    chosen, why = settings, ""
    interpretation: Interpretation | None = None
    for path in files:
        before = len(examples)
        contents, reason = _open_file(_lines(path, settings), settings, with_targets)
        if contents.table is not None:
            tables, why = [*tables, contents], why or reason
            settings = replace(settings, format=contents.settings.format, header=contents.table.header)
            continue
        settings = contents.settings
        interpretation = interpretation or Interpretation(name_of(path), settings, reason, contents.names)
        if contents.series is not None:
            series.append(join_series(contents.series))
            starts.append(Place(name_of(path), 1))
            continue
        if contents.labelled is not None:
            own = list(contents.labelled)
            if not own:
                raise InputError("{file}: no sequences; the file is empty", file=name_of(path))
            labelled += own
            continue
        examples.extend(contents.examples or ())
        if len(examples) == before:
            raise InputError("{file}: no sequences; the file is empty", file=name_of(path))
    if tables:
        return _data_from_panel(_panel_data(name_of(files[0]), tables, replace(chosen, format=settings.format), why))
    if series:
        data = _data_from_series(series, starts, settings, with_targets)
        return replace(data, interpretation=interpretation)
    if labelled:
        return replace(_data_from_labelled(labelled, settings, with_targets), interpretation=interpretation)
    kind = TARGET_KINDS[settings.task or ""]
    has_targets = with_targets and not kind.shifted
    if has_targets and kind.has_labels:
        by_example: Any = (example.target for example in examples)
        labels = by_example if kind.has_one_label else chain.from_iterable(by_example)
        reader_of(settings).check_labels(name_of(files[0]), settings, labels)
    return replace(data_from_examples(examples, settings, with_targets=has_targets), interpretation=interpretation)


class PanelData(NamedTuple):
    """The series of some files, and how they were read."""

    panel: Panel
    settings: DataSettings
    """Complete, so that a file of the same kind is read in the same way."""
    interpretation: Interpretation
    """How the first file was read, and why."""


def read_panel(
    paths: FilePath | Sequence[FilePath],
    settings: DataSettings | None = None,
    *,
    with_targets: bool = True,
    step: TimeStep | None = None,
) -> PanelData:
    """Read files of one format, or tables in memory, as one panel of series.

    A series whose rows are in several files continues from one to the next. Without the setting `series` each file is a
    series, named as the file.

    Args:
        paths: one or more; "-" is standard input.
        settings: those chosen; what is None is inferred from the first file.
        with_targets: False reads the time, the series and the known columns alone, as they are for steps to forecast.
        step: that of the series, where it is known, as from the panel that they continue.

    Raises:
        InputError: as `read` and `readers.panels.read_panels` do.
    """
    chosen = check_settings(settings or DataSettings())
    chosen = check_settings(replace(chosen, task=chosen.task or default_task(PANEL)))
    files = [paths] if isinstance(paths, (str, Path, Records)) else list(paths)
    if not files:
        raise InputError("no file to read; give one at least")
    contents: list[Contents] = []
    reason, like_first = "", chosen
    for path in files:
        opened, why = _open_file(_lines(path, chosen), like_first, with_targets)
        assert opened.table is not None
        contents, reason = [*contents, opened], reason or why
        chosen = replace(chosen, format=opened.settings.format)
        like_first = replace(chosen, header=opened.table.header)
    return _panel_data(name_of(files[0]), contents, chosen, reason, with_targets=with_targets, step=step)


def _panel_data(
    file: str,
    contents: Sequence[Contents],
    chosen: DataSettings,
    reason: str,
    *,
    with_targets: bool = True,
    step: TimeStep | None = None,
) -> PanelData:
    from ohlol.data.readers.panels import read_panels

    chosen = replace(chosen, task=chosen.task or default_task(PANEL))
    tables = [one.table for one in contents if one.table is not None]
    panel, settings = read_panels(tables, chosen, with_targets=with_targets, step=step)
    details = describe_panel(panel, is_inferred=chosen.season is None and not panel.step.unit)
    return PanelData(panel, settings, Interpretation(file, settings, reason, contents[0].names, details))


def interpret(path: Any, **settings: Any) -> Interpretation:
    """How a file would be read for training, and why; `str()` of it is one line.

    Args:
        path: the file, or a table in memory; "-" is standard input, which is then consumed.
        settings: any field of `DataSettings`, by name; the others are inferred from the file.

    Raises:
        InputError: as `read` does, for what is inferred; a line that is only read in training is not looked at.
    """
    chosen = check_settings(DataSettings(**settings))
    path = read_records(path) or path
    if not isinstance(path, str | Path | Records):
        raise InputError(
            "the data are of type {type}; give the name of a file, a data frame or a list of dicts",
            type=type(path).__name__,
        )
    contents, reason = _open_file(_lines(path, chosen), chosen, with_targets=True)
    if contents.table is not None:
        return _panel_data(name_of(path), [contents], contents.settings, reason).interpretation
    return Interpretation(name_of(path), contents.settings, reason, contents.names)


def _lines(path: FilePath, settings: DataSettings) -> Lines:
    return path.lines() if isinstance(path, Records) else Lines(path, settings.encoding)


def data_from_examples(examples: Sequence[Example], settings: DataSettings, *, with_targets: bool) -> RawData:
    """The data of some sequences of symbols; settings are complete."""
    labels: Any = [example.target for example in examples] if with_targets else None
    inputs = [_in_order(example.input, settings) for example in examples]
    columns = (settings.target or "",) if TARGET_KINDS[settings.task or ""].quantity else ()
    places = [example.place for example in examples]
    statics = [example.statics for example in examples if example.statics]
    return RawData(settings.task or "", settings, inputs, labels, places, target_columns=columns, statics=statics)


def _data_from_panel(data: PanelData) -> RawData:
    panel, settings = data.panel, data.settings
    places = [series.place for series in panel.series]
    return RawData(
        settings.task or "",
        settings,
        [series.values for series in panel.series],
        None,
        places,
        panel.columns.numeric,
        panel.columns.targets,
        data.interpretation,
        panel=panel,
    )


def _data_from_series(
    series: Sequence[Series], places: list[Place], settings: DataSettings, with_targets: bool
) -> RawData:
    rows = [file_series.targets for file_series in series if file_series.targets is not None]
    return RawData(
        settings.task or "",
        settings,
        [file_series.inputs for file_series in series],
        rows if with_targets else None,
        places,
        series[0].input_names,
        series[0].target_names,
    )


def _data_from_labelled(series: Sequence[LabelledSeries], settings: DataSettings, with_targets: bool) -> RawData:
    widths = {one.rows.shape[1]: one.place for one in series}
    if len(widths) > 1:
        raise InputError(
            "{listed}; all must agree",
            listed=join_list(
                translate("{place}: {width} columns", place=place, width=width) for width, place in widths.items()
            ),
        )
    names = tuple(split_names(settings.input)) if settings.input else tuple(str(n + 1) for n in range(*widths))
    if settings.level is not None:
        raise InputError("`level` is for symbols, and {file} holds series of numbers", file=series[0].place.file)
    targets: Any = [one.target for one in series] if with_targets else None
    target_columns = (settings.target or "target",) if TARGET_KINDS[settings.task or ""].quantity else ()
    places = [one.place for one in series]
    inputs = [one.rows for one in series]
    series_names = tuple(one.name for one in series)
    return RawData(settings.task or "", settings, inputs, targets, places, names, target_columns, names=series_names)


def iterate_inputs(
    path: FilePath, settings: DataSettings
) -> Iterator[tuple[Symbols | StaticText | NDArray[np.float64] | LabelledSeries, Place]]:
    """The inputs of one file with their places, each as soon as its lines arrive; series of several with their names.

    Texts have the cells of their static columns with them, where the settings name some.

    Raises:
        InputError: as `read` does, once the line is reached.
    """
    settings = check_settings(settings)
    contents = _open(_lines(path, settings), settings, with_targets=False)
    if contents.series is not None:
        yield join_series(contents.series).inputs, Place(name_of(path), 1)
        return
    for one in contents.labelled or ():
        yield one, one.place
    for example in contents.examples or ():
        symbols = _in_order(example.input, settings)
        yield StaticText(symbols, example.statics) if example.statics else symbols, example.place


def resolve(path: FilePath, settings: DataSettings, *, with_targets: bool = True) -> DataSettings:
    """The settings, completed with what is inferred from a file; raises InputError."""
    settings = check_settings(settings)
    lines = _lines(path, settings)
    reader, settings, _ = infer_format(lines, settings)
    return reader.resolve(lines, settings, with_targets=with_targets)


def examples(span: str | Path | FileRange, settings: DataSettings, *, with_targets: bool = True) -> Iterator[Example]:
    """The sequences of symbols of a file or of a part of it, one at a time; settings are complete.

    Raises:
        InputError: as `read` does, once the line is reached.
    """
    contents = _open(Lines(span, settings.encoding), settings, with_targets)
    if contents.labelled is not None:
        raise InputError(
            "{file}: series of numbers with a target each are not encoded as a corpus; train on the file",
            file=name_of(span.file if isinstance(span, FileRange) else span),
        )
    assert contents.examples is not None
    return contents.examples


def series(path: FilePath, settings: DataSettings, *, with_targets: bool = True) -> Iterator[Series]:
    """The series of one file, some rows at a time; settings are complete.

    Raises:
        InputError: as `read` does, once the row is reached.
    """
    contents = _open(_lines(path, settings), settings, with_targets)
    assert contents.series is not None
    return contents.series


def split_text(text: str, settings: DataSettings) -> Symbols:
    """A text as one sequence, as the model with these settings reads it.

    Raises:
        InputError: the text is empty or holds bytes that are not UTF-8.

    >>> split_text("to be", DataSettings(level="word"))
    ['to', 'be']
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            "character {start} of the text is not UTF-8; give text in UTF-8", start=error.start + 1
        ) from None
    continues_text = settings.task is not None and TARGET_KINDS[settings.task].continues_text
    symbols = (split_lines if continues_text else split_line)(nfc(text), settings.level)
    if not symbols:
        raise InputError("the text is empty; give one symbol at least")
    return _in_order(symbols, settings)


def _in_order(symbols: Symbols, settings: DataSettings) -> Symbols:
    """The symbols of a text in the order in which they are read."""
    return symbols[::-1] if settings.reversed else symbols


def data_from_pairs(pairs: Sequence[tuple[str | Sequence[str], str | Sequence[str]]]) -> RawData:
    """The data of pairs given as values: strings for characters, or lists of words.

    Raises:
        InputError: the sides of a pair differ in length or type; the message gives the number of the pair.
    """
    examples: list[Example] = []
    level = "char" if pairs and isinstance(pairs[0][0], str) else "word"
    for i, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise InputError("pair {i}: {count} sides; a pair is an input and a target", i=i, count=len(pair))
        sides = [_pair_side(side, i, level) for side in pair]
        try:
            examples.append(check_pair(Place("pair", i), sides[0], sides[1], level))
        except InputError as error:
            raise InputError(str(error).replace(f"pair:{i}", translate("pair {number}", number=i), 1)) from None
    if not examples:
        raise InputError("no pairs; give one at least")
    task = default_task(TargetKind())
    settings = DataSettings(task=task, format=default_reader(task).name, level=level)
    return data_from_examples(examples, settings, with_targets=True)


def _pair_side(side: Any, pair: int, level: str) -> Symbols:
    if not isinstance(side, str | Sequence):
        raise InputError(
            "pair {pair}: a side of type {type}; give a string or a list of strings",
            pair=pair,
            type=type(side).__name__,
        )
    if isinstance(side, str) == (level == "word"):
        raise InputError(
            "pair {pair}: strings and lists do not mix; give every side as a string"
            if level == "char"
            else "pair {pair}: strings and lists do not mix; give every side as a list",
            pair=pair,
        )
    if isinstance(side, str):
        return split_text(side, DataSettings(level=level)) if side else side
    words = list(cast("Sequence[Any]", side))
    if not all(isinstance(word, str) for word in words):
        raise InputError("pair {pair}: a list must hold strings", pair=pair)
    try:
        check_encodable(words)
    except ValueError as error:
        raise InputError("pair {pair}: {error}", pair=pair, error=error) from None
    return [nfc(word) for word in words]


def reader_of(settings: DataSettings) -> Reader:
    """The reader of the format in complete settings."""
    return READERS[settings.format or ""]


def infer_format(lines: Lines, settings: DataSettings) -> tuple[Reader, DataSettings, str]:
    """The reader of a file, the settings with its format, and why it has this format; raises InputError."""
    reason = "chosen"
    if settings.format is None:
        reader, (_, reason) = infer_reader(lines.head, settings)
        settings = check_settings(replace(settings, format=reader.name))
    return reader_of(settings), settings, reason


def _open(lines: Lines, settings: DataSettings, with_targets: bool) -> Contents:
    """The sequences of a file, and the settings completed with what is inferred from it."""
    return _open_file(lines, settings, with_targets)[0]


def _open_file(lines: Lines, settings: DataSettings, with_targets: bool) -> tuple[Contents, str]:
    """A file, read as the reader of its format does, and why it has this format."""
    reader, settings, reason = infer_format(lines, settings)
    contents = reader.open(lines, settings, with_targets=with_targets)
    if settings.reversed:
        task = contents.settings.task
        if contents.examples is None or task is None or not TARGET_KINDS[task].continues_text:
            raise InputError("`reversed` is for texts whose symbols are predicted, and the task is {task}", task=task)
    return contents, reason
