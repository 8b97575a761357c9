"""The comparison of implementations on a terminal: its width, its marks, its numbers."""

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from ohlol.display.equivalence_text import comparisons_to_text
from ohlol.explain.equivalence import Comparison, Implementation

PROOF = Comparison(
    "gru",
    0,
    "forward",
    "plain matrix products",
    {"I": 4, "H": 4, "T": 5, "B": 1},
    (
        Implementation("torch.nn.GRU", 1e-16, 2e-16, 3e-7, 4e-7, True),
        Implementation("wrong", 1.0, 1.0, 1.0, 1.0, False),
    ),
    True,
)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_implementation_has_a_row(lang: str) -> None:
    out = io.StringIO()
    comparisons_to_text([PROOF, replace(PROOF, layer=1, converted=False)], Console(file=out, width=80), lang=lang)
    text = out.getvalue()
    assert text.count("✓ torch.nn.GRU") == text.count("✗ wrong") == 2
    assert "1.0e-16    2.0e-16  3.0e-07    4.0e-07" in text
    assert max(map(cell_len, text.splitlines())) <= 80
    assert ("NOT equal" in text) == (lang == "en")
