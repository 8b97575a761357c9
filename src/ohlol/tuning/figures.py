"""A study as a matplotlib figure."""

import math
from typing import Any

from ohlol.display import figures, texts
from ohlol.tasks.metrics import RATES
from ohlol.tuning.space import Range, format_value, parse_range
from ohlol.tuning.summary import StudySummary

# below display.figures, which says what to install where matplotlib is missing
import matplotlib as mpl  # isort: skip
from matplotlib.figure import Figure  # isort: skip
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter  # isort: skip

TEXTS = (
    "study_history",
    "study_importance",
    "study_complete",
    "study_pruned",
    "study_so_far",
    "study_few",
    "trial",
)
"""The texts of the catalogue that a figure shows."""


def draw_study(summary: StudySummary, *, lang: str = "en") -> Figure:
    """Draw the history of a study, the importance of its settings, and the metric against each setting.

    Args:
        summary: the study.
        lang: "en" or "zh".
    """
    name = summary.metric.replace("_", " ")
    ranges = [parse_range(text) for text in summary.space.values()]
    rows = 1 + math.ceil(len(ranges) / 3)
    shown = [texts.text(key, lang, name=name, count=0) for key in TEXTS]
    with mpl.rc_context(figures.Fonts("".join([name, *shown])).style):
        figure = Figure(figsize=(10.5, 3.0 * rows), layout="constrained")
        grid = figure.add_gridspec(rows, 3)
        _draw_history(figure.add_subplot(grid[0, :2]), summary, name, lang)
        _draw_importance(figure.add_subplot(grid[0, 2]), summary, lang)
        first = None
        for k, setting in enumerate(ranges):
            axes = first = figure.add_subplot(grid[1 + k // 3, k % 3], sharey=first)
            _draw_trials(axes, summary, [_position(setting, t.settings[setting.name]) for t in summary.evaluated])
            _scale_setting(axes, setting)
            if k % 3 == 0:
                axes.set_ylabel(name)
        figure.draw_without_rendering()  # the layout needs the style of this context
    return figure


def _draw_history(axes: Any, summary: StudySummary, name: str, lang: str) -> None:
    """Draw the metric of each trial and the best so far."""
    _draw_trials(axes, summary, [float(t.number) for t in summary.evaluated], lang=lang)
    numbers, values = zip(*summary.best_so_far, strict=True) if summary.best_so_far else ((), ())
    best_so_far = texts.text("study_so_far", lang)
    axes.step(numbers, values, where="post", color=figures.COLOURS[1], label=best_so_far, zorder=1)
    axes.set_title(texts.text("study_history", lang, name=name), fontsize=11, loc="left")
    axes.set_xlabel(texts.text("trial", lang))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=9)


def _position(setting: Range, value: Any) -> float:
    return float(setting.choices.index(value)) if setting.choices else float(value)


def _scale_setting(axes: Any, setting: Range) -> None:
    """Label and scale the horizontal axis for the range of a setting."""
    axes.set_xlabel(setting.name)
    if setting.choices:
        axes.set_xticks(range(len(setting.choices)), [format_value(choice) for choice in setting.choices])
        axes.set_xlim(-0.5, len(setting.choices) - 0.5)
    elif setting.log:
        axes.set_xscale("log")
        axes.set_xlim(setting.low / 1.06, setting.high * 1.06)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # the default one writes mathematics
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.03 * (setting.high - setting.low)
        axes.set_xlim(setting.low - margin, setting.high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=setting.is_integer))


def _draw_trials(axes: Any, summary: StudySummary, x: list[float], lang: str | None = None) -> None:
    """Draw one point per trial: filled where it is complete, hollow where it was pruned, an outlier at the border."""
    low, high = summary.axis_limits
    for state, face in (("complete", figures.COLOURS[0]), ("pruned", "white")):
        points = [
            (place, min(max(t.value, low), high))
            for place, t in zip(x, summary.evaluated, strict=True)
            if t.state == state and t.value is not None
        ]
        axes.scatter(
            [a for a, _ in points],
            [b for _, b in points],
            s=26,
            color=figures.COLOURS[0],
            facecolor=face,
            clip_on=False,
            zorder=3,
            label=texts.text(f"study_{state}", lang) if lang else None,
        )
    axes.set_ylim(low, high)
    if summary.metric in RATES:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if high - low > 0.1 else f"{value:.1%}")
    figures.open_frame(axes)


def _draw_importance(axes: Any, summary: StudySummary, lang: str) -> None:
    axes.set_title(texts.text("study_importance", lang), fontsize=11, loc="left")
    figures.open_frame(axes, grid=False)
    importance = sorted(summary.importance.items(), key=lambda item: item[1])
    if not importance:
        text = texts.text("study_few", lang, count=sum(t.state == "complete" for t in summary.trials))
        axes.text(0.0, 0.9, text, transform=axes.transAxes, color=figures.SOFT, wrap=True)
        axes.set_axis_off()
        return
    names, values = [parse_range(summary.space[key]).name for key, _ in importance], [v for _, v in importance]
    axes.barh(names, values, 0.5, color=figures.COLOURS[0])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
