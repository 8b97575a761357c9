"""Cells that are modules on the terminal, the page, in figures and notebooks: source lines with their numbers."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser import Shown
from module_cells import MODULE_CELLS, imported
from rich.cells import cell_len
from rich.console import Console

import ohlol
from ohlol.cli import main
from ohlol.display import figures, page, texts
from ohlol.display.equivalence_text import comparisons_to_text
from ohlol.display.page import page_data, render_page
from ohlol.display.trace_text import step_to_text, trace_to_text
from ohlol.explain.equivalence import compare_run
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import Trace, trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.translation import LANGUAGES

pytestmark = pytest.mark.slow  # make test-all


@pytest.fixture(scope="module", autouse=True)
def _imported() -> Iterator[None]:
    with imported():
        yield


def fit(cell: str, **options: Any) -> TrainedModel:
    options = {"epochs": 2, "hidden_size": 4, "head": "softmax", "seed": 1, **options}
    return ohlol.fit([("hello", "ohlol")], cell=MODULE_CELLS.get(cell, cell), **options)


def text_of(found: Trace, step: int | None = None, lang: str = "en") -> str:
    out = io.StringIO()
    console = Console(file=out, width=80)
    if step is None:
        trace_to_text(found, console, lang=lang)
    else:
        step_to_text(found, step, console, lang=lang)
    return out.getvalue()


def test_a_step_shows_each_value_below_its_line() -> None:
    found = trace(fit("gru"), "hello")
    lines = text_of(found, 2).splitlines()
    for line in found.layers[0].lines[2]:
        at = next(k for k, text in enumerate(lines) if text.startswith(f"{line.line:>5}  "))
        assert lines[at].split(maxsplit=1)[1] == line.text
        for k, (name, row) in enumerate(line.values.items()):
            shown, *numbers = lines[at + 1 + k].split()
            assert shown == name
            assert [float(v) for v in numbers] == pytest.approx(row.tolist(), abs=5e-4)
    assert "The cell in float64 and the model differ by at most" in "\n".join(lines)
    assert any(text.strip().startswith("dL/dh'") for text in lines)


@pytest.mark.parametrize("hidden", [3, 50])
@pytest.mark.parametrize("cell", ["two_widths", "stabilized", "torch.nn:GRUCell", "module_cells:Branches"])
def test_the_text_fits_80_columns(cell: str, hidden: int) -> None:
    found = trace(fit(cell, hidden_size=hidden, num_layers=2, bidirectional=True), "hello")
    for lang in LANGUAGES:
        step, steps = text_of(found, 1, lang), text_of(found, lang=lang)
        assert max(cell_len(line) for line in (step + steps).splitlines()) <= 80
        assert (texts.text("no_lines", lang)[:20] in step) == cell.startswith("torch")
        assert "…" not in steps or hidden == 50


def test_a_line_without_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlol.explain.source_lines.linecache", SimpleNamespace(getlines=lambda file: []))
    step = text_of(trace(fit("gru"), "hello"), 0)
    assert step.count("(the source of this line is not available)") >= 4


def numbers_of(data: dict[str, Any]) -> dict[str, np.ndarray]:
    import base64

    (frame,) = data["frames"]
    flat = np.frombuffer(base64.b64decode(frame["bytes"]), "<f2" if frame["is_half"] else "<f4")
    return {name: flat[at : at + n * w].reshape(n, w) for name, (at, n, w) in frame["arrays"].items()}


@pytest.mark.parametrize("cell", ["two_widths", "module_cells:Branches"])
def test_the_page_contains_every_number_of_the_lines(cell: str) -> None:
    found = trace(fit(cell, num_layers=2), "hello")
    data = page_data(found)
    arrays = numbers_of(data)
    for k, layer in enumerate(found.layers):
        lines = data["frames"][0]["lines"][k]
        for t in range(5):
            group, row = lines["group"][t], lines["row"][t]
            for i, (line, stored) in enumerate(zip(layer.lines[t], lines["groups"][group], strict=True)):
                assert (stored["line"], stored["text"], stored["names"]) == (line.line, line.text, list(line.values))
                for name, values in line.values.items():
                    np.testing.assert_allclose(arrays[f"{k}/lines/{group}/{i}/{name}"][row], values, atol=1e-6)
    assert json.dumps(data).count(str(Path(__file__).parent)) == 0  # names of files, not of the user's folders


def test_a_page_leaves_lines_out_to_limit_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_BYTES", 500)
    names = numbers_of(page_data(trace(fit("gru"), "hello")))
    assert not any("/lines/" in name for name in names)
    assert "0/after/h" in names


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("width", [380, 1280])
def test_the_page_shows_each_value_beside_its_line(browser: Any, tmp_path: Path, lang: str, width: int) -> None:
    model = fit("two_widths", num_layers=2, bidirectional=True)
    found, file = trace(model, "hello"), tmp_path / "page.html"
    html = render_page(found, saliency=compute_saliency(model, "hello"), lang=lang)
    file.write_text(html, encoding="utf-8")
    shown = Shown(browser, file, viewport={"width": width, "height": 800})
    shown.page.keyboard.press("ArrowRight")
    lines = [line for line in found.layers[-1].lines[1] if line.values]
    assert shown.texts("#lines code") == [line.text for line in lines]
    for block, line in zip(shown.page.locator("#lines .source-line").all(), lines, strict=True):
        assert block.get_attribute("data-line") == str(line.line)
        rows = block.locator("tr").all()
        assert [row.get_attribute("data-name") for row in rows] == list(line.values)
        for row, values in zip(rows, line.values.values(), strict=True):
            numbers = [float(cell.get_attribute("title") or "nan") for cell in row.locator("td[title]").all()]
            assert numbers == pytest.approx(values.tolist(), abs=1e-6)
    for button in shown.page.locator("#layers button").all():
        button.click()
    maps = shown.page.locator("#maps canvas").count()
    assert maps == len(found.layers[0].lines_over_time()) + 2
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    assert "undefined" not in shown.page.inner_text("body")
    shown.close()


def test_pages_of_cells_without_lines_or_with_branches(browser: Any, tmp_path: Path) -> None:
    for k, cell in enumerate(("torch.nn:GRUCell", "module_cells:Branches")):
        file = tmp_path / f"{k}.html"
        file.write_text(render_page(trace(fit(cell), "hello")), encoding="utf-8")
        shown = Shown(browser, file)
        for key in ("ArrowRight", "End", "Home"):
            shown.page.keyboard.press(key)
        assert (texts.text("no_lines", "en") in shown.page.inner_text("#computation")) == (k == 0)
        shown.close()


def test_a_figure_has_a_map_for_each_variable() -> None:
    found = trace(fit("gru"), "hello")
    figure = figures.draw_trace(found)
    labels = [axes.get_ylabel() for axes in figure.axes[1:]]
    over_time = found.layers[0].lines_over_time()
    assert labels == ["h'  hidden state", *(f"{n}  recurrent_speed.py:{line.line}" for line, n, _ in over_time)]
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), over_time[0][2].T)


def test_a_notebook_shows_the_states() -> None:
    html = trace(fit("two_widths"), "hello")._repr_html_()
    assert "h&#x27;[3]" in html
    assert "c&#x27;[0]" in html


def test_prove_compares_with_the_cell_in_a_loop() -> None:
    for cell, path in (("two_widths", "kernel"), ("module_cells:Cumulative", "loop")):
        model = fit(cell, num_layers=2, bidirectional=True)
        comparisons = compare_run(model, seq_len=4, batch_size=3)
        assert [(one.layer, one.direction) for one in comparisons] == [
            (layer, direction) for layer in (0, 1) for direction in ("forward", "backward")
        ]
        name = type(model.network.layers.cells[0]).__name__
        for one in comparisons:
            assert one.agrees
            assert one.converted is None
            loop, recurrent = one.implementations
            assert one.reference == loop.name == f"{name} in a loop"
            assert recurrent.name.startswith(f"ohlol.nn.Recurrent, {path}")
            assert loop.output == loop.gradient == 0
            assert 0 < loop.output32 < 1e-5
        assert comparisons[0].sizes == {"I": 4, "W": list(model.network.state_sizes), "T": 4, "B": 3}
        for lang in LANGUAGES:
            out = io.StringIO()
            comparisons_to_text(comparisons, Console(file=out, width=80), lang=lang)
            assert max(map(cell_len, out.getvalue().splitlines())) <= 80
            assert out.getvalue().count("✓") == 8


def test_a_wrong_layer_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    from ohlol.nn import Recurrent

    model, forward = fit("gru"), Recurrent.forward
    monkeypatch.setattr(Recurrent, "forward", lambda self, x, hx=None: (forward(self, x, hx)[0] + 1e-3, hx))
    (comparison,) = compare_run(model)
    assert [one.agrees for one in comparison.implementations] == [True, False]


def test_the_commands_read_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell, run = MODULE_CELLS["two_widths"], str(tmp_path / "run")
    fit("two_widths", out=run)
    for arguments in (
        ["explain", run, "hello", "--step", "1", "--cell", cell],
        ["explain", run, "hello", "--json", "--cell", cell],
        ["prove", run, "--json", "--cell", cell],
        ["prove", run, "--lang", "en", "--cell", cell],
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert not end.value.code
        out = capsys.readouterr().out
        if "--json" in arguments:
            assert json.loads(out)
        else:
            assert "TwoWidths in a loop" in out or "attention = torch.softmax" in out
