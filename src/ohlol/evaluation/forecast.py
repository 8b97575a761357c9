"""Forecasts: the quantiles that a model gives for the steps after a series, in the units of the data.

Shapes: F target columns, Q quantile levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.utils.errors import InputError, describe_error
from ohlol.utils.numbers import decimals_for

INTERVALS = (80.0, 95.0)
"""The intervals, in per cent, that are written and measured where the model gives them."""

Table = dict[str, list[NDArray[Any]]]
"""The columns of rows by name, each as the values of every series in turn."""


@dataclass(frozen=True)
class Forecast:
    """The forecast of one series from one origin, the last row that was read."""

    series: str
    """The name of the series; "" where the file has one."""
    columns: tuple[str, ...]
    """The F target columns."""
    first: int
    """The number of the first row that is forecast, from 1."""
    times: NDArray[np.datetime64] | None
    """The times of the rows, (steps,); None where rows are only counted."""
    levels: tuple[float, ...]
    """Q levels in (0, 1), increasing; 0.5 is one of them."""
    quantiles: NDArray[np.float64]
    """(steps, F, Q), increasing along the last axis."""
    are_counts: bool = False
    """Whether the targets are counts, so that an interpolated quantile is rounded."""

    @property
    def point(self) -> NDArray[np.float64]:
        """The medians, (steps, F)."""
        return self.quantiles[:, :, self.levels.index(0.5)]

    def quantile(self, level: float) -> NDArray[np.float64]:
        """A quantile, (steps, F); between two levels of the model it is interpolated linearly.

        Raises:
            InputError: the level is outside of those of the model.
        """
        low, high = self.levels[0], self.levels[-1]
        if not low <= level <= high:
            widest = round(100 * (1 - 2 * max(low, 1 - high)), 6)
            raise InputError("the model gives intervals up to {widest:g} %", widest=widest)
        right = int(np.searchsorted(self.levels, level))
        if self.levels[right] == level:
            return self.quantiles[:, :, right]
        left = right - 1
        share = (level - self.levels[left]) / (self.levels[right] - self.levels[left])
        value = (1 - share) * self.quantiles[:, :, left] + share * self.quantiles[:, :, right]
        return np.round(value) if self.are_counts else value

    def interval(self, percent: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The lower and the upper bound, (steps, F) each, of the central interval that holds so many percent.

        Raises:
            InputError: `percent` is wider than the model's quantiles.
        """
        tail = round((1 - percent / 100) / 2, 9)  # (1 - 0.8) / 2 is less than 0.1
        return self.quantile(tail), self.quantile(round(1 - tail, 9))

    def intervals(self, preferred: Sequence[float] = INTERVALS) -> tuple[float, ...]:
        """Those of some intervals that the model gives; its widest one where it gives none; none for medians alone."""
        widest = round(100 * (1 - 2 * max(self.levels[0], 1 - self.levels[-1])), 6)
        narrower = tuple(percent for percent in preferred if percent <= widest)
        return narrower or (widest,) * (widest > 0)

    def by_name(self, intervals: Sequence[float]) -> dict[str, NDArray[np.float64]]:
        """The values (steps,) by the name of their column: of each target the medians, and the bounds of intervals.

        Raises:
            InputError: an interval is wider than those of the model.
        """
        bounds = {percent: self.interval(percent) for percent in intervals}
        values: dict[str, NDArray[np.float64]] = {}
        for f, column in enumerate(self.columns):
            values[column] = self.point[:, f]
            prefix = f"{column}_" if len(self.columns) > 1 else ""
            for percent, (lower, upper) in bounds.items():
                for side, bound in (("lower", lower), ("upper", upper)):
                    values[unused(f"{prefix}{side}_{percent:g}", self.columns)] = bound[:, f]
        return values


class Forecasts(list[Forecast]):
    """The forecasts of the series of a panel, in the order of the panel."""

    def to_rows(self, intervals: Sequence[float] | None = None) -> list[dict[str, Any]]:
        """A row for each series and step, rounded to the digits that matter, with times as ISO 8601 writes them.

        Args:
            intervals: in per cent; None for those of `INTERVALS` that the model gives.

        Returns:
            Rows with `series`, where series have names; `time`, or `step` where rows are only counted; and the median
            of each target by its name, with its bounds `lower_80`, `upper_80` and so on; of several targets these are
            `NAME_lower_80`.

        Raises:
            InputError: an interval is wider than those of the model.
        """
        return table_rows(self._table(intervals))

    def to_frame(self, intervals: Sequence[float] | None = None, backend: Any = "pandas") -> Any:
        """The same rows as a data frame, not rounded, with times as such.

        Args:
            intervals: as for `to_rows`.
            backend: pandas, polars, pyarrow or modin.

        Raises:
            InputError: an interval is wider than those of the model, or the package of the backend is not installed.
        """
        return table_frame(self._table(intervals), backend)

    def _table(self, intervals: Sequence[float] | None) -> Table:
        """The columns of all rows by name, each as the values (steps,) of every series."""
        if not self:
            return {}
        columns = self[0].columns
        chosen = self[0].intervals() if intervals is None else intervals
        table: Table = {}
        if any(forecast.series for forecast in self):
            table[unused("series", columns)] = [np.full(len(f.quantiles), f.series, object) for f in self]
        times = [forecast.times for forecast in self if forecast.times is not None]
        if len(times) == len(self):
            table[unused("time", columns)] = list(times)
        else:
            table[unused("step", columns)] = [np.arange(1, len(f.quantiles) + 1) for f in self]
        by_series = [forecast.by_name(chosen) for forecast in self]
        return table | {name: [values[name] for values in by_series] for name in by_series[0]}


def table_rows(table: Table) -> list[dict[str, Any]]:
    """The rows of a table, rounded to the digits that matter, with times as ISO 8601 writes them."""
    columns: dict[str, list[Any]] = {}
    for name, parts in table.items():
        is_time = parts[0].dtype.kind == "M"
        columns[name] = (
            iso_times(np.concatenate(parts)) if is_time else [value for part in parts for value in _rounded(part)]
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def table_frame(table: Table, backend: Any) -> Any:
    """A table as a data frame.

    Raises:
        InputError: the package of the backend is not installed.
    """
    import narwhals

    joined = {name: np.concatenate(parts) for name, parts in table.items()}
    columns: dict[str, Any] = {
        name: values.astype("datetime64[us]") if values.dtype.kind == "M" else values.tolist()
        for name, values in joined.items()
    }
    try:
        return narwhals.from_dict(columns, backend=backend).to_native()
    except (ImportError, ValueError) as error:
        raise InputError("`backend` is {backend!r}: {error}", backend=backend, error=describe_error(error)) from None


def iso_times(times: NDArray[np.datetime64]) -> list[str]:
    """Times as ISO 8601 writes them: dates where all of them are at midnight, else to the second.

    >>> iso_times(np.array(["2024-02-29T00:00:00"], "datetime64[s]"))
    ['2024-02-29']
    """
    is_date = bool((times.astype("datetime64[D]") == times).all())
    return np.datetime_as_string(times, unit="D" if is_date else "s").tolist()


def _rounded(values: NDArray[Any]) -> list[Any]:
    """Numbers to six significant digits of the largest, or four of their range where more; others as they are."""
    if values.dtype.kind != "f" or not len(values):
        return values.tolist()
    largest, extent = float(np.abs(values).max()), float(np.ptp(values))
    decimals = max(decimals_for(largest, 6), decimals_for(extent, 4))
    return [round(value, decimals) for value in values.tolist()]


def unused(name: str, columns: Sequence[str]) -> str:
    """A name that no target column has."""
    while name in columns:
        name += "_"
    return name
