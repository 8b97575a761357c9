"""Traces and shapes as HTML for a notebook; works nothing out, and its text is never taken for markup.

Only tables with colours of their own, which a light and a dark notebook, and a page that shows one, leave as they are.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ohlol.display import translations

if TYPE_CHECKING:
    from ohlol.explain.shapes import CellShapes, LayerShapes
    from ohlol.explain.trace import Trace

STEPS, UNITS = 40, 12
"""Steps and units that are shown; the page and the JSON have them all."""
BASE, PLUS, MINUS, MORE = (243, 242, 238), (217, 95, 2), (36, 104, 180), (106, 61, 154)
"""The colours of the page: nothing, above 0, below 0, and how much."""
SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥", "": "∅"}
SOFT = "opacity:.65;text-align:right;padding:1px 8px"


def trace_html(found: "Trace") -> str:
    """The steps of a trace from left to right: what was read, states, likeliest answers, losses."""
    lang = translations.language(None)
    shown = range(min(STEPS, len(found.symbols)))
    glue = "" if all(len(s) == 1 for s in found.symbols) else " "
    read, said = (glue.join(map(_sign, s[: len(shown)])) for s in (found.symbols, found.chosen))
    rows = [[_name(translations.text("reads", lang)), *(_cell(_sign(found.symbols[t]), strong=True) for t in shown)]]
    for layer in found.layers:
        for name, values in reversed(layer.after.items()):
            top = max(1.0, float(abs(values).max()))
            where = (
                f"{translations.text('layer', lang, layer=layer.layer)}, {translations.text(layer.direction, lang)}, "
            )
            where = where if len(found.layers) > 1 else ""
            for j in range(min(UNITS, values.shape[1])):
                label = _name(f"{where}{name}'[{j}]")
                rows.append([label, *(_number(float(values[t, j]), top) for t in shown)])
            if values.shape[1] > UNITS:
                rows.append([_name(translations.text("more_units", lang, count=values.shape[1] - UNITS))])
    last = len(found.symbols) - 1
    answers = [t if not found.per_sequence else 0 if t == last else None for t in shown]
    best = [None if n is None else found.best(n, 1)[0] for n in answers]
    rows.append([_name(translations.text("answer", lang)), *(_likely(*b) if b else "<td></td>" for b in best)])
    if found.targets is not None and found.losses is not None:
        wanted = [None if n is None else found.targets[n] for n in answers]
        marks = [
            "" if w is None else f"{_sign(w)} {'✓' if b and b[0] == w else '✗'}"
            for w, b in zip(wanted, best, strict=True)
        ]
        rows.append([_name(translations.text("wanted", lang)), *map(_cell, marks)])
        losses = [None if n is None else found.losses[n] for n in answers]
        rows.append([_name(translations.text("loss", lang)), *(_cell("" if v is None else f"{v:.3f}") for v in losses)])
    about = "" if found.loss is None or found.losses is None else translations.text(
        f"loss_{found.reduction}", lang, value=f"{found.loss:.4f}", count=sum(v is not None for v in found.losses)
    )  # fmt: skip
    more = " …" if len(shown) < len(found.symbols) else ""
    title = f"<b><bdi>{escape(read)}{more}</bdi> → <bdi>{escape(said)}{more}</bdi></b>"
    return f"<div>{title} <span style='opacity:.65'>{escape(about)}</span>{_table(rows)}</div>"


def shapes_html(report: "CellShapes | LayerShapes") -> str:
    """Every shape of a cell or a layer: what goes in and comes out, the weights, what is equal, what goes wrong."""
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
    equal = [[_cell("✓" if e["holds"] else "✗"), _cell(e["claim"]), _cell(e["why"])] for e in data["equalities"]]
    parts.append(_table(equal))
    wrong = [[_cell("✗"), _cell(m["call"]), _cell(m["fix"])] for m in data["mistakes"]]
    parts.append(_table(wrong))
    return f"<div>{''.join(parts)}</div>"


def _sign(symbol: str) -> str:
    return SIGNS.get(symbol, symbol)


def _table(rows: Iterable[Sequence[str]]) -> str:
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    style = "border-collapse:separate;border-spacing:2px;font-family:monospace"
    return f"<table style='{style}'><tbody>{body}</tbody></table>"


def _name(text: str) -> str:
    return f"<td style='{SOFT}'>{escape(text)}</td>"


def _cell(text: str, *, strong: bool = False) -> str:
    said = f"<bdi>{escape(text)}</bdi>"
    return f"<td style='text-align:left;padding:1px 8px'>{f'<b>{said}</b>' if strong else said}</td>"


def _number(value: float, top: float) -> str:
    return _coloured(f"{value:.3f}", PLUS if value > 0 else MINUS, abs(value) / top)


def _likely(label: str, probability: float) -> str:
    return _coloured(f"{_sign(label)} {probability:.0%}", MORE, probability)


def _coloured(text: str, full: tuple[int, int, int], share: float) -> str:
    r, g, b = (round(low + (high - low) * min(1.0, share) * 0.92) for low, high in zip(BASE, full, strict=True))
    light = 0.2126 * (r / 255) ** 2.2 + 0.7152 * (g / 255) ** 2.2 + 0.0722 * (b / 255) ** 2.2 > 0.18
    colours = f"background:rgb({r},{g},{b});color:{'#000' if light else '#fff'}"
    return f"<td style='{colours};text-align:right;padding:1px 8px;border-radius:4px'><bdi>{escape(text)}</bdi></td>"
