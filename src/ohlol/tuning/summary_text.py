"""A study on a terminal: the table of its best trials, its history, and the metric against each setting."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import plotille
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohlol.display import texts
from ohlol.display.shapes_text import WIDTH
from ohlol.tasks.metrics import RATES, format_number
from ohlol.tuning.space import Range, format_value, parse_range
from ohlol.tuning.summary import StudySummary
from ohlol.utils.translation import translate

HISTORY_HEIGHT, SETTING_HEIGHT = 11, 7
"""Lines of the plot of the history, and of the plot of a setting."""
MARGIN = 24
"""Columns of the axis and its numbers, beside a plot."""
MIN_WIDTH = 16
"""Columns of a plot on a narrow terminal."""
MARKERS = {"complete": "o", "pruned": "x"}
BAR_WIDTH = 40
"""Columns of a bar for 100 %."""


def format_metric(value: float, name: str) -> str:
    """A value of a metric; a rate in per cent."""
    return f"{100 * value:.2f} %" if name in RATES else format_number(value)


def best_to_text(summary: StudySummary, console: Console, *, most: int = 5) -> None:
    """Print the best complete trials as a table, best first, and the trial with the default settings."""
    ranked = summary.ranked
    rows = ranked[:most] + [t for t in ranked[most:] if t.is_default]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(translate("trial"), justify="right")
    table.add_column(summary.metric.replace("_", "\n"), justify="right")
    for name in summary.space:
        table.add_column(name.replace("_", "\n"), justify="right")
    for trial in rows:
        number = f"{trial.number}{'*' if trial.is_default else ''}"
        value = format_metric(trial.metrics[summary.metric], summary.metric)
        settings = [format_value(trial.settings[name]) if name in trial.settings else "" for name in summary.space]
        table.add_row(number, value, *map(Text, settings), style="bold" if trial is ranked[0] else "")
    console.print(table)
    if any(t.is_default for t in rows):
        console.print(translate("* default settings, or the nearest to them in the search space"), highlight=False)


def summary_to_text(summary: StudySummary, console: Console, *, lang: str = "en") -> None:
    """Print the history of a study, the importance of its settings, and the metric against each setting.

    Args:
        summary: the state of the study.
        console: where to print.
        lang: "en" or "zh".
    """
    name = summary.metric.replace("_", " ")
    width = max(MIN_WIDTH, min(console.width, WIDTH) - MARGIN)
    ascii_only = console.options.ascii_only
    line = "-" if ascii_only else "─"
    console.print(Text(texts.text("study_history", lang, name=name), style="bold"))
    x = {t.number: float(t.number) for t in summary.evaluated}
    history = _plot(summary, x, width, HISTORY_HEIGHT, texts.text("trial", lang), best_marker=line)
    console.print(Text(history), soft_wrap=True)
    legend = [
        (MARKERS["complete"], "study_complete"),
        (MARKERS["pruned"], "study_pruned"),
        (line, "study_so_far"),
    ]
    console.print(" " * 12 + "   ".join(f"{marker} {texts.text(key, lang)}" for marker, key in legend), soft_wrap=True)
    counts = {s: sum(t.state == s for t in summary.trials) for s in ("complete", "pruned", "failed", "running")}
    console.print(texts.text("study_counts", lang, **counts), highlight=False)
    console.print()
    console.print(Text(texts.text("study_importance", lang), style="bold"))
    _print_importance(summary, console, lang, ascii_only)
    for key, text in summary.space.items():
        setting = parse_range(text)
        console.print()
        console.print(Text(texts.text("study_against", lang, name=name, setting=key), style="bold"))
        if setting.choices:
            _print_choices(summary, setting, console, lang)
            continue
        x = {t.number: setting.to_unit(t.settings[key]) for t in summary.evaluated if key in t.settings}
        console.print(Text(_plot(summary, x, width, SETTING_HEIGHT, setting=setting)), soft_wrap=True)


def _print_importance(summary: StudySummary, console: Console, lang: str, ascii_only: bool) -> None:
    if not summary.importance:
        count = sum(t.state == "complete" for t in summary.trials)
        console.print(texts.text("study_few", lang, count=count), highlight=False)
        return
    width = max(len(name) for name in summary.importance)
    for name, share in sorted(summary.importance.items(), key=lambda item: -item[1]):
        bar = ("#" if ascii_only else "█") * round(BAR_WIDTH * share)
        console.print(Text(f"{name:<{width}}  {share:4.0%}  {bar}"))


def _print_choices(summary: StudySummary, setting: Range, console: Console, lang: str) -> None:
    """Print one line per choice: the number of complete trials with it, and the best and the median of their values."""
    width = max(len(format_value(choice)) for choice in setting.choices)
    for choice in setting.choices:
        trials = [t for t in summary.evaluated if t.state == "complete" and t.settings.get(setting.name) == choice]
        values = [t.value for t in trials if t.value is not None]
        count = texts.text("study_choice", lang, count=f"{len(values):>3}")
        text = f"{format_value(choice):<{width}}  {count}"
        if values:
            best = min(values) if summary.lower_is_better else max(values)
            best_text, median_text = (format_metric(value, summary.metric) for value in (best, median(values)))
            text += "   " + texts.text("study_choice_metrics", lang, best=best_text, median=median_text)
        console.print(Text(text))


def _plot(
    summary: StudySummary,
    x: dict[int, float],
    width: int,
    height: int,
    label: str = "",
    *,
    best_marker: str = "",
    setting: Range | None = None,
) -> str:
    """A scatter plot of the value of each trial.

    Args:
        summary: the state of the study.
        x: the position of each trial, by its number.
        width: columns.
        height: lines.
        label: of the x axis.
        best_marker: the marker of the best value so far; empty where it is not drawn.
        setting: the setting on the x axis, whose positions are in [0, 1]; None for the numbers of the trials.
    """
    low, high = summary.axis_limits
    figure = plotille.Figure()
    figure.width, figure.height, figure.origin, figure.with_colors = width, height, False, False
    right = 1.0 if setting is not None else max([*x.values(), 1.0])
    figure.set_x_limits(min_=0, max_=right * (1 + 1 / width))
    figure.set_y_limits(min_=low, max_=high + (high - low) / (height - 1))
    figure.x_label, figure.y_label = label, ""

    def y_tick(value: Any, _: Any) -> str:
        return (format_metric(value, summary.metric) if value <= high + (high - low) / (2 * height) else "").rjust(9)

    def x_tick(value: Any, _: Any) -> str:
        return f"{value:.0f}" if setting is None else format_value(setting.from_unit(min(value, 1.0)))

    figure.y_ticks_fkt, figure.x_ticks_fkt = y_tick, x_tick
    values = [(t, min(max(t.value, low), high)) for t in summary.evaluated if t.value is not None and t.number in x]
    if best_marker:
        for number, value in summary.best_so_far:
            _add_points(figure, [float(number)], [value], best_marker)
    for state, marker in MARKERS.items():
        points = [(x[t.number], value) for t, value in values if t.state == state]
        _add_points(figure, [a for a, _ in points], [b for _, b in points], marker)
    rows = figure.show(legend=False).replace("\u2800", " ").splitlines()[2:]  # without the label of the y axis
    return "\n".join(row.rstrip().removesuffix(" ()") for row in rows)


def _add_points(figure: Any, x: Sequence[float], y: Sequence[float], marker: str) -> None:
    if x:
        figure.scatter(x, y, marker=marker)
