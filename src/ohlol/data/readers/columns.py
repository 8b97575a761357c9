"""Columns: tables of texts with a class, or of numbers in the order of time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ohlol.config import DataSettings
from ohlol.data.frames import RecordLines
from ohlol.data.lines import Example, FileRange, Line, Lines, Place, error_at, is_row, nfc, quote
from ohlol.data.readers import class_doubts, doubts, json_lines, label_sets
from ohlol.data.readers.base import (
    CERTAIN,
    LAST_RESORT,
    LIKELY,
    PROBABLE,
    Confidence,
    Contents,
    Reader,
    default_task,
)
from ohlol.data.readers.column_names import find_columns, join_names, list_names, split_names, split_row
from ohlol.data.readers.column_stats import SAMPLE_ROWS, TableStats, static_cell
from ohlol.data.readers.cutting import Boundary, line_boundary
from ohlol.data.readers.date_columns import find_unread_dates
from ohlol.data.readers.json_lines import is_strings, looks_like_json
from ohlol.data.readers.pairs import is_json, is_json_pair
from ohlol.data.readers.plain_lines import read_plain_lines, require_symbols
from ohlol.data.readers.tables import (
    DELIMITERS,
    Row,
    Table,
    clear_missing,
    csv_boundary,
    csv_table,
    delimiter_of,
    finite_number,
    is_empty,
    json_table,
    records_table,
)
from ohlol.data.symbols import Symbols, split_line
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

PARQUET, ARROW = (".parquet", ".pq"), (".arrow", ".feather")
CSV = (".csv", ".tsv")
EXCEL = (".xlsx", ".xlsm")
CLASS, SERIES = TargetKind(per_sequence=True), TargetKind(shifted=True, numeric=True)
PANEL = TargetKind(numeric=True, horizon=True)
QUANTITY = TargetKind(per_sequence=True, quantity=True)
LABEL_SET = TargetKind(per_sequence=True, multiple=True)


class ColumnsReader(Reader):
    """CSV, JSON objects, Parquet, Arrow and Excel."""

    name = "columns"
    targets = (CLASS, PANEL, SERIES, QUANTITY, LABEL_SET)
    binary_suffixes = (*PARQUET, *ARROW, *EXCEL)

    def recognize(self, start: Lines, settings: DataSettings) -> Confidence | None:
        """By the name, by JSON objects that are not pairs, or because columns are chosen and the rows have some."""
        if isinstance(start, RecordLines):
            return Confidence(CERTAIN, translate("it has rows and columns"))
        if start.suffix == ".csv":
            return Confidence(CERTAIN, translate("its name ends in .csv"))
        first = start.first(is_row)
        chosen = bool(settings.input or settings.target)
        if is_json(start):
            if chosen or not is_json_pair(first):
                return Confidence(LIKELY, translate("its rows are JSON objects and not pairs"))
        elif start.suffix == ".tsv":
            return Confidence(PROBABLE, translate("its name ends in .tsv"))
        elif chosen and first is not None and ("\t" in first.text or _names_columns(first, settings)):
            return Confidence(PROBABLE, translate("columns are chosen and its rows have columns"))
        return (
            None
            if settings.task is None
            else Confidence(LAST_RESORT, translate("the task {task} reads columns", task=settings.task))
        )

    def resolve(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> DataSettings:
        """The task, the columns and the header; all rows are read where they decide, and none is kept."""
        if settings.series:
            contents = self.open(lines, settings, with_targets=with_targets)
            table, settings = contents.table, contents.settings
        else:
            table = self.table(lines, settings, with_targets=with_targets)
        return settings if table is None else resolve_columns(table, settings, keep=False, with_targets=with_targets)

    def open(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Contents:
        """As in `Reader`; rows that `resolve_columns` reads are kept, and a file without targets may be plain text."""
        table = self.table(lines, settings, with_targets=with_targets)
        if table is None:
            return Contents(settings, read_plain_lines(lines, settings.level))
        stats, task = None, settings.task
        if task is None:
            stats = _read_stats(table, table.keep_rows())
            task = _infer_task(stats, settings)
        if TARGET_KINDS[task].horizon:
            return Contents(settings, names=table.names, table=table)
        if settings.series and TARGET_KINDS[task].per_sequence:
            from ohlol.data.readers.labelled import read_labelled

            series, settings = read_labelled(table, replace(settings, task=task), with_targets=with_targets)
            return Contents(settings, names=table.names, labelled=iter(series))
        settings = resolve_columns(table, settings, keep=True, with_targets=with_targets, stats=stats)
        if TARGET_KINDS[task].numeric:
            from ohlol.data.readers.series import read_series

            series = read_series(table, settings, with_targets=with_targets)
            return Contents(settings, series=series, names=table.names)
        return Contents(settings, read_classes(table, settings, with_targets=with_targets), names=table.names)

    def boundary(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Boundary:
        """After a row; a line end between quotes does not end a row of CSV."""
        if self._kind(lines, settings, with_targets) == "csv":
            return partial(csv_boundary, delimiter=delimiter_of(lines))
        return line_boundary

    def ranges(
        self, file: str, settings: DataSettings, piece: int, *, with_targets: bool, also_at: int = 0
    ) -> Iterator[FileRange]:
        """Parquet and Arrow files are cut between groups of rows, by their size when decompressed; Excel is not cut."""
        if Lines(file).suffix not in self.binary_suffixes:
            yield from super().ranges(file, settings, piece, with_targets=with_targets, also_at=also_at)
            return
        if Lines(file).suffix in EXCEL:
            yield FileRange(file, 0, 1, 1)
            return
        from ohlol.data.readers.arrow import read_groups

        start = size = rows = 0
        row = 1
        groups = read_groups(file)
        for end, group in enumerate(groups, 1):
            size, rows = size + group.size, rows + group.rows
            if size >= piece or end == len(groups):
                yield FileRange(file, start, end, row)
                start, row, size, rows = end, row + rows, 0, 0

    def start(self, file: str, settings: DataSettings, size: int) -> tuple[FileRange, bool]:
        """As in `Reader`; of a Parquet or Arrow file the first groups of rows, and all of an Excel file."""
        if Lines(file).suffix not in self.binary_suffixes:
            return super().start(file, settings, size)
        ranges = self.ranges(file, settings, size, with_targets=True)
        first = next(ranges, FileRange(file, 0, 0, 1))
        return first, next(ranges, None) is None

    def table(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Table | None:
        """The table of a file, without the cells of missing values; None for a text of sequences."""
        table = self._table(lines, settings, with_targets=with_targets)
        if table is not None and settings.missing:
            table.rows = clear_missing(table.rows, split_names(settings.missing), table.number_format)
        return table

    def _table(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Table | None:
        kind = self._kind(lines, settings, with_targets)
        if kind == "arrow":
            from ohlol.data.readers.arrow import arrow_table

            return arrow_table(str(lines.path), lines.span)
        if kind == "excel":
            from ohlol.data.readers.excel import excel_table

            return excel_table(str(lines.path), settings)
        if isinstance(lines, RecordLines):
            return records_table(lines.records)
        if kind == "json":
            return json_table(lines, settings)
        return csv_table(lines, settings) if kind == "csv" else None

    def _kind(self, lines: Lines, settings: DataSettings, with_targets: bool) -> str:
        """What a file is: "records" in memory, "arrow" (or Parquet), "excel", "json", "csv" or "plain" lines."""
        if isinstance(lines, RecordLines):
            return "records"
        if lines.suffix in self.binary_suffixes:
            return "excel" if lines.suffix in EXCEL else "arrow"
        first = lines.head.first()
        if lines.suffix in json_lines.SUFFIXES or (lines.suffix not in CSV and looks_like_json(first)):
            return "json"
        may_be_plain = not with_targets and settings.task is not None and TARGET_KINDS[settings.task].per_sequence
        is_csv = not may_be_plain or lines.suffix in CSV or _names_input(first, settings)
        return "csv" if is_csv else "plain"


def _names_columns(first: Line, settings: DataSettings) -> bool:
    """Whether the first line is a header that names all columns that were chosen."""
    chosen = {name for names in (settings.input, settings.target) if names for name in split_names(names)}
    return any(chosen <= {nfc(cell) for cell in split_row(first.text, mark)} for mark in DELIMITERS)


def _names_input(first: Line | None, settings: DataSettings) -> bool:
    """Whether the first line is a header that names the input column."""
    if not settings.header or first is None:
        return False
    cells = {cell.strip('" ') for mark in DELIMITERS for cell in nfc(first.text).split(mark)}
    return settings.input in cells


def _read_stats(table: Table, rows: Iterable[Row]) -> TableStats:
    """The statistics of rows; raises InputError where there are none."""
    stats = TableStats.of(table, rows)
    if not stats.rows:
        raise InputError("{file}: no rows below the header", file=table.file)
    return stats


def resolve_columns(
    table: Table, settings: DataSettings, *, keep: bool, with_targets: bool, stats: TableStats | None = None
) -> DataSettings:
    """Complete the settings with the task, the columns, the level and the header.

    Args:
        table: whose rows are read where the settings do not say which columns hold numbers.
        settings: those chosen.
        keep: whether rows that were read stay in the table.
        with_targets: whether targets are read.
        stats: of all rows, where they were read already.

    Raises:
        InputError: the columns must be chosen, one that must hold numbers does not, or the rows look like another
            problem (`doubts.py`).
    """
    header_chosen = settings.header is not None
    settings, source = replace(settings, header=table.header), settings.input
    if settings.task is not None and source and settings.target:
        if TARGET_KINDS[settings.task].numeric:
            return settings
        _refuse_time(table, settings)
        find_statics(table, settings)
        if with_targets:
            _check_start(table, settings, is_first=not header_chosen)
            settings = _resolve_sets(table, settings, table.start(SAMPLE_ROWS))
        return replace(settings, level=settings.level or _infer_level(table.first(), table, source))
    stats = stats or _read_stats(table, table.keep_rows() if keep else table.rows)
    first, task = stats.sample[0], settings.task or _infer_task(stats, settings)
    if not header_chosen and not table.header:
        target = _find(table, settings.target)[0] if settings.target and not TARGET_KINDS[task].numeric else None
        doubts.check_header(stats, target)
    if TARGET_KINDS[task].horizon:
        return replace(settings, task=task)
    if TARGET_KINDS[task].numeric:
        return replace(_resolve_series(stats, settings, table), task=task)
    return replace(_resolve_classes(stats, settings, table, first, task), task=task)


def _class_kind(stats: TableStats, settings: DataSettings) -> TargetKind:
    """Whether the targets of texts are classes or sets of labels, by the chosen columns; raises InputError."""
    targets = find_columns(stats.names, settings.target, Place(stats.file, 1)) if settings.target else []
    if len(targets) > 1 or settings.label_separator:
        return LABEL_SET
    if not any(isinstance(row.cells[target], list) for row in stats.sample for target in targets):
        return CLASS
    if settings.input:
        (source, *_) = find_columns(stats.names, settings.input, Place(stats.file, 1))
        label_sets.check_steps(stats.file, stats.sample, source, targets[0], stats.names)
    return LABEL_SET


def _resolve_sets(table: Table, settings: DataSettings, rows: Sequence[Row]) -> DataSettings:
    """The settings with what separates the labels of a set, where targets are sets in one column."""
    kind = TARGET_KINDS[settings.task or default_task(LABEL_SET)]
    targets = _find_targets(table, settings.target or "", kind)
    if not kind.multiple or len(targets) > 1 or settings.label_separator:
        return settings
    separator = label_sets.infer_separator(table.file, table.names[targets[0]], rows, targets[0])
    return replace(settings, label_separator=separator)


def _infer_task(stats: TableStats, settings: DataSettings) -> str:
    """The task that the chosen columns show, or all columns but the dates where none of numbers is chosen."""
    chosen = {
        name: set(find_columns(stats.names, names, Place(stats.file, 1))) for name, names in settings.columns().items()
    }
    read = set[int]().union(*(chosen.pop(name, ()) for name in ("input", "target", "known", "observed")))
    if not read:
        filled = {i for i, column in enumerate(stats.columns) if column.filled}
        read = filled.difference(*chosen.values(), {stats.time_column()}, find_unread_dates(stats, filled))
    if settings.series and settings.target:
        doubts.check_constant_target(stats, settings)
    is_series = read and read <= set(stats.meant_numeric())
    return default_task(PANEL if is_series else _class_kind(stats, settings))


def _resolve_series(stats: TableStats, settings: DataSettings, table: Table) -> DataSettings:
    """The settings of a series, with the columns that are read."""
    targets = _find(table, settings.target) if settings.target else []
    doubts.check_numbers(stats, _find(table, settings.input) if settings.input else stats.meant_numeric())
    numeric = stats.numeric()
    doubts.check_thousands(stats, _find(table, settings.input) if settings.input else numeric)
    if not settings.input and not numeric:
        names = list_names(table.names)
        raise InputError("{file}: no column of numbers to forecast; there are {names}", file=table.file, names=names)
    if settings.series is None:
        doubts.check_series(stats, translate("write one file for each series"))
    if settings.time is None:
        doubts.check_dates(stats)
        if stats.time_column() is None:
            doubts.check_row_order(table)
    counters = doubts.find_counters(stats)
    if not settings.input and not settings.target:
        doubts.check_counters(stats, counters)
    read = [i for i in numeric if i not in counters or i in targets]
    inputs = settings.input or join_names(table.names[i] for i in read)
    return replace(settings, input=inputs, target=settings.target or inputs)


def _resolve_classes(stats: TableStats, settings: DataSettings, table: Table, first: Row, task: str) -> DataSettings:
    """The settings of texts with a class each; both columns must be chosen."""
    _refuse_time(table, settings)
    find_statics(table, settings)
    source = settings.input
    if source and settings.target:
        kind = TARGET_KINDS[task]
        columns, targets = _find(table, source), _find_targets(table, settings.target, kind)
        target = targets[0]
        doubts.check_long_format(stats, columns[0], target, is_chosen=False)
        _check_target(stats, columns[0], target, kind)
        if kind.multiple:
            class_doubts.check_digits(stats, columns[0])
            settings = _resolve_sets(table, settings, stats.sample)
        elif kind.quantity:
            class_doubts.check_digits(stats, columns[0])
        else:
            if settings.task is None and not stats.columns[target].is_meant_numeric:
                cells = [str(row.cells[target]) for row in stats.sample]
                label_sets.check_one_label(stats.file, stats.names[target], cells)
            class_doubts.check_classes(stats, columns[0], target)
            class_doubts.warn_of_classes(stats, columns[0], target)
        return replace(settings, level=settings.level or _infer_level(first, table, source))
    numeric = stats.meant_numeric()
    if not (settings.input or settings.target) and settings.task is None:
        doubts.check_numbers(stats, numeric)
    cells = (
        ""
        if table.header
        else translate(" (the first row: {names})", names=list_names(tuple(str(cell) for cell in first.cells)))
    )
    by = translate("by name") if table.header else translate("by number")
    instead = ""
    if numeric and not (settings.input or settings.target):
        names = list_names(tuple(table.names[i] for i in numeric))
        instead = translate(", or forecast {names} with `task` {panel}", names=names, panel=default_task(PANEL))
    if len(table.names) > 2:
        instead += translate("; further columns are read beside the text with `static`")
    raise InputError(
        "{file}: the columns are {names}{cells}; choose two {by} with `input` and `target`{instead}",
        file=table.file,
        names=list_names(table.names),
        cells=cells,
        by=by,
        instead=instead,
    )


def _refuse_time(table: Table, settings: DataSettings) -> None:
    if settings.time:
        raise InputError(
            "{file}: `time` is for series of numbers; name those of the rows with `series`", file=table.file
        )


def _check_start(table: Table, settings: DataSettings, *, is_first: bool) -> None:
    """Refuse series of numbers and the like, which its first rows show, as texts; warn of odd classes.

    Args:
        table: whose rows stay in it.
        settings: with the task and both columns.
        is_first: whether the settings are not those of a file that was read before, such as the training data.

    Raises:
        InputError: the rows are series, or the input is the target.
    """
    stats, kind = TableStats.of(table, table.start(SAMPLE_ROWS)), TARGET_KINDS[settings.task or ""]
    columns, targets = _find(table, settings.input or ""), _find(table, settings.target or "")
    if not stats.rows or len(columns) > 1 or len(targets) > 1:
        return
    doubts.check_long_format(stats, columns[0], targets[0], is_chosen=True)
    _check_target(stats, columns[0], targets[0], kind)
    if is_first and kind.has_one_label:
        class_doubts.warn_of_classes(stats, columns[0], targets[0])


def _check_target(stats: TableStats, source: int, target: int, kind: TargetKind) -> None:
    """Refuse the input as its own target, and a target whose numbers are not read; raises InputError."""
    if source == target:
        raise InputError(
            "{file}: `input` and `target` are both {names}; they must differ",
            file=stats.file,
            names=quote(stats.names[source]),
        )
    if kind.quantity:
        doubts.check_numbers(stats, [target])
        doubts.check_thousands(stats, [target])


def _find(table: Table, names: str) -> list[int]:
    return find_columns(table.names, names, Place(table.file, 1))


def _infer_level(first: Row | None, table: Table, names: str) -> str:
    column = _find(table, names)[0]
    return "word" if first is not None and isinstance(first.cells[column], list) else "char"


def read_classes(table: Table, settings: DataSettings, *, with_targets: bool) -> Iterator[Example]:
    """A text and its class, its number or its labels, for each row; settings are complete."""
    is_single = not with_targets and len(table.names) == 1 and not table.header
    columns = [0] if is_single else _find(table, settings.input or "1")
    if len(columns) > 1:
        raise InputError(
            "{file}: `input` {input} names several columns; a sequence is one text",
            file=table.file,
            input=quote(settings.input),
        )
    kind = TARGET_KINDS[settings.task or default_task(CLASS)]
    targets = _find_targets(table, settings.target or "2", kind) if with_targets else []
    statics = find_statics(table, settings)
    for row in table.rows:
        text = _read_sequence(row, table.names, columns[0], settings.level)
        value = None
        if targets and kind.multiple:
            value = label_sets.read_set(row, table.names, targets, settings.label_separator)
        elif targets and kind.quantity:
            value = finite_number(row, table.names, targets[0], table.number_format)
        elif targets:
            value = _read_class(row, table.names, targets[0])
        yield Example(text, value, row.place, tuple(static_cell(row.cells[i], table.number_format) for i in statics))


def find_statics(table: Table, settings: DataSettings) -> list[int]:
    """The columns that are read beside a text; raises InputError where one has another part, too."""
    columns = _find(table, settings.static) if settings.static else []
    for part in ("input", "target"):
        names = getattr(settings, part)
        if names and columns and (shared := set(columns) & set(_find_known(table, names))):
            raise InputError(
                "{file}: column {names} is chosen with `{part}` and with `{other}`; a column has one part",
                file=table.file,
                names=quote(table.names[min(shared)]),
                part=part,
                other="static",
            )
    return columns


def _find_known(table: Table, names: str) -> list[int]:
    """Those columns of a setting that a table has; one without targets lacks them."""
    chosen = [names] if names in table.names else split_names(names)
    return [index for name in chosen if name in table.names for index in _find(table, join_names([name]))]


def _find_targets(table: Table, names: str, kind: TargetKind) -> list[int]:
    """The columns of the targets: one, or one for each label of a set; raises InputError."""
    columns = _find(table, names)
    if len(columns) > 1 and not kind.multiple:
        raise InputError(
            "{file}: `target` {names} names several columns; a sequence has one target",
            file=table.file,
            names=quote(names),
        )
    return columns


def _read_sequence(row: Row, names: tuple[str, ...], column: int, level: str | None) -> Symbols:
    cell: Any = row.cells[column]
    if is_empty(cell):
        raise error_at(
            row.place,
            translate("column {names} is empty; a sequence has one symbol at least", names=quote(names[column])),
        )
    if is_strings(cell) and level == "word":
        return require_symbols(row.place, [nfc(entry) for entry in cell])
    if isinstance(cell, (list, dict)):
        raise error_at(
            row.place,
            translate(
                "column {names} is not a text; with `level` word lists of strings are read too",
                names=quote(names[column]),
            ),
        )
    return split_line(nfc(str(cell)), level)


def _read_class(row: Row, names: tuple[str, ...], column: int) -> str:
    cell: Any = row.cells[column]
    if is_empty(cell) or isinstance(cell, (list, dict)):
        problem = translate("is empty") if is_empty(cell) else translate("is not a text")
        raise error_at(
            row.place,
            translate(
                "column {names} {problem}; a class is a text or a number", names=quote(names[column]), problem=problem
            ),
        )
    return nfc(str(cell))
