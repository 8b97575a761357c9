"""Series of numbers with a class, or a number, each: from tables in which a row is a time step."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.config import DataSettings
from ohlol.data.lines import Place, error_at, quote
from ohlol.data.panel import PanelColumns
from ohlol.data.readers import doubts
from ohlol.data.readers.column_names import find_columns, join_names, list_names
from ohlol.data.readers.column_stats import TableStats
from ohlol.data.readers.panels import check_statics, infer_numbers, infer_time, read_in_order, read_rows
from ohlol.data.readers.tables import Table, check_size, number
from ohlol.data.targets import TARGET_KINDS
from ohlol.utils.errors import InputError
from ohlol.utils.translation import message_id, translate


class LabelledSeries(NamedTuple):
    """One series, its target and where it starts."""

    rows: NDArray[np.float64]
    """(T, I)."""
    target: str | float | None
    """A class, or a number; None where targets are not read."""
    place: Place
    name: str = ""
    """Empty where a table is one series."""


def read_labelled(
    table: Table, settings: DataSettings, *, with_targets: bool
) -> tuple[list[LabelledSeries], DataSettings]:
    """The series of a table, and the settings with the columns that are read.

    Args:
        table: whose rows are read.
        settings: those chosen, with the task and `series`.
        with_targets: whether targets are read.

    Raises:
        InputError: the columns must be chosen, a value is missing, the rows of a series are not in the order of time,
            or its target changes.
    """
    rows, place = table.keep_rows(), Place(table.file, 1)
    if not rows:
        raise InputError("{file}: no rows below the header", file=table.file)
    stats = TableStats.of(table, rows)
    if settings.static:
        raise InputError(
            "{file}: `static` columns are read beside a text or forecast; of series with a target each, choose further "
            "columns of numbers with `input`",
            file=table.file,
        )
    settings = replace(settings, header=table.header)
    targets = find_columns(table.names, settings.target, place) if settings.target and with_targets else []
    if with_targets and len(targets) != 1:
        what = (
            translate("choose the column of the class or number of each series")
            if not targets
            else translate("a series has one target")
        )
        raise InputError(
            "{file}: {what} with `target`; the columns are {names}",
            file=table.file,
            what=what,
            names=list_names(table.names),
        )
    keys = find_columns(table.names, settings.series or "", place)
    if settings.time is None:
        settings = replace(settings, time=infer_time(stats, {*keys, *targets}, keys))
    if settings.input is None:
        timed = find_columns(table.names, settings.time, place) if settings.time else []
        numbers = infer_numbers(table, stats, rows, settings, {*keys, *targets, *timed})
        settings = replace(settings, input=join_names(table.names[i] for i in numbers))
    inputs = find_columns(table.names, settings.input or "", place)
    doubts.check_number_forms(stats, inputs)
    names = tuple(table.names[i] for i in inputs)
    columns = PanelColumns(names, static=tuple(table.names[i] for i in targets))
    read = read_rows([table], [rows], columns, replace(settings, static=settings.target if targets else None))
    groups = read.groups()
    if settings.time:
        timed = [table.names[i] for i in find_columns(table.names, settings.time, place)]
        times = read_in_order(", ".join(timed), read, groups, table, date_order=settings.date_order)
        settings = replace(settings, date_order=times.date_order or settings.date_order)
    series: list[LabelledSeries] = []
    is_quantity = TARGET_KINDS[settings.task or ""].quantity
    for key, group in groups.items():
        values, first = read.values[group], int(group[0])
        missing = np.argwhere(np.isnan(values))
        if len(missing):
            row, column = missing[0]
            raise error_at(
                read.places[group[row]],
                translate(
                    "column {names} has no value; a series with a target has none missing: fill it in, leave "
                    "the series out, or choose other columns with `input`",
                    names=quote(names[column]),
                ),
            )
        check_statics(read, group, columns.static, key, message_id("a series has one target"))
        target = read.statics[first][0] if targets else None
        if target is not None and is_quantity:
            target = _quantity(table, target, columns.static[0], read.places[first])
        series.append(LabelledSeries(values, target, read.places[first], key))
    return series, settings


def _quantity(table: Table, text: str, name: str, place: Place) -> float:
    value = number(text, table.number_format)
    if value is None or not np.isfinite(value):
        raise error_at(
            place,
            translate("column {name} is {text}, which is not a finite number", name=quote(name), text=quote(text)),
        )
    return check_size(value, text, place)
