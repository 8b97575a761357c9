"""A study on a terminal: its best trials as a table, its history, and what each setting does; works nothing out."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import plotille
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohlol.display import translations
from ohlol.display.shapes_text import WIDTH
from ohlol.tasks.metrics import RATES, format_number
from ohlol.tuning.space import Range, parse, said
from ohlol.tuning.summary import Board, Trial

HEIGHT, LOW = 11, 7
"""Lines of the history, and of a setting."""
MARGIN = 24
"""Columns beside a drawing: numbers and axis."""
LEAST = 16
"""Columns of a drawing, however narrow the terminal."""
SIGNS = {"complete": "o", "pruned": "x"}
BAR = 40
"""Columns of the longest bar."""


def shown(value: float, name: str) -> str:
    """A score, a rate in per cent."""
    return f"{100 * value:.2f} %" if name in RATES else format_number(value)


def best_to_text(board: Board, console: Console, *, most: int = 5) -> None:
    """The best complete trials as a table, best first, and the defaults."""
    ranked = board.ranked
    rows = ranked[:most] + [t for t in ranked[most:] if t.is_default]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("trial", justify="right")
    table.add_column(board.score.replace("_", "\n"), justify="right")
    for name in board.space:
        table.add_column(name.replace("_", "\n"), justify="right")
    for trial in rows:
        mark = "*" if trial.is_default else ""
        values = [said(trial.settings[name]) if name in trial.settings else "" for name in board.space]
        style = "bold" if trial is ranked[0] else ""
        table.add_row(f"{trial.number}{mark}", shown(trial.scores[board.score], board.score), *values, style=style)
    console.print(table)
    if any(t.is_default for t in rows):
        console.print("* the defaults of ohlol train, or the nearest that are searched", highlight=False)


def board_to_text(board: Board, console: Console, *, lang: str = "en") -> None:
    """The history with the best so far, the importance of the settings, and the score against each.

    Args:
        board: the study.
        console: where to.
        lang: "en" or "zh".
    """
    name = board.score.replace("_", " ")
    width = max(LEAST, min(console.width, WIDTH) - MARGIN)
    ascii_only = console.options.ascii_only
    console.print(Text(translations.text("study_history", lang, name=name), style="bold"))
    line = ("study_so_far", "-" if ascii_only else "─")
    x = {t.number: float(t.number) for t in board.scored}
    console.print(
        _drawing(board, x, width, HEIGHT, translations.text("trial", lang), so_far=line[1]),
        soft_wrap=True,
        markup=False,
    )
    legend = [(SIGNS["complete"], "study_complete"), (SIGNS["pruned"], "study_pruned"), (line[1], line[0])]
    console.print(
        " " * 12 + "   ".join(f"{sign} {translations.text(key, lang)}" for sign, key in legend), soft_wrap=True
    )
    counts = {s: sum(t.state == s for t in board.trials) for s in ("complete", "pruned", "failed", "running")}
    console.print(translations.text("study_counts", lang, **counts), highlight=False)
    console.print()
    console.print(Text(translations.text("study_importance", lang), style="bold"))
    _importance(board, console, lang, ascii_only)
    for key, text in board.space.items():
        setting = parse(text)
        console.print()
        console.print(Text(translations.text("study_against", lang, name=name, setting=setting.name), style="bold"))
        if setting.choices:
            _choices(board, setting, console, lang)
            continue
        x = {t.number: _place(t, key, setting) for t in board.scored if key in t.settings}
        console.print(_drawing(board, x, width, LOW, setting=setting), soft_wrap=True, markup=False)


def _importance(board: Board, console: Console, lang: str, ascii_only: bool) -> None:
    if not board.importance:
        done = sum(t.state == "complete" for t in board.trials)
        console.print(translations.text("study_few", lang, count=done), highlight=False)
        return
    widest = max(len(parse(board.space[name]).name) for name in board.importance)
    for name, value in sorted(board.importance.items(), key=lambda item: -item[1]):
        bar = ("#" if ascii_only else "█") * round(BAR * value)
        console.print(f"{parse(board.space[name]).name:<{widest}}  {value:4.0%}  {bar}", highlight=False)


def _choices(board: Board, setting: Range, console: Console, lang: str) -> None:
    """A line for each choice: how many complete trials had it, the best and the median of them."""
    widest = max(len(said(choice)) for choice in setting.choices)
    for choice in setting.choices:
        done = [t for t in board.scored if t.state == "complete" and t.settings.get(setting.name) == choice]
        scores = [t.score for t in done if t.score is not None]
        text = f"{said(choice):<{widest}}  {translations.text('study_choice', lang, count=f'{len(scores):>3}')}"
        if scores:
            ends = (min(scores) if board.low else max(scores), median(scores))
            best, middle = (shown(value, board.score) for value in ends)
            text += "   " + translations.text("study_choice_metrics", lang, best=best, median=middle)
        console.print(text, highlight=False)


def _place(trial: Trial, key: str, setting: Range) -> float:
    """Where a value lies between the ends of its range, from 0 to 1."""
    return setting.place(trial.settings[key])


def _drawing(
    board: Board,
    x: dict[int, float],
    width: int,
    height: int,
    label: str = "",
    *,
    so_far: str = "",
    setting: Range | None = None,
) -> str:
    """Points: the score of each trial against `x`, with the best so far where `so_far` is its sign."""
    low, high = board.limits
    figure = plotille.Figure()
    figure.width, figure.height, figure.origin, figure.with_colors = width, height, False, False
    right = 1.0 if setting is not None else max([*x.values(), 1.0])
    figure.set_x_limits(min_=0, max_=right * (1 + 1 / width))
    figure.set_y_limits(min_=low, max_=high + (high - low) / (height - 1))
    figure.x_label, figure.y_label = label, ""

    def y_tick(value: Any, _: Any) -> str:
        return (shown(value, board.score) if value <= high + (high - low) / (2 * height) else "").rjust(9)

    def x_tick(value: Any, _: Any) -> str:
        return f"{value:.0f}" if setting is None else said(setting.at(min(value, 1.0)))

    figure.y_ticks_fkt, figure.x_ticks_fkt = y_tick, x_tick
    inside = [(t, min(max(t.score, low), high)) for t in board.scored if t.score is not None and t.number in x]
    if so_far:
        for place, value in board.so_far:
            _points(figure, [float(place)], [value], so_far)
    for state, sign in SIGNS.items():
        here = [(x[t.number], value) for t, value in inside if t.state == state]
        _points(figure, [a for a, _ in here], [b for _, b in here], sign)
    rows = figure.show(legend=False).replace("\u2800", " ").splitlines()[2:]  # without the axis' name and a free row
    return "\n".join(row.rstrip().removesuffix(" ()") for row in rows)


def _points(figure: Any, x: Sequence[float], y: Sequence[float], sign: str) -> None:
    if x:
        figure.scatter(x, y, marker=sign)
