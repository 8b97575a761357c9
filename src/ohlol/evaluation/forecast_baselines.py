"""Forecasts without a model: the last value, or the last season, repeated.

Shapes: T rows of history, F columns, Q levels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def seasonal_naive(history: Values, season: int, steps: int, levels: Sequence[float]) -> Values:
    """Repeat the last season; with a season of 1 it is the naive forecast, which repeats the last value.

    In place of a missing value that of the season before is repeated. The quantiles are symmetric: those of the
    absolute differences from season to season within the history, times the root of the number of seasons ahead, as for
    a random walk (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, section 5.5).

    Args:
        history: (T, F), with NaN for missing values.
        season: steps of a season.
        steps: how many to forecast.
        levels: of the quantiles, increasing.

    Returns:
        (steps, F, Q); NaN for a column without any value.
    """
    ahead = np.arange(steps)
    point = _last_season(history, season)[ahead % season]
    shares = np.abs(2 * np.asarray(levels) - 1)
    widths = np.zeros((history.shape[1], len(levels)))
    for column, differences in enumerate(np.abs(history[season:] - history[:-season]).T):
        known = differences[~np.isnan(differences)]
        if len(known):
            widths[column] = np.quantile(known, shares)
    widths *= np.sign(np.asarray(levels) - 0.5)
    return point[:, :, None] + np.sqrt(1 + ahead // season)[:, None, None] * widths


def _last_season(history: Values, season: int) -> Values:
    """The last known value of each step of the season, (season, F), or the last of all where there is none."""
    T, F = history.shape
    padded = np.concatenate([np.full((-T % season, F), np.nan), history]).reshape(-1, season, F)
    known = ~np.isnan(padded)
    latest = len(padded) - 1 - known[::-1].argmax(axis=0)
    values = np.take_along_axis(padded, latest[None], axis=0)[0]
    return values if season == 1 else np.where(known.any(axis=0), values, _last_season(history, 1))
