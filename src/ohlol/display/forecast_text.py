"""Forecasts with the end of their history, as plots on a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotille
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from ohlol.data.panel import Panel, TimeSeries
from ohlol.display import texts
from ohlol.display.curves_text import COLOURS, HEIGHT, MARGIN, MIN_WIDTH, make_tick
from ohlol.display.shapes_text import WIDTH
from ohlol.evaluation.forecast import Forecast, Forecasts
from ohlol.utils.numbers import decimals_for, format_decimals
from ohlol.utils.terminal import escape_symbol

MAX_CURVES = 6
"""Series and columns that are drawn."""
SEASONS = 3
"""Seasons of history that are drawn, or times as many rows as are forecast where these are more."""
TICK = 10
"""Columns from one tick to the next."""
YEAR = np.timedelta64(365, "D")
"""Days of the same year are shown without it, and of a longer time only the months."""


@dataclass(frozen=True)
class ForecastCurve:
    """One target column of one series: the end of its history and its forecast."""

    title: str
    rows: NDArray[np.int64]
    """(N,): the numbers of the rows of the history, from 1."""
    history: NDArray[np.float64]
    """(N,): their values, with NaN for missing ones."""
    ahead: NDArray[np.int64]
    """(H,): the numbers of the rows that are forecast."""
    point: NDArray[np.float64]
    bounds: dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]]
    """The lower and the upper bounds (H,) of intervals by per cent."""
    times: NDArray[np.datetime64] | None
    """(N + H,): the times of all rows; None where rows are only counted."""

    @property
    def first(self) -> int:
        """The number of the first row that is drawn."""
        return int(self.ahead[0]) - len(self.rows)


def forecast_curves(
    panel: Panel, forecasts: Forecasts, intervals: Sequence[float] | None = None
) -> list[ForecastCurve]:
    """What is drawn of the first forecasts, `MAX_CURVES` at most.

    Args:
        panel: the series that were read, which the forecasts continue.
        forecasts: what a model returns.
        intervals: in per cent; None for the usual ones.

    Raises:
        InputError: an interval is wider than those of the model.
    """
    by_name = {series.name: series for series in panel.series}
    curves: list[ForecastCurve] = []
    for forecast in forecasts:
        for column in forecast.columns:
            if len(curves) == MAX_CURVES:
                return curves
            chosen = forecast.intervals() if intervals is None else intervals
            curves.append(_curve(panel, by_name[forecast.series], forecast, column, chosen))
    return curves


def _curve(
    panel: Panel, series: TimeSeries, forecast: Forecast, column: str, intervals: Sequence[float]
) -> ForecastCurve:
    f, end, H = forecast.columns.index(column), forecast.first - 1, len(forecast.quantiles)
    start = max(0, end - SEASONS * max(panel.season, H))
    rows = np.arange(start, end + H)
    names = series.name.split("\t") if series.name else []
    names += [column] if len(forecast.columns) > 1 or not names else []
    bounds = {percent: forecast.interval(percent) for percent in intervals}
    return ForecastCurve(
        ", ".join(names),
        rows[: end - start] + 1,
        series.values[start:end, panel.columns.targets.index(column)],
        rows[end - start :] + 1,
        forecast.point[:, f],
        {percent: (lower[:, f], upper[:, f]) for percent, (lower, upper) in bounds.items()},
        None if series.start is None else panel.step.after(series.start, rows),
    )


def print_forecasts(curves: Sequence[ForecastCurve], console: Console, *, lang: str = "en") -> None:
    """Print a plot for each curve: the history, the forecast and the widest interval.

    Args:
        curves: what `forecast_curves` returns.
        console: where to print. Without colours, or with ASCII only, lines are letters.
        lang: "en" or "zh".
    """
    letters = console.color_system is None or console.options.ascii_only
    for curve in curves:
        console.print(Text(escape_symbol(curve.title), style="bold"))
        plot = _plot(curve, max(MIN_WIDTH, min(console.width, WIDTH) - MARGIN), letters=letters, lang=lang)
        console.print(Text.from_ansi(plot), soft_wrap=True)
        console.print()


def _plot(curve: ForecastCurve, width: int, *, letters: bool, lang: str) -> str:
    percent = max(curve.bounds, default=0.0)
    bounds = curve.bounds.get(percent, ())
    interval = texts.text("forecast_interval", lang, percent=f"{percent:g}")
    lines: list[tuple[str, str, list[tuple[NDArray[Any], NDArray[Any]]]]] = [
        ("i", interval, [(curve.ahead, bound) for bound in bounds]),
        ("h", texts.text("forecast_history", lang), [(curve.rows, curve.history)]),
        ("f", texts.text("forecast_point", lang), [(curve.ahead, curve.point)]),
    ]
    figure = plotille.Figure()
    figure.width, figure.height, figure.origin = width, HEIGHT, False
    figure.with_colors, figure.color_mode = not letters, "names"
    first, last = curve.first, int(curve.ahead[-1])
    low, high = _limits([values for _, _, parts in lines for _, values in parts])
    figure.set_x_limits(min_=first, max_=last + max(last - first, 1) / width)  # plotille drops a point at a limit
    figure.set_y_limits(min_=low, max_=high + (high - low) / (HEIGHT - 1))
    key = "forecast_row" if curve.times is None else "forecast_time"
    figure.x_label, figure.y_label = texts.text(key, lang), ""
    decimals = decimals_for(high - low, 3)
    figure.y_ticks_fkt = make_tick(lambda value: format_decimals(value, decimals), 9)
    figure.x_ticks_fkt = make_tick(lambda row: _row_label(curve, min(round(row), last)), 0)
    entries: list[str] = []
    for k, (letter, name, parts) in enumerate(lines):
        colour = None if letters else COLOURS[(2, 0, 1)[k]]
        for x, values in parts:
            known = ~np.isnan(values)
            draw: Any = figure.scatter if letters else figure.plot
            draw(x[known].tolist(), values[known].tolist(), lc=colour, marker=letter if letters else None)
        if parts:
            entries.append(f"{plotille.color(letter if letters else '─', fg=colour, mode='names')} {name}")
    text = figure.show(legend=False).replace("\u2800", " ")
    rows = [row.rstrip() for row in text.splitlines()][2:]  # without the name of the axis and the row above `high`
    return "\n".join([*rows, " " * 12 + "   ".join(entries)])


def _limits(values: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    everything = np.concatenate(values)
    everything = everything[np.isfinite(everything)]
    low, high = (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)
    return low, high if high > low else low + 1


def _row_label(curve: ForecastCurve, row: int) -> str:
    """The time of a row, or its number, in less than `TICK` columns."""
    if curve.times is None:
        return str(row)
    times = curve.times
    time = np.datetime_as_string(times[row - curve.first], unit="h")
    if not (times.astype("datetime64[D]") == times).all():
        return str(time)[5:].replace("T", " ") + "h"
    return str(time)[: len("2024-01")] if times[-1] - times[0] > YEAR else str(time)[5 : len("2024-01-01")]
