"""A shape report on a terminal: tables, a drawing of the network, and explanations."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohlol.explain.claims import Equality, Mistake, Shape
from ohlol.explain.shapes import CellShapes, LayerShapes, Parameter, Term
from ohlol.utils.terminal import wrap
from ohlol.utils.translation import message_id, translate

WIDTH = 80
"""Maximum columns of a line of output."""
MAX_STEPS = 6
MAX_BOXES = 4
MAX_LAYERS = 3
"""A longer list is shown by its beginning and its end."""

LETTERS = {
    "B": message_id("batch size"),
    "T": message_id("time steps"),
    "I": message_id("input size"),
    "H": message_id("hidden size"),
    "L": message_id("layers"),
    "D": message_id("directions"),
    "G": message_id("gates"),
}
_ASCII = str.maketrans(dict(zip("─│┌┐└┘├┤┴▶◀▲✓✗…⋮→←", "-|+++++++><^yx.:><", strict=True)) | {"ᵀ": ".T"})


def shapes_to_text(report: CellShapes | LayerShapes, console: Console) -> None:
    """Print a report, at most 80 columns wide.

    Args:
        report: what `ohlol.explain.shapes.shapes` returns.
        console: where to print; in colour on a terminal, in ASCII where the encoding has no other characters.

    >>> from ohlol.explain.shapes import shapes
    >>> console = Console(width=80, color_system=None)
    >>> shapes_to_text(shapes("rnncell"), console)  # doctest: +ELLIPSIS
    RNNCell: one step of a recurrent network
    ...
    """
    page = Page(console)
    if isinstance(report, CellShapes):
        _cell(report, page)
    else:
        _layer(report, page)


class Page:
    """A console with lines of at most `WIDTH` columns, in ASCII where the encoding has no other characters."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width = min(console.width, WIDTH)
        self.ascii = console.options.ascii_only

    def encodable(self, text: str) -> str:
        """Return the text, in ASCII where the encoding has no other characters."""
        return text.translate(_ASCII) if self.ascii else text

    def text(self, text: str, style: str = "") -> Text:
        """Return the encodable text in a style."""
        return Text(self.encodable(text), style=style)

    def title(self, text: str) -> None:
        """Print the first line."""
        self.print(self.text(text, "bold"), indent=0)

    def heading(self, text: str) -> None:
        """Print an empty line and a heading."""
        self.console.print()
        self.print(self.text(text, "bold cyan"), indent=0)

    def sentence(self, text: str) -> None:
        """Print text that wraps."""
        for line in [text] if cell_len(text) == len(text) else wrap(text, self.width - 2):
            self.print(self.text(line))

    def lines(self, lines: Iterable[str], style: str = "") -> None:
        """Print each line as it is."""
        for line in lines:
            self.print(self.text(line, style))

    def print(self, content: Text | Table, *, indent: int = 2) -> None:
        """Print line by line, to remove the spaces that rich appends to each line."""
        options = self.console.options.update(width=self.width - indent, highlight=False)
        for segments in self.console.render_lines(content, options, pad=False):
            line = Text.assemble(" " * indent, *((part.text, part.style or "") for part in segments))
            line.rstrip()
            self.console.print(line, soft_wrap=True, highlight=False)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, styles: Sequence[str] = ()) -> None:
        """Print columns as wide as their longest cell; the last column wraps."""
        table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, show_header=any(columns))
        for k, name in enumerate(columns):
            last = k == len(columns) - 1
            style = styles[k] if k < len(styles) else ""
            table.add_column(self.text(name, "dim"), style=style, no_wrap=not last, overflow="fold")
        for row in rows:
            table.add_row(*(self.text(cell) for cell in row))
        self.print(table)


def _cell(report: CellShapes, page: Page) -> None:
    states = report.states
    page.title(translate("{module}: one step of a recurrent network", module=report.module))
    _glossary(report.sizes, page)

    page.heading(translate("Time steps"))
    page.sentence(
        translate(
            "A sequence is {letters} = {shape}. The cell is called once per time step with the input x and the "
            "previous {states}; it returns {new_states}, the input of the next time step. Its output is h'.",
            letters=report.sequence.letters,
            shape=_show(report.sequence.shape),
            states=_and(states),
            new_states=_and([f"{s}'" for s in states]),
        )
    )
    columns = ["t", "x (B, I)", *(f"{s} (B, H)" for s in states), *(f"{s}' (B, H)" for s in states)]
    rows = [[str(s.t), *map(_show, (s.input, *s.before, *s.after))] for s in report.steps]
    page.table(columns, _shortened(rows, MAX_STEPS), styles=["dim"])

    page.heading(translate("Parameters"))
    _parameters(report.parameters, report.parameter_count, page)
    if len(report.gate_rows) > 1:
        rows_of = ", ".join(f"{gate} {first}:{last}" for gate, (first, last) in report.gate_rows.items())
        page.sentence(translate("The weights of the gates are stacked; their rows are {rows}.", rows=rows_of))

    page.heading(translate("The equation"))
    page.lines(report.equation, "bold")
    page.sentence(translate("For a batch each row is a sequence, so W x is computed as x Wᵀ:"))
    for terms in report.equation_with_shapes:
        _equation(terms, page)
    if any(" * " in line for line in report.equation):
        page.sentence(translate("* is the elementwise product."))
    if with_bias := len(report.parameters) == 4:
        page.sentence(translate("A bias is added to every row."))

    page.heading(translate("One linear layer over [h, x]"))
    joined = report.joined_weight
    page.sentence(
        translate(
            "{name} is {letters} = {shape}, and b = b_ih + b_hh." if with_bias else "{name} is {letters} = {shape}.",
            name=joined.name,
            letters=joined.letters,
            shape=_show(joined.shape),
        )
    )
    if len(joined_gates := report.joined_gates) < len(report.gate_rows):
        left = [gate for gate in report.gate_rows if gate not in joined_gates]
        page.sentence(
            translate(
                "Only for {gates}: in {left}, r multiplies the part of h first.",
                gates=_and(joined_gates),
                left=_and(left),
            )
        )
    _equalities(report.equalities, page)
    _mistakes(report.mistakes, page)


def _layer(report: LayerShapes, page: Page) -> None:
    sizes = report.sizes
    page.title(translate("{module}: a recurrent network over a whole sequence", module=report.module))
    _glossary(sizes, page)

    page.heading(translate("Inputs and outputs"))
    calls = (translate("in"), report.inputs), (translate("out"), report.outputs)
    rows = [[way, t.name, t.letters, _show(t.shape)] for way, tensors in calls for t in tensors]
    page.table(("", translate("tensor"), translate("letters"), translate("shape")), rows, styles=("dim", "bold"))

    page.heading(translate("The network"))
    page.lines(_network(report))
    row = "l*D + d" if sizes["D"] > 1 else "l"
    note = translate(
        "h_0[{row}] and h_n[{row}] belong to layer l, direction d (0 forward, 1 backward)."
        if sizes["D"] > 1
        else "h_0[{row}] and h_n[{row}] belong to layer l.",
        row=row,
    )
    page.sentence(
        note + (translate(" The arrows between time steps carry c as well as h.") if len(report.outputs) > 2 else "")
    )

    page.heading(translate("output and h_n"))
    page.sentence(
        translate(
            "output has h of the top layer at every time step; h_n has h of every layer after its last time step."
        )
    )
    _equalities(report.equalities, page)
    if report.pitfall:
        page.sentence(translate("A common mistake; these are not equal:"))
        _equalities([report.pitfall], page)
    if len(report.outputs) > 2:
        page.sentence(translate("There is no such equality for c_n: output contains h only."))

    page.heading("batch_first")
    rows = [
        [name, _show(a), _show(b), "" if a != b else translate("the same")]
        for name, (a, b) in report.batch_first.items()
    ]
    page.table(("", "batch_first=False", "batch_first=True", ""), rows, styles=("bold",))
    page.sentence(
        translate(
            "It swaps B and T of input and output only; h stays (L*D, B, H). This report uses batch_first={value}.",
            value=report.uses_batch_first,
        )
    )

    page.heading(translate("Parameters"))
    _parameters(report.parameters, report.parameter_count, page)
    _mistakes(report.mistakes, page)


def _show(shape: Shape) -> str:
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"


def _and(names: Sequence[str]) -> str:
    return translate(" and ").join(names)


def _glossary(sizes: dict[str, int], page: Page) -> None:
    """Print four letters per line, in columns."""
    entries = [f"{letter} {translate(LETTERS[letter])} {size}" for letter, size in sizes.items()]
    for four in (entries[:4], entries[4:]):
        page.sentence("".join(entry + " " * (19 - cell_len(entry)) for entry in four).rstrip())


def _shortened(rows: list[list[str]], most: int) -> list[list[str]]:
    if len(rows) <= most:
        return rows
    return [*rows[: most - 2], ["…"] * len(rows[0]), rows[-1]]


def _parameters(parameters: Sequence[Parameter], count: int, page: Page) -> None:
    """Print one row per parameter; from the second layer on all layers have the same shapes, so few are listed."""
    shown = [p for p in parameters if p.layer < MAX_LAYERS - 1]
    rows = [[p.name, p.letters, _show(p.shape), f"{_numbers(p.shape):,}"] for p in shown]
    if rest := parameters[-1].layer - shown[-1].layer:
        numbers = count - sum(_numbers(p.shape) for p in shown)
        like = translate(
            "layers {first} to {last}" if rest > 1 else "layer {first}",
            first=shown[-1].layer + 1,
            last=parameters[-1].layer,
        )
        rows.append([like, translate("as the previous layer"), "", f"{numbers:,}"])
    rows.append([translate("total"), "", "", f"{count:,}"])
    page.table(
        (translate("parameter"), translate("letters"), translate("shape"), translate("numbers")), rows, styles=("bold",)
    )


def _numbers(shape: Shape) -> int:
    return shape[0] * _numbers(shape[1:]) if shape else 1


def _equation(terms: Sequence[Term], page: Page) -> None:
    """Print each term with its shape below it, centred; an equation that is too long is wrapped at a plus."""
    groups: list[tuple[str, str]] = []
    for text, shape in ((page.encodable(text), shape) for text, shape in terms):
        small = "" if shape is None else _show(shape).replace(" ", "")
        width = max(len(text), len(small))
        above, below = groups.pop() if groups and not text.startswith((" + ", ") + ")) else ("", "")
        groups.append((above + text.center(width), below + small.center(width)))
    lines = [groups[0]]
    indent = " " * 6
    for above, below in groups[1:]:
        if len(lines[-1][0] + above) > page.width - 2:
            lines.append((indent, indent))
        lines[-1] = (lines[-1][0] + above, lines[-1][1] + below)
    for above, below in lines:
        page.print(page.text(above.rstrip(), "bold"))
        page.print(page.text(below.rstrip(), "green"))


def _equalities(equalities: Iterable[Equality], page: Page) -> None:
    for e in equalities:
        sign, style = ("✓", "bold green") if e.holds else ("✗", "bold red")
        page.print(page.text(f"{sign} {e.claim}", style))
        page.print(
            page.text(
                translate(
                    "{holds}, largest difference {difference:.1g}: {why}",
                    holds=e.holds,
                    difference=e.largest_difference,
                    why=e.why,
                ),
                "dim",
            ),
            indent=4,
        )


def _mistakes(mistakes: Iterable[Mistake], page: Page) -> None:
    page.heading(translate("Wrong shapes"))
    for mistake in mistakes:
        page.print(page.text(mistake.call, "bold"))
        if mistake.error is None:
            warning = translate(
                "no error! The output is {shape}, with B and T swapped", shape=_show(mistake.result or ())
            )
            page.print(page.text(warning, "yellow"), indent=4)
        else:
            page.print(page.text(mistake.error, "red"), indent=4)
        page.print(page.text("→ " + mistake.fix), indent=4)


def _network(report: LayerShapes) -> list[str]:
    """Draw the layers, the last on top, over the time steps from left to right."""
    T, L, D = (report.sizes[letter] for letter in "TLD")
    times = list(range(T)) if T <= MAX_BOXES else [0, 1, None, T - 1]
    layers = list(range(L)) if L <= MAX_LAYERS else [0, None, L - 1]
    left, name = 20, report.module

    def across(piece: str, gap: str, dots: str = "") -> str:
        """Return one piece per time step, nine columns wide, with a gap between two."""
        return gap.join(dots.center(9) if t is None else piece for t in times)

    def steps(label: str) -> str:
        return f"{label:<{left}}" + across("{}", "   ", "…").format(
            *(f"t={t}".center(9) for t in times if t is not None)
        )

    wires = " " * left + across("│".center(9), "   ")
    lines = [steps("output"), " " * left + across("▲".center(9), "   ")]
    for layer in reversed(layers):
        if layer is None:
            lines += [f"{'⋮':<{left}}" + across("⋮".center(9), "   "), wires]
            continue
        k = layer * D
        lines.append(" " * left + across("┌───┴───┐", "   "))
        name_of_layer = translate("layer {layer}", layer=layer)
        forward = name_of_layer + " " * (8 - cell_len(name_of_layer)) + f" h_0[{k}]".rjust(9) + " ─▶"
        lines.append(forward + across(f"│{name + ' →' * (D - 1):^7}│", "──▶", "…") + f"──▶ h_n[{k}]")
        if D == 2:
            backward = " " * 8 + f" h_n[{k + 1}]".rjust(9) + " ◀─"
            lines.append(" " * left + across("├───────┤", "   "))
            lines.append(backward + across(f"│{name + ' ←':^7}│", "◀──", "…") + f"◀── h_0[{k + 1}]")
        lines.append(" " * left + across("└───▲───┘", "   "))
        lines.append(wires)
    return [line.rstrip() for line in [*lines, steps("input")]]
