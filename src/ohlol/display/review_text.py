"""The findings of a review, on a terminal."""

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ohlol.display import texts
from ohlol.explain.review.findings import Finding
from ohlol.explain.review.watch import Watched
from ohlol.utils.terminal import wrap

WIDTH = 80
"""Columns of a message."""
INDENT = "    "


def findings_to_text(
    name: str, findings: Sequence[Finding], console: Console, *, lang: str = "en", watched: Watched | None = None
) -> None:
    """Print each finding: its place and name, the line of the program, why it is wrong, and the line that fixes it.

    Args:
        name: the file that was reviewed.
        findings: its findings, by line.
        console: where to print.
        lang: "en" or "zh".
        watched: what a run of the program showed, if it was run; its findings are among `findings`.
    """
    labels = [texts.text(key, lang) for key in ("review_instead", "review_page")]
    indent = max(map(cell_len, labels)) + 1

    def print_line(*parts: str | tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), soft_wrap=True)

    for finding in findings:
        print_line((f"{finding.file}:{finding.line}:{finding.column}", "bold"), "  ", (finding.check, "bold red"))
        for line in textwrap.wrap(finding.code, WIDTH - len(INDENT), break_long_words=False, break_on_hyphens=False):
            print_line(INDENT, line)
        for line in wrap(finding.message(lang), WIDTH - 2):
            print_line("  ", line)
        remedies = (finding.instead, "green"), (finding.page(lang), "dim")
        for label, (text, style) in zip(labels, remedies, strict=True):
            first, *rest = textwrap.wrap(text, WIDTH - 2 - indent, break_long_words=False, break_on_hyphens=False)
            print_line("  ", (label + " " * (indent - cell_len(label)), "dim"), (first, style))
            for line in rest:
                print_line(" " * (2 + indent), (line, style))
        print_line()
    if watched is not None:
        for call in watched.calls:
            print_line(texts.text("review_call", lang, line=call.line, layer=call.layer, shape=call.shape))
        if watched.is_stopped:
            print_line((texts.text("review_stopped", lang), "yellow"))
        if watched.error:
            for line in wrap(texts.text("review_error", lang, error=watched.error), WIDTH):
                print_line((line, "yellow"))
    count = len(findings)
    key = "review_none" if not count else "review_one" if count == 1 else "review_count"
    print_line((texts.text(key, lang, name=name, count=count), "bold"))
