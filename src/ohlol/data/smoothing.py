"""Exponential smoothing: the forecasts of a series by its own level, trend and season, from every row.

Many models of the family ETS run over a series at once: additive errors, on the values and, where all are positive, on
their logarithms; damped trends; seasons. Their forecasts are averaged by Akaike weights. The average, the last season
and the mean of the last two are combined by the inverse of their squared errors. The network corrects what comes out.

Sources: Hyndman, Koehler, Ord and Snyder, "Forecasting with Exponential Smoothing" (2008), for the recursion and its
initial values; Burnham and Anderson, "Model Selection and Multimodel Inference" (2002), for the weights; Bates and
Granger, "The combination of forecasts", Operational Research Quarterly 20 (1969), for the combination.

Shapes: T rows, M models, m rows of a season, h steps of a forecast.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL_RATES = (0.0, 0.03, 0.1, 0.2, 0.35, 0.55, 0.8, 1.0)
TREND_RATES = (0.01, 0.05, 0.15, 0.4)
"""Relative to the rate of the level."""
DAMPING = (0.8, 0.9, 0.97, 1.0)
SEASON_RATES = (0.0, 0.05, 0.15, 0.35, 0.6, 1.0)
"""Relative to 1 minus the rate of the level."""
MAX_MODELS = 8
"""Models that are averaged."""
NEGLIGIBLE = 12.0
"""Models whose criterion exceeds the least by more have a weight below exp(-6), and are left out."""
REACH = 3.0
"""A forecast stays within so many ranges of the values, which a trend of logarithms could exceed by any amount."""
MIN_VALUES = 4
"""Values below which the models are not compared."""
SEASONS_TO_START = 4
"""Seasons from which the initial seasonal values are estimated."""


class Models(NamedTuple):
    """The parameters of M models."""

    level: Floats
    """alpha, (M,)."""
    trend: Floats
    """beta, (M,); 0 where there is no trend."""
    damping: Floats
    """phi, (M,); 0 where there is no trend."""
    season: Floats
    """gamma, (M,)."""
    seasonal: Floats
    """1 where there is a season, else 0, (M,)."""
    parameters: Floats
    """How many parameters are estimated, initial values included, (M,)."""

    def take(self, rows: NDArray[np.int64]) -> "Models":
        """Some of the models."""
        return Models(*(values[rows] for values in self))


@cache
def list_models(season: int) -> Models:
    """All models for a season of m rows; without a season for m = 1."""
    trends = [(0.0, 0.0), *product(TREND_RATES, DAMPING)]
    rows: list[tuple[float, ...]] = []
    for seasonal in (True, False) if season > 1 else (False,):
        for alpha, (rate, phi), gamma in product(LEVEL_RATES, trends, SEASON_RATES if seasonal else (0.0,)):
            if alpha == 0 and phi and (rate, phi) != (TREND_RATES[0], 1.0):
                continue  # a constant trend: all rates are the same
            if alpha == 1 and gamma:
                continue  # the level takes the whole error, and nothing is left for the season
            count = (3 if phi else 1) + season * seasonal
            rows.append((alpha, alpha * rate, phi, gamma * (1 - alpha), seasonal, count))
    return Models(*np.array(rows, np.float64).T)


def smooth(values: Floats, seasons: tuple[int, ...], horizon: int, fit_rows: int | None = None) -> Floats:
    """The forecasts of the next steps, from each row of a series.

    Args:
        values: (T,), missing values as NaN.
        seasons: rows of a season, the shortest first, such as those of a day and of a week; (1,) for none.
        horizon: h.
        fit_rows: the models are chosen on so many first rows; by default on all.

    Returns:
        (T, h): in row t what rows 0 to t say of rows t + 1 to t + h.
    """
    rows = len(values) if fit_rows is None else fit_rows
    seasons = tuple(season for season in seasons if rows >= 2 * season + 2) or (1,)
    forecasts = [seasonal_naive(values, season, horizon) for season in seasons]
    if seasons[-1] > 1:
        forecasts.append(mean_of_two_seasons(forecasts[-1], seasons[-1]))
    if np.isfinite(values[:rows]).sum() >= MIN_VALUES:
        forecasts.insert(0, _average(values, seasons[0], horizon, rows))
    start = max(2 * seasons[0], seasons[-1])  # from which on each has a season at least
    errors = np.array([_squared_error(forecast, values, rows, start) for forecast in forecasts])
    if not np.isfinite(errors).all() or not errors.all():  # nothing to compare, or one that is always right
        return forecasts[int(np.argmin(np.nan_to_num(errors)))]
    weights = 1 / errors / (1 / errors).sum()
    return np.einsum("n,nth->th", weights, np.stack(forecasts))


def seasonal_naive(values: Floats, season: int, horizon: int) -> Floats:
    """The last value of the same phase of the season, from each row, (T, h); the last value where there is none yet."""
    filled = values.copy()
    for t in np.flatnonzero(np.isnan(values[season:])) + season:
        filled[t] = filled[t - season]
    last = fill_missing(filled)
    rows = np.arange(len(values))[:, None] + 1 + np.arange(horizon) % season - season
    return np.where(rows >= 0, last[np.maximum(rows, 0)], last[:, None])


def mean_of_two_seasons(naive: Floats, season: int) -> Floats:
    """The mean of the last two values of the same phase, from the seasonal naive forecasts; both are (T, h)."""
    means = naive.copy()
    means[season:] = (naive[season:] + naive[:-season]) / 2
    return means


def fill_missing(values: Floats) -> Floats:
    """Missing values as the last one before, or the first one after."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return np.zeros_like(values)
    return values[known[np.maximum(np.searchsorted(known, np.arange(len(values)), side="right") - 1, 0)]]


@dataclass(frozen=True)
class _Candidates:
    """The models over the values, or over their logarithms."""

    values: Floats
    models: Models
    criterion: Floats
    is_log: bool


def _average(values: Floats, season: int, horizon: int, rows: int) -> Floats:
    """The mean forecast of the best models, (T, h)."""
    known = values[:rows][np.isfinite(values[:rows])]
    candidates = [_rate(values, season, rows, is_log=False)]
    if (known > 0).all():
        logarithms = np.log(np.where(values > 0, values, np.nan))
        candidates.append(_rate(logarithms, season, rows, is_log=True))
    every = np.concatenate([candidate.criterion for candidate in candidates])
    least = every.min()
    worst = min(np.sort(every)[min(MAX_MODELS, len(every)) - 1], least + NEGLIGIBLE)
    total, weights = np.zeros((len(values), horizon)), 0.0
    for candidate in candidates:
        chosen = np.flatnonzero(candidate.criterion <= worst)
        if not len(chosen):
            continue
        forecasts = run(candidate.values, season, candidate.models.take(chosen), horizon, fit_rows=rows)[1]
        low, high = np.nanmin(candidate.values[:rows]), np.nanmax(candidate.values[:rows])
        forecasts = np.clip(forecasts, low - REACH * (high - low), high + REACH * (high - low))
        weight = np.exp((least - candidate.criterion[chosen]) / 2)
        total += (np.exp(forecasts) if candidate.is_log else forecasts) @ weight
        weights += weight.sum()
    return total / weights


def _rate(values: Floats, season: int, rows: int, *, is_log: bool) -> _Candidates:
    """The corrected Akaike criterion of each model by its errors one step ahead, without those of the start."""
    models = list_models(season)
    start = min(rows // 3, max(season, 3))
    known = np.isfinite(values[start:rows])
    n = int(known.sum())
    squared = run(values[:rows], season, models, first=start)[0] / max(n, 1)
    k = models.parameters
    smallest = np.finfo(np.float64).tiny
    criterion = n * np.log(squared + smallest) + 2 * k + 2 * k * (k + 1) / np.maximum(n - k - 1, 1)
    if is_log:  # the density of the values themselves
        criterion += 2 * values[start:rows][known].sum()
    return _Candidates(values, models, criterion, is_log)


def run(
    values: Floats, season: int, models: Models, horizon: int = 0, *, first: int = 0, fit_rows: int | None = None
) -> tuple[Floats, Floats]:
    """Run models over a series, as `ohlol.ops.smoothing.run_models`, from states that are estimated.

    Args:
        values: (T,), missing values as NaN.
        season: m.
        models: M of them.
        horizon: h; 0 for the errors alone.
        first: the errors one step ahead are summed from this row on.
        fit_rows: the initial states are estimated from the first of so many rows; by default of all.

    >>> squared, forecasts = run(np.array([1.0, 1.0, 2.0]), 1, list_models(1).take(np.array([-17])), 1)
    >>> forecasts[:, 0, 0].tolist(), squared.tolist()
    ([1.0, 1.0, 2.0], [1.0])
    """
    from ohlol.ops import smoothing  # with torch, which reading a file does not need

    states = smoothing.States(*_initial_states(values[:fit_rows], season, models))
    rates = smoothing.Rates(models.level, models.trend, models.damping, models.season)
    return smoothing.run_models(values, rates, states, first=first, horizon=horizon)


def _initial_states(values: Floats, season: int, models: Models) -> tuple[Floats, Floats, Floats]:
    """Levels (M,), slopes (M,) and seasonal values (m, M) before the first row."""
    filled = fill_missing(values)
    pattern = np.zeros(season)
    if season > 1:
        n = min(len(filled) // season, SEASONS_TO_START) * season
        half = season // 2
        window = np.ones(season + 1 - season % 2)
        window[[0, -1]] = 1.0 if season % 2 else 0.5
        trend = np.convolve(filled[:n], window / season, mode="valid")
        detrended = filled[half : half + len(trend)] - trend
        phase = (np.arange(len(trend)) + half) % season
        counts = np.bincount(phase, minlength=season)
        pattern = np.bincount(phase, detrended, minlength=season) / np.maximum(counts, 1)
        pattern -= pattern.mean()
    width = min(len(filled), max(10, 2 * season))
    start = filled[:width] - pattern[np.arange(width) % season]
    slope, intercept = np.polyfit(np.arange(1, width + 1), start, 1)
    has_trend = models.damping > 0
    mean = filled[: max(1, season if season > 1 else 1)].mean()
    level = np.where(has_trend | (models.seasonal > 0), intercept, mean)
    phases = pattern[:, None] * models.seasonal
    return level, np.where(has_trend, slope, 0.0), phases


def _squared_error(forecasts: Floats, values: Floats, rows: int, start: int) -> float:
    """The mean squared error of the forecasts of rows from `start` on, over all steps."""
    first, horizon = min(rows // 2, start), forecasts.shape[1]
    padded = np.concatenate([values[first + 1 : rows], np.full(horizon, np.nan)])
    errors = sliding_window_view(padded, horizon) - forecasts[first:rows]
    known = errors[np.isfinite(errors)]
    return float(np.mean(known**2)) if len(known) else np.nan
