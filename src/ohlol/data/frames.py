"""Tables in memory: data frames, lists of dicts and datasets of Hugging Face, as rows that the reader of tables takes.

pandas, polars and pyarrow tables are read with narwhals. None of these packages is imported before it is used.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, cast

from ohlol.data.dates import is_time_name
from ohlol.data.lines import FRAME, Lines, nfc
from ohlol.utils.errors import InputError

FRAME_PACKAGES = ("pandas", "polars", "pyarrow", "modin", "cudf")
"""Packages whose tables narwhals reads."""
MISSING_TYPES = ("NAType", "NaTType")
"""Types of the values of pandas that stand for a missing one."""


@dataclass(frozen=True)
class Records:
    """Named columns and their rows, in memory."""

    names: tuple[str, ...]
    rows: Callable[[], Iterator[Sequence[Any]]]
    """The cells of each row, from the first on."""
    order: Sequence[float] | None = None
    """The index of a frame of pandas, where it is of numbers and some are below one before."""

    def __str__(self) -> str:
        return FRAME

    def lines(self) -> "RecordLines":
        """The records in the place of the lines of a file."""
        return RecordLines(self)


class RecordLines(Lines):
    """Records in the place of the lines of a file: it has no lines, and its reader takes the records."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.span, self.path, self.file, self.suffix, self.encoding = None, FRAME, FRAME, "", None
        self.ended = False
        self._ahead, self._source = deque(), iter(())


def read_records(data: object) -> Records | None:
    """The records of a table in memory; None where the data are something else, such as the name of a file.

    Raises:
        InputError: it has no columns, or several parts.
    """
    package = type(data).__module__.partition(".")[0]
    if isinstance(data, Records):
        return data
    if isinstance(data, list | tuple):
        entries = list(cast("Sequence[object]", data))
        return _of_dicts(entries) if entries and all(isinstance(entry, dict) for entry in entries) else None
    if package == "datasets":
        return _of_dataset(data)
    if package not in FRAME_PACKAGES:
        return None
    import narwhals

    order: Sequence[float] | None = None
    if package == "pandas" and hasattr(data, "reset_index"):  # an index or an array has none
        index = cast("Any", data).index
        order = index.tolist() if _has_numbers(index) and not index.is_monotonic_increasing else None
        data = _with_index(cast("Any", data))
    frame: Any = narwhals.from_native(cast("Any", data), pass_through=True, allow_series=True)
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, narwhals.DataFrame):
        raise InputError("the data are of type {type}; give a table with named columns", type=type(data).__name__)
    frame = cast("Any", frame)
    return Records(_names(frame.columns), lambda: map(_cells, frame.iter_rows()), order=order)


def _has_numbers(index: Any) -> bool:
    return len(index.names) == 1 and str(index.dtype).lower().startswith(("int", "uint", "float"))


def _with_index(data: Any) -> Any:
    """A frame of pandas with its index as columns, unless the index only numbers the rows.

    Raises:
        InputError: two columns have one name.
    """
    columns = [] if getattr(data, "columns", None) is None else [str(name) for name in data.columns]
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise InputError("{frame}: 2 columns are named {name}; rename one", frame=FRAME, name=repr(twice))
    levels = list(data.index.names)
    if _has_numbers(data.index) and not is_time_name(str(levels[0] or "")):
        return data
    if kept := [number for number, name in enumerate(levels) if name is not None and str(name) in columns]:
        data = data.droplevel(kept) if len(kept) < len(levels) else data.reset_index(drop=True)
        return data if len(kept) == len(levels) else data.reset_index()
    return data.reset_index()


def _of_dicts(entries: list[Any]) -> Records:
    keys = list(entries[0])
    return Records(_names(keys), lambda: (_cells([entry.get(key) for key in keys]) for entry in entries))


def _of_dataset(data: Any) -> Records:
    """The rows of a dataset of Hugging Face, where features `ClassLabel`, and lists of these, give the names."""
    if isinstance(data, dict):
        parts = ", ".join(map(str, cast("dict[object, object]", data)))
        raise InputError("the data are several datasets ({parts}); give one of them", parts=parts)
    if data.column_names is None:
        raise InputError("the data are a stream whose columns are not known; load the dataset without `streaming`")
    keys, features = list(data.column_names), data.features or {}
    labels = [_label_names(features.get(key)) for key in keys]

    def rows() -> Iterator[list[Any]]:
        for row in data:
            cells = _cells([row[key] for key in keys])
            yield [cell if names is None else _name(cell, names) for cell, names in zip(cells, labels, strict=True)]

    return Records(_names(keys), rows)


def _label_names(feature: Any) -> Sequence[str] | None:
    """The names of a feature `ClassLabel`, or of a list of these; None for other features."""
    return getattr(getattr(feature, "feature", feature), "names", None)


def _name(cell: Any, names: Sequence[str]) -> Any:
    """The names of the numbers of classes; None where a row has none, which datasets write as -1."""
    if isinstance(cell, list):
        return [_name(entry, names) for entry in cast("list[Any]", cell)]
    return None if cell is None or cell < 0 else names[cell]


def _names(names: Sequence[object]) -> tuple[str, ...]:
    if not names:
        raise InputError("{frame}: it has no columns", frame=FRAME)
    return tuple(nfc(str(name)) for name in names)


def _cells(cells: Sequence[Any]) -> list[Any]:
    """The cells of a row as Python objects."""
    return [_cell(cell) for cell in cells]


def _cell(cell: Any) -> Any:
    if type(cell).__name__ == "Period":  # of pandas
        cell = cell.start_time
    if type(cell).__name__ in MISSING_TYPES or (isinstance(cell, float) and isnan(cell)):  # pandas writes NaN, too
        return None
    to_list: Any = getattr(cell, "tolist", None) or getattr(cell, "to_list", None)  # of numpy, of polars
    if isinstance(cell, tuple | set | frozenset):  # such as labels
        members = cast("set[Any]", cell)
        return list(members) if isinstance(cell, tuple) else sorted(members, key=str)
    return cell if to_list is None else to_list()
