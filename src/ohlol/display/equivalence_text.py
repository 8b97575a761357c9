"""The comparison of the implementations of a cell, on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ohlol.display.trace_text import Page
from ohlol.explain.equivalence import Comparison


def comparisons_to_text(comparisons: Sequence[Comparison], console: Console, *, lang: str = "en") -> None:
    """Print the largest differences of each implementation from the matrix products in float64."""
    page = Page(console, lang)
    states, gradients = (
        " " * max(1, width - Text(name).cell_len) + name
        for name, width in ((page.text("prove_states"), 9), (page.text("prove_gradients"), 11))
    )
    for k, comparison in enumerate(comparisons):
        sizes = "  ".join(f"{letter} {size}" for letter, size in comparison.sizes.items())
        where = (
            f", {page.text('layer', layer=comparison.layer)}, {page.text(comparison.direction)}"
            if len(comparisons) > 1
            else ""
        )
        title = page.text("prove", cell=comparison.cell + where, count=len(comparison.implementations))
        page.print(*([] if k == 0 else ["\n"]), (title, "bold"))
        page.print(page.text("prove_scale", sizes=sizes))
        page.print()
        page.print((f"{'':<30}{'float64':>18}{'float32':>20}", "dim"))
        page.print((f"{'':<30}{states}{gradients}{states}{gradients}", "dim"))
        for one in comparison.implementations:
            mark = ("ok" if one.agrees else "x") if page.ascii else ("✓" if one.agrees else "✗")
            numbers = f"{one.output:>9.1e}{one.gradient:>11.1e}{one.output32:>9.1e}{one.gradient32:>11.1e}"
            page.print((f"{mark} ", "green" if one.agrees else "bold red"), f"{one.name:<28}", numbers)
        page.print(page.text("prove_converted" if comparison.converted else "prove_not_converted"))
