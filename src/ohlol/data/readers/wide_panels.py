"""Panels from wide tables, in which each row is a series and each column of numbers a time step."""

from collections.abc import Sequence
from dataclasses import replace
from math import nan

import numpy as np

from ohlol.config import DataSettings
from ohlol.data.dates import YEARS, count_dates, is_date
from ohlol.data.lines import Place, error_at, quote
from ohlol.data.panel import TimeSeries, TimeStep
from ohlol.data.readers import doubts
from ohlol.data.readers.column_names import join_names, list_names
from ohlol.data.readers.column_stats import TableStats
from ohlol.data.readers.date_columns import find_months
from ohlol.data.readers.number_formats import PLAIN
from ohlol.data.readers.panel_cells import PARTS, find, read_text, read_value
from ohlol.data.readers.tables import Row, Table
from ohlol.data.readers.times import Times, check_order, infer_step, positions, read_times
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

WIDE_COLUMNS = 20
"""Columns of numbers with numbered names from which on a row may be a series."""
DATED_COLUMNS = 3
"""Columns of numbers with the names of dates from which on a row is a series."""
WIDE_TARGET = "value"
"""The target of a wide table, whose columns are time steps."""


def _numbered(name: str) -> bool:
    return name[-1:].isdigit() or is_date(name)


def _is_year(name: str) -> bool:
    return name.isdecimal() and YEARS[0] <= int(name) <= YEARS[1]


def _is_dated(name: str) -> bool:
    """Whether the name of a column is a date or a year."""
    return is_date(name) or _is_year(name)


def check_layout(stats: TableStats, settings: DataSettings) -> None:
    """Ask where the rows of a table look like series; raises InputError."""
    if settings.time or settings.target or stats.rows < 2:
        return
    numeric, first = stats.meant_numeric(), None
    dated, of_months = [i for i in numeric if _is_dated(stats.names[i])], find_months(stats)
    names = [i for i, column in enumerate(stats.columns) if column.filled and not column.is_meant_numeric]
    if of_months and not names:
        raise InputError(
            "{file}: columns {first} to {last} are the months of the year in each row; write a row for each month, or "
            "choose `layout` long where each column is a series",
            file=stats.file,
            first=quote(stats.names[of_months[0]]),
            last=quote(stats.names[of_months[-1]]),
        )
    if len(dated) >= DATED_COLUMNS and 2 * len(dated) > len(numeric):
        numeric = dated
        first = next((i for i in range(len(stats.names)) if i not in dated), None)
    elif stats.time_column() is None:
        numeric = [i for i in numeric if _numbered(stats.names[i])]
        first = next(iter(names), None)
        if first is not None and len(stats.columns[first].values) < stats.rows:  # a name does not repeat
            return
        if len(numeric) < WIDE_COLUMNS or (first is None and settings.header):
            return
    else:
        return
    why = (
        translate("column {column} has another text in each, and ", column=quote(stats.names[first]))
        if first is not None and len(stats.columns[first].values) == stats.rows
        else ""
    )
    raise InputError(
        "{file}: each row may be a series: {why}{count} columns of numbers follow, {first} to {last}; say so with "
        "`layout` wide, or `layout` long where a row is a time step",
        file=stats.file,
        why=why,
        count=len(numeric),
        first=quote(stats.names[numeric[0]]),
        last=quote(stats.names[numeric[-1]]),
    )


def find_first_text(stats: TableStats, settings: DataSettings) -> str | None:
    """The first column of texts of a wide table, as a setting; None where it has none."""
    static = find(stats, settings.static)
    texts = [i for i, c in enumerate(stats.columns) if c.filled and not c.is_meant_numeric and i not in static]
    return join_names([stats.names[texts[0]]]) if texts else None


def read_wide(
    tables: Sequence[Table],
    rows: list[list[Row]],
    stats: TableStats,
    settings: DataSettings,
    step: TimeStep | None,
) -> tuple[list[TimeSeries], TimeStep, DataSettings]:
    """The series of tables in which a row is a series."""
    for part in (*PARTS, "time"):
        if getattr(settings, part):
            raise InputError(
                "{file}: `{part}` is for `layout` long; the columns of a wide table are time steps",
                file=stats.file,
                part=part,
            )
    key_names = settings.series or find_first_text(stats, settings)
    taken = {*find(stats, key_names), *find(stats, settings.static)}
    columns = [i for i, c in enumerate(stats.columns) if i not in taken and (not c.filled or c.is_meant_numeric)]
    if not columns:
        raise InputError(
            "{file}: no column of numbers to forecast; there are {names}",
            file=stats.file,
            names=list_names(stats.names),
        )
    undated = [i for i in columns if not _is_dated(stats.names[i])]
    if undated and 2 * len(undated) < len(columns):
        raise InputError(
            "{file}: column {name} has no date as its name, as other columns of numbers have; say so with `series` "
            "where it names the series, and with `static` where it describes them",
            file=stats.file,
            name=quote(stats.names[undated[0]]),
        )
    doubts.check_number_forms(stats, columns, "static")
    times, at = _header_times([stats.names[i] for i in columns], stats, settings, step), np.arange(len(columns))
    if times is not None:
        settings = replace(settings, date_order=times.date_order or settings.date_order)
        names, everything = [stats.names[i] for i in columns], np.arange(len(columns))
        places = [Place(stats.file, 1)] * len(columns)
        check_order(translate("the header"), names, times, {"": everything}, places)
        step = step or infer_step(times, [everything]) or TimeStep()
        at = positions(translate("the header"), names, times, step, everything, places)
    step = step or TimeStep()
    series: dict[str, TimeSeries] = {}
    for table, own in zip(tables, rows, strict=True):
        numeric = find(table, join_names(stats.names[i] for i in columns)) if table is not tables[0] else columns
        keys, statics = find(table, key_names), find(table, settings.static)
        for row in own:
            name = "\t".join(read_text(row, table, i) for i in keys) if keys else str(len(series) + 1)
            if name in series:
                raise error_at(
                    row.place,
                    translate(
                        "series {name} is in {place}, too; a row of a wide table is a series",
                        name=quote(name),
                        place=series[name].place,
                    ),
                )
            values = np.full((int(at[-1]) + 1, 1), nan)
            values[at, 0] = [read_value(row, table, i) for i in numeric]
            filled = np.flatnonzero(np.isfinite(values[:, 0]))
            first, end = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
            start = (
                None if times is None else step.after(np.datetime64(int(times.values[0]), "s"), np.array([first]))[0]
            )
            category = tuple(read_text(row, table, i) for i in statics)
            series[name] = TimeSeries(name, values[first:end], start, statics=category, place=row.place)
    return list(series.values()), step, settings


def _header_times(names: list[str], stats: TableStats, settings: DataSettings, step: TimeStep | None) -> Times | None:
    """The dates, or years, in the names of columns; None where they are none."""
    if all(map(_is_year, names)):
        years = np.array(names, "datetime64[Y]").astype("datetime64[s]")
        return Times(years.astype(np.int64), are_dates=True)
    if len(names) not in count_dates(names).values():
        return None
    places, groups = [Place(stats.file, 1)] * len(names), [np.arange(len(names))]
    order = settings.date_order
    return read_times(translate("the header"), names, groups, places, PLAIN, date_order=order, step=step)
