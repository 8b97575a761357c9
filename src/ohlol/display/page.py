"""A trace as one HTML page that needs nothing else; works nothing out, and knows nothing of models.

The page is `web/explain.html` with `style.css`, `trace.html` and `trace.js` put in, which other pages may use too, and
the numbers as JSON. Whatever a symbol is, it stays data: `<`, `>` and `&` are escaped in the JSON, the page's script
puts text in as text only, and its policy allows that one script and no network.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from ohlol import cells
from ohlol.display import translations
from ohlol.display.trace_text import describe
from ohlol.explain.history import Frame
from ohlol.explain.saliency import Memory
from ohlol.explain.trace import LayerTrace, Numbers, Trace

TOP = 10
"""Answers kept for each step."""
EXACT = 3 << 15
"""Bytes up to which numbers keep single precision; more are halved."""
LARGEST = 6 << 20
"""Bytes of numbers a page may hold; what is easiest to spare is left out first."""
MOST_FRAMES, FEW_FRAMES = 64, 8
"""Epochs that a page shows: at most, and where they are so large that their terms must be left out."""
SPARED = ("terms_", "sum/", "W_", "gradient/", "value/", "before/")


def page(found: Trace, *, lang: str = "en", memory: Memory | None = None, frames: Sequence[Frame] = ()) -> str:
    """The page of a trace.

    Args:
        found: what `ohlol.explain.trace.trace` gives.
        lang: the language it opens in, "en" or "zh".
        memory: the influence of inputs on answers, for the same sequence.
        frames: the same sequence after several epochs, in order; the page opens at the best, or the last.

    Returns:
        HTML that loads nothing: write it to a file and open it.
    """
    return filled("explain.html", data(found, lang=lang, memory=memory, frames=frames))


def filled(template: str, content: dict[str, Any] | None = None) -> str:
    """A page of `web/`, the files it names put in, and the content as JSON; its policy allows its own scripts alone.

    Args:
        template: a file of `web/` with places such as `__style.css__`, `__DATA__` and `__HASHES__`.
        content: what stands in the place `__DATA__`.
    """
    html = re.sub(r"__([a-z]+\.(?:css|js|html))__", lambda name: _file(name[1]), _file(template))
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    allowed = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    html = html.replace("__HASHES__", " ".join(f"'sha256-{digest}'" for digest in allowed))
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return html.replace("__DATA__", text)


def _file(name: str) -> str:
    return (resources.files("ohlol.display") / "web" / name).read_text(encoding="utf-8")


def data(
    found: Trace, *, lang: str = "en", memory: Memory | None = None, frames: Sequence[Frame] = ()
) -> dict[str, Any]:
    """What `show` of `web/trace.js` draws; the arguments are those of `page`."""
    frames = frames or [Frame(0, found, memory)]
    opened = next((k for k, frame in enumerate(frames) if frame.best), len(frames) - 1)
    return {
        "lang": lang,
        "texts": translations.catalogue(),
        "about": {name: describe(found, name) for name in translations.LANGUAGES},
        "task": found.task,
        "symbols": found.symbols,
        "glue": "" if all(len(s) == 1 for s in found.symbols) else " ",
        "rtl": _right_to_left(found.symbols),
        "units": found.layers[0].W_hh.shape[1],
        "both": any(layer.direction == "backward" for layer in found.layers),
        "targets": found.targets,
        "reduction": found.reduction,
        "head": found.head is not None,
        "layers": [
            {
                "layer": layer.layer,
                "direction": layer.direction,
                "cell": layer.cell,
                "equation": cells.CELLS[layer.cell].equation,
                "gates": [gate.name for gate in layer.gates],
                "functions": [gate.activation for gate in layer.gates],
                "states": list(layer.after),
            }
            for layer in found.layers
        ],
        "opened": opened,
        "frames": [_frame(frame, LARGEST // len(frames)) for frame in frames],
    }


def _frame(frame: Frame, largest: int) -> dict[str, Any]:
    """What changes while the network learns, in at most so many bytes of numbers."""
    found, memory = frame.trace, frame.memory
    arrays = _all_arrays(found, memory)
    half = sum(rows.size for rows in arrays.values()) * 4 > EXACT
    arrays = _spared(arrays, largest)
    places: dict[str, tuple[int, int, int]] = {}
    offset = 0
    for name, rows in arrays.items():
        places[name] = (offset, len(rows), rows.shape[1])
        offset += rows.size
    kind = np.dtype("<f2" if half else "<f4")
    most = float(np.finfo(kind).max)
    flat = np.concatenate([np.clip(rows, -most, most).astype(kind).ravel() for rows in arrays.values()])
    return {
        "epoch": frame.epoch,
        "chosen": found.chosen,
        "losses": found.losses,
        "loss": found.loss,
        "difference": found.difference,
        "top": [_top(found, n) for n in range(len(found.chosen))],
        "memory": None
        if memory is None
        else {"horizon": memory.horizon, "bptt": memory.bptt, "count": len(memory.symbols)},
        "half": half,
        "arrays": places,
        "bytes": base64.b64encode(flat.tobytes()).decode(),
    }


def _all_arrays(found: Trace, memory: Memory | None) -> dict[str, Numbers]:
    arrays = {f"{k}/{name}": rows for k, layer in enumerate(found.layers) for name, rows in _arrays(layer).items()}
    if memory is not None:
        arrays |= {"memory/gradient": memory.gradient, "memory/ablation": memory.ablation}
    return arrays


def _arrays(layer: LayerTrace) -> dict[str, Numbers]:
    """What the page shows of a layer, by name, each of two axes."""
    made = {"x": layer.inputs, "W_ih": layer.W_ih, "W_hh": layer.W_hh}
    for gate in layer.gates:
        made |= {
            f"terms_x/{gate.name}": gate.W_ih_x,
            f"terms_h/{gate.name}": gate.W_hh_h,
            f"b_ih/{gate.name}": gate.b_ih[None],
            f"b_hh/{gate.name}": gate.b_hh[None],
            f"sum/{gate.name}": gate.total,
            f"value/{gate.name}": gate.value,
        }
    for kind, states in (("before", layer.before), ("after", layer.after), ("gradient", layer.gradients or {})):
        made |= {f"{kind}/{name}": rows for name, rows in states.items()}
    return made


def room_for(found: Trace, memory: Memory) -> int:
    """How many frames like this a page has room for: as many as fit whole, or a few with less in them."""
    arrays = _all_arrays(found, memory)
    whole, least = (2 * sum(rows.size for rows in a.values()) for a in (arrays, _spared(arrays, 0)))
    return max(1, min(MOST_FRAMES, max(LARGEST // whole, min(FEW_FRAMES, LARGEST // least))))


def _spared(arrays: dict[str, Numbers], largest: int) -> dict[str, Numbers]:
    """The arrays that fit; of the others one kind after the other is left out, the same of every layer."""
    for kind in SPARED:
        if sum(rows.size for rows in arrays.values()) * 2 <= largest:
            break
        arrays = {name: rows for name, rows in arrays.items() if not name.partition("/")[2].startswith(kind)}
    return arrays


def _top(found: Trace, n: int) -> list[tuple[str, float, float]]:
    """The likeliest labels with score and probability, and the right one wherever it stands."""
    order = np.argsort(-found.logits[n], kind="stable")[:TOP].tolist()
    if found.targets is not None and (wanted := found.targets[n]) is not None:
        at = found.labels.index(wanted)
        order += [at] if at not in order else []
    return [(found.labels[k], float(found.logits[n, k]), float(found.probabilities[n, k])) for k in order]


def _right_to_left(symbols: tuple[str, ...]) -> bool:
    """Whether most letters are of a script that runs to the left, such as Hebrew and Arabic."""
    letters = [c for s in symbols for c in s if c.isalpha()]
    leftward = sum("\u0590" <= c <= "\u08ff" or "\ufb1d" <= c <= "\ufefc" for c in letters)
    return 2 * leftward > len(letters)
