"""The recursion of exponential smoothing, for many models over one series: on the compiled kernels, or in numpy.

Source: Hyndman, Koehler, Ord and Snyder, "Forecasting with Exponential Smoothing" (2008), the model ETS(A, Ad, A).

Shapes: T rows, M models, m rows of a season, h steps of a forecast.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol.ops.backend import KERNEL

Floats = NDArray[np.float64]


class Rates(NamedTuple):
    """How far an error moves the states of each model, (M,) each."""

    alpha: Floats
    """The level."""
    beta: Floats
    """The slope."""
    phi: Floats
    """The damping of the slope, in [0, 1]."""
    gamma: Floats
    """The seasonal value."""


class States(NamedTuple):
    """The states before the first row."""

    level: Floats
    """(M,)."""
    slope: Floats
    """(M,)."""
    seasons: Floats
    """The value of each row of a season, (m, M)."""


def run_models(
    values: Floats, rates: Rates, states: States, *, first: int = 0, horizon: int = 0
) -> tuple[Floats, Floats]:
    """Run models over a series.

    Args:
        values: (T,); where one is missing, NaN, the states go on as forecast.
        rates: those of the M models.
        states: theirs before the first row; they are not changed.
        first: the errors one step ahead are summed from this row on.
        horizon: h; 0 for the errors alone.

    Returns:
        The sum of squared errors, (M,), and the forecasts from each row, (T, h, M).

    Raises:
        ValueError: shapes do not fit.
    """
    values, rates = _contiguous(values), Rates(*map(_contiguous, rates))
    states = States(*map(_contiguous, states))
    m, M = _check_shapes(values, rates, states)
    if KERNEL is None:
        return run_equations(values, rates, states, first=first, horizon=horizon)
    squared, forecasts = np.empty(M), np.empty((len(values), horizon, M))
    KERNEL.smooth(
        threads=torch.get_num_threads(),
        shape=(len(values), M, m, horizon, first),
        values=values.ctypes.data,
        rates=tuple(rate.ctypes.data for rate in rates),
        states=tuple(state.ctypes.data for state in states),
        squared=squared.ctypes.data,
        forecasts=forecasts.ctypes.data,
    )
    return squared, forecasts


def run_equations(
    values: Floats, rates: Rates, states: States, *, first: int = 0, horizon: int = 0
) -> tuple[Floats, Floats]:
    """As `run_models`, in numpy."""
    alpha, beta, phi, gamma = rates
    level, slope, seasons = states.level, states.slope, states.seasons.copy()
    squared, forecasts = np.zeros(len(level)), np.empty((len(values), horizon, len(level)))
    steps = np.arange(1, horizon + 1)
    damped = np.cumsum(phi ** steps[:, None], axis=0)
    for t, value in enumerate(values.tolist()):
        phase = t % len(seasons)
        expected = level + phi * slope
        error = np.zeros_like(level) if np.isnan(value) else value - expected - seasons[phase]
        level = expected + alpha * error
        slope = phi * slope + beta * error
        seasons[phase] += gamma * error
        if t >= first:
            squared += error**2
        if horizon:
            forecasts[t] = level + damped * slope + seasons[(t + steps) % len(seasons)]
    return squared, forecasts


def _contiguous(values: Floats) -> Floats:
    return np.ascontiguousarray(values, np.float64)


def _check_shapes(values: Floats, rates: Rates, states: States) -> tuple[int, int]:
    """m and M; raises ValueError where shapes do not fit."""
    m, M = states.seasons.shape if states.seasons.ndim == 2 else (0, 0)
    wrong = [
        name
        for name, array in (*rates._asdict().items(), *states._asdict().items())
        if array.shape != ((m, M) if name == "seasons" else (M,))
    ]
    if values.ndim != 1 or not m or not M or wrong:
        raise ValueError(
            f"{', '.join(wrong) or 'values'}: the shape does not fit (T,) values, (m, M) seasons, (M,) models"
        )
    return m, M
