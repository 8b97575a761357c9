"""Forecasts and backtests as matplotlib figures."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from ohlol.display import figures, texts
from ohlol.display.backtest_text import NAMES
from ohlol.display.forecast_text import MAX_CURVES, ForecastCurve
from ohlol.evaluation.backtest import MODEL, BacktestReport
from ohlol.evaluation.forecast_metrics import Scores

# below display.figures, which says what to install where matplotlib is missing
import matplotlib as mpl  # isort: skip
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # isort: skip
from matplotlib.figure import Figure  # isort: skip
from matplotlib.ticker import MaxNLocator  # isort: skip

SHADES = (0.35, 0.18)
"""Opacity of the narrowest interval, and of all wider ones."""


def draw_forecasts(curves: Sequence[ForecastCurve], *, lang: str = "en") -> Figure:
    """Draw the history, the forecast and the intervals, one plot for each curve.

    Args:
        curves: what `ohlol.display.forecast_text.forecast_curves` returns.
        lang: "en" or "zh"; English where no font has the characters.
    """
    keys = ("forecast_history", "forecast_point", "forecast_interval", "forecast_row")
    lang, fonts = _language_and_fonts(lang, keys, [curve.title for curve in curves])
    with mpl.rc_context(fonts.style):
        figure, grid = _grid(len(curves), width=5.6 if len(curves) > 1 else 8.0)
        for axes, curve in zip(grid, curves, strict=True):
            _draw_curve(axes, curve, lang)
            axes.set_title(fonts.visible(curve.title), fontsize=11, loc="left")
        _add_legend(figure, grid[0])
        figure.draw_without_rendering()  # the layout needs the style of this context
    return figure


def _draw_curve(axes: Any, curve: ForecastCurve, lang: str) -> None:
    N = len(curve.rows)
    x: Any = np.concatenate([curve.rows, curve.ahead]) if curve.times is None else curve.times
    axes.plot(x[:N], curve.history, color=figures.INK, linewidth=1.2, label=texts.text("forecast_history", lang))
    for k, (percent, (lower, upper)) in enumerate(sorted(curve.bounds.items())):
        name = texts.text("forecast_interval", lang, percent=f"{percent:g}")
        shade = SHADES[min(k, len(SHADES) - 1)]
        axes.fill_between(x[N:], lower, upper, color=figures.COLOURS[0], alpha=shade, linewidth=0, label=name)
    axes.plot(
        x[N:],
        curve.point,
        color=figures.COLOURS[0],
        linewidth=1.8,
        marker="o" if len(curve.point) == 1 else None,
        label=texts.text("forecast_point", lang),
    )
    if curve.times is None:
        axes.set_xlabel(texts.text("forecast_row", lang))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    else:
        locator = AutoDateLocator(maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")  # the default one divides by a power of ten
    figures.open_frame(axes)


def draw_backtest(report: BacktestReport, *, lang: str = "en") -> Figure:
    """Draw the error at each step of the model and of the naive forecasts, one plot for each column.

    The error is MASE, or MAE in the unit of the column where there is no MASE.

    Args:
        report: the backtest, of which the first `MAX_CURVES` columns are drawn.
        lang: "en" or "zh"; English where no font has the characters.
    """
    columns = report.columns[:MAX_CURVES]
    lang, fonts = _language_and_fonts(lang, (*NAMES.values(), "steps"), columns)
    names = {name: texts.text(NAMES[name], lang) for name in report.by_step}
    with mpl.rc_context(fonts.style):
        figure, grid = _grid(len(columns), width=4.6 if len(columns) > 1 else 6.4)
        for axes, column in zip(grid, columns, strict=True):
            is_scaled = report.scores[MODEL][column].mase is not None
            for k, (name, by_column) in enumerate(report.by_step.items()):
                axes.plot(
                    range(1, report.steps + 1),
                    [_error(scores, is_scaled=is_scaled) for scores in by_column[column]],
                    color=figures.COLOURS[k],
                    linestyle=figures.DASHES[k],
                    marker="o" if report.steps == 1 else None,
                    label=names[name],
                )
            axes.set_title(fonts.visible(column), fontsize=11, loc="left")
            axes.set_xlabel(texts.text("steps", lang))
            axes.set_ylabel("MASE" if is_scaled else "MAE")
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            figures.open_frame(axes)
        _add_legend(figure, grid[0])
        figure.draw_without_rendering()  # the layout needs the style of this context
    return figure


def _language_and_fonts(lang: str, keys: Sequence[str], names: Sequence[str]) -> tuple[str, figures.Fonts]:
    """The language, or English where no font has the characters of its texts, and the fonts for texts and names."""
    shown = "".join(texts.text(key, lang) for key in keys)
    if figures.Fonts(shown).missing:
        lang, shown = "en", ""
    return lang, figures.Fonts("".join([shown, *names]))


def _error(scores: Scores, *, is_scaled: bool) -> float:
    value = scores.mase if is_scaled else scores.mae
    return math.nan if value is None else value


def _grid(count: int, width: float) -> tuple[Figure, list[Any]]:
    """A figure with so many plots in two columns."""
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, 2.8 * rows + 0.4), layout="constrained")
    grid = list(chain.from_iterable(figure.subplots(rows, columns, squeeze=False)))
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, grid[:count]


def _add_legend(figure: Figure, axes: Any) -> None:
    """Write the names of the lines once, below all plots."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
