"""Panels from tables: rows are grouped into series, put on a regular step, and columns get their parts."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.config import DataSettings
from ohlol.data.lines import Place, error_at, quote
from ohlol.data.panel import Panel, PanelColumns, TimeSeries, TimeStep, is_count
from ohlol.data.readers import doubts
from ohlol.data.readers.column_names import find_columns, join_names, list_names
from ohlol.data.readers.column_stats import TableStats
from ohlol.data.readers.date_columns import check_unread_dates, find_date_parts
from ohlol.data.readers.panel_cells import PARTS, find, find_names, read_text, read_value
from ohlol.data.readers.tables import Row, Table
from ohlol.data.readers.times import (
    Seconds,
    Times,
    check_filled,
    check_one_step,
    check_order,
    infer_step,
    join_cells,
    positions,
    read_times,
)
from ohlol.data.readers.wide_panels import WIDE_TARGET, check_layout, find_first_text, read_wide
from ohlol.data.season import find_season
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.translation import message_id, translate

MIN_VALUES = 3
"""Values of a target that a series must have."""


class PanelReading(NamedTuple):
    """A panel and how it was read."""

    panel: Panel
    settings: DataSettings
    """Complete."""


def read_panel(
    table: Table, settings: DataSettings, *, with_targets: bool = True, step: TimeStep | None = None
) -> PanelReading:
    """The series of one table; see `read_panels`."""
    return read_panels([table], settings, with_targets=with_targets, step=step)


def read_panels(
    tables: Sequence[Table], settings: DataSettings, *, with_targets: bool = True, step: TimeStep | None = None
) -> PanelReading:
    """The series of tables with the same columns.

    Args:
        tables: whose rows are read.
        settings: those chosen; what is None is inferred from the first table.
        with_targets: False reads the time, the series and the known columns alone, as they are for steps to forecast.
        step: that of the series, where it is known; otherwise it is inferred.

    Raises:
        InputError: the columns must be chosen, a cell does not hold what its column must, or the rows of a series are
            not in the order of time at a regular step.
    """
    rows = [table.keep_rows() for table in tables]
    for table, own in zip(tables, rows, strict=True):
        if not own:
            raise InputError("{file}: no rows below the header", file=table.file)
    stats = TableStats.of(tables[0], rows[0])
    if settings.input is not None:
        if settings.series is None:
            doubts.check_series(stats)  # a class of each series may be meant
        raise InputError(
            "{file}: `input` is not for forecasts: every target is an input, too; choose further "
            "columns with `known` or `observed`",
            file=tables[0].file,
        )
    if settings.header is None and not tables[0].header:
        doubts.check_header(stats, None)
    settings = replace(settings, header=tables[0].header)
    if with_targets and settings.layout is None:
        check_layout(stats, settings)
    if settings.layout == "wide":
        series, step, settings = read_wide(tables, rows, stats, settings, step)
        settings = replace(settings, series=settings.series or find_first_text(stats, settings))
        columns = PanelColumns((WIDE_TARGET,), static=find_names(tables[0], settings.static))
    else:
        if with_targets:
            settings = _resolve(tables[0], stats, rows[0], settings)
        else:
            settings = replace(settings, target=None, observed=None, static=None)
        names = {part: find_names(tables[0], getattr(settings, part)) for part in (*PARTS, "static")}
        columns = PanelColumns(names.pop("target", ()), **names)
        series, step, settings = _read_long(tables, rows, columns, settings, step)
    if with_targets:
        series = _cut_ends(series, len(columns.targets), tables[0].file, step)
        _check_values(series, columns)
        doubts.warn_of_names(tables[0].file, [one.name for one in series])
    season = settings.season or step.season
    if settings.season is None and not step.unit and columns.targets:
        season = find_season([one.values[:, 0] for one in series])
    settings = replace(settings, season=season)
    return PanelReading(Panel(tuple(series), columns, step, season), settings)


def _resolve(table: Table, stats: TableStats, rows: list[Row], settings: DataSettings) -> DataSettings:
    """The settings of a long table with the time and the targets; raises InputError where there is a doubt."""
    parts = {part: find(stats, getattr(settings, part)) for part in (*PARTS, "time", "series", "static")}
    for part in PARTS:
        for other in ("time", "series", *PARTS):
            if part < other and (shared := set(parts[part]) & set(parts[other])):
                raise InputError(
                    "{file}: column {names} is chosen with `{part}` and with `{other}`; a column has one part",
                    file=stats.file,
                    names=quote(stats.names[min(shared)]),
                    part=part,
                    other=other,
                )
    if settings.series is None:
        doubts.check_series(stats, times=parts["time"])
    taken = {column for columns in parts.values() for column in columns}
    if settings.time is None:
        settings = replace(settings, time=infer_time(stats, taken, parts["series"]))
        if settings.time is None:
            doubts.check_row_order(table, ([row.cells[i] for i in parts["series"]] for row in rows))
        taken.update(find(stats, settings.time))
    targets = parts["target"] or infer_numbers(table, stats, rows, settings, taken)
    if not parts["target"] and parts["series"]:
        targets = _changing(rows, targets, parts["series"]) or targets
    if not parts["target"] and len(targets) > 1 and (settings.known or settings.observed):
        names = list_names(tuple(stats.names[i] for i in targets))
        raise InputError(
            "{file}: columns {names} hold numbers; choose what to forecast with `target`",
            file=stats.file,
            names=names,
        )
    numeric = [*targets, *parts["known"], *parts["observed"]]
    doubts.check_number_forms(stats, numeric, "target")
    doubts.check_thousands(stats, numeric)
    doubts.warn_of_far_values(stats, numeric)
    return replace(settings, layout="long", target=settings.target or join_names(stats.names[i] for i in targets))


def infer_time(stats: TableStats, taken: set[int], keys: Sequence[int] = ()) -> str | None:
    """The column of dates, or those of the year, the month and so on, or None; raises InputError where it is unclear.

    Args:
        stats: of the table.
        taken: columns that have another part.
        keys: the columns that name the series.
    """
    free = [i for i in range(len(stats.names)) if i not in taken]
    dates = [i for i in free if stats.time_order(i) is not None] or [i for i in free if stats.holds_days(i)]
    if len(dates) > 1:
        raise InputError(
            "{file}: columns {names} hold dates; choose that of the rows with `time`",
            file=stats.file,
            names=list_names(tuple(stats.names[i] for i in dates)),
        )
    if not dates:
        dates = find_date_parts(stats, free, keys)
    if not dates:
        check_unread_dates(stats, free)
    return join_names(stats.names[i] for i in dates) if dates else None


def infer_numbers(
    table: Table, stats: TableStats, rows: list[Row], settings: DataSettings, taken: set[int]
) -> list[int]:
    """The columns of numbers that are not taken and neither count nor date the rows of a series; raises InputError."""
    keys = find(stats, settings.series)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row.cells[key]) for key in keys), []).append(row)
    longest = TableStats.of(table, max(groups.values(), key=len)) if len(groups) > 1 else stats
    counters = doubts.find_counters(longest)
    numbers = [i for i in stats.meant_numeric() if i not in taken and i not in counters]
    if not numbers:
        raise InputError(
            "{file}: no column of numbers to read; there are {names}",
            file=stats.file,
            names=list_names(stats.names),
        )
    return numbers


def _changing(rows: list[Row], columns: Sequence[int], keys: Sequence[int]) -> list[int]:
    """The columns with several values within some series; others, such as the size of a shop, are no targets."""
    first: dict[tuple[str, ...], Row] = {}
    changing: set[int] = set()
    for row in rows:
        start = first.setdefault(tuple(str(row.cells[key]) for key in keys), row)
        changing.update(i for i in columns if row.cells[i] != start.cells[i])
    return [i for i in columns if i in changing]


@dataclass
class SeriesRows:
    """The rows of all tables, by column."""

    values: NDArray[np.float64]
    keys: list[str]
    statics: list[tuple[str, ...]]
    times: list[Any]
    places: list[Place]

    def groups(self) -> dict[str, Seconds]:
        """The rows of each series."""
        groups: dict[str, list[int]] = {}
        for row, key in enumerate(self.keys):
            groups.setdefault(key, []).append(row)
        return {key: np.array(group, np.int64) for key, group in groups.items()}


def _read_long(
    tables: Sequence[Table],
    rows: list[list[Row]],
    columns: PanelColumns,
    settings: DataSettings,
    step: TimeStep | None,
) -> tuple[list[TimeSeries], TimeStep, DataSettings]:
    """The series of tables in which a row is a time step, and the settings with the order of their dates."""
    read = read_rows(tables, rows, columns, settings)
    indices = read.groups()
    times, name = None, ", ".join(find_names(tables[0], settings.time))
    if settings.time:
        times = read_in_order(name, read, indices, tables[0], date_order=settings.date_order, step=step)
        settings = replace(settings, date_order=times.date_order or settings.date_order)
        step = step or infer_step(times, list(indices.values()))
        check_one_step(name, times, step, indices, read.places)
    step = step or TimeStep()
    series: list[TimeSeries] = []
    gaps: list[tuple[int, str, int, int]] = []
    for key, group in indices.items():
        at = np.arange(len(group))
        if times is not None:
            at = positions(name, read.times, times, step, group, read.places)
            check_filled(name, read.times, read.places, group, at, step)
            missing = np.diff(at) - 1
            if missing.any():
                largest = int(np.argmax(missing))
                gaps.append((int(missing.sum()), key, int(group[largest]), int(group[largest + 1])))
        values = np.full((int(at[-1]) + 1, len(columns.numeric)), nan)
        values[at] = read.values[group]
        check_statics(read, group, columns.static, key)
        first, counts = group[0], is_count(read.values[group, : len(columns.targets)]).all(axis=1)
        series.append(
            TimeSeries(
                key,
                values,
                *_start(times, first),
                statics=read.statics[first],
                place=read.places[first],
                no_count=None if counts.all() else read.places[group[int(np.argmin(counts))]],
            )
        )
    if gaps:
        _warn_of_gaps(gaps, read, name, step)
    return series, step, settings


def read_in_order(
    name: str,
    read: SeriesRows,
    groups: dict[str, Seconds],
    table: Table,
    *,
    date_order: str | None = None,
    step: TimeStep | None = None,
) -> Times:
    """The times of rows; raises InputError where those of a series are not in order."""
    rows, form = list(groups.values()), table.number_format
    times = read_times(name, read.times, rows, read.places, form, date_order=date_order, step=step)
    check_order(name, read.times, times, groups, read.places)
    return times


def _start(times: Times | None, row: int) -> tuple[np.datetime64 | None, int | None]:
    if times is None:
        return None, None
    value = int(times.values[row])
    return (np.datetime64(value, "s"), None) if times.are_dates else (None, value)


def read_rows(
    tables: Sequence[Table], rows: list[list[Row]], columns: PanelColumns, settings: DataSettings
) -> SeriesRows:
    """The numbers, series, categories and times of all rows; raises InputError where a cell does not hold them."""
    read = SeriesRows(np.zeros((0, len(columns.numeric))), [], [], [], [])
    parts: list[NDArray[np.float64]] = []
    files = _name_files([table.file for table in tables])
    for table, own, file in zip(tables, rows, files, strict=True):
        place = Place(table.file, 1)
        numeric = [find_columns(table.names, join_names([name]), place)[0] for name in columns.numeric]
        keys, times, statics = (find(table, names) for names in (settings.series, settings.time, settings.static))
        statics = statics if columns.static else []
        names = [table.names[i] for i in times]
        covariates = set(numeric[len(columns.targets) :])
        cells = [[read_value(row, table, i, may_be_boolean=i in covariates) for i in numeric] for row in own]
        parts.append(np.array(cells).reshape(len(own), -1))
        for row in own:
            read.keys.append("\t".join(read_text(row, table, i) for i in keys) if keys else file)
            read.statics.append(tuple(read_text(row, table, i) for i in statics))
            read.times.append(join_cells([row.cells[i] for i in times], names) if times else None)
            read.places.append(row.place)
    return replace(read, values=np.concatenate(parts))


def _name_files(files: list[str]) -> list[str]:
    """The names of series that are files: none for one, otherwise the names of the files, with folders where needed."""
    if len(files) == 1:
        return [""]
    stems = [Path(file).stem for file in files]
    return stems if len(set(stems)) == len(stems) else files


def check_statics(
    read: SeriesRows,
    group: Seconds,
    names: tuple[str, ...],
    key: str,
    advice: str = message_id("leave it out of `static`"),
) -> None:
    """Refuse categories that change within a series; raises InputError, which ends with the advice."""
    first = read.statics[group[0]]
    for row in group if names else ():
        for name, value, before in zip(names, read.statics[row], first, strict=True):
            if value != before:
                raise error_at(
                    read.places[row],
                    translate(
                        "column {name} changes within series {key}, from {before} to {value}; {advice}",
                        name=quote(name),
                        key=quote(key),
                        before=quote(before),
                        value=quote(value),
                        advice=advice,
                    ),
                )


def _warn_of_gaps(gaps: list[tuple[int, str, int, int]], read: SeriesRows, name: str, step: TimeStep) -> None:
    count = sum(missing for missing, *_ in gaps)
    _, key, before, after = max(gaps, key=lambda gap: gap[0])
    of = translate(" in series {series}", series=quote(key)) * bool(key)
    warnings.warn(
        translate(
            "{places}: column {name} has gaps of {count:,} row{plural}, where rows are {step}; they are read as "
            "missing values, the largest{of} from {before} to {after}",
            places=read.places[after],
            name=quote(name),
            count=count,
            plural="s" * (count != 1),
            step=step if step.unit else translate("numbered in steps of {count}", count=step.count),
            of=of,
            before=quote(read.times[before]),
            after=quote(read.times[after]),
        ),
        InputWarning,
        2,
    )


def _cut_ends(series: Sequence[TimeSeries], targets: int, file: str, step: TimeStep) -> list[TimeSeries]:
    """The series up to their last target, with a warning where rows follow, as those of the steps to forecast do."""
    cut: list[TimeSeries] = []
    ended: list[tuple[TimeSeries, int]] = []
    for one in series:
        filled = np.flatnonzero(np.isfinite(one.values[:, :targets]).any(axis=1))
        end = int(filled[-1]) + 1 if len(filled) else len(one.values)
        if end < len(one.values):
            ended.append((one, end))
        cut.append(replace(one, values=one.values[:end]))
    if ended:
        one, end = ended[0]
        first = Panel((), PanelColumns(()), step, 1).describe(one, end)
        warnings.warn(
            translate(
                "{file}: the last rows{of} have no value of a target, from {first} on (rows: {count:,}{others}); they "
                "are not read, and forecasts begin there",
                file=file,
                of=translate(" of series {name}", name=quote(one.name)) if one.name else "",
                first=first,
                count=len(one.values) - end,
                others=translate(", and those of {count:,} other series", count=len(ended) - 1) * (len(ended) > 1),
            ),
            InputWarning,
            2,
        )
    return cut


def _check_values(series: Sequence[TimeSeries], columns: PanelColumns) -> None:
    """Refuse series with too few values; raises InputError."""
    for one in series:
        counts = np.isfinite(one.values[:, : len(columns.targets)]).sum(axis=0)
        for name, count in zip(columns.targets, counts.tolist(), strict=True):
            if count < MIN_VALUES:
                which = translate("series {name}", name=quote(one.name)) if one.name else translate("the series")
                raise error_at(
                    one.place,
                    translate(
                        "{which} has {count} value{plural} of {name}; it must have at least {min_values}: "
                        "leave the series out",
                        which=which,
                        count=count,
                        plural="s" * (count != 1),
                        name=quote(name),
                        min_values=MIN_VALUES,
                    ),
                )
