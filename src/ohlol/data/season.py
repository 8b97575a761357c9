"""The season of series whose dates do not show it, from their autocorrelation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_LAG = 400
"""The longest season that is looked for."""
CYCLES = 3
"""Seasons that a series must have."""
CLEAR = 0.5
"""Autocorrelation of the differences from which on a season is clear."""
NOISE = 3.0
"""The same for T values, times the square root of T: standard deviations of the autocorrelation of noise."""
ALIKE = 0.9
"""Share of the largest autocorrelation from which on the shorter of two seasons is taken."""
SERIES = 100
"""Series that are looked at."""


def find_season(series: Sequence[NDArray[np.float64]]) -> int:
    """The lag of a clear peak in the mean autocorrelation of the differences of series, each (T,); 1 without one.

    >>> find_season([np.sin(np.arange(100) * 2 * np.pi / 12)]), find_season([np.arange(100.0) ** 2])
    (12, 1)
    """
    lags = [correlations for values in series[:SERIES] if len(correlations := _autocorrelation(values)) > 2]
    if not lags:
        return 1
    sums, counts = np.zeros(max(map(len, lags))), np.zeros(max(map(len, lags)))
    for correlations in lags:
        sums[: len(correlations)] += correlations
        counts[: len(correlations)] += 1
    clear = max(CLEAR, NOISE / np.sqrt(max(map(len, series))))
    mean = np.where(2 * counts > len(lags), sums / counts, 0.0)  # of lags that most series have
    inner = mean[2:-1]
    is_peak = (inner >= clear) & (inner > mean[1:-2]) & (inner >= mean[3:])
    if not is_peak.any():
        return 1
    return int(np.flatnonzero(is_peak & (inner >= ALIKE * inner[is_peak].max()))[0]) + 2


def _autocorrelation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """That of the differences by lag, from 0 to a third of the length and one more; missing ones count as 0."""
    steps = np.diff(values)
    last = min(len(values) // CYCLES, MAX_LAG) + 1
    known = np.isfinite(steps)
    if last < 3 or not known.any():
        return np.zeros(0)
    steps = np.where(known, steps - steps[known].mean(), 0.0)
    power = np.abs(np.fft.rfft(steps, 2 * len(steps))) ** 2
    correlations = np.fft.irfft(power)[: last + 1]
    return correlations / correlations[0] if correlations[0] > 0 else np.zeros(0)
