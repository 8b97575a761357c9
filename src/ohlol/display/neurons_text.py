"""What units track, and what `ohlol prove` found, on a terminal; works nothing out."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ohlol.display.trace_text import NEGATIVE, POSITIVE, Page
from ohlol.explain.equivalence import Proof
from ohlol.explain.neurons import SURE, Finding, Match, Passage


def findings_to_text(found: Sequence[Finding], console: Console, *, lang: str = "en") -> None:
    """Print the units that track something, with where they are most active, then the features that none tracks."""
    page = Page(console, lang)
    sure, rest = [f for f in found if abs(f.r) >= SURE], [f for f in found if abs(f.r) < SURE]
    if not sure:
        page.say(page.word("no_finding", least=SURE))
    for k, f in enumerate(sure):
        page.say(*(["\n"] if k else []), (page.word("tracks", unit=_name(f, page), feature=_feature(f, page)), "bold"))
        page.say((page.word("evidence", r=f"{f.r:+.2f}", found=f"{f.r_found:+.2f}"), "dim"))
        for passage in f.passages:
            _passage(passage, page)
    if rest:
        page.say()
        page.say((page.word("not_tracked", least=SURE), "dim"))
        for f in rest:
            page.say((f"   {f.r:+.2f}  {_feature(f, page)}, {_name(f, page)}", "dim"))


def matches_to_text(chosen: Sequence[str], places: Sequence[Match], console: Console, *, lang: str = "en") -> None:
    """Print the places where the same units are on as over a range."""
    page = Page(console, lang)
    page.say((page.word("matches", text="".join(map(page.sign, chosen))), "bold"))
    for place in places:
        page.say((f"{place.position:>8}", "dim"), f"{place.share:>6.0%}  ", "".join(map(page.sign, place.text)))


def _name(f: Finding, page: Page) -> str:
    direction = "" if f.unit.direction == "forward" else f", {page.word('backward')}"
    return f"{page.word('layer', layer=f.unit.layer)}{direction}, {f.unit.state}[{f.unit.index}]"


def _feature(f: Finding, page: Page) -> str:
    return page.word("feature_" + f.feature.replace(" ", "_"))


def _passage(passage: Passage, page: Page) -> None:
    before, after = ("".join(map(page.sign, text)) for text in (passage.before, passage.after))
    style = f"bold {POSITIVE if passage.value > 0 else NEGATIVE}"
    page.say(
        (f"{passage.value:>+8.2f}  ", style),
        (f"{before[-26:]:>26}", "dim"),
        (page.sign(passage.symbol), style),
        (after, "dim"),
    )


def proofs_to_text(proofs: Sequence[Proof], console: Console, *, lang: str = "en") -> None:
    """Print how far each way to run the same weights is from the matrix products in float64."""
    page = Page(console, lang)
    for k, proof in enumerate(proofs):
        sizes = "  ".join(f"{letter} {size}" for letter, size in proof.sizes.items())
        where = f", {page.word('layer', layer=proof.layer)}, {page.word(proof.direction)}" if len(proofs) > 1 else ""
        title = page.word("prove", cell=proof.cell + where, count=len(proof.ways))
        page.say(*([] if k == 0 else ["\n"]), (title, "bold"))
        page.say(page.word("prove_scale", sizes=sizes))
        page.say()
        page.say((f"{'':<30}{'float64':>18}{'float32':>20}", "dim"))
        states, gradients = (
            " " * max(1, wide - Text(word).cell_len) + word
            for word, wide in ((page.word("prove_states"), 9), (page.word("prove_gradients"), 11))
        )
        page.say((f"{'':<30}{states}{gradients}{states}{gradients}", "dim"))
        for way in proof.ways:
            mark = ("ok" if way.holds else "x") if page.ascii else ("✓" if way.holds else "✗")
            numbers = f"{way.output:>9.1e}{way.gradient:>11.1e}{way.output32:>9.1e}{way.gradient32:>11.1e}"
            page.say((f"{mark} ", "green" if way.holds else "bold red"), f"{way.name:<28}", numbers)
        page.say(page.word("prove_converted" if proof.converted else "prove_not_converted"))
