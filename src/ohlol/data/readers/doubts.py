"""Doubts: what shows that the rows of a table are another problem than the one that would be trained.

Each check looks at the statistics of a table. It raises one InputError that says what was seen, where, and what settles
it, or warns where going on is safe. Choosing the task, the input and the target reads the rows as they are.
"""

import re
import warnings
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import pairwise, repeat
from math import isfinite
from typing import Any

from ohlol.config import DataSettings
from ohlol.data.dates import TIME_OF_DAY, UNIX_FIRST, is_time_name
from ohlol.data.lines import Place, error_at, quote
from ohlol.data.readers.class_doubts import FEW_ROWS, spelling
from ohlol.data.readers.column_names import find_columns, list_names
from ohlol.data.readers.column_stats import COUNTED_ROWS, ColumnStats, Order, TableStats
from ohlol.data.readers.date_columns import is_year, part_held, part_of_date
from ohlol.data.readers.number_formats import describe_number_form, suggest_settings
from ohlol.data.readers.tables import Row, Table, finite_number, number
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.translation import translate

TIME_NAMES = {"", "date", "datetime", "epoch", "id", "idx", "index", "row", "t", "time", "timestamp", "unnamed: 0"}
"""Names of columns whose increasing integers number or date the rows."""
POINT_BEFORE_THREE = re.compile(r"[-+]?[1-9]\d{0,2}\.\d{3}", re.ASCII)
CALENDAR_WORDS = {
    "mon", "tue", "wed", "thu", "fri", "sat", "sun", "monday", "tuesday", "wednesday", "thursday", "friday",
    "saturday", "sunday", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
    "january", "february", "march", "april", "june", "july", "august", "september", "october", "november", "december",
    "q1", "q2", "q3", "q4", "true", "false", "yes", "no", "y", "n"
}  # fmt: skip
"""Words that repeat in one series."""
CLASS_NAMES = {"category", "class", "intent", "label", "lang", "language", "sentiment", "tag", "target", "topic", "y"}
"""Names that a header gives to classes."""
NINES, FAR = re.compile(r"-99+(\.9+)?|999+(\.9+)?|-9{1,2}\.99+"), 3.0
"""Numbers that stand for a missing value, and how many ranges of the others they are away from these."""
COMMON_STEP = 0.05
"""Share of the steps between dates from which on a step is regular, such as that over a weekend."""
GAP = 1.5
"""A step that is more than this many times the largest regular one is a gap."""
DATED_ROWS = 8
"""Dates from which on the common step is known."""


def check_number_forms(stats: TableStats, columns: Iterable[int], setting: str = "input") -> None:
    """Refuse numbers in a form that is not read; raises InputError, which names the setting that chooses columns."""
    for index in columns:
        column, name = stats.columns[index], quote(stats.names[index])
        if column.number_form is not None and column.is_meant_numeric:
            cell = column.number_form.cells[index]
            raise error_at(
                column.number_form.place,
                translate(
                    "column {name} holds {cell}, which is {meaning}; write such numbers as 1037 or "
                    "1037.5{advice}, or leave the column out with `{setting}`",
                    name=name,
                    cell=quote(cell),
                    meaning=describe_number_form(cell),
                    advice=suggest_settings(cell),
                    setting=setting,
                ),
            )


def check_numbers(stats: TableStats, columns: Iterable[int]) -> None:
    """Refuse numbers in a form that is not read, and missing values among numbers; raises InputError."""
    for index in columns:
        column = stats.columns[index]
        check_number_forms(stats, [index])
        if not column.is_numeric and column.is_meant_numeric and column.not_finite is not None:
            finite_number(column.not_finite, stats.names, index, stats.number_format)


def check_thousands(stats: TableStats, columns: Iterable[int]) -> None:
    """Ask where a point may separate thousands: in a file of a semicolon, as where the comma is the decimal mark.

    Raises:
        InputError: every number of a column has a point before its last three digits.
    """
    if stats.delimiter != ";" or stats.rows < COUNTED_ROWS or stats.number_format_is_chosen:
        return
    for index in columns:
        cells = [row.cells[index] for row in stats.sample]
        if all(isinstance(cell, str) and POINT_BEFORE_THREE.fullmatch(cell.strip()) for cell in cells):
            whole = cells[0].strip().replace(".", "")
            raise error_at(
                stats.sample[0].place,
                translate(
                    "column {names} holds {cells}, which is {whole} or {fraction}: semicolons separate the "
                    "columns, as where the point separates thousands; set `thousands=.`, or `decimal=.` for a "
                    "decimal point",
                    names=quote(stats.names[index]),
                    cells=quote(cells[0]),
                    whole=whole,
                    fraction=cells[0].strip(),
                ),
            )


def find_counters(stats: TableStats) -> dict[int, str]:
    """The columns of numbers that count or date the rows instead of holding data, and what shows it."""
    counters: dict[int, str] = {}
    for index in stats.numeric():
        column, name = stats.columns[index], stats.names[index].strip().lower()
        order, low, high = column.order, column.low, column.high
        if column.numbers != stats.rows or order.count < COUNTED_ROWS:
            continue
        if order.has_constant_step:
            counters[index] = translate(
                "goes from {low:.15g} to {high:.15g} in steps of {step:.6g}",
                low=low,
                high=high,
                step=(high - low) / (order.count - 1),
            )
        elif stats.unix_unit(index) or (column.integers and order.increases and low >= UNIX_FIRST):
            counters[index] = translate("holds integers such as Unix time")
        elif (
            column.integers
            and order.increases
            and (name in TIME_NAMES or stats.holds_days(index) or is_year(stats, index))
        ):
            counters[index] = translate("holds increasing integers")
        elif part_held(stats, index) is not None:
            counters[index] = translate("is a part of the date, from {low:.0f} to {high:.0f}", low=low, high=high)
        elif is_time_name(name, alone=True) and order.increases:
            counters[index] = translate("holds increasing numbers")
        elif column.integers and name in ("", "unnamed: 0"):
            counters[index] = translate("has no name, as the index of a data frame")
    return counters if len(counters) < len(stats.numeric()) or len(counters) > 1 else {}


def check_counters(stats: TableStats, counters: dict[int, str]) -> None:
    """Refuse to forecast a column that counts the rows, which nobody has asked for; raises InputError."""
    if not counters:
        return
    index, why = next(iter(counters.items()))
    others = [stats.names[i] for i in stats.numeric() if i not in counters]
    name = others[0] if others else stats.names[stats.numeric()[-1]]
    raise InputError(
        "{file}: column {names} {why}, so it counts or dates the rows, and would be forecast with the "
        "others; choose what to forecast with `target`, such as {name}",
        file=stats.file,
        names=quote(stats.names[index]),
        why=why,
        name=quote(name),
    )


def check_series(stats: TableStats, advice: str = "", *, times: Sequence[int] = ()) -> None:
    """Refuse a table that holds several series, which would be read as one.

    Args:
        stats: of the table.
        advice: what reads them; by default the setting `series`.
        times: the columns of the time that were chosen.

    Raises:
        InputError: it does, or may.
    """
    found = _find_series(stats, times)
    if found is None:
        return
    index, why = found
    column = stats.columns[index]
    count = f"{len(column.values)}{translate(' or more') * (column.counted < column.filled)}"
    some = list_names(tuple(list(column.values)[:3]))
    advice = advice or translate("name the series with `series` {names}", names=quote(stats.names[index]))
    raise InputError(
        "{file}: the rows are of several series: column {name} has {count} values that repeat ({some}){why}; {advice}, "
        "or read all rows as one series with `series` ''"
        if why
        else "{file}: the rows may be of several series: column {name} has {count} values that repeat ({some}){why}; "
        "{advice}, or read all rows as one series with `series` ''",
        file=stats.file,
        name=quote(stats.names[index]),
        count=count,
        some=some,
        why=why,
        advice=advice,
    )


def _find_series(stats: TableStats, times: Sequence[int]) -> tuple[int, str] | None:
    """The column that names the series of each row, and what shows it."""
    time = stats.time_column()
    date_order = None if time is None else stats.time_order(time)
    in_order = date_order is not None and date_order.increases
    keys = [i for i, column in enumerate(stats.columns) if i not in (time, *times) and _repeats(column, stats.rows)]
    keys = [i for i in keys if part_of_date(stats.names[i]) is None and not _are_times_of_day(stats.columns[i])]
    for index in keys if not in_order else ():
        column = stats.columns[index]
        is_text = not column.is_numeric
        if date_order is not None and time is not None and _orders_each(stats, index, time):
            return index, translate(
                ", and the dates of column {names} begin again for each", names=quote(stats.names[time])
            )
        if date_order is None and (column.integers or is_text):
            for other in stats.numeric():
                if other != index and _begins_again(stats, index, other):
                    return index, translate(
                        ", and column {names} begins again for each", names=quote(stats.names[other])
                    )
        words = {value.strip().lower() for value in column.values}
        is_time = is_time_name(stats.names[index])
        if date_order is None and is_text and not is_time and not words <= CALENDAR_WORDS:
            return index, ""
    return None


def _are_times_of_day(column: ColumnStats) -> bool:
    return all(TIME_OF_DAY.fullmatch(value.strip()) for value in column.values)


def _repeats(column: ColumnStats, rows: int) -> bool:
    """Whether a column has at least two values, which occur twice or more on average."""
    is_key = not column.is_numeric or column.integers
    repeats = 2 <= len(column.values) <= column.counted / 2
    return is_key and column.filled == rows and repeats and column.date_order is None


def _blocks(stats: TableStats, key: int) -> list[list[Row]]:
    """The rows of the sample by the value of a column, in order."""
    groups: dict[str, list[Row]] = {}
    for row in stats.sample:
        groups.setdefault(str(row.cells[key]), []).append(row)
    return list(groups.values())


def _orders_each(stats: TableStats, key: int, time: int) -> bool:
    """Whether the dates increase among the rows of each value of a column."""
    return all(a < b for group in _blocks(stats, key) for a, b in pairwise(stats.moments(time, group)))


def _begins_again(stats: TableStats, key: int, other: int) -> bool:
    """Whether a column of integers increases within each block of equal values of another, and falls back after it."""
    if not stats.columns[other].integers:
        return False
    rows = stats.sample
    numbers = [number(row.cells[other], stats.number_format) or 0.0 for row in rows]
    keys = [str(row.cells[key]) for row in rows]
    changes = [i for i in range(1, len(rows)) if keys[i] != keys[i - 1]]
    if len(changes) + 1 != len(set(keys)) or len(rows) < 3 * (len(changes) + 1):
        return False
    boundary = set(changes)
    increases = all(numbers[i] > numbers[i - 1] for i in range(1, len(rows)) if i not in boundary)
    return increases and bool(changes) and all(numbers[i] <= numbers[i - 1] for i in changes)


def check_constant_target(stats: TableStats, settings: DataSettings) -> None:
    """Ask where a target of numbers has one value in each series: a class, or a number, of it; raises InputError."""
    place = Place(stats.file, 1)
    keys, targets = (find_columns(stats.names, names or "", place) for names in (settings.series, settings.target))
    values: dict[str, set[str]] = {}
    for row in stats.sample:
        values.setdefault(str([row.cells[i] for i in keys]), set()).add(str([row.cells[i] for i in targets]))
    is_numeric = set(targets) <= set(stats.meant_numeric())
    if is_numeric and len(values) < len(stats.sample) and all(len(one) == 1 for one in values.values()):
        raise InputError(
            "{file}: the target {target} has one value in each series; choose `task` classify for "
            "classes of series, `task` regress for numbers, or `task` forecast",
            file=stats.file,
            target=quote(settings.target),
        )


def check_row_order(table: Table, series: Iterable[object] = repeat(None)) -> None:
    """Ask where rows without dates, whose order is that of time, are not in that of their index.

    Args:
        table: whose rows have the order in question; those of a file have no index.
        series: that of each row; by default all rows are of one.

    Raises:
        InputError: a row has a smaller number than one before it of the same series.
    """
    last: dict[str, float] = {}
    for row, (index, name) in enumerate(zip(table.order or (), map(str, series), strict=False), 1):
        before = last.get(name, index)
        if index < before:
            raise error_at(
                Place(table.file, row),
                translate(
                    "the index {index} is below {before}, that of a row above; where the index is the order in time, "
                    "use sort_index(), and where the order of the rows is, choose `time` ''",
                    index=index,
                    before=before,
                ),
            )
        last[name] = index


def check_dates(stats: TableStats) -> None:
    """Refuse dates that run backward or occur twice; warn of a gap. Raises InputError."""
    time = stats.time_column()
    if time is None:
        return
    order, name = stats.time_order(time), quote(stats.names[time])
    assert order is not None
    settle = translate("or read the rows as they stand with `time` ''")
    if order.backward is not None:
        row, cell, before = order.backward
        newest_first = order.backward_steps == order.count - 1
        how = (
            translate("is before the row above")
            if not newest_first
            else translate("is before the row above, as in every row")
        )
        advice = translate("reverse the rows") if newest_first else translate("sort the rows by date")
        raise error_at(
            row.place,
            translate(
                "column {name} runs backward: {cell} {how}, {before}; {advice}, {settle}",
                name=name,
                cell=quote(cell),
                how=how,
                before=quote(before),
                advice=advice,
                settle=settle,
            ),
        )
    if order.repeated is not None and not _has_time_of_day(stats):
        row, cell, _ = order.repeated
        raise error_at(
            row.place,
            translate(
                "column {name} has {cell} twice; keep one row for each date, {settle}",
                name=name,
                cell=quote(cell),
                settle=settle,
            ),
        )
    _warn_of_gap(stats, time)


def _has_time_of_day(stats: TableStats) -> bool:
    """Whether a column of times, such as 17:30, stands beside the dates."""
    cells: Sequence[Any] = stats.sample[0].cells if stats.sample else ()
    return any(isinstance(cell, str) and ":" in cell and len(cell) <= 12 and cell[:1].isdigit() for cell in cells)


def find_gaps(order: Order) -> tuple[float, list[float]] | None:
    """The usual step between dates, and the steps that are gaps; None where the dates are few or have no usual step."""
    if order.count < DATED_ROWS:
        return None
    total = order.count - 1
    common = [step for step, (times, *_) in order.steps.items() if step > 0 and times >= COMMON_STEP * total]
    common = [step for step in common if order.steps[step][0] > 1]
    if not common:
        return None
    usual = max(common, key=lambda step: order.steps[step][0])
    return usual, [step for step in order.steps if step > GAP * max(common)]


def _warn_of_gap(stats: TableStats, time: int) -> None:
    order, unit = stats.time_order(time), stats.unix_unit(time) or 1.0
    found = None if order is None else find_gaps(order)
    if order is None or found is None or not found[1]:
        return
    usual, gaps = found
    _, row, cell, before = order.steps[max(gaps)]
    count = sum(order.steps[step][0] for step in gaps)
    warnings.warn(
        translate(
            "{place}: column {name} has a gap of {gap} from {before} to {after}, where the usual step is {usual}"
            "{gaps}; the rows are read as if they followed each other",
            place=row.place,
            name=quote(stats.names[time]),
            gap=format_span(max(gaps) * unit),
            before=quote(before),
            after=quote(cell),
            usual=format_span(usual * unit),
            gaps=translate(" (gaps: {count})", count=count) * (count > 1),
        ),
        InputWarning,
        2,
    )


def format_span(seconds: float) -> str:
    """A time span in words: "60 days" or "1:00:00"."""
    span = timedelta(seconds=seconds)
    if span.seconds or span.microseconds:
        return str(span)
    return translate("{count} day{plural}", count=span.days, plural="s" * (span.days != 1))


def check_header(stats: TableStats, target: int | None) -> None:
    """Ask where a first row that is read as data looks like a header; raises InputError.

    Args:
        stats: of a table without a header.
        target: the column of the classes; None for a series.
    """
    first = stats.sample[0] if stats.sample else None
    if first is None or stats.rows < COUNTED_ROWS - 1:
        return
    why = None
    numbers = [value for cell in first.cells if (value := number(cell, stats.number_format)) is not None]
    names = [str(cell).strip().lower() for cell in first.cells]
    if target is None and len(numbers) > 2 and all(b - a == 1 for a, b in pairwise(numbers)):
        why = translate("its numbers count from {numbers:.15g}", numbers=numbers[0])
    if target is not None and stats.rows >= FEW_ROWS and names[target] in CLASS_NAMES:
        once = stats.columns[target].values.get(str(first.cells[target])) == 1
        why = translate("{cells} is in no other row", cells=quote(first.cells[target])) if once else None
    if why is not None:
        raise error_at(
            first.place,
            translate("the first row may be a header: {why}; say so with `header`, or `header=False`", why=why),
        )


def warn_of_names(file: str, names: Iterable[str]) -> None:
    """Warn of names of series that differ in their spelling only, such as 7 and 007."""
    spellings: dict[object, list[str]] = {}
    for name in names:
        spellings.setdefault(spelling(name), []).append(name)
    variants = next((same for same in spellings.values() if len(same) > 1), None)
    if variants is not None:
        warnings.warn(
            translate(
                "{file}: {names} are different series, which differ in their spelling only",
                file=file,
                names=list_names(tuple(variants)),
            ),
            InputWarning,
            2,
        )


def warn_of_far_values(stats: TableStats, columns: Iterable[int]) -> None:
    """Warn of nines, such as -999 or 9999.9, far from all other values: they often stand for a missing value."""
    for index in columns:
        column = stats.columns[index]
        numbers = {value: number(value, stats.number_format) for value in column.values}
        finite = sorted({value for value in numbers.values() if value is not None and isfinite(value)})
        if len(finite) < COUNTED_ROWS:
            continue
        for far, near, range_ in (
            (finite[0], finite[1], finite[-1] - finite[1]),
            (finite[-1], finite[-2], finite[-2] - finite[0]),
        ):
            if NINES.fullmatch(f"{far:.10g}") is None or abs(far - near) <= FAR * range_:
                continue
            warnings.warn(
                translate(
                    "{file}: column {name} holds {far:.10g} ({count:,} rows), far from all other values, {low:.6g} to "
                    "{high:.6g}: if it stands for a missing value, say so with `missing={far:.10g}`",
                    file=stats.file,
                    name=quote(stats.names[index]),
                    far=far,
                    count=sum(column.values[text] for text, value in numbers.items() if value == far),
                    low=finite[0] if far > finite[0] else finite[1],
                    high=finite[-1] if far < finite[-1] else finite[-2],
                ),
                InputWarning,
                2,
            )


def check_long_format(stats: TableStats, source: int, target: int, *, is_chosen: bool) -> None:
    """Refuse series of numbers with a class each, one number a row; raises InputError.

    Args:
        stats: of the table.
        source: the column of the input.
        target: the column of the class.
        is_chosen: whether the task was chosen; then a column that begins again for each series must show it.
    """
    if not stats.columns[source].is_numeric:
        return
    others = [i for i in range(len(stats.names)) if i not in (source, target)]
    for key in others:
        if not _repeats(stats.columns[key], stats.rows):
            continue
        groups = _blocks(stats, key)
        has_one_class = all(len({str(row.cells[target]) for row in group}) == 1 for group in groups)
        times = [i for i in others if i != key and (not is_chosen or _begins_again(stats, key, i))]
        if has_one_class and len(groups) > len(stats.columns[target].values) and (times or not is_chosen):
            raise InputError(
                "{file}: the rows are series of numbers with a class each: column {column} names the "
                "series of {input}; read them with `series` {column}",
                file=stats.file,
                column=quote(stats.names[key]),
                input=quote(stats.names[source]),
            )
