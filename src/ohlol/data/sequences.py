"""The sequences of data files, each read whole by the reader of its format."""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ohlol.config import DataSettings, check_types
from ohlol.data.formats import FilePath, open_file, open_lines, reader_of
from ohlol.data.frames import Records, read_records
from ohlol.data.interpretation import Interpretation, describe_panel
from ohlol.data.lines import Example, Place, name_of
from ohlol.data.panel import Panel, TimeStep
from ohlol.data.raw_data import RawData, data_from_examples, data_from_labelled, data_from_panel, data_from_series
from ohlol.data.readers.base import Contents, default_task
from ohlol.data.readers.columns import PANEL
from ohlol.data.readers.labelled import LabelledSeries
from ohlol.data.readers.series import Series, join_series
from ohlol.data.settings import check_settings
from ohlol.data.targets import TARGET_KINDS
from ohlol.utils.errors import InputError


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
    files = _list_files(paths)
    examples: list[Example] = []
    labelled: list[LabelledSeries] = []
    series: list[Series] = []
    starts: list[Place] = []
    tables: list[Contents] = []
    chosen, why = settings, ""
    interpretation: Interpretation | None = None
    for path in files:
        contents, reason = open_file(open_lines(path, settings), settings, with_targets=with_targets)
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
        before = len(labelled) + len(examples)
        labelled.extend(contents.labelled or ())
        examples.extend(contents.examples or ())
        if len(labelled) + len(examples) == before:
            raise InputError("{file}: no sequences; the file is empty", file=name_of(path))
    if tables:
        chosen = replace(chosen, format=settings.format)
        return data_from_panel(*_read_tables(name_of(files[0]), tables, chosen, why))
    if series:
        data = data_from_series(series, starts, settings, with_targets=with_targets)
    elif labelled:
        data = data_from_labelled(labelled, settings, with_targets=with_targets)
    else:
        has_targets = with_targets and not TARGET_KINDS[settings.task or ""].shifted
        if has_targets:
            _check_labels(name_of(files[0]), settings, examples)
        data = data_from_examples(examples, settings, with_targets=has_targets)
    return replace(data, interpretation=interpretation)


def _list_files(paths: FilePath | Sequence[FilePath]) -> list[FilePath]:
    files = [paths] if isinstance(paths, (str, Path, Records)) else list(paths)
    if not files:
        raise InputError("no file to read; give one at least")
    return files


def _check_labels(file: str, settings: DataSettings, examples: Sequence[Example]) -> None:
    """Check the labels of all examples as their reader does; raises InputError."""
    kind = TARGET_KINDS[settings.task or ""]
    if kind.has_labels:
        targets: Any = (example.target for example in examples)
        labels = targets if kind.has_one_label else chain.from_iterable(targets)
        reader_of(settings).check_labels(file, settings, labels)


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
    files = _list_files(paths)
    contents: list[Contents] = []
    reason, like_first = "", chosen
    for path in files:
        opened, why = open_file(open_lines(path, chosen), like_first, with_targets=with_targets)
        assert opened.table is not None
        contents, reason = [*contents, opened], reason or why
        chosen = replace(chosen, format=opened.settings.format)
        like_first = replace(chosen, header=opened.table.header)
    return _read_tables(name_of(files[0]), contents, chosen, reason, with_targets=with_targets, step=step)


def _read_tables(
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
    chosen = DataSettings(**settings)
    stated = {name: value for name, value in settings.items() if value is not None}
    check_types(stated, {setting.name: setting for setting in fields(DataSettings)})
    chosen = check_settings(chosen)
    path = read_records(path) or path
    if not isinstance(path, str | Path | Records):
        raise InputError(
            "the data are of type {type}; give the name of a file, a data frame or a list of dicts",
            type=type(path).__name__,
        )
    contents, reason = open_file(open_lines(path, chosen), chosen, with_targets=True)
    if contents.table is not None:
        return _read_tables(name_of(path), [contents], contents.settings, reason).interpretation
    return Interpretation(name_of(path), contents.settings, reason, contents.names)
