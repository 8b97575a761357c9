"""What `ohlol explain` prints are the numbers of the trace, aligned, in 80 columns and both languages."""

import io
import json
import re
from pathlib import Path

import pytest
from helpers import LOOP, TINY, cell_settings, upper_pairs
from rich.cells import cell_len
from rich.console import Console

import ohlol
from ohlol.cli import main
from ohlol.display.trace_text import Page, saliency_lines, step_to_text, trace_to_text
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import Trace, trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return ohlol.fit([("hello", "ohlol")], seed=1, out=tmp_path_factory.mktemp("runs") / "hello")


def shown(
    found: Trace, *, step: int | None = None, lang: str = "en", encoding: str = "utf-8", **options: object
) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=stream, width=80, **options)  # pyright: ignore[reportArgumentType]
    if step is None:
        trace_to_text(found, console, lang=lang)
    else:
        step_to_text(found, step, console, lang=lang)
    stream.flush()
    return raw.getvalue().decode(encoding)


def test_every_step_shows_its_numbers(hello: TrainedModel) -> None:
    found = trace(hello, "hello")
    blocks = re.split(r"\n\n", shown(found))[1:]
    assert len(blocks) == 5
    for t, block in enumerate(blocks):
        first, states, top = block.strip("\n").split("\n")
        assert first.startswith(f"step {t}  input {'hello'[t]}  prediction {'ohlol'[t]} ✓")
        assert float(first.split("loss ")[1]) == pytest.approx(found.losses[t], abs=5e-5)  # pyright: ignore[reportOptionalSubscript]
        numbers = [float(v) for v in states.split("h'")[1].split()]
        assert numbers == pytest.approx(found.layers[0].after["h"][t].tolist(), abs=5e-4)
        assert f"{found.best(t)[0][0]} {found.best(t)[0][1]:.0%}" in top


def test_a_step_shows_the_equation_with_numbers(hello: TrainedModel) -> None:
    found = trace(hello, "hello")
    page = shown(found, step=2)
    gate = found.layers[0].gates[0]
    for j in range(4):
        row = next(line for line in page.splitlines() if re.match(rf" +{j} +-?\d", line))
        numbers = [float(v) for v in row.split()[1:]]
        terms = [gate.W_ih_x[2, j], gate.b_ih[j], gate.W_hh_h[2, j], gate.b_hh[j], gate.total[2, j], gate.value[2, j]]
        assert numbers == pytest.approx(terms, abs=5e-5)
        assert sum(numbers[:4]) == pytest.approx(numbers[4], abs=3e-4)
    for row in (*found.layers[0].W_ih, *found.layers[0].W_hh):
        assert all(f"{v:.3f}" in page for v in row)
    assert f"= {found.losses[2]:.4f}" in page  # pyright: ignore[reportOptionalSubscript]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "lstm in a loop"])
@pytest.mark.parametrize("hidden", [3, 40])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_text_fits_80_columns(tmp_path: Path, cell: str, hidden: int, lang: str) -> None:
    more = {"bidirectional": True, "num_layers": 2} if cell in ("gru", "lstm") else {}
    settings = {**TINY, "epochs": 1, "hidden_size": hidden, **more}
    found = trace(
        ohlol.fit(upper_pairs(tmp_path / "pairs.tsv"), **cell_settings(cell), **settings), "abcab", target="ABCAB"
    )
    for page in (
        shown(found, lang=lang),
        shown(found, step=4, lang=lang),
        shown(found, step=0, color_system="truecolor"),
    ):
        for line in page.splitlines():
            plain = re.sub(r"\x1b\[[\d;]*m", "", line)
            assert cell_len(plain) <= 80
            assert not plain.endswith("…") or hidden == 40, line
    gates = {"rnn": "", "gru": "rzn", "lstm": "ifgo"}[cell.removesuffix(LOOP)]
    for name in gates:
        assert len(re.findall(rf"^  {name}   ", shown(found), re.MULTILINE)) == 5 * len(found.layers)


def test_columns_are_aligned(hello: TrainedModel) -> None:
    for lang in ("en", "zh"):
        lines = shown(trace(hello, "hello"), step=1, lang=lang).splitlines()
        head = next(k for k, line in enumerate(lines) if "tanh = h'" in line)
        assert len({cell_len(line) for line in lines[head : head + 5]}) == 1


def test_a_wrong_prediction_is_shown_with_its_target(hello: TrainedModel) -> None:
    page = shown(trace(hello, "hello", target="ohloo"))
    assert "prediction l ✗ target o" in page
    assert page.count("✓") == 4
    assert "prediction" in shown(trace(hello, "hell"))
    assert "loss" not in shown(trace(hello, "hell"))


def test_ascii_and_colour_follow_the_terminal(hello: TrainedModel) -> None:
    found = trace(hello, "hello")
    shown(found, encoding="ascii").encode("ascii")
    shown(found, step=1, encoding="ascii").encode("ascii")
    assert "\x1b[" in shown(found, force_terminal=True, color_system="truecolor")
    assert "\x1b[" not in shown(found)


def test_control_characters_are_escaped() -> None:
    page = Page(Console(file=io.StringIO()), "en")
    assert page.visible("\x1b[2J") == r"\x1b[2J"
    assert page.visible("\u202e") == r"\u202e"
    assert [page.visible(s) for s in (" ", "\n", "", "中", "é")] == ["␣", "⏎", "∅", "中", "é"]
    assert page.visible("👩\u200d🔬") == "👩\u200d🔬"


def test_a_missing_step_is_refused(hello: TrainedModel) -> None:
    for step in (-1, 5):
        with pytest.raises(InputError, match=f"`step` is {step}; the steps are 0 to 4"):
            shown(trace(hello, "hello"), step=step)


def test_explain_prints_a_trace_as_text_and_json(hello: TrainedModel, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["explain", str(hello.run), "hello", *arguments])
        assert end.value.code == 0
        return capsys.readouterr().out

    assert "After 4 steps" in run("--lang", "en")
    assert "第 3 步" in run("--lang", "zh")
    assert "W_ih x" in run("--step", "1")
    data = json.loads(run("--json"))
    found, saliency = trace(hello, "hello"), compute_saliency(hello, "hello")
    assert data == {**found.to_json(), "saliency": saliency.to_json()}
    assert json.loads(run("--json", "--target", "ohloo"))["predictions"][4]["target"] == "o"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_sentence_below_a_short_text_is_whole(hello: TrainedModel, lang: str) -> None:
    file = io.StringIO()
    found, saliency = trace(hello, "he"), compute_saliency(hello, "he")
    trace_to_text(found, Console(file=file, width=80), lang=lang, saliency=saliency)
    lines = file.getvalue().splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
    end = "".join(lines[-2:]).replace(" ", "")
    assert all(sentence.replace(" ", "")[-9:] in end for sentence in saliency_lines(saliency, lang))
    assert "…" not in end
