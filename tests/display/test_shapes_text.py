"""A shape report on a terminal: its width, its alignment, its colours."""

import io
from typing import Any

import pytest
from rich.console import Console

from ohlol.display import shapes_text
from ohlol.explain.shapes import KINDS, CellShapes, LayerShapes, shapes

CELLS = ("rnncell", "grucell", "lstmcell")


def report_text(report: CellShapes | LayerShapes, *, encoding: str = "utf-8", **options: Any) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    shapes_text.shapes_to_text(report, Console(file=stream, width=80, **options))
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"input_size": 1, "hidden_size": 1, "seq_len": 1},
        {"input_size": 1000, "hidden_size": 1024, "seq_len": 4, "batch_size": 100},
        {"input_size": 4096, "hidden_size": 512, "seq_len": 3, "batch_size": 10},
        {"seq_len": 1500, "batch_size": 12},
        {"bias": False},
        {"num_layers": 64, "bidirectional": True, "seq_len": 101},
        {"num_layers": 3, "bidirectional": True, "seq_len": 4, "batch_first": True},
        {"num_layers": 4, "seq_len": 5},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_report_fits_80_columns(kind: str, options: dict[str, Any]) -> None:
    if kind in CELLS:
        options = {k: v for k, v in options.items() if k not in {"num_layers", "bidirectional", "batch_first"}}
    lines = report_text(shapes(kind, **options)).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    assert len(lines) < 130
    for cut in ("…", "⋮"):  # rich truncated nothing
        left_out = options.get("seq_len", 3) > 4 if cut == "…" else options.get("num_layers", 1) > 3
        assert left_out or not any(cut in line for line in lines)


def test_shapes_are_aligned_with_their_terms() -> None:
    lines = report_text(shapes("rnncell")).splitlines()
    (k,) = (k for k, line in enumerate(lines) if "W_ihᵀ" in line and "W_hhᵀ" in line)
    for term, shape in (("W_ihᵀ", "(4,2)"), ("W_hhᵀ", "(2,2)"), ("b_ih", "(2,)")):
        assert lines[k + 1][lines[k].index(term) :].startswith(shape)


def test_the_drawing_of_two_layers_and_directions() -> None:
    text = report_text(shapes("gru", num_layers=2, bidirectional=True))
    assert text.count("┌───┴───┐") == text.count("├───────┤") == 6
    assert text.index("layer 1") < text.index("layer 0")
    assert all(f"{state}[{k}]" in text for state in ("h_0", "h_n") for k in range(4))


def test_colours_on_a_terminal_only() -> None:
    report = shapes("lstm")
    assert "\x1b" not in report_text(report)
    coloured = report_text(report, force_terminal=True, color_system="standard", no_color=False)
    assert "\x1b[" in coloured


@pytest.mark.parametrize("kind", KINDS)
def test_an_ascii_terminal(kind: str) -> None:
    options = {} if kind in CELLS else {"num_layers": 5, "bidirectional": True}
    lines = report_text(shapes(kind, seq_len=9, **options), encoding="ascii").splitlines()
    assert max(map(len, lines)) <= 80
