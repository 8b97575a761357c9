"""A trace on a terminal: every step, or one step's equation with the real numbers; works nothing out."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from ohlol import cells
from ohlol.display import translations
from ohlol.display.shapes_text import WIDTH
from ohlol.explain.saliency import Memory
from ohlol.explain.trace import Gate, LayerTrace, Numbers, Trace
from ohlol.utils.errors import InputError

UNITS_SHOWN = 8
"""Numbers of a row; a longer one is shown by its beginning, and as a strip of blocks."""
LARGEST_MATRIX = 6
"""Rows and columns of a matrix that is written out."""
GUESSES = 5
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*%#"
SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥", "": "∅"}
ASCII_SIGNS = {" ": "_", "\n": "\\n", "\t": "\\t", "": "''"}
JOINERS = "\u200c\u200d"
"""Not printable by themselves, and needed to spell Persian and many an emoji."""
POSITIVE, NEGATIVE = "dark_orange", "deep_sky_blue1"
"""Of numbers above and below 0: orange and blue are told apart by all eyes."""


class Page:
    """Lines of at most `WIDTH` columns in one language."""

    def __init__(self, console: Console, lang: str) -> None:
        self.console, self.lang = console, lang
        self.ascii = console.options.ascii_only
        self.width = min(console.width, WIDTH)

    def say(self, *parts: str | tuple[str, str]) -> None:
        """One line of pieces, each with its style or without; too long, it ends in an ellipsis."""
        line = Text.assemble(*parts, no_wrap=True)
        line.truncate(self.width, overflow="ellipsis")
        line.rstrip()
        self.console.print(line, soft_wrap=True, highlight=False)

    def word(self, key: str, **values: object) -> str:
        """A text of the catalogue."""
        return translations.text(key, self.lang, **values)

    def name(self, key: str) -> str:
        """A text as the name of a row, as wide as the names of gates and states."""
        word = self.word(key)
        return "  " + word + " " * max(1, 7 - Text(word).cell_len)

    def sign(self, symbol: str) -> str:
        """A symbol that can be seen and cannot steer the terminal."""
        known = ASCII_SIGNS if self.ascii else SIGNS
        if symbol in known:
            return known[symbol]
        return "".join(c if c.isprintable() or c in JOINERS else repr(c)[1:-1] for c in symbol)

    def numbers(self, row: Numbers) -> list[tuple[str, str]]:
        """A row of numbers, coloured by sign; of many units the first, and then all as a strip."""
        shown = [(f"{v:7.3f}", POSITIVE if v > 0 else NEGATIVE) for v in row[:UNITS_SHOWN].tolist()]
        if len(row) > UNITS_SHOWN:
            shown = [*shown[:4], ("  ", ""), *self.strip(row)]
        return shown

    def strip(self, row: Numbers) -> list[tuple[str, str]]:
        """A block for each unit, its height the size of the number and its colour the sign."""
        blocks = ASCII_BLOCKS if self.ascii else BLOCKS
        top = max(1.0, float(np.abs(row).max()))
        most = self.width - 48
        pieces = [
            (blocks[min(int(abs(v) / top * len(blocks)), len(blocks) - 1)], POSITIVE if v > 0 else NEGATIVE)
            for v in row[:most].tolist()
        ]
        return pieces if len(row) <= most else [*pieces[:-1], ("+" if self.ascii else "…", "dim")]


def trace_to_text(found: Trace, console: Console, *, lang: str = "en", memory: Memory | None = None) -> None:
    """Print every step: what is read, the gates, the states and the likeliest answers.

    Args:
        found: what `ohlol.explain.trace.trace` gives.
        console: where to; coloured if it is a terminal, plain otherwise, ASCII if it knows no other signs.
        lang: "en" or "zh".
        memory: how far back the model remembers; its two sentences end the page.
    """
    page = Page(console, lang)
    _head(found, page)
    last = len(found.symbols) - 1
    for t, symbol in enumerate(found.symbols):
        page.say()
        parts: list[str | tuple[str, str]] = [(page.word("step", t=t), "bold cyan"), f"  {page.word('reads')} "]
        parts.append((page.sign(symbol), "bold"))
        answer = t if not found.per_sequence else 0 if t == last else None
        page.say(*parts, *(_answer(found, answer, page) if answer is not None else ()))
        for layer in found.layers:
            _states(layer, t, page, several=len(found.layers) > 1)
        if answer is not None:
            best = "  ".join(f"{page.sign(label)} {p:.0%}" for label, p in found.best(answer, GUESSES))
            page.say(page.name("guess"), (best, "dim"))
    if memory is not None:
        page.say()
        for line in memory_lines(memory, lang):
            page.say(line)


def memory_lines(memory: Memory, lang: str) -> list[str]:
    """How far back the model remembers, and what to train it with."""
    if memory.horizon is None:
        return [translations.text("no_horizon", lang, steps=len(memory.symbols))]
    return [
        translations.text("horizon", lang, steps=memory.horizon),
        translations.text("bptt", lang, steps=memory.bptt),
    ]


def describe(found: Trace, lang: str) -> str:
    """The model in a line: its cell, layers and units."""
    first = found.layers[0]
    layers = max(layer.layer for layer in found.layers) + 1
    parts = [translations.text("model", lang, cell=first.cell, layers=layers, units=first.W_hh.shape[1])]
    parts += [translations.text("both_directions", lang)] if len(found.layers) > layers else []
    parts += [translations.text("no_head", lang)] if found.head is None else []
    return ("，" if lang == "zh" else ", ").join(parts)


def _head(found: Trace, page: Page) -> None:
    glue = "" if all(len(s) == 1 for s in found.symbols) else " "
    said = glue.join(map(page.sign, found.chosen))
    page.say((f"{glue.join(map(page.sign, found.symbols))} {'->' if page.ascii else '→'} {said}", "bold"))
    page.say(describe(found, page.lang))
    if found.loss is not None and found.losses is not None:
        count = sum(v is not None for v in found.losses)
        page.say(page.word(f"loss_{found.reduction}", value=f"{found.loss:.4f}", count=count))
    page.say((page.word("difference", value=f"{found.difference:.1g}"), "dim"))


def _answer(found: Trace, n: int, page: Page) -> list[str | tuple[str, str]]:
    said, wanted = found.chosen[n], found.targets[n] if found.targets is not None else None
    right = said == wanted
    style = "bold" if wanted is None else "bold green" if right else "bold red"
    parts: list[str | tuple[str, str]] = [f"  {page.word('answer')} ", (page.sign(said), style)]
    if wanted is not None and found.losses is not None:
        mark = ("ok" if right else "x") if page.ascii else ("✓" if right else "✗")
        parts += [" ", (mark, style)]
        parts += [] if right else [f" {page.word('wanted')} ", (page.sign(wanted), "bold")]
        parts += [f"  {page.word('loss')} {found.losses[n]:.4f}"]
    return parts


def _states(layer: LayerTrace, t: int, page: Page, *, several: bool) -> None:
    if several:
        page.say((f"  {page.word('layer', layer=layer.layer)}, {page.word(layer.direction)}", "dim"))
    if len(layer.gates) > 1:
        for gate in layer.gates:
            page.say((f"  {gate.name:<7}", "dim"), *page.numbers(gate.value[t]))
    for name in reversed(layer.after):
        page.say((f"  {name + chr(39):<7}", "bold"), *page.numbers(layer.after[name][t]))


def step_to_text(found: Trace, t: int, console: Console, *, lang: str = "en") -> None:
    """Print one step's equations with the real numbers in them, then the answer they lead to.

    Args:
        found: what `ohlol.explain.trace.trace` gives.
        t: which step, from 0.
        console: where to.
        lang: "en" or "zh".

    Raises:
        InputError: there is no such step.
    """
    if not 0 <= t < len(found.symbols):
        raise InputError(f"--step is {t}; the steps are 0 to {len(found.symbols) - 1}")
    page = Page(console, lang)
    _head(found, page)
    page.say()
    page.say((page.word("step", t=t), "bold cyan"), f"  {page.word('reads')} ", (page.sign(found.symbols[t]), "bold"))
    for layer in found.layers:
        page.say()
        if len(found.layers) > 1:
            page.say((f"{page.word('layer', layer=layer.layer)}, {page.word(layer.direction)}", "bold"))
        for line in cells.CELLS[layer.cell].equation:
            page.say((line, "bold"))
        for k, gate in enumerate(layer.gates):
            page.say()
            _matrices(layer, k, t, page)
            _gate(layer, gate, t, page)
        _new_state(layer, t, page)
    n = t if not found.per_sequence else 0 if t == len(found.symbols) - 1 else None
    if n is not None:
        _scores(found, n, page)


def _matrices(layer: LayerTrace, k: int, t: int, page: Page) -> None:
    """Both products of one gate, matrix times vector, side by side where they fit."""
    H, name = layer.W_hh.shape[1], layer.gates[k].name
    if max(layer.W_ih.shape[1], H) > LARGEST_MATRIX:
        return
    letters = ("W_ih", "W_hh") if len(layer.gates) == 1 else (f"W_i{name}", f"W_h{name}")
    rows = slice(k * H, (k + 1) * H)
    for title, matrix, vector, product, of in (
        (letters[0], layer.W_ih[rows], layer.inputs[t], layer.gates[k].W_ih_x[t], "x"),
        (letters[1], layer.W_hh[rows], layer.before["h"][t], layer.gates[k].W_hh_h[t], "h"),
    ):
        wide = matrix.shape[1] * 7 + 1
        page.say((f"  {title + ' ' + of:<9}", "dim"), *_column(matrix, vector, product, 0, wide))
        for row in range(1, max(len(matrix), len(vector))):
            page.say(" " * 11, *_column(matrix, vector, product, row, wide))


def _column(matrix: Numbers, vector: Numbers, product: Numbers, row: int, wide: int) -> list[str | tuple[str, str]]:
    """One row of "[matrix] [vector] = [product]"; the vector may be longer or shorter than the matrix is high."""

    def shown(values: Sequence[float]) -> list[str | tuple[str, str]]:
        return ["[", *((f"{v:7.3f}", POSITIVE if v > 0 else NEGATIVE if v < 0 else "dim") for v in values), "]"]

    middle = " = " if row == 0 else "   "
    left = shown(matrix[row].tolist()) if row < len(matrix) else [" " * (wide + 1)]
    times = shown([float(vector[row])]) if row < len(vector) else [" " * 9]
    right = shown([float(product[row])]) if row < len(product) else []
    return [*left, " ", *times, middle, *right]


def _gate(layer: LayerTrace, gate: Gate, t: int, page: Page) -> None:
    """A row for each unit: the terms, their sum, and the gate."""
    function, one = gate.activation, len(layer.gates) == 1
    part = "h" if one else gate.name
    names = (
        ("W_ih x", "b_ih", "W_hh h", "b_hh")
        if one
        else tuple(s.format(part) for s in ("W_i{} x", "b_i{}", "W_h{} h", "b_h{}"))
    )
    value = "h'" if one else part
    heads = [
        page.word("unit"),
        names[0],
        names[1],
        *([] if gate.reset_by is None else [gate.reset_by]),
        names[2],
        names[3],
        page.word("sum"),
    ]
    page.say((_cells([*heads, f"{function} = {value}"]), "dim"))
    reset = next((other.value[t] for other in layer.gates if other.name == gate.reset_by), None)
    for j in range(min(len(gate.total[t]), UNITS_SHOWN)):
        numbers = [gate.W_ih_x[t, j], gate.b_ih[j], gate.W_hh_h[t, j], gate.b_hh[j]]
        signed = [f"{numbers[0]:.4f}", f"{numbers[1]:+.4f}", f"{numbers[2]:+.4f}", f"{numbers[3]:+.4f}"]
        if reset is not None:
            signed[2:] = [f"+{reset[j]:.4f}*", f"({numbers[2]:.4f}", f"{numbers[3]:+.4f})"]
        row = _cells([str(j), *signed, f"{gate.total[t, j]:.4f}", ""]).removesuffix(" " * 12)
        style = POSITIVE if gate.value[t, j] > 0 else NEGATIVE
        page.say(row, (f"{gate.value[t, j]:>12.6f}", style))
    if (rest := len(gate.total[t]) - UNITS_SHOWN) > 0:
        page.say((f"  {page.word('more_units', count=rest)}", "dim"))


def _cells(row: Sequence[str]) -> str:
    """Columns: the unit's number narrow, the rest eleven wide, counted as a terminal shows them."""
    widths = [5, *[10 if len(row) > 6 else 11] * (len(row) - 2), 12]
    return "".join(" " * max(0, w - Text(cell).cell_len) + cell for w, cell in zip(widths, row, strict=True))


def _new_state(layer: LayerTrace, t: int, page: Page) -> None:
    if len(layer.gates) > 1:
        page.say()
        lines = [line for line in cells.CELLS[layer.cell].equation if "'" in line.split("=")[0]]
        for line in lines:
            name = line.split("'")[0]
            page.say((line, "bold"))
            if name in layer.before:
                page.say((f"  {name:<7}", "dim"), *page.numbers(layer.before[name][t]))
            page.say((f"  {name + chr(39):<7}", "bold"), *page.numbers(layer.after[name][t]))
    if layer.gradients is not None:
        for name, rows in layer.gradients.items():
            page.say((f"  dL/d{name + chr(39):<4}", "dim"), *page.numbers(rows[t]))


def _scores(found: Trace, n: int, page: Page) -> None:
    page.say()
    page.say((_cells(["", page.word("label"), page.word("score"), page.word("probability")]), "dim"))
    order = np.argsort(-found.logits[n], kind="stable")[:UNITS_SHOWN]
    for k in order.tolist():
        label, wanted = page.sign(found.labels[k]), found.targets is not None and found.targets[n] == found.labels[k]
        bar = ("#" if page.ascii else "█") * round(float(found.probabilities[n, k]) * 24)
        mark = f"  {page.word('wanted')}" if wanted else ""
        row = _cells(["", label, f"{found.logits[n, k]:.4f}", f"{found.probabilities[n, k]:.4f}"])
        page.say(row, "  ", (bar, POSITIVE), (mark, "bold green"))
    if found.losses is not None and found.losses[n] is not None:
        page.say()
        wanted = found.targets[n] if found.targets is not None else ""
        p = found.probabilities[n, found.labels.index(wanted or "")]
        page.say(f"{page.word('loss')} = -log({p:.4f}) = {found.losses[n]:.4f}")
