"""Panels and forecasts made of numbers, for the tests of what is measured, written and drawn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ohlol.data.panel import Panel, PanelColumns, TimeSeries, TimeStep
from ohlol.evaluation.forecast import Forecast, Forecasts

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
OFFSETS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
START = np.datetime64("2024-01-01T00:00:00", "s")
DAY = TimeStep("s", 86400)


def panel_of(
    values: dict[str, Sequence[float] | NDArray[np.float64]],
    season: int = 1,
    *,
    targets: tuple[str, ...] = ("y",),
    timed: bool = True,
) -> Panel:
    """A panel of daily series with some values, (T,) or (T, F)."""
    series = tuple(
        TimeSeries(name, np.asarray(rows, np.float64).reshape(len(rows), -1), START if timed else None)
        for name, rows in values.items()
    )
    return Panel(series, PanelColumns(targets), DAY if timed else TimeStep(), season)


def forecast_of(
    panel: Panel, steps: int, held_back: int = 0, *, error: float = 0.0, levels: tuple[float, ...] = LEVELS
) -> Forecasts:
    """Forecasts that are the true values plus an error, or the last one plus it, with bounds at 1 and 2 of them."""
    forecasts = Forecasts()
    for series in panel.series:
        T = len(series.values) - held_back
        rows = np.arange(T, T + steps)
        point = series.values[np.minimum(rows, len(series.values) - 1)] + error
        quantiles = point[:, :, None] + (OFFSETS if len(levels) > 1 else np.zeros(1))
        times = None if series.start is None else panel.step.after(series.start, rows)
        forecasts.append(Forecast(series.name, panel.columns.targets, T + 1, times, levels, quantiles))
    return forecasts
