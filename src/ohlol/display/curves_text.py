"""Learning curves on a terminal."""

from collections.abc import Callable
from typing import Any

import plotille
from rich.console import Console
from rich.text import Text

from ohlol.display import texts
from ohlol.display.shapes_text import WIDTH
from ohlol.explain.curves import Line, Panel
from ohlol.tasks.metrics import format_number
from ohlol.utils.terminal import escape_symbol

HEIGHT = 11
"""Lines of a panel; with this height the ticks of a rate are 0, 10, ... 100 %."""
MARGIN = 23
"""Columns beside the plot, for the numbers and the axis."""
MIN_WIDTH = 16
"""Columns of a plot on a terminal that is too narrow."""
COLOURS = ("bright_blue", "yellow", "bright_magenta", "cyan", "bright_red", "white")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def curves_to_text(panels: list[Panel], console: Console, *, lang: str = "en") -> None:
    """Print one plot per panel.

    Args:
        panels: what `ohlol.explain.curves.load_curves` returns.
        console: where to print. With colours each run has its own; without colours, or with ASCII only, the points of
            each line are a letter.
        lang: "en" or "zh".
    """
    letters = console.color_system is None or console.options.ascii_only
    runs = list(dict.fromkeys(line.run for panel in panels for line in panel.lines))
    for panel in panels:
        console.print(Text(title(panel, lang), style="bold"))
        plot = _plot(panel, runs, max(MIN_WIDTH, min(console.width, WIDTH) - MARGIN), letters=letters, lang=lang)
        console.print(Text.from_ansi(plot), soft_wrap=True)
        console.print()


def title(panel: Panel, lang: str) -> str:
    """Return the title of a panel."""
    return texts.text(f"curve_{panel.key}", lang, name=panel.name.replace("_", " "))


def legend(line: Line, panel: Panel, lang: str) -> str:
    """Return the name of a line: its run, and in a mixed panel whether it was recorded in training or measured."""
    kind = "in_training" if line.is_training else "measured"
    run = escape_symbol(line.run)
    return f"{run}, {texts.text(kind, lang)}" if panel.is_mixed else run


def _plot(panel: Panel, runs: list[str], width: int, *, letters: bool, lang: str) -> str:
    figure = plotille.Figure()
    figure.width, figure.height, figure.origin = width, HEIGHT, False
    figure.with_colors, figure.color_mode = not letters, "names"
    last = max(line.steps[-1] for line in panel.lines)
    low, high = _limits(panel)
    figure.set_x_limits(min_=0, max_=last * (1 + 1 / width))  # plotille drops a point that rounds to a limit
    figure.set_y_limits(min_=low, max_=high + (high - low) / (HEIGHT - 1))  # so that the top row begins at `high`
    figure.x_label, figure.y_label = texts.text("steps", lang), ""
    figure.y_ticks_fkt = make_tick(
        lambda value: (f"{value:.0%}" if panel.is_rate else format_number(value)) * (value < high * 1.01), 9
    )
    figure.x_ticks_fkt = make_tick(lambda value: f"{value:.0f}", 0)
    entries: list[str] = []
    for k, line in enumerate(panel.lines):
        colour, letter = COLOURS[runs.index(line.run) % len(COLOURS)], LETTERS[k % len(LETTERS)]
        marker = letter if letters else "." if line.is_training and panel.is_mixed else None
        draw: Any = figure.scatter if marker else figure.plot
        draw(line.steps, line.values, lc=None if letters else colour, marker=marker)
        sign = marker or "─"
        mark = plotille.color(sign, fg=None if letters else colour, mode="names")
        entries.append(f"{mark} {legend(line, panel, lang)}")
    text = figure.show(legend=False).replace("\u2800", " ")  # a braille character without dots is a space
    rows = [row.rstrip() for row in text.splitlines()][2:]  # without the name of the axis and the row above `high`
    return "\n".join([*rows, *_lines_of(entries)])


def _lines_of(entries: list[str]) -> list[str]:
    """The entries of a legend in lines of at most `WIDTH` columns, where they fit."""
    lines: list[str] = []
    for entry in entries:
        if lines and Text.from_ansi(f"{lines[-1]}   {entry}").cell_len <= WIDTH:
            lines[-1] += f"   {entry}"
        else:
            lines.append(" " * 12 + entry)
    return lines


def _limits(panel: Panel) -> tuple[float, float]:
    values = [value for line in panel.lines for value in line.values]
    if panel.is_rate:
        return 0.0, 1.0
    low, high = min(0.0, *values), max(values)
    return low, high if high > low else low + 1


def make_tick(form: Callable[[float], str], width: int) -> Callable[..., str]:
    """Return a tick function for plotille, which passes the lowest and highest value of the tick's cell."""
    return lambda low, high: form(low).rjust(width)
