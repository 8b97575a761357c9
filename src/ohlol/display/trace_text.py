"""A trace on a terminal: every time step, or the equations of one time step with their numbers."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from ohlol import cells
from ohlol.display import texts
from ohlol.display.shapes_text import WIDTH
from ohlol.explain.saliency import Saliency
from ohlol.explain.trace import GateTrace, LayerTrace, Numbers, Trace
from ohlol.utils.errors import InputError
from ohlol.utils.terminal import escape_symbol, wrap

MAX_NUMBERS = 8
"""Values of a row that are written out; a longer row is shown by its first values and a strip of blocks."""
MAX_NAME = 15
"""Columns for the name of a variable of a cell; a longer name ends in an ellipsis."""
MAX_MATRIX = 6
"""Rows and columns of a matrix that is written out."""
TOP = 5
"""Labels shown for a prediction."""
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*%#"
VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "": "∅"}
ASCII_VISIBLE = {" ": "_", "\n": "\\n", "\t": "\\t", "": "''"}
POSITIVE, NEGATIVE = "dark_orange", "deep_sky_blue1"
"""Colours of values above and below 0, distinguishable with every kind of colour vision."""


class Page:
    """A console with lines of at most `WIDTH` columns in one language."""

    def __init__(self, console: Console, lang: str) -> None:
        self.console, self.lang = console, lang
        self.ascii = console.options.ascii_only
        self.width = min(console.width, WIDTH)

    def print(self, *parts: str | tuple[str, str]) -> None:
        """Print one line of pieces, each with or without a style; a line that is too long ends in an ellipsis."""
        line = Text.assemble(*parts, no_wrap=True)
        line.truncate(self.width, overflow="ellipsis")
        line.rstrip()
        self.console.print(line, soft_wrap=True, highlight=False)

    def text(self, key: str, **values: object) -> str:
        """Return a text of the catalogue."""
        return texts.text(key, self.lang, **values)

    def row_name(self, key: str, **values: object) -> str:
        """Return a text padded to the width of the names of gates and states."""
        name = self.text(key, **values)
        return "  " + name + " " * max(1, 7 - Text(name).cell_len)

    def visible(self, symbol: str) -> str:
        """Return a symbol in visible characters, without control characters."""
        known = ASCII_VISIBLE if self.ascii else VISIBLE
        if symbol in known:
            return known[symbol]
        return escape_symbol(symbol)

    def numbers(self, row: Numbers) -> list[tuple[str, str]]:
        """Return a row of values, coloured by sign; a long row as its first values and a strip of all."""
        pieces = [(f"{v:7.3f}", POSITIVE if v > 0 else NEGATIVE) for v in row[:MAX_NUMBERS].tolist()]
        if len(row) > MAX_NUMBERS:
            pieces = [*pieces[:4], ("  ", ""), *self.strip(row)]
        return pieces

    def strip(self, row: Numbers) -> list[tuple[str, str]]:
        """Return one block per value: its height shows the magnitude, its colour the sign."""
        blocks = ASCII_BLOCKS if self.ascii else BLOCKS
        top = max(1.0, float(np.abs(row).max()))
        most = self.width - 48
        pieces = [
            (blocks[min(int(abs(v) / top * len(blocks)), len(blocks) - 1)], POSITIVE if v > 0 else NEGATIVE)
            for v in row[:most].tolist()
        ]
        return pieces if len(row) <= most else [*pieces[:-1], ("+" if self.ascii else "…", "dim")]


def trace_to_text(trace: Trace, console: Console, *, lang: str = "en", saliency: Saliency | None = None) -> None:
    """Print every time step: the input, the gates, the states and the most probable labels.

    Args:
        trace: what `ohlol.explain.trace.trace` returns.
        console: where to print; in colour on a terminal, in ASCII where the encoding has no other characters.
        lang: "en" or "zh".
        saliency: the saliency of the same sequence; adds the influence length and the recommended `bptt`.
    """
    page = Page(console, lang)
    _print_header(trace, page)
    for t in range(len(trace.symbols)):
        page.print()
        n = trace.prediction_at(t)
        prediction = [] if n is None else _prediction(trace, n, page)
        page.print(*_step_title(trace, t, page), *prediction)
        for layer in trace.layers:
            _print_states(layer, t, page, several=len(trace.layers) > 1)
        if n is not None:
            best = "  ".join(f"{page.visible(label)} {p:.0%}" for label, p in trace.best(n, TOP))
            page.print(page.row_name("top_labels", count=min(TOP, len(trace.labels))), (best, "dim"))
    if saliency is not None:
        page.print()
        for sentence in saliency_lines(saliency, lang):
            for line in wrap(sentence, page.width):
                page.print(line)


def saliency_lines(saliency: Saliency, lang: str) -> list[str]:
    """Return the influence length and the recommended `bptt` as sentences."""
    if saliency.influence_length is None:
        return [texts.text("no_influence_length", lang, steps=len(saliency.symbols))]
    return [
        texts.text("influence_length", lang, steps=saliency.influence_length),
        texts.text("bptt", lang, steps=saliency.recommended_bptt),
    ]


def describe_model(trace: Trace, lang: str) -> str:
    """Return the model in one line: its cell, layers and hidden size."""
    first = trace.layers[0]
    layers = max(layer.layer for layer in trace.layers) + 1
    parts = [texts.text("model", lang, cell=first.cell, layers=layers, hidden_size=first.hidden_size)]
    parts += [texts.text("bidirectional", lang)] if len(trace.layers) > layers else []
    parts += [texts.text("head_identity", lang)] if trace.is_identity else []
    return ("，" if lang == "zh" else ", ").join(parts)


def difference_key(trace: Trace) -> str:
    """The key of the text that compares what was computed with the model."""
    return "difference_lines" if trace.layers[0].lines else "difference"


def _print_header(trace: Trace, page: Page) -> None:
    separator = "" if all(len(s) == 1 for s in trace.symbols) else " "
    symbols, predicted = (separator.join(map(page.visible, s)) for s in (trace.symbols, trace.predicted))
    page.print((f"{symbols} {'->' if page.ascii else '→'} {predicted}", "bold"))
    page.print(describe_model(trace, page.lang))
    if trace.loss is not None and trace.losses is not None:
        count = sum(v is not None for v in trace.losses)
        page.print(page.text(f"loss_{trace.reduction}", value=f"{trace.loss:.4f}", count=count))
    if trace.pooling:
        page.print((page.text("pooled", equation=trace.pooling), "dim"))
    page.print((page.text(difference_key(trace), value=f"{trace.difference:.1g}"), "dim"))


def _step_title(trace: Trace, t: int, page: Page) -> list[str | tuple[str, str]]:
    symbol = (page.visible(trace.symbols[t]), "bold")
    weight = [] if trace.weights is None else [f"  {page.text('weight')} {trace.weights[t]:.3f}"]
    return [(page.text("step", t=t), "bold cyan"), f"  {page.text('input')} ", symbol, *weight]


def _prediction(trace: Trace, n: int, page: Page) -> list[str | tuple[str, str]]:
    predicted, target = trace.predicted[n], trace.targets[n] if trace.targets is not None else None
    is_correct = predicted == target
    style = "bold" if target is None else "bold green" if is_correct else "bold red"
    parts: list[str | tuple[str, str]] = [f"  {page.text('prediction')} ", (page.visible(predicted), style)]
    if target is not None and trace.losses is not None:
        mark = ("ok" if is_correct else "x") if page.ascii else ("✓" if is_correct else "✗")
        parts += [" ", (mark, style)]
        parts += [] if is_correct else [f" {page.text('target')} ", (page.visible(target), "bold")]
        parts += [f"  {page.text('loss')} {trace.losses[n]:.4f}"]
    return parts


def _layer_title(layer: LayerTrace, page: Page) -> str:
    return f"{page.text('layer', layer=layer.layer)}, {page.text(layer.direction)}"


def _print_states(layer: LayerTrace, t: int, page: Page, *, several: bool) -> None:
    if several:
        page.print((f"  {_layer_title(layer, page)}", "dim"))
    if len(layer.gates) > 1:
        for gate in layer.gates:
            page.print((f"  {gate.name:<7}", "dim"), *page.numbers(gate.value[t]))
    if layer.lines:
        for line in layer.lines[t]:
            for name, row in line.values.items():
                if not line.is_return(name):
                    _print_named(name, row, page)
    for name in reversed(layer.after):
        _print_state(layer, name, t, page)


def _print_lines(layer: LayerTrace, t: int, page: Page) -> None:
    """Print the lines of a cell that compute numbers at a time step, below each line the tensors that it assigns."""
    file = ""
    for line in layer.lines[t]:
        if not line.values:
            continue
        if line.file != file:
            file = line.file
            page.print((f"  {page.visible(Path(file).name)}", "dim"))
        text = page.text("no_source") if line.text is None else line.text
        for k, part in enumerate(text.split("\n")):
            _print_source(str(line.line + k), "  " * line.depth + escape_symbol(part), page)
        for name, row in line.values.items():
            _print_named(name, row, page)
    if not any(line.values for line in layer.lines[t]):
        page.print((f"  {page.text('no_lines')}", "dim"))


def _print_source(number: str, text: str, page: Page) -> None:
    """Print a line of source with its number, in as many lines as it needs."""
    indent = " " * (len(text) - len(text.lstrip()) + 4)
    for part in textwrap.wrap(text, page.width - 7, subsequent_indent=indent) or [""]:
        page.print((f"{number:>5}  ", "dim"), (part, "bold"))
        number = ""


def _print_named(name: str, row: Numbers, page: Page) -> None:
    shown = name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + ("~" if page.ascii else "…")
    page.print((f"  {shown:<{MAX_NAME}}", "dim"), *page.numbers(row))


def step_to_text(trace: Trace, t: int, console: Console, *, lang: str = "en") -> None:
    """Print the equations of one time step with their numbers, then the prediction.

    Args:
        trace: what `ohlol.explain.trace.trace` returns.
        t: the time step, from 0.
        console: where to print.
        lang: "en" or "zh".

    Raises:
        InputError: there is no such time step.
    """
    if not 0 <= t < len(trace.symbols):
        raise InputError("`step` is {t}; the steps are 0 to {count}", t=t, count=len(trace.symbols) - 1)
    page = Page(console, lang)
    _print_header(trace, page)
    page.print()
    page.print(*_step_title(trace, t, page))
    for layer in trace.layers:
        page.print()
        if len(trace.layers) > 1:
            page.print((_layer_title(layer, page), "bold"))
        for line in cells.CELLS[layer.cell].equation:
            page.print((line, "bold"))
        for k, gate in enumerate(layer.gates):
            page.print()
            _print_matrices(layer, k, t, page)
            _print_gate(layer, gate, t, page)
        if layer.lines:
            _print_lines(layer, t, page)
        _print_new_state(layer, t, page)
    n = trace.prediction_at(t)
    if n is not None:
        _print_logits(trace, n, page)


def _print_matrices(layer: LayerTrace, k: int, t: int, page: Page) -> None:
    """Print both products of one gate, matrix times vector, where they are small enough."""
    assert layer.W_ih is not None
    assert layer.W_hh is not None
    H, name = layer.hidden_size, layer.gates[k].name
    if max(layer.W_ih.shape[1], H) > MAX_MATRIX:
        return
    letters = ("W_ih", "W_hh") if len(layer.gates) == 1 else (f"W_i{name}", f"W_h{name}")
    rows = slice(k * H, (k + 1) * H)
    for title, matrix, vector, product, of in (
        (letters[0], layer.W_ih[rows], layer.inputs[t], layer.gates[k].W_ih_x[t], "x"),
        (letters[1], layer.W_hh[rows], layer.before["h"][t], layer.gates[k].W_hh_h[t], "h"),
    ):
        width = matrix.shape[1] * 7 + 1
        page.print((f"  {title + ' ' + of:<9}", "dim"), *_product_row(matrix, vector, product, 0, width))
        for row in range(1, max(len(matrix), len(vector))):
            page.print(" " * 11, *_product_row(matrix, vector, product, row, width))


def _product_row(
    matrix: Numbers, vector: Numbers, product: Numbers, row: int, width: int
) -> list[str | tuple[str, str]]:
    """Return one row of "[matrix] [vector] = [product]"; the vector may have more or fewer rows than the matrix."""

    def in_brackets(values: Sequence[float]) -> list[str | tuple[str, str]]:
        return ["[", *((f"{v:7.3f}", POSITIVE if v > 0 else NEGATIVE if v < 0 else "dim") for v in values), "]"]

    middle = " = " if row == 0 else "   "
    left = in_brackets(matrix[row].tolist()) if row < len(matrix) else [" " * (width + 1)]
    times = in_brackets([float(vector[row])]) if row < len(vector) else [" " * 9]
    right = in_brackets([float(product[row])]) if row < len(product) else []
    return [*left, " ", *times, middle, *right]


def _print_gate(layer: LayerTrace, gate: GateTrace, t: int, page: Page) -> None:
    """Print one row per neuron: the terms, their sum, and the value of the gate."""
    function, one = gate.activation, len(layer.gates) == 1
    part = "h" if one else gate.name
    names = (
        ("W_ih x", "b_ih", "W_hh h", "b_hh")
        if one
        else tuple(s.format(part) for s in ("W_i{} x", "b_i{}", "W_h{} h", "b_h{}"))
    )
    value = "h'" if one else part
    heads = [
        page.text("neuron"),
        names[0],
        names[1],
        *([gate.reset_by] if gate.reset_by else []),
        names[2],
        names[3],
        page.text("sum"),
    ]
    page.print((_cells([*heads, f"{function} = {value}"]), "dim"))
    reset = next((other.value[t] for other in layer.gates if other.name == gate.reset_by), None)
    for j in range(min(len(gate.total[t]), MAX_NUMBERS)):
        numbers = [gate.W_ih_x[t, j], gate.b_ih[j], gate.W_hh_h[t, j], gate.b_hh[j]]
        signed = [f"{numbers[0]:.4f}", f"{numbers[1]:+.4f}", f"{numbers[2]:+.4f}", f"{numbers[3]:+.4f}"]
        if reset is not None:
            signed[2:] = [f"+{reset[j]:.4f}*", f"({numbers[2]:.4f}", f"{numbers[3]:+.4f})"]
        row = _cells([str(j), *signed, f"{gate.total[t, j]:.4f}", ""]).removesuffix(" " * 12)
        style = POSITIVE if gate.value[t, j] > 0 else NEGATIVE
        page.print(row, (f"{gate.value[t, j]:>12.6f}", style))
    if (rest := len(gate.total[t]) - MAX_NUMBERS) > 0:
        page.print((f"  {page.text('more_neurons', count=rest)}", "dim"))


def _cells(row: Sequence[str]) -> str:
    """Return columns of fixed width, counted as a terminal shows them; the first, a number, is narrow."""
    widths = [7, *[10 if len(row) > 6 else 11] * (len(row) - 2), 12]
    return "".join(" " * max(0, w - Text(cell).cell_len) + cell for w, cell in zip(widths, row, strict=True))


def _print_new_state(layer: LayerTrace, t: int, page: Page) -> None:
    if layer.lines:
        for name in layer.after:
            _print_state(layer, name, t, page)
    if len(layer.gates) > 1:
        page.print()
        lines = [line for line in cells.CELLS[layer.cell].equation if "'" in line.split("=")[0]]
        for line in lines:
            name = line.split("'")[0]
            page.print((line, "bold"))
            if name in layer.before:
                page.print((f"  {name:<7}", "dim"), *page.numbers(layer.before[name][t]))
            _print_state(layer, name, t, page)
    if layer.gradients is not None:
        for name, rows in layer.gradients.items():
            width = max(8, _name_width(layer))
            page.print((f"  {f'dL/d{name}{chr(39)}':<{width}}", "dim"), *page.numbers(rows[t]))


def _print_state(layer: LayerTrace, name: str, t: int, page: Page) -> None:
    page.print((f"  {name + chr(39):<{_name_width(layer)}}", "bold"), *page.numbers(layer.after[name][t]))


def _name_width(layer: LayerTrace) -> int:
    """Columns of the names of rows, those of gates or of variables."""
    return MAX_NAME if layer.lines else 7


def _print_logits(trace: Trace, n: int, page: Page) -> None:
    page.print()
    page.print((_cells(["", page.text("label"), page.text("logit"), page.text("probability")]), "dim"))
    target = trace.targets[n] if trace.targets is not None else None
    order = np.argsort(-trace.logits[n], kind="stable")[:MAX_NUMBERS]
    for k in order.tolist():
        bar = ("#" if page.ascii else "█") * round(float(trace.probabilities[n, k]) * 24)
        mark = f"  {page.text('target')}" if trace.labels[k] == target else ""
        numbers = [f"{trace.logits[n, k]:.4f}", f"{trace.probabilities[n, k]:.4f}"]
        row = _cells(["", page.visible(trace.labels[k]), *numbers])
        page.print(row, "  ", (bar, POSITIVE), (mark, "bold green"))
    if target is not None and trace.losses is not None:
        page.print()
        p = trace.probabilities[n, trace.labels.index(target)]
        page.print(f"{page.text('loss')} = -log({p:.4f}) = {trace.losses[n]:.4f}")
