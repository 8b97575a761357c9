"""Traces and curves as figures for a paper or a slide, by matplotlib; works nothing out.

A figure is a light one on white, its colours those of Okabe and Ito, which all eyes tell apart, and its lines differ in
their dashes too.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ohlol.display import translations
from ohlol.display.curves_text import legend, title
from ohlol.display.trace_text import SIGNS, describe
from ohlol.explain.curves import Panel
from ohlol.explain.saliency import Memory
from ohlol.explain.trace import LayerTrace, Numbers, Trace
from ohlol.tasks.metrics import RATES
from ohlol.tuning.space import Range, parse, said
from ohlol.tuning.summary import Board
from ohlol.utils.errors import InputError

try:
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, fontManager, get_font
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
except ImportError:
    raise InputError("a picture needs matplotlib: pip install 'ohlol[plot]'") from None

INK, SOFT, GRID = "#1d2126", "#5b636d", "#dddddd"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
SIGNED = LinearSegmentedColormap.from_list("signed", ["#2468b4", "#f3f2ee", "#d95f02"])
GROWING = LinearSegmentedColormap.from_list("growing", ["#f3f2ee", "#6a3d9a"])
KINDS = (".png", ".svg", ".pdf")
FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "PingFang SC", "Heiti SC",
         "Microsoft YaHei", "SimHei", "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Emoji",
         "Segoe UI Symbol", "Symbola")  # fmt: skip
"""Asked in turn for a sign that matplotlib's own font lacks."""
WIDEST = 96
"""Steps of a trace that a figure holds; of a longer one the last are drawn."""
GUESSES = 3
FEW = 24
"""Steps up to which there is room for numbers and for several guesses."""
NUMBERED = 8
"""Units up to which a cell holds its number."""


class Signs:
    """Fonts for the signs of a figure; what none of them has is shown by its number."""

    def __init__(self, text: str):
        own = Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
        self.missing = {ord(c) for c in text if not c.isspace()} - set(get_font(str(own)).get_charmap())
        families, there = ["DejaVu Sans"], set(fontManager.get_font_names()) if self.missing else set[str]()
        for name in FONTS:
            if self.missing and name in there:
                file = fontManager.findfont(FontProperties(family=[name]))
                has = self.missing & set(get_font(file).get_charmap())
                families += [name] if has else []
                self.missing -= has
        self.weight = "bold" if len(families) == 1 else "normal"  # few other fonts have a bold one
        self.style: Any = {
            "font.family": families,
            "font.size": 10,
            "text.color": INK,
            "text.parse_math": False,  # a dollar is a dollar
            "axes.labelcolor": INK,
            "axes.edgecolor": SOFT,
            "xtick.color": SOFT,
            "ytick.color": SOFT,
        }

    def show(self, symbol: str) -> str:
        """A symbol that can be seen."""
        if symbol in SIGNS:
            return SIGNS[symbol]
        return "".join(f"<{ord(c):X}>" if ord(c) in self.missing or not c.isprintable() else c for c in symbol)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as what its name ends in; raises InputError."""
    if path.suffix.lower() not in KINDS:
        raise InputError(f"{path}: a picture's name must end in {', '.join(KINDS)}")
    dates: dict[str, Any] = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    try:
        with mpl.rc_context({"svg.hashsalt": "ohlol"}):
            figure.savefig(path, dpi=150, facecolor="white", metadata=dates[path.suffix.lower()])
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def of_curves(panels: list[Panel], *, lang: str = "en") -> Figure:
    """A small picture for each panel, side by side.

    Args:
        panels: what `ohlol.explain.curves.curves` gives.
        lang: "en" or "zh".
    """
    runs = list(dict.fromkeys(line.run for panel in panels for line in panel.lines))
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    texts = [legend(line, panel, lang) + title(panel, lang) for panel in panels for line in panel.lines]
    with mpl.rc_context(Signs("".join(texts)).style):
        figure = Figure(figsize=(4.6 * columns, 3.1 * rows), layout="constrained")
        for axes, panel in zip(np.ravel(figure.subplots(rows, columns, squeeze=False)), panels, strict=False):
            for line in panel.lines:
                k, faint = runs.index(line.run), line.training and panel.is_mixed
                colour = COLOURS[k % len(COLOURS)]
                axes.plot(
                    line.steps,
                    line.values,
                    color=colour,
                    linestyle=":" if faint else DASHES[k % len(DASHES)],
                    linewidth=1.4 if faint else 1.8,
                    marker="o" if len(line.steps) == 1 else None,
                    label=legend(line, panel, lang),
                )
                if line.best is not None and panel.key in ("loss", "score"):
                    axes.plot(line.steps[line.best], line.values[line.best], "o", color=colour, markersize=6)
            axes.set_title(title(panel, lang), fontsize=11, loc="left")
            axes.set_xlabel(translations.text("steps", lang))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if panel.is_rate:
                axes.set_ylim(-0.02, 1.02)
                axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            elif min(min(line.values) for line in panel.lines) >= 0:
                axes.set_ylim(bottom=0)
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            if len(panel.lines) > 1:
                axes.legend(frameon=False, fontsize=9)
        for axes in figure.axes[len(panels) :]:
            axes.set_visible(False)
        figure.draw_without_rendering()  # while the style holds
    return figure


def of_study(board: Board, *, lang: str = "en") -> Figure:
    """The history of a study, the importance of its settings, and the score against each of them.

    Args:
        board: the study.
        lang: "en" or "zh".
    """
    name = board.score.replace("_", " ")
    ranges = [parse(text) for text in board.space.values()]
    rows = 1 + math.ceil(len(ranges) / 3)
    said_in = [translations.text(key, lang, name=name, count=0) for key in STUDY_WORDS]
    with mpl.rc_context(Signs("".join([name, *said_in])).style):
        figure = Figure(figsize=(10.5, 3.0 * rows), layout="constrained")
        grid = figure.add_gridspec(rows, 3)
        history = figure.add_subplot(grid[0, :2])
        _scores(history, board, [float(t.number) for t in board.scored], legend=lang)
        places, values = zip(*board.so_far, strict=True) if board.so_far else ((), ())
        history.step(
            places, values, where="post", color=COLOURS[1], label=translations.text("study_so_far", lang), zorder=1
        )
        history.set_title(translations.text("study_history", lang, name=name), fontsize=11, loc="left")
        history.set_xlabel(translations.text("trial", lang))
        history.xaxis.set_major_locator(MaxNLocator(integer=True))
        history.legend(frameon=False, fontsize=9)
        _importance(figure.add_subplot(grid[0, 2]), board, lang)
        first = None
        for k, setting in enumerate(ranges):
            axes = first = figure.add_subplot(grid[1 + k // 3, k % 3], sharey=first)
            _scores(axes, board, [_along(setting, t.settings[setting.name]) for t in board.scored])
            axes.set_xlabel(setting.name)
            if setting.choices:
                axes.set_xticks(range(len(setting.choices)), [said(choice) for choice in setting.choices])
                axes.set_xlim(-0.5, len(setting.choices) - 0.5)
            elif setting.log:
                axes.set_xscale("log")
                axes.set_xlim(setting.low / 1.06, setting.high * 1.06)
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # the usual one is set as mathematics
                axes.xaxis.set_minor_formatter(NullFormatter())
            else:
                room = 0.03 * (setting.high - setting.low)
                axes.set_xlim(setting.low - room, setting.high + room)
                axes.xaxis.set_major_locator(MaxNLocator(6, integer=setting.whole))
            if k % 3 == 0:
                axes.set_ylabel(name)
        figure.draw_without_rendering()
    return figure


STUDY_WORDS = (
    "study_history",
    "study_importance",
    "study_complete",
    "study_pruned",
    "study_so_far",
    "study_few",
    "trial",
)


def _along(setting: Range, value: Any) -> float:
    return float(setting.choices.index(value)) if setting.choices else float(value)


def _scores(axes: Any, board: Board, x: list[float], legend: str = "") -> None:
    """A point a trial: full where it is complete, hollow where it was ended early, at the edge where it is far off."""
    low, high = board.limits
    for state, face in (("complete", COLOURS[0]), ("pruned", "white")):
        points = [
            (place, min(max(t.score, low), high))
            for place, t in zip(x, board.scored, strict=True)
            if t.state == state and t.score is not None
        ]
        axes.scatter(
            [a for a, _ in points],
            [b for _, b in points],
            s=26,
            color=COLOURS[0],
            facecolor=face,
            clip_on=False,
            zorder=3,
            label=translations.text(f"study_{state}", legend) if legend else None,
        )
    axes.set_ylim(low, high)
    if board.score in RATES:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if high - low > 0.1 else f"{value:.1%}")
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _importance(axes: Any, board: Board, lang: str) -> None:
    axes.set_title(translations.text("study_importance", lang), fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    found = sorted(board.importance.items(), key=lambda item: item[1])
    if not found:
        done = sum(t.state == "complete" for t in board.trials)
        axes.text(
            0.0, 0.9, translations.text("study_few", lang, count=done), transform=axes.transAxes, color=SOFT, wrap=True
        )
        axes.set_axis_off()
        return
    axes.barh([parse(board.space[key]).name for key, _ in found], [v for _, v in found], 0.5, color=COLOURS[0])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def of_trace(found: Trace, *, lang: str = "en", memory: Memory | None = None) -> Figure:
    """The steps from left to right: what was read, the guesses, the states and gates of each layer, the memory.

    Args:
        found: what `ohlol.explain.trace.trace` gives.
        lang: "en" or "zh".
        memory: of the same sequence; adds how much each input matters to each answer.
    """
    T = len(found.symbols)
    steps = range(max(0, T - WIDEST), T)
    maps = [row for layer in reversed(found.layers) for row in _rows(layer, len(found.layers) > 1, steps, lang)]
    remembered = memory if memory is not None and not found.per_sequence and len(memory.symbols) == T else None
    unit = 0.26 if len(maps) <= 3 else 0.17
    heights = [0.75 if T <= FEW else 0.4, *(max(0.45, min(1.5, unit * len(values))) for _, values, _ in maps)]
    heights += [max(1.2, min(4.0, 0.3 * len(steps)))] if remembered else []
    about = describe(found, lang)
    if found.loss is not None and found.losses is not None:
        count = sum(v is not None for v in found.losses)
        about += "，" if lang == "zh" else ", "
        about += translations.text(f"loss_{found.reduction}", lang, value=f"{found.loss:.4f}", count=count)
    signs = Signs("".join([*found.symbols, *found.labels, *(said for said, _, _ in maps), about]))
    with mpl.rc_context(signs.style):
        width = 2.2 + max(4.0, min(12.0, len(steps) * 0.62))
        figure = Figure(figsize=(width, sum(heights) + 0.2 * len(heights) + 0.8), layout="constrained")
        grid = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        _guesses(grid[0], found, steps, signs)
        for axes, (said, values, positive) in zip(grid[1:], maps, strict=False):
            _map(axes, said, values, positive=positive, size=7 if len(maps) <= 3 else 5.5)
        if remembered is not None:
            answers = [signs.show(label) for label in found.chosen[steps.start :]]
            _memory(grid[-1], remembered, steps, answers, translations.text("influence", lang))
        read = [signs.show(found.symbols[t]) for t in steps]
        grid[-1].set_xticks(range(len(steps)), read, fontsize=13 if len(steps) <= FEW else 7)
        figure.suptitle(about, fontsize=9, color=SOFT)
        figure.draw_without_rendering()
    return figure


def _rows(layer: LayerTrace, several: bool, steps: range, lang: str) -> list[tuple[str, Numbers, bool]]:
    """States and gates of a layer: name, values (H, T), and whether they are all positive."""
    where = (
        f"\n{translations.text('layer', lang, layer=layer.layer)}, {translations.text(layer.direction, lang)}"
        if several
        else ""
    )
    made = [(f"{name}'", f"state_{name}", values) for name, values in reversed(layer.after.items())]
    made += [(gate.name, f"gate_{gate.name}", gate.value) for gate in layer.gates if len(layer.gates) > 1]
    sigmoid = {gate.name for gate in layer.gates if gate.activation == "sigmoid"}
    return [
        (f"{name}  {translations.text(key, lang)}{where}", values[steps.start :].T, name in sigmoid)
        for name, key, values in made
    ]


def _guesses(axes: Any, found: Trace, steps: range, signs: Signs) -> None:
    """The likeliest answers above their steps, the chosen one large; a wrong one in vermilion, with what was wanted."""
    axes.set_ylim(-0.1, GUESSES)
    axes.axis("off")
    small = len(steps) > FEW
    for x, t in enumerate(steps):
        n = t if not found.per_sequence else 0 if t == len(found.symbols) - 1 else None
        if n is None:
            continue
        wanted = found.targets[n] if found.targets is not None else None
        for k, (label, p) in enumerate(found.best(n, 1 if small else GUESSES)):
            wrong = k == 0 and wanted is not None and wanted != label
            said = signs.show(label) + ("" if small else f" {p:.0%}")
            colour = COLOURS[1] if wrong else INK if k == 0 else SOFT
            size, weight = (
                (7 if small else 11 if len(steps) <= 14 else 8.5, signs.weight) if k == 0 else (7.5, "normal")
            )
            axes.text(x, GUESSES - 0.55 - 0.8 * k, said, ha="center", va="center", color=colour, fontsize=size,
                      fontweight=weight)  # fmt: skip


def _map(axes: Any, said: str, values: Numbers, *, positive: bool, size: float) -> None:
    """A heat map, a row a unit, a column a step; few units have their numbers in it."""
    top = max(1.0, float(np.abs(values).max()))
    axes.imshow(values, cmap=GROWING if positive else SIGNED, vmin=0 if positive else -top, vmax=top, aspect="auto",
                interpolation="nearest")  # fmt: skip
    axes.set_ylabel(said, rotation=0, ha="right", va="center", fontsize=9)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_color(GRID)
    if len(values) <= NUMBERED and values.shape[1] <= FEW:
        for (j, x), v in np.ndenumerate(values):
            dark = abs(v) / top > 0.62
            axes.text(x, j, f"{v:.2f}", ha="center", va="center", fontsize=size, color="white" if dark else INK)


def _memory(axes: Any, memory: Memory, steps: range, answers: list[str], said: str) -> None:
    """Answers downwards, inputs to the right, each row's largest influence being 1."""
    shown = memory.gradient[steps.start :, steps.start :]
    shown = np.sqrt(shown / np.maximum(shown.max(axis=1, keepdims=True), np.finfo(float).tiny))
    axes.imshow(shown, cmap=GROWING, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_ylabel(said, rotation=0, ha="right", va="center", fontsize=9)
    few = len(steps) <= FEW
    axes.set_yticks(range(len(steps)) if few else [], answers if few else [], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_color(GRID)
