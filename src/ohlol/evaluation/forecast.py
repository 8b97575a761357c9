"""Forecasts: the quantiles that a model gives for the steps after a series, in the units of the data.

Shapes: F target columns, Q quantile levels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ohlol.utils.errors import InputError


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
            raise InputError(f"the model gives intervals up to {widest:g} %")
        right = int(np.searchsorted(self.levels, level))
        if self.levels[right] == level:
            return self.quantiles[:, :, right]
        left = right - 1
        share = (level - self.levels[left]) / (self.levels[right] - self.levels[left])
        return (1 - share) * self.quantiles[:, :, left] + share * self.quantiles[:, :, right]

    def interval(self, percent: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The lower and the upper bound, (steps, F) each, of the central interval that holds so many percent.

        Raises:
            InputError: `percent` is wider than the model's quantiles.
        """
        tail = (1 - percent / 100) / 2
        return self.quantile(tail), self.quantile(1 - tail)
