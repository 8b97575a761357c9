"""What neurons track, on a terminal."""

from collections.abc import Sequence

from rich.console import Console

from ohlol.display.trace_text import NEGATIVE, POSITIVE, Page
from ohlol.explain.neurons import TRACKING_R, Finding, Match, Passage


def findings_to_text(findings: Sequence[Finding], console: Console, *, lang: str = "en") -> None:
    """Print the neurons that track a feature with their most active passages, then the features without one."""
    page = Page(console, lang)
    tracking = [f for f in findings if abs(f.r) >= TRACKING_R]
    others = [f for f in findings if abs(f.r) < TRACKING_R]
    if not tracking:
        page.print(page.text("no_finding", least=TRACKING_R))
    for k, f in enumerate(tracking):
        claim = page.text("tracks", neuron=_name(f, page), feature=_feature(f, page))
        page.print(*(["\n"] if k else []), (claim, "bold"))
        page.print((page.text("evidence", r=f"{f.r:+.2f}", r_selection=f"{f.r_selection:+.2f}"), "dim"))
        for passage in f.passages:
            _print_passage(passage, page)
    if others:
        page.print()
        page.print((page.text("not_tracked", least=TRACKING_R), "dim"))
        for f in others:
            page.print((f"   {f.r:+.2f}  {_feature(f, page)}, {_name(f, page)}", "dim"))


def matches_to_text(selected: Sequence[str], matches: Sequence[Match], console: Console, *, lang: str = "en") -> None:
    """Print the places where the same neurons are on as over the selected symbols."""
    page = Page(console, lang)
    page.print((page.text("matches", text="".join(map(page.visible, selected))), "bold"))
    for match in matches:
        page.print((f"{match.position:>8}", "dim"), f"{match.share:>6.0%}  ", "".join(map(page.visible, match.text)))


def _name(f: Finding, page: Page) -> str:
    direction = "" if f.neuron.direction == "forward" else f", {page.text('backward')}"
    return f"{page.text('layer', layer=f.neuron.layer)}{direction}, {f.neuron.state}[{f.neuron.index}]"


def _feature(f: Finding, page: Page) -> str:
    return page.text("feature_" + f.feature.replace(" ", "_"))


def _print_passage(passage: Passage, page: Page) -> None:
    before, after = ("".join(map(page.visible, text)) for text in (passage.before, passage.after))
    style = f"bold {POSITIVE if passage.value > 0 else NEGATIVE}"
    page.print(
        (f"{passage.value:>+8.2f}  ", style),
        (f"{before[-26:]:>26}", "dim"),
        (page.visible(passage.symbol), style),
        (after, "dim"),
    )
