"""What neurons track, on a terminal, in both languages."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from ohlol.display.neurons_text import findings_to_text, matches_to_text
from ohlol.explain.neurons import Finding, Match, Neuron, Passage

PASSAGE = Passage(3, 0.9, "He said ", '"', "go")
FINDINGS = (
    Finding(Neuron(0, "forward", "h", 7), "inside quotes", 0.98, 0.97, (PASSAGE,)),
    Finding(Neuron(1, "backward", "c", 3), "a digit", -0.1, 0.2, (PASSAGE,)),
)


@pytest.mark.parametrize(("lang", "feature"), [("en", "tracks inside quotes"), ("zh", "引号内")])
def test_neurons_and_matches_are_printed(lang: str, feature: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    findings_to_text(FINDINGS, console, lang=lang)
    matches_to_text("ab", (Match(3, 0.5, "\x1b"),), console, lang=lang)
    text = out.getvalue()
    assert feature in text
    assert "h[7]" in text
    assert "+0.98" in text
    assert "c[3]" in text
    assert "50%" in text
    assert "\x1b" not in text
    assert max(map(cell_len, text.splitlines())) <= 80


def test_no_neuron_tracks_anything() -> None:
    out = io.StringIO()
    findings_to_text(FINDINGS[1:], Console(file=out, width=80))
    assert out.getvalue().startswith("No neuron tracks any of these features")
