"""Errors of forecasts, value by value; a metric is their mean, in which missing values are left out.

Shapes: y and bounds (..., H, F) for H steps and F columns; quantiles (..., H, F, Q) for Q levels. NaN in y is a missing
value, and so are the errors that follow from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ohlol.evaluation.forecast import Forecast

Values = NDArray[np.float64]
ROUNDING = 1e-12
"""A seasonal difference below this share of the largest value is a rounding error."""
JsonScores = dict[str, float | dict[str, float | None] | None]


def seasonal_scale(history: Values, season: int) -> Values:
    """The divisor of MASE and MSIS: the mean of |y_t - y_(t-m)| over a history, (F,), for a season of m steps.

    It is the mean absolute error of the seasonal naive forecast within the history (Hyndman and Koehler 2006, Another
    look at measures of forecast accuracy).

    Args:
        history: the rows before those that are forecast, (T, F).
        season: m, at least 1.

    Returns:
        (F,); NaN where the history is constant from season to season, or not longer than a season.
    """
    scale = nan_mean(np.abs(history[season:] - history[:-season]), axis=0)
    return np.where(scale > ROUNDING * np.nan_to_num(np.abs(history)).max(axis=0, initial=0), scale, np.nan)


def absolute_errors(y: Values, point: Values) -> Values:
    """|y - f|; the mean is MAE, in the unit of the column."""
    return np.abs(y - point)


def squared_errors(y: Values, point: Values) -> Values:
    """(y - f)^2; the root of the mean is RMSE, in the unit of the column."""
    return (y - point) ** 2


def percentage_errors(y: Values, point: Values) -> Values:
    """200 |y - f| / (|y| + |f|), 0 where both are 0; the mean is sMAPE, in per cent from 0 to 200.

    Source: Makridakis, Spiliotis and Assimakopoulos (2020), The M4 Competition: 100,000 time series and 61 forecasting
    methods.
    """
    size = np.abs(y) + np.abs(point)
    return 200 * np.abs(y - point) / np.where(size == 0, 1, size)


def scaled_errors(y: Values, point: Values, scale: Values) -> Values:
    """|y - f| / scale; the mean is MASE, 1 for a model as good as the seasonal naive within the history.

    Source: Hyndman and Koehler (2006); in M4, Makridakis et al. (2020).

    Args:
        y: the true values.
        point: the forecast.
        scale: `seasonal_scale` of the history, (F,).
    """
    return np.abs(y - point) / scale


def interval_scores(y: Values, lower: Values, upper: Values, percent: float, scale: Values) -> Values:
    """(u - l + 2/alpha (l - y) if y < l + 2/alpha (y - u) if y > u) / scale; the mean is MSIS.

    Source: Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation; with the divisor, M4
    (Makridakis et al. 2020), for 95 %.

    Args:
        y: the true values.
        lower: l, the lower bounds.
        upper: u, the upper bounds.
        percent: 100 (1 - alpha), what the interval should hold.
        scale: `seasonal_scale` of the history, (F,).
    """
    alpha = 1 - percent / 100
    outside = np.maximum(lower - y, 0) + np.maximum(y - upper, 0)
    return (upper - lower + 2 / alpha * outside) / scale


def inside(y: Values, lower: Values, upper: Values) -> Values:
    """1 where y is in the interval or on its bounds, 0 outside; the mean is the coverage."""
    return np.where(np.isnan(y), np.nan, (lower <= y) & (y <= upper))


def pinball_losses(y: Values, quantiles: Values, levels: Sequence[float]) -> Values:
    """max(p (y - q), (p - 1) (y - q)) for the quantile q of each level p, (..., H, F, Q).

    The weighted quantile loss of a level is 2 sum(pinball) / sum |y|; `Scores.wql` is its mean over the levels
    (Salinas et al. 2020, DeepAR; Alexandrov et al. 2020, GluonTS).
    """
    p, errors = np.asarray(levels), y[..., None] - quantiles
    return np.maximum(p * errors, (p - 1) * errors)


def nan_mean(values: Values, axis: int) -> Values:
    """The mean along an axis without NaN; NaN, and no warning, where nothing else is there."""
    counts = np.sum(~np.isnan(values), axis=axis)
    return np.where(counts > 0, np.nansum(values, axis=axis) / np.maximum(counts, 1), np.nan)


@dataclass(frozen=True)
class Scores:
    """The metrics of some forecasts of one column; None where nothing was measured."""

    rmse: float | None
    mae: float | None
    smape: float | None
    mase: float | None
    wql: float | None
    coverage: dict[float, float | None]
    """The share of the values inside of the interval of so many per cent."""
    msis: dict[float, float | None]

    def to_json(self) -> JsonScores:
        """The metrics by name, those of intervals by per cent."""
        by_interval = {
            name: {f"{percent:g}": value for percent, value in values.items()}
            for name, values in (("coverage", self.coverage), ("msis", self.msis))
        }
        points = {"rmse": self.rmse, "mae": self.mae, "smape": self.smape, "mase": self.mase, "wql": self.wql}
        return {**points, **by_interval}


class ErrorSums:
    """The sums of errors by step and column, from which the metrics of many forecasts follow in constant memory.

    Args:
        intervals: the intervals in per cent that are measured.
    """

    def __init__(self, intervals: Sequence[float]):
        self.intervals = tuple(intervals)
        self._sums: dict[str, Values] = {}
        self._counts: dict[str, Values] = {}

    def add(self, y: Values, forecast: Forecast, scale: Values) -> None:
        """Add one forecast.

        Args:
            y: the true values, (H, F); NaN where they are missing.
            forecast: of the same steps and columns.
            scale: `seasonal_scale` of the history, (F,).
        """
        point = forecast.point
        self._add("size", np.abs(y))
        self._add("absolute", absolute_errors(y, point))
        self._add("squared", squared_errors(y, point))
        self._add("percentage", percentage_errors(y, point))
        self._add("scaled", scaled_errors(y, point, scale))
        self._add("pinball", pinball_losses(y, forecast.quantiles, forecast.levels).mean(axis=-1))
        for percent in self.intervals:
            lower, upper = forecast.interval(percent)
            self._add(f"inside {percent}", inside(y, lower, upper))
            self._add(f"interval {percent}", interval_scores(y, lower, upper, percent, scale))

    def _add(self, name: str, errors: Values) -> None:
        if name not in self._sums:
            self._sums[name], self._counts[name] = np.zeros_like(errors), np.zeros_like(errors)
        known = ~np.isnan(errors)
        self._sums[name] += np.where(known, errors, 0)
        self._counts[name] += known

    @property
    def steps(self) -> int:
        """H, the steps of the forecasts that were added."""
        return len(self._sums["size"])

    def scores(self, column: int, step: int | None = None) -> Scores:
        """The metrics of a column at a step, from 0, or at all of them."""
        steps = slice(None) if step is None else step

        def total(name: str) -> float:
            return float(self._sums[name][steps, column].sum())

        def mean(name: str) -> float | None:
            count = float(self._counts[name][steps, column].sum())
            return total(name) / count if count else None

        squared, size = mean("squared"), total("size")
        return Scores(
            rmse=None if squared is None else squared**0.5,
            mae=mean("absolute"),
            smape=mean("percentage"),
            mase=mean("scaled"),
            wql=2 * total("pinball") / size if size else None,
            coverage={percent: mean(f"inside {percent}") for percent in self.intervals},
            msis={percent: mean(f"interval {percent}") for percent in self.intervals},
        )
