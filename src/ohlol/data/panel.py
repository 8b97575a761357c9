"""Panels: series of numbers in the order of time, with a regular step, and what is known of each.

Shapes: T time steps of a series, C columns: the targets, then the known, then the observed covariates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ohlol.data.lines import Place

SEASONS = {"M": 12, "B": 5}
"""Steps of a season for a step of one unit, where that alone decides: a year of months, a week of working days."""
SEASONS_OF_SECONDS = {
    1: 60,
    60: 60,
    3600: 24,
    86400: 7,
    7 * 86400: 52,
}
"""The same by the seconds of a step."""


@dataclass(frozen=True)
class TimeStep:
    """The regular distance from one row to the next."""

    unit: str = ""
    """"M" for months, "s" for seconds, "B" for working days (Monday to Friday); "" for rows that are only counted."""
    count: int = 1
    """How many of them."""

    def after(self, time: np.datetime64, steps: NDArray[np.int64]) -> NDArray[np.datetime64]:
        """The times so many steps after a time, as datetime64[s]; months keep the day of the month, or their last."""
        if self.unit == "M":
            month = time.astype("datetime64[M]")
            months = month + steps * self.count
            day = time.astype("datetime64[D]") - month
            last = (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]") - 1
            is_last = (month + 1).astype("datetime64[D]") - time.astype("datetime64[D]") == np.timedelta64(1, "D")
            within = time - time.astype("datetime64[D]")
            days = months.astype("datetime64[D]") + (last if is_last else np.minimum(day, last))
            return days.astype("datetime64[s]") + within
        if self.unit == "B":
            days = np.busday_offset(time.astype("datetime64[D]"), steps * self.count, roll="forward")
            return days.astype("datetime64[s]") + (time - time.astype("datetime64[D]"))
        return time + (steps * self.count).astype("timedelta64[s]")


@dataclass(frozen=True)
class TimeSeries:
    """One series: a row for every step from its first to its last, missing values as NaN."""

    name: str
    """The value of the column `series`, several joined by a tab; "" where the file has one series."""
    values: NDArray[np.float64]
    """(T, C); NaN where a value is missing or its row is."""
    start: np.datetime64 | None
    """The time of the first row; None where rows are only counted."""
    statics: tuple[str, ...] = ()
    """The values of the static columns."""
    place: Place = Place("", 1)


@dataclass(frozen=True)
class PanelColumns:
    """The columns of a panel by their part in it; the order of `TimeSeries.values` is targets, known, observed."""

    targets: tuple[str, ...]
    known: tuple[str, ...] = ()
    """Covariates whose values are known for the steps to forecast."""
    observed: tuple[str, ...] = ()
    """Covariates that are known up to the present."""
    static: tuple[str, ...] = ()
    """Categories that do not change within a series."""

    @property
    def numeric(self) -> tuple[str, ...]:
        """The columns of `TimeSeries.values`."""
        return (*self.targets, *self.known, *self.observed)


@dataclass(frozen=True)
class Panel:
    """The series of some files."""

    series: tuple[TimeSeries, ...]
    columns: PanelColumns
    step: TimeStep
    season: int
    """Steps of a season; 1 where there is none."""
