"""A trace as one HTML page that loads nothing else.

The page is `web/explain.html` with the style sheet and the scripts of `web/` inserted, and the numbers as JSON. Symbols
cannot become markup: `<`, `>` and `&` are escaped in the JSON, the scripts insert text as text nodes only, and the
content security policy of the page allows its own scripts and no network.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ohlol import cells
from ohlol.display import texts
from ohlol.display.trace_text import describe_model, difference_key
from ohlol.explain.history import Frame
from ohlol.explain.saliency import Saliency
from ohlol.explain.trace import LayerTrace, Numbers, Trace, places_of
from ohlol.utils.translation import LANGUAGES

TOP = 10
"""Labels kept for each prediction."""
MAX_SINGLE = 3 << 15
"""Bytes of numbers up to which they are stored in single precision; more are stored in half precision."""
MAX_BYTES = 6 << 20
"""Bytes of numbers in a page; beyond that the arrays of `DROPPED_FIRST` are left out, in this order."""
MAX_FRAMES, MIN_FRAMES = 64, 8
"""Epochs in a page: the maximum, and the number below which arrays are left out instead of epochs."""
DROPPED_FIRST = ("terms_", "sum/", "W_", "gradient/", "value/", "lines/", "before/")


def render_page(
    trace: Trace, *, lang: str = "en", saliency: Saliency | None = None, frames: Sequence[Frame] = ()
) -> str:
    """Render the page of a trace as HTML.

    Args:
        trace: what `ohlol.explain.trace.trace` returns.
        lang: the language in which the page opens, "en" or "zh".
        saliency: the saliency of the same sequence.
        frames: the same sequence after several epochs, in order; the page opens at the best, or the last.
    """
    return fill_template("explain.html", page_data(trace, lang=lang, saliency=saliency, frames=frames))


def fill_template(template: str, content: dict[str, Any] | None = None) -> str:
    """Insert files and data into a page of `web/`.

    Args:
        template: a file of `web/` with the placeholders `__NAME__` for another file of `web/`, `__DATA__` for the data
            and `__HASHES__` for the hashes of the scripts, which its content security policy allows.
        content: the data, inserted as JSON.
    """
    html = _read_with_files(template)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    html = html.replace("__HASHES__", " ".join(f"'sha256-{digest}'" for digest in hashes))
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return html.replace("__DATA__", text)


def fill_placeholders(template: str, values: dict[str, str]) -> str:
    """Insert files and HTML into a page of `web/` that has no scripts.

    Args:
        template: as in `fill_template`, with a placeholder `__NAME__` for each value.
        values: HTML by the name of the placeholder; what was no HTML must be escaped.
    """
    return re.sub(r"__([A-Z]+)__", lambda name: values[name[1]], _read_with_files(template))


def _read_with_files(template: str) -> str:
    return re.sub(r"__([a-z]+(?:_[a-z]+)*\.(?:css|js|html))__", lambda name: _read(name[1]), _read(template))


def _read(name: str) -> str:
    return (resources.files("ohlol.display") / "web" / name).read_text(encoding="utf-8")


def page_data(
    trace: Trace, *, lang: str = "en", saliency: Saliency | None = None, frames: Sequence[Frame] = ()
) -> dict[str, Any]:
    """Return the data that `showTrace` of `web/trace.js` draws; the arguments are those of `render_page`."""
    frames = frames or [Frame(0, trace, saliency)]
    opened = next((k for k, frame in enumerate(frames) if frame.is_best), len(frames) - 1)
    return {
        "lang": lang,
        "texts": texts.texts_by_language(),
        "summary": {name: describe_model(trace, name) for name in LANGUAGES},
        "per_sequence": trace.per_sequence,
        "symbols": trace.symbols,
        "separator": "" if all(len(s) == 1 for s in trace.symbols) else " ",
        "right_to_left": _is_right_to_left(trace.symbols),
        "hidden_size": trace.layers[0].hidden_size,
        "bidirectional": any(layer.direction == "backward" for layer in trace.layers),
        "targets": trace.targets,
        "reduction": trace.reduction,
        "logits_formula": _logits_formula(trace),
        "difference_text": difference_key(trace),
        "layers": [
            {
                "layer": layer.layer,
                "direction": layer.direction,
                "cell": layer.cell,
                "equation": cells.CELLS[layer.cell].equation,
                "gates": [gate.name for gate in layer.gates],
                "activations": [gate.activation for gate in layer.gates],
                "reset_by": [gate.reset_by for gate in layer.gates],
                "states": list(layer.after),
            }
            for layer in trace.layers
        ],
        "opened": opened,
        "frames": [_frame_data(frame, MAX_BYTES // len(frames)) for frame in frames],
    }


def _frame_data(frame: Frame, max_bytes: int) -> dict[str, Any]:
    """Return what differs from epoch to epoch, in at most so many bytes of numbers."""
    trace, saliency = frame.trace, frame.saliency
    arrays = _all_arrays(trace, saliency)
    is_half = sum(rows.size for rows in arrays.values()) * 4 > MAX_SINGLE
    arrays = _drop_arrays(arrays, max_bytes)
    places: dict[str, tuple[int, int, int]] = {}
    offset = 0
    for name, rows in arrays.items():
        places[name] = (offset, len(rows), rows.shape[1])
        offset += rows.size
    dtype = np.dtype("<f2" if is_half else "<f4")
    largest = float(np.finfo(dtype).max)
    flat = np.concatenate([np.clip(rows, -largest, largest).astype(dtype).ravel() for rows in arrays.values()])
    return {
        "epoch": frame.epoch,
        "predicted": trace.predicted,
        "losses": trace.losses,
        "loss": trace.loss,
        "difference": trace.difference,
        "lines": [_lines_data(layer) for layer in trace.layers],
        "top": [_top_labels(trace, n) for n in range(len(trace.predicted))],
        "saliency": None
        if saliency is None
        else {
            "influence_length": saliency.influence_length,
            "recommended_bptt": saliency.recommended_bptt,
            "count": len(saliency.symbols),
        },
        "is_half": is_half,
        "arrays": places,
        "bytes": base64.b64encode(flat.tobytes()).decode(),
    }


def _all_arrays(trace: Trace, saliency: Saliency | None) -> dict[str, Numbers]:
    arrays = {f"{k}/{name}": rows for k, layer in enumerate(trace.layers) for name, rows in _arrays(layer).items()}
    if trace.weights is not None:
        arrays["pooling/weights"] = trace.weights[None]
    if saliency is not None:
        arrays |= {"saliency/gradient": saliency.gradient, "saliency/ablation": saliency.ablation}
    return arrays


def _arrays(layer: LayerTrace) -> dict[str, Numbers]:
    """Return the arrays of a layer that the page shows, by name, each with two axes."""
    arrays = {"x": layer.inputs}
    if layer.W_ih is not None and layer.W_hh is not None:
        arrays |= {"W_ih": layer.W_ih, "W_hh": layer.W_hh}
    for gate in layer.gates:
        arrays |= {
            f"terms_x/{gate.name}": gate.W_ih_x,
            f"terms_h/{gate.name}": gate.W_hh_h,
            f"b_ih/{gate.name}": gate.b_ih[None],
            f"b_hh/{gate.name}": gate.b_hh[None],
            f"sum/{gate.name}": gate.total,
            f"value/{gate.name}": gate.value,
        }
    for p, steps in enumerate(_steps_by_lines(layer)):
        for k, line in enumerate(layer.lines[steps[0]]):
            for name in line.values:
                arrays[f"lines/{p}/{k}/{name}"] = np.stack([layer.lines[t][k].values[name] for t in steps])
    for kind, states in (("before", layer.before), ("after", layer.after), ("gradient", layer.gradients or {})):
        arrays |= {f"{kind}/{name}": rows for name, rows in states.items()}
    return arrays


def _steps_by_lines(layer: LayerTrace) -> list[list[int]]:
    """Return the time steps that run the same lines, together; empty for a cell that is no module."""
    together: dict[Any, list[int]] = {}
    for t, lines in enumerate(layer.lines):
        together.setdefault(places_of(lines), []).append(t)
    return list(together.values())


def _lines_data(layer: LayerTrace) -> dict[str, Any]:
    """Return the source lines of a layer, and for each time step which of them ran and the row of their arrays."""
    groups = _steps_by_lines(layer)
    group, row = [0] * len(layer.lines), [0] * len(layer.lines)
    for p, steps in enumerate(groups):
        for k, t in enumerate(steps):
            group[t], row[t] = p, k
    return {
        "group": group,
        "row": row,
        "groups": [
            [
                {
                    "file": Path(line.file).name,
                    "line": line.line,
                    "text": line.text,
                    "depth": line.depth,
                    "names": list(line.values),
                    "variables": [name for name in line.values if not line.is_return(name)],
                }
                for line in layer.lines[steps[0]]
            ]
            for steps in groups
        ],
    }


def max_frames(trace: Trace, saliency: Saliency) -> int:
    """Return how many such frames fit in a page: as many as fit complete, or a few with arrays left out."""
    arrays = _all_arrays(trace, saliency)
    complete, smallest = (2 * sum(rows.size for rows in a.values()) for a in (arrays, _drop_arrays(arrays, 0)))
    return max(1, min(MAX_FRAMES, max(MAX_BYTES // complete, min(MIN_FRAMES, MAX_BYTES // smallest))))


def _drop_arrays(arrays: dict[str, Numbers], max_bytes: int) -> dict[str, Numbers]:
    """Return the arrays that fit; the others are left out kind by kind, the same in every layer."""
    for kind in DROPPED_FIRST:
        if sum(rows.size for rows in arrays.values()) * 2 <= max_bytes:
            break
        arrays = {name: rows for name, rows in arrays.items() if not name.partition("/")[2].startswith(kind)}
    return arrays


def _top_labels(trace: Trace, n: int) -> list[tuple[str, float, float]]:
    """Return the most probable labels with logit and probability, and the target even if it is not among them."""
    order = np.argsort(-trace.logits[n], kind="stable")[:TOP].tolist()
    if trace.targets is not None and (target := trace.targets[n]) is not None:
        k = trace.labels.index(target)
        order += [k] if k not in order else []
    return [(trace.labels[k], float(trace.logits[n, k]), float(trace.probabilities[n, k])) for k in order]


def _logits_formula(trace: Trace) -> str:
    """How the head computes the logits: by nothing, a linear layer, or something else."""
    top = trace.layers[-1]
    output = "h'" if np.array_equal(top.output, next(iter(top.after.values()))) else "output"
    pooling, output = (f"{trace.pooling},  ", "r") if trace.pooling else ("", output)
    if trace.is_identity:
        return f"{pooling}logits = {output}"
    return pooling + (f"logits = head({output})" if trace.head is None else f"logits = W {output} + b")


def _is_right_to_left(symbols: tuple[str, ...]) -> bool:
    """Whether most letters belong to a right-to-left script such as Hebrew or Arabic."""
    letters = [c for s in symbols for c in s if c.isalpha()]
    count = sum("\u0590" <= c <= "\u08ff" or "\ufb1d" <= c <= "\ufefc" for c in letters)
    return 2 * count > len(letters)
