"""Sample paths: possible courses of the steps after a series, in the units of the data.

Shapes: F target columns, P paths.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.evaluation.forecast import Table, table_frame, table_rows, unused


@dataclass(frozen=True)
class Paths:
    """The paths of one series from its last row."""

    series: str
    """The name of the series; "" where the file has one."""
    columns: tuple[str, ...]
    """The F target columns."""
    times: NDArray[np.datetime64] | None
    """The times of the rows, (steps,); None where rows are only counted."""
    values: NDArray[np.float64]
    """(P, steps, F)."""


class SamplePaths(list[Paths]):
    """The paths of the series of a panel, in the order of the panel."""

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each series, path and step, rounded to the digits that matter.

        Returns:
            Rows with `series`, where series have names; `path`, from 1; `time`, as ISO 8601 writes it, or `step` where
            rows are only counted; and each target by its name.
        """
        return table_rows(self._table())

    def to_frame(self, backend: Any = "pandas") -> Any:
        """The same rows as a data frame, not rounded, with times as such.

        Args:
            backend: pandas, polars, pyarrow or modin.

        Raises:
            InputError: the package of the backend is not installed.
        """
        return table_frame(self._table(), backend)

    def _table(self) -> Table:
        if not self:
            return {}
        columns, (P, steps, _) = self[0].columns, self[0].values.shape
        table: Table = {}
        if any(paths.series for paths in self):
            table[unused("series", columns)] = [np.full(P * steps, paths.series, object) for paths in self]
        table[unused("path", columns)] = [np.repeat(np.arange(1, P + 1), steps)] * len(self)
        times = [np.tile(paths.times, P) for paths in self if paths.times is not None]
        if len(times) == len(self):
            table[unused("time", columns)] = list(times)
        else:
            table[unused("step", columns)] = [np.tile(np.arange(1, steps + 1), P)] * len(self)
        return table | {name: [paths.values[:, :, f].ravel() for paths in self] for f, name in enumerate(columns)}
