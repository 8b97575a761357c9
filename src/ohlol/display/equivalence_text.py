"""The comparison of the implementations of a cell, on a terminal."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ohlol.display.trace_text import Page
from ohlol.explain.equivalence import IN_A_LOOP, REFERENCE, Comparison

MIN_NAME, MAX_NAME = 28, 38
"""Columns for the name of an implementation."""


def comparisons_to_text(comparisons: Sequence[Comparison], console: Console, *, lang: str = "en") -> None:
    """Print the largest differences of each implementation from the reference in float64."""
    page = Page(console, lang)
    states, gradients = (
        " " * max(1, width - Text(name).cell_len) + name
        for name, width in ((page.text("prove_states"), 9), (page.text("prove_gradients"), 11))
    )
    for k, comparison in enumerate(comparisons):
        sizes = "  ".join(f"{letter} {_size(size)}" for letter, size in comparison.sizes.items())
        reference = page.text("prove_products" if comparison.reference == REFERENCE else "prove_loop")
        names = [_name(page, one.name) for one in comparison.implementations]
        name_width = max(MIN_NAME, *map(cell_len, names))
        where = (
            f", {page.text('layer', layer=comparison.layer)}, {page.text(comparison.direction)}"
            if len(comparisons) > 1
            else ""
        )
        title = page.text("prove", cell=comparison.cell + where, count=len(comparison.implementations))
        page.print(*([] if k == 0 else ["\n"]), (title, "bold"))
        page.print(page.text("prove_scale", sizes=sizes, reference=reference))
        page.print()
        page.print((f"{'':<{name_width + 2}}{'float64':>18}{'float32':>20}", "dim"))
        page.print((f"{'':<{name_width + 2}}{states}{gradients}{states}{gradients}", "dim"))
        for name, one in zip(names, comparison.implementations, strict=True):
            mark = ("ok" if one.agrees else "x") if page.ascii else ("✓" if one.agrees else "✗")
            numbers = f"{one.output:>9.1e}{one.gradient:>11.1e}{one.output32:>9.1e}{one.gradient32:>11.1e}"
            padding = " " * (name_width - cell_len(name))
            page.print((f"{mark} ", "green" if one.agrees else "bold red"), name + padding, numbers)
        if comparison.converted is not None:
            page.print(page.text("prove_converted" if comparison.converted else "prove_not_converted"))


def _size(size: int | list[int]) -> str:
    """A size, or the sizes of several states."""
    return str(size) if isinstance(size, int) else " ".join(map(str, size))


def _name(page: Page, name: str) -> str:
    """The name of an implementation in the language of the page."""
    if name == REFERENCE:
        return page.text("prove_products")
    if name.endswith(IN_A_LOOP):
        return page.text("prove_in_loop", name=_shorten(name.removesuffix(IN_A_LOOP), MAX_NAME - len(IN_A_LOOP)))
    return _shorten(name, MAX_NAME)


def _shorten(name: str, limit: int) -> str:
    return name if len(name) <= limit else name[: limit - 3] + "..."
