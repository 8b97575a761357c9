"""Traces, reports on shapes and packing, the scores of classes and backtests as HTML for a notebook.

Every symbol is escaped, so that none of them is read as markup. The tables set their own colours, which a light or dark
notebook does not change.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ohlol.display import backtest_text, packing, texts
from ohlol.evaluation.backtest import BacktestReport
from ohlol.explain.packing import PackedShapes
from ohlol.explain.shapes import CellShapes, LayerShapes
from ohlol.explain.trace import Trace
from ohlol.tasks.class_report import BINS, ClassReport, Scores
from ohlol.utils.rendering import to_html
from ohlol.utils.translation import choose_language

MAX_STEPS, MAX_NEURONS = 40, 12
"""The time steps and neurons that are shown; the page and the JSON have all of them."""
BASE, POSITIVE, NEGATIVE, HIGH = (243, 242, 238), (217, 95, 2), (36, 104, 180), (106, 61, 154)
"""The colours of the page: zero, above zero, below zero, and the largest value of a scale that starts at zero."""
VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "": "∅"}
MUTED = "opacity:.65;text-align:right;padding:1px 8px"


@to_html.register
def trace_to_html(trace: Trace) -> str:
    """Return the time steps of a trace from left to right: input, states, most probable labels, losses."""
    lang = choose_language()
    steps = range(min(MAX_STEPS, len(trace.symbols)))
    predictions = [trace.prediction_at(t) for t in steps]
    rows = [
        [_name(texts.text("input", lang)), *(_cell(_visible(trace.symbols[t]), strong=True) for t in steps)],
        *_state_rows(trace, steps, lang),
        *_prediction_rows(trace, predictions, lang),
    ]
    summary = "" if trace.loss is None or trace.losses is None else texts.text(
        f"loss_{trace.reduction}", lang, value=f"{trace.loss:.4f}", count=sum(v is not None for v in trace.losses)
    )  # fmt: skip
    separator = "" if all(len(s) == 1 for s in trace.symbols) else " "
    inputs, predicted = (separator.join(map(_visible, s[: len(steps)])) for s in (trace.symbols, trace.predicted))
    more = " …" if len(steps) < len(trace.symbols) else ""
    title = f"<b><bdi>{escape(inputs)}{more}</bdi> → <bdi>{escape(predicted)}{more}</bdi></b>"
    return f"<div>{title} <span style='opacity:.65'>{escape(summary)}</span>{_table(rows)}</div>"


def _state_rows(trace: Trace, steps: range, lang: str) -> list[list[str]]:
    """Return one row per neuron of each state."""
    rows: list[list[str]] = []
    for layer in trace.layers:
        prefix = ""
        if len(trace.layers) > 1:
            number, direction = layer.layer, texts.text(layer.direction, lang)
            prefix = f"{texts.text('layer', lang, layer=number)}, {direction}, "
        for name, values in reversed(layer.after.items()):
            top = max(1.0, float(abs(values).max()))
            for j in range(min(MAX_NEURONS, values.shape[1])):
                rows.append([_name(f"{prefix}{name}'[{j}]"), *(_number(float(values[t, j]), top) for t in steps)])
            if values.shape[1] > MAX_NEURONS:
                rows.append([_name(texts.text("more_neurons", lang, count=values.shape[1] - MAX_NEURONS))])
    return rows


def _prediction_rows(trace: Trace, predictions: list[int | None], lang: str) -> list[list[str]]:
    """Return the rows of predictions, targets and losses."""
    best = [None if n is None else trace.best(n, 1)[0] for n in predictions]
    rows = [[_name(texts.text("prediction", lang)), *(_label(*b) if b else "<td></td>" for b in best)]]
    if trace.targets is not None and trace.losses is not None:
        targets = [None if n is None else trace.targets[n] for n in predictions]
        marks = [
            "" if target is None else f"{_visible(target)} {'✓' if b and b[0] == target else '✗'}"
            for target, b in zip(targets, best, strict=True)
        ]
        rows.append([_name(texts.text("target", lang)), *map(_cell, marks)])
        losses = [None if n is None else trace.losses[n] for n in predictions]
        rows.append([_name(texts.text("loss", lang)), *(_cell("" if v is None else f"{v:.3f}") for v in losses)])
    return rows


@to_html.register
def shapes_to_html(report: CellShapes | LayerShapes) -> str:
    """Return every shape of a cell or a layer: inputs, outputs, weights, equalities, and wrong calls."""
    data: dict[str, Any] = report.to_json()
    sizes = "  ".join(f"{letter} {size}" for letter, size in data["sizes"].items())
    parts = [f"<b>{escape(data['module'])}</b> <span style='opacity:.65'>{escape(sizes)}</span>"]
    for equation in data.get("equation", ()):
        parts.append(f"<div><code>{escape(equation)}</code></div>")
    tensors = [("in", t) for t in data.get("inputs", ())] + [("out", t) for t in data.get("outputs", ())]
    tensors += [("in", data["sequence"])] if "sequence" in data else []
    for step in data.get("steps", ()):
        after = zip(data["states"], step["after"], strict=True)
        tensors += [(f"t={step['t']}", {"name": f"{s} after", "shape": h, "letters": "(B, H)"}) for s, h in after]
    tensors += [("weight", p) for p in data["parameters"]]
    rows = [[_name(kind), *map(_cell, (t["name"], t["letters"], str(tuple(t["shape"]))))] for kind, t in tensors]
    parts.append(_table(rows))
    equalities = [[_cell("✓" if e["holds"] else "✗"), _cell(e["claim"]), _cell(e["why"])] for e in data["equalities"]]
    parts.append(_table(equalities))
    mistakes = [[_cell("✗"), _cell(m["call"]), _cell(m["fix"])] for m in data["mistakes"]]
    parts.append(_table(mistakes))
    return f"<div>{''.join(parts)}</div>"


@to_html.register
def packing_to_html(report: PackedShapes) -> str:
    """Return the pictures and tables of a report on packing."""
    return f"<div>{packing.packing_to_html(report, lang=choose_language())}</div>"


@to_html.register
def classes_to_html(report: ClassReport) -> str:
    """Return the scores of every class, their means and the calibration."""
    lang = choose_language()
    heads = ("class", "precision", "recall", "", "support")
    rows = [[_name(texts.text(key, lang) if key else "F1") for key in heads]]
    for scores in report.classes:
        rows.append([_cell(_visible(scores.label), strong=True), *_scores(scores), _cell(f"{scores.support:,}")])
    for key, mean in (("macro_mean", report.macro), ("weighted_mean", report.weighted)):
        rows.append([_name(texts.text(key, lang)), *_scores(mean), _cell(f"{report.support:,}")])
    error = report.calibration_error
    said = f"{report.accuracy:.2%}" if error is None else texts.text(
        "calibration", lang, accuracy=f"{report.accuracy:.2%}", error=f"{error:.2%}", bins=BINS
    )  # fmt: skip
    return f"<div>{_table(rows)}<span style='opacity:.65'>{escape(said)}</span></div>"


@to_html.register
def backtest_to_html(report: BacktestReport) -> str:
    """Return the metrics of the model and of the naive forecasts by column, and how they compare."""
    lang = choose_language()
    rows = [[_name(name) for name in ("", "", *backtest_text.metric_names(report))]]
    for column in report.columns:
        for name, scores in report.scores.items():
            cells = map(_cell, backtest_text.metric_cells(scores[column]))
            rows.append([_cell(column, strong=True), _name(texts.text(backtest_text.NAMES[name], lang)), *cells])
    said = " ".join([*backtest_text.left_out(report, lang), backtest_text.verdict(report, lang)])
    return f"<div>{_table(rows)}<span style='opacity:.65'>{escape(said)}</span></div>"


def _scores(scores: Scores) -> list[str]:
    return [_coloured(f"{rate:.1%}", HIGH, rate) for rate in (scores.precision, scores.recall, scores.f1)]


def _visible(symbol: str) -> str:
    return VISIBLE.get(symbol, symbol)


def _table(rows: Iterable[Sequence[str]]) -> str:
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    style = "border-collapse:separate;border-spacing:2px;font-family:monospace"
    return f"<table style='{style}'><tbody>{body}</tbody></table>"


def _name(text: str) -> str:
    return f"<td style='{MUTED}'>{escape(text)}</td>"


def _cell(text: str, *, strong: bool = False) -> str:
    content = f"<bdi>{escape(text)}</bdi>"
    return f"<td style='text-align:left;padding:1px 8px'>{f'<b>{content}</b>' if strong else content}</td>"


def _number(value: float, top: float) -> str:
    return _coloured(f"{value:.3f}", POSITIVE if value > 0 else NEGATIVE, abs(value) / top)


def _label(label: str, probability: float) -> str:
    return _coloured(f"{_visible(label)} {probability:.0%}", HIGH, probability)


def _coloured(text: str, full: tuple[int, int, int], share: float) -> str:
    r, g, b = (round(low + (high - low) * min(1.0, share) * 0.92) for low, high in zip(BASE, full, strict=True))
    is_light = 0.2126 * (r / 255) ** 2.2 + 0.7152 * (g / 255) ** 2.2 + 0.0722 * (b / 255) ** 2.2 > 0.18
    colours = f"background:rgb({r},{g},{b});color:{'#000' if is_light else '#fff'}"
    return f"<td style='{colours};text-align:right;padding:1px 8px;border-radius:4px'><bdi>{escape(text)}</bdi></td>"
