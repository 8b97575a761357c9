"""Figures of traces and curves: they contain the numbers of the trace, and any character can be drawn."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, names_file

import ohlol
from ohlol.cli import main
from ohlol.explain.curves import load_curves
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'ohlol[plot]'")

from ohlol.display import figures


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return ohlol.fit([("hello", "ohlol")], seed=1, out=tmp_path_factory.mktemp("runs") / "hello")


def test_the_figure_of_a_trace_shows_its_numbers(hello: TrainedModel) -> None:
    found = trace(hello, "hello")
    figure = figures.draw_trace(found, saliency=compute_saliency(hello, "hello"))
    predictions, states, saliency = figure.axes
    h = found.layers[0].after["h"].T
    np.testing.assert_array_equal(states.images[0].get_array(), h)
    assert [text.get_text() for text in states.texts] == [f"{v:.2f}" for v in h.ravel()]
    assert [text.get_text() for text in predictions.texts] == [
        f"{s} {p:.0%}" for t in range(5) for s, p in found.best(t, 3)
    ]
    assert [label.get_text() for label in saliency.get_xticklabels()] == list("hello")
    assert [label.get_text() for label in saliency.get_yticklabels()] == list("ohlol")
    shown = saliency.images[0].get_array()
    assert shown is not None
    assert (np.triu(shown, 1) == 0).all()  # no prediction depends on later symbols
    np.testing.assert_allclose(shown.max(axis=1), 1)
    assert "loss 0.5158, mean of 5" in figure.get_suptitle()


def test_gates_layers_and_directions_each_have_their_map(tmp_path: Path) -> None:
    model = ohlol.fit(
        [("abcd", "dcba")], cell="gru", num_layers=2, bidirectional=True, head="softmax", hidden_size=3, epochs=1
    )
    found = trace(model, "abcd")
    figure = figures.draw_trace(found, lang="zh")
    said = [axes.get_ylabel() for axes in figure.axes[1:]]
    assert len(said) == 2 * 2 * (1 + 3)
    assert said[0] == "h'  隐藏状态\n第 1 层, 反向"
    assert said[-1] == "n  候选状态\n第 0 层, 正向"
    maps = {axes.get_ylabel(): axes.images[0] for axes in figure.axes[1:]}
    z = maps["z  更新门\n第 1 层, 正向"]
    np.testing.assert_array_equal(z.get_array(), found.layers[2].gates[1].value.T)
    assert z.get_clim() == (0, 1)


def test_a_figure_shows_one_prediction_or_the_first_steps(tmp_path: Path) -> None:
    names = ohlol.fit(names_file(tmp_path / "names.csv"), input="name", target="kind", **TINY)
    figure = figures.draw_trace(trace(names, "bdlmna"), saliency=compute_saliency(names, "bdlmna"))
    assert len(figure.axes[0].texts) == figures.TOP - 1  # one prediction, of two classes
    long = trace(names, "bdlmna" * 40)
    figure = figures.draw_trace(long)
    assert len(figure.axes[-1].get_xticklabels()) == figures.MAX_STEPS
    array = figure.axes[1].images[0].get_array()
    assert array is not None
    assert array.shape[1] == figures.MAX_STEPS


@pytest.mark.parametrize(("K", "numbered"), [(2, True), (14, True), (15, False), (40, False)])
def test_the_figure_of_confusions_shows_shares_of_each_target(K: int, numbered: bool) -> None:
    matrix = np.random.default_rng(K).integers(1, 9, (K, K))
    labels = [f"类{chr(0x4E00 + i)}" for i in range(K)]
    (axes,) = figures.draw_confusions(labels, matrix).axes
    shares = axes.images[0].get_array()
    assert shares is not None
    np.testing.assert_allclose(shares, matrix / matrix.sum(axis=1, keepdims=True))
    assert len(axes.texts) == (K * K if numbered else 0)
    rows, columns = ([t.get_text() for t in ticks] for ticks in (axes.get_yticklabels(), axes.get_xticklabels()))
    assert rows == [f"{c} ({n})" for c, n in zip(columns, matrix.sum(axis=1), strict=True)]
    boxes = [t.get_window_extent() for t in axes.get_yticklabels()]
    assert all(a.y0 >= b.y1 - 1 for a, b in pairwise(boxes))  # names do not overlap


def test_of_many_classes_the_most_frequent_are_drawn() -> None:
    matrix = np.diag(np.arange(50))
    (axes,) = figures.draw_confusions([f"class {i} of a very long name {i}" for i in range(50)], matrix).axes
    rows = [t.get_text() for t in axes.get_yticklabels()]
    assert len(rows) == 40
    assert rows[0] == "class 10 …ng name 10 (10)"
    assert axes.get_title() == "share of each target, per cent; the 40 most frequent of 49 classes"


@pytest.mark.parametrize("kind", [".png", ".svg", ".pdf"])
def test_any_character_can_be_drawn(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    symbols = ["你", "$x$", "\\frac{1}", "🜚", "שׁ", " ", "\n", "\x07", "</text><script>"]
    model = ohlol.fit([(symbols, ["a", "$", "b", "_", "^", "{", "}", "你", "<b>"])], epochs=1)
    drawn = [figures.draw_trace(trace(model, symbols), saliency=compute_saliency(model, symbols)) for _ in range(2)]
    for name, figure in zip(("one", "two"), drawn, strict=True):
        figures.save_figure(figure, tmp_path / f"{name}{kind}")
    one, two = (tmp_path / f"{name}{kind}" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()  # no date and no random content
    assert not caplog.records
    if kind == ".svg":
        assert "<script" not in one.read_text()
    read = [label.get_text() for label in drawn[0].axes[-1].get_xticklabels()]
    assert read[1:3] == ["$x$", "\\frac{1}"]
    assert read[5:8] == ["␣", "⏎", "<7>"]


def test_each_panel_draws_its_curves(hello: TrainedModel, tmp_path: Path) -> None:
    assert hello.run is not None
    ohlol.fit([("hello", "ohlol")], seed=3, epochs=4, out=tmp_path / "other")
    panels = load_curves([hello.run, tmp_path / "other"])
    figure = figures.draw_curves(panels)
    drawn = [axes for axes in figure.axes if axes.get_visible()]
    assert len(drawn) == len(panels) == 4
    for axes, panel in zip(drawn, panels, strict=True):
        lines = [line for line in axes.lines if len(line.get_xdata()) > 1]  # pyright: ignore[reportArgumentType]
        assert [tuple(line.get_ydata()) for line in lines] == [line.values for line in panel.lines]  # pyright: ignore[reportArgumentType]
        styles = {(line.get_color(), str(line.get_linestyle()), line.get_linewidth()) for line in lines}
        assert len(styles) == len(lines), "two lines look the same"
    alone = figures.draw_curves(load_curves([tmp_path / "other"])[:1])
    assert len(alone.axes) == 1


def test_explain_and_plot_write_figures(
    hello: TrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([*arguments])
        found = capsys.readouterr()
        return int(end.value.code or 0), found.out + found.err

    run_directory = str(hello.run)
    for name in ("a.png", "a.svg", "a.pdf"):
        assert run("explain", run_directory, "hello", "--png", str(tmp_path / name)) == (
            0,
            f"written: {tmp_path / name}\n",
        )
        assert run("plot", run_directory, "--out", str(tmp_path / f"b{name}")) == (
            0,
            f"written: {tmp_path / f'b{name}'}\n",
        )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    status, said = run("plot", run_directory, "--out", str(tmp_path / "a.bmp"))
    assert status == 2
    assert "must end in .png, .svg, .pdf" in said
    status, said = run("plot", run_directory, "--out", str(tmp_path / "no/a.png"))
    assert status == 2
    assert re.fullmatch(r"ohlol: .*a\.png: cannot be written: No such file or directory; .*\n", said)


def test_a_missing_matplotlib_is_reported_in_one_line(hello: TrainedModel, tmp_path: Path) -> None:
    code = f"""import sys
sys.modules["matplotlib"] = None
from ohlol.cli import main
main(["plot", {str(hello.run)!r}, "--out", {str(tmp_path / "a.png")!r}])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "ohlol: a figure needs matplotlib: pip install 'ohlol[plot]'\n"
