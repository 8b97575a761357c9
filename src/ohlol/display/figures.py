"""Traces, learning curves and confusions as matplotlib figures.

Figures have a white background and the colours of Okabe and Ito, which every kind of colour vision distinguishes; lines
differ in their dashes too.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.display import texts
from ohlol.display.curves_text import legend, title
from ohlol.display.trace_text import VISIBLE, describe_model
from ohlol.explain.curves import Line, Panel
from ohlol.explain.saliency import Saliency
from ohlol.explain.trace import LayerTrace, Numbers, Trace
from ohlol.utils.errors import InputError
from ohlol.utils.files import check_suffix, write_output
from ohlol.utils.translation import message_id

try:
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, fontManager, get_font
    from matplotlib.ticker import MaxNLocator
except ImportError:
    raise InputError("a figure needs matplotlib: pip install 'ohlol[plot]'") from None

INK, SOFT, GRID = "#1d2126", "#5b636d", "#dddddd"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
DIVERGING = LinearSegmentedColormap.from_list("diverging", ["#2468b4", "#f3f2ee", "#d95f02"])
SEQUENTIAL = LinearSegmentedColormap.from_list("sequential", ["#f3f2ee", "#6a3d9a"])
SUFFIXES = (".png", ".svg", ".pdf")
FALLBACK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "PingFang SC", "Heiti SC",
    "Microsoft YaHei", "SimHei", "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Emoji",
    "Segoe UI Symbol", "Symbola",
)  # fmt: skip
"""Fonts that are searched in this order for a character that matplotlib's own font lacks."""
MAX_STEPS = 96
"""Time steps of a trace that a figure shows, the last ones."""
TOP = 3
"""Labels shown for a prediction."""
FEW_STEPS = 24
"""Time steps up to which a figure shows numbers and several labels per prediction."""
MAX_NUMBERED = 8
"""Neurons up to which a heat map shows its numbers."""

MAX_CLASSES = 40
"""Classes up to which a table of confusions is readable; of more, the most frequent are drawn."""
FEW_CLASSES = 14
"""Classes up to which a table of confusions shows numbers."""
LABEL_LENGTH = 20
"""Characters of a class name that are drawn."""


class Fonts:
    """The fonts and the style of a figure with a given text.

    Args:
        text: all characters that the figure shows; one that no font has is shown as its code point.
    """

    def __init__(self, text: str):
        default = Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
        self.missing = {ord(c) for c in text if not c.isspace()} - set(get_font(str(default)).get_charmap())
        families, installed = ["DejaVu Sans"], set(fontManager.get_font_names()) if self.missing else set[str]()
        for name in FALLBACK_FONTS:
            if self.missing and name in installed:
                file = fontManager.findfont(FontProperties(family=[name]))
                covered = self.missing & set(get_font(file).get_charmap())
                families += [name] if covered else []
                self.missing -= covered
        self.weight = "bold" if len(families) == 1 else "regular"  # most fallback fonts have no bold face
        self.style: Any = {
            "font.family": families,
            "font.size": 10,
            "text.color": INK,
            "text.parse_math": False,  # a dollar sign is no mathematics
            "axes.labelcolor": INK,
            "axes.edgecolor": SOFT,
            "xtick.color": SOFT,
            "ytick.color": SOFT,
        }

    def visible(self, symbol: str) -> str:
        """Return a symbol in characters that the fonts have."""
        if symbol in VISIBLE:
            return VISIBLE[symbol]
        return "".join(f"<{ord(c):X}>" if ord(c) in self.missing or not c.isprintable() else c for c in symbol)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's suffix.

    Raises:
        InputError: another suffix than `SUFFIXES`, or the file cannot be written.
    """
    check_suffix(path, message_id("a figure"), SUFFIXES)
    image = io.BytesIO()
    write_figure(figure, image, path.suffix.lower())
    write_output(path, image.getvalue())


def write_figure(figure: Figure, file: io.BytesIO, suffix: str) -> None:
    """Write a figure in the format of one of `SUFFIXES`, equal bytes for equal figures."""
    no_date: dict[str, Any] = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with mpl.rc_context({"svg.hashsalt": "ohlol"}):
        figure.savefig(file, format=suffix[1:], dpi=150, facecolor="white", metadata=no_date[suffix])


def open_frame(axes: Any, *, grid: bool = True) -> None:
    """Remove the top and right border of axes and draw a grid behind the data."""
    if grid:
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_curves(panels: list[Panel], *, lang: str = "en") -> Figure:
    """Draw one plot per panel, side by side.

    Args:
        panels: what `ohlol.explain.curves.load_curves` returns.
        lang: "en" or "zh".
    """
    runs = list(dict.fromkeys(line.run for panel in panels for line in panel.lines))
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    shown = [legend(line, panel, lang) + title(panel, lang) for panel in panels for line in panel.lines]
    with mpl.rc_context(Fonts("".join(shown)).style):
        figure = Figure(figsize=(4.6 * columns, 3.1 * rows), layout="constrained")
        for axes, panel in zip(np.ravel(figure.subplots(rows, columns, squeeze=False)), panels, strict=False):
            for line in panel.lines:
                _draw_line(axes, line, panel, runs.index(line.run), lang)
            axes.set_title(title(panel, lang), fontsize=11, loc="left")
            axes.set_xlabel(texts.text("steps", lang))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if panel.is_rate:
                axes.set_ylim(-0.02, 1.02)
                axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            elif min(min(line.values) for line in panel.lines) >= 0:
                axes.set_ylim(bottom=0)
            open_frame(axes)
            if len(panel.lines) > 1:
                axes.legend(frameon=False, fontsize=9)
        for axes in figure.axes[len(panels) :]:
            axes.set_visible(False)
        figure.draw_without_rendering()  # the layout needs the style of this context
    return figure


def _draw_line(axes: Any, line: Line, panel: Panel, k: int, lang: str) -> None:
    """Draw one line in the colour of run k; dotted if recorded in training where other lines were measured."""
    colour, is_faint = COLOURS[k % len(COLOURS)], line.is_training and panel.is_mixed
    axes.plot(
        line.steps,
        line.values,
        color=colour,
        linestyle=":" if is_faint else DASHES[k % len(DASHES)],
        linewidth=1.4 if is_faint else 1.8,
        marker="o" if len(line.steps) == 1 else None,
        label=legend(line, panel, lang),
    )
    if line.best is not None and panel.key in ("loss", "metric"):
        axes.plot(line.steps[line.best], line.values[line.best], "o", color=colour, markersize=6)


def draw_trace(trace: Trace, *, lang: str = "en", saliency: Saliency | None = None) -> Figure:
    """Draw the time steps from left to right: predictions, states and gates of each layer, saliency, input.

    Args:
        trace: what `ohlol.explain.trace.trace` returns.
        lang: "en" or "zh".
        saliency: the saliency of the same sequence; adds how much each input matters to each prediction.
    """
    T = len(trace.symbols)
    steps = range(max(0, T - MAX_STEPS), T)
    maps = [row for layer in reversed(trace.layers) for row in _map_rows(layer, len(trace.layers) > 1, steps, lang)]
    if trace.weights is not None:
        maps.insert(0, (texts.text("weight", lang), trace.weights[None, steps.start :], True))
    if saliency is not None and (trace.per_sequence or len(saliency.symbols) != T):
        saliency = None
    height = 0.26 if len(maps) <= 3 else 0.17
    heights = [0.75 if T <= FEW_STEPS else 0.4, *(max(0.45, min(1.5, height * len(values))) for _, values, _ in maps)]
    heights += [max(1.2, min(4.0, 0.3 * len(steps)))] if saliency is not None else []
    summary = describe_model(trace, lang)
    if trace.loss is not None and trace.losses is not None:
        count = sum(v is not None for v in trace.losses)
        summary += "，" if lang == "zh" else ", "
        summary += texts.text(f"loss_{trace.reduction}", lang, value=f"{trace.loss:.4f}", count=count)
    fonts = Fonts("".join([*trace.symbols, *trace.labels, *(name for name, _, _ in maps), summary]))
    with mpl.rc_context(fonts.style):
        width = 2.2 + max(4.0, min(12.0, len(steps) * 0.62))
        figure = Figure(figsize=(width, sum(heights) + 0.2 * len(heights) + 0.8), layout="constrained")
        grid = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        _draw_predictions(grid[0], trace, steps, fonts)
        for axes, (name, values, is_positive) in zip(grid[1:], maps, strict=False):
            _draw_map(axes, name, values, is_positive=is_positive, size=7 if len(maps) <= 3 else 5.5)
        if saliency is not None:
            predicted = [fonts.visible(label) for label in trace.predicted[steps.start :]]
            _draw_saliency(grid[-1], saliency, steps, predicted, texts.text("influence", lang))
        symbols = [fonts.visible(trace.symbols[t]) for t in steps]
        grid[-1].set_xticks(range(len(steps)), symbols, fontsize=13 if len(steps) <= FEW_STEPS else 7)
        figure.suptitle(summary, fontsize=9, color=SOFT)
        figure.draw_without_rendering()  # the layout needs the style of this context
    return figure


def _map_rows(layer: LayerTrace, several: bool, steps: range, lang: str) -> list[tuple[str, Numbers, bool]]:
    """Return the states and the gates, or tensors of source lines: name, values (W, T), whether all lie in [0, 1]."""
    where = ""
    if several:
        direction = texts.text(layer.direction, lang)
        where = f"\n{texts.text('layer', lang, layer=layer.layer)}, {direction}"
    rows = [
        (f"{name}'", texts.name_symbol("state", name, lang), values) for name, values in reversed(layer.after.items())
    ]
    rows += [
        (gate.name, texts.name_symbol("gate", gate.name, lang), gate.value)
        for gate in layer.gates
        if len(layer.gates) > 1
    ]
    rows += [(name, f"{Path(line.file).name}:{line.line}", values) for line, name, values in layer.lines_over_time()]
    sigmoids = {gate.name for gate in layer.gates if gate.activation == "sigmoid"}
    return [(f"{name}  {meaning}{where}", values[steps.start :].T, name in sigmoids) for name, meaning, values in rows]


def _draw_predictions(axes: Any, trace: Trace, steps: range, fonts: Fonts) -> None:
    """Write the most probable labels above each time step, the first in large type; a wrong one in vermilion."""
    axes.set_ylim(-0.1, TOP)
    axes.axis("off")
    is_dense = len(steps) > FEW_STEPS
    first_size = 7 if is_dense else 11 if len(steps) <= 14 else 8.5
    for x, t in enumerate(steps):
        n = trace.prediction_at(t)
        if n is None:
            continue
        target = trace.targets[n] if trace.targets is not None else None
        for k, (label, p) in enumerate(trace.best(n, 1 if is_dense else TOP)):
            is_wrong = k == 0 and target is not None and target != label
            axes.text(
                x,
                TOP - 0.55 - 0.8 * k,
                fonts.visible(label) + ("" if is_dense else f" {p:.0%}"),
                ha="center",
                va="center",
                color=COLOURS[1] if is_wrong else INK if k == 0 else SOFT,
                fontsize=first_size if k == 0 else 7.5,
                fontweight=fonts.weight if k == 0 else "regular",
            )


def _draw_map(axes: Any, name: str, values: Numbers, *, is_positive: bool, size: float) -> None:
    """Draw a heat map, a row per neuron and a column per time step, with numbers where there is space."""
    top = max(1.0, float(np.abs(values).max()))
    axes.imshow(
        values,
        cmap=SEQUENTIAL if is_positive else DIVERGING,
        vmin=0 if is_positive else -top,
        vmax=top,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_color(GRID)
    if len(values) <= MAX_NUMBERED and values.shape[1] <= FEW_STEPS:
        for (j, x), v in np.ndenumerate(values):
            is_dark = abs(v) / top > 0.62
            axes.text(x, j, f"{v:.2f}", ha="center", va="center", fontsize=size, color="white" if is_dark else INK)


def _draw_saliency(axes: Any, saliency: Saliency, steps: range, predicted: list[str], name: str) -> None:
    """Draw a heat map with a row per prediction and a column per input; the maximum of each row is 1."""
    values = saliency.gradient[steps.start :, steps.start :]
    values = np.sqrt(values / np.maximum(values.max(axis=1, keepdims=True), np.finfo(float).tiny))
    axes.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    is_sparse = len(steps) <= FEW_STEPS
    axes.set_yticks(range(len(steps)) if is_sparse else [], predicted if is_sparse else [], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_color(GRID)


def draw_confusions(labels: Sequence[str], matrix: NDArray[np.int64], *, lang: str = "en") -> Figure:
    """Draw how often each target, a row, is predicted as each class, a column, as a share of the target.

    Args:
        labels: the K classes.
        matrix: the counts, (K, K). Classes that do not occur are left out, and of more than `MAX_CLASSES` all but the
            most frequent.
        lang: "en" or "zh".
    """
    support = matrix.sum(axis=1)
    occurring = np.flatnonzero(support + matrix.sum(axis=0))
    shown = np.sort(occurring[np.argsort(-support[occurring], kind="stable")][:MAX_CLASSES])
    labels = [labels[int(i)] for i in shown]
    K = len(shown)
    shares = matrix[np.ix_(shown, shown)] / np.maximum(support[shown], 1)[:, None]
    heading = "confusion_title" if len(occurring) == K else "confusion_left_out"
    heading = texts.text(heading, lang, count=K, all=len(occurring))
    axis_names = [texts.text(f"confusion_{name}", lang) for name in ("predicted", "target")]
    fonts = Fonts("".join([*labels, heading, *axis_names]))
    names = [_shortened(fonts.visible(label)) for label in labels]
    cell, size = (0.46, 9) if K <= FEW_CLASSES else (0.24, 7)
    with mpl.rc_context(fonts.style):
        figure = Figure(figsize=(max(3.6, 2.4 + cell * K), max(2.8, 1.6 + cell * K)), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap=SEQUENTIAL, vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks(range(K), names, fontsize=size, rotation=0 if max(map(len, names)) <= 2 else 90)
        axes.set_yticks(
            range(K), [f"{n} ({support[i]:,})" for n, i in zip(names, shown.tolist(), strict=True)], fontsize=size
        )
        axes.tick_params(length=0)
        axes.spines[:].set_color(GRID)
        axes.set_xlabel(axis_names[0])
        axes.set_ylabel(axis_names[1])
        axes.set_title(heading, fontsize=9, color=SOFT)
        for (i, j), share in np.ndenumerate(shares if K <= FEW_CLASSES else shares[:0]):
            if matrix[shown[i], shown[j]]:
                colour = "white" if share > 0.62 else INK
                axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=colour)
        figure.draw_without_rendering()  # the layout needs the style of this context
    return figure


def _shortened(name: str) -> str:
    """A class name with its middle left out where it is long, since names often differ in their ends."""
    half = LABEL_LENGTH // 2
    return name if len(name) <= LABEL_LENGTH else f"{name[: half - 1]}…{name[-half:]}"
