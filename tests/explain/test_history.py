"""Traces after each epoch, from snapshots, and the slider of the page that moves through them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Shown

import ohlol
from ohlol.checkpoint import metrics_log, snapshots
from ohlol.checkpoint.weights import get_weights
from ohlol.cli import main
from ohlol.display import page
from ohlol.explain.history import load_epoch, trace_epochs
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return ohlol.fit([("hello", "ohlol")], seed=1, snapshots=True, out=tmp_path_factory.mktemp("runs") / "hello")


def test_one_frame_per_epoch(hello: TrainedModel) -> None:
    assert hello.run is not None
    frames = trace_epochs(hello, "hello")
    assert [frame.epoch for frame in frames] == list(range(21))
    lines = metrics_log.read_metrics(hello.run)
    for frame, line in zip(frames[1:], lines, strict=True):
        assert frame.trace.loss == pytest.approx(line["loss"], abs=1e-6)
    (best,) = (frame for frame in frames if frame.is_best)
    assert np.array_equal(best.trace.logits, trace(hello, "hello").logits)
    assert "".join(frames[0].trace.predicted) != "ohlol" == "".join(best.trace.predicted)


def test_fewer_frames_keep_the_first_last_and_best(hello: TrainedModel) -> None:
    for max_frames in (3, 4, 9):
        frames = trace_epochs(hello, "hello", max_frames=max_frames)
        assert len(frames) == max_frames
        assert (frames[0].epoch, frames[-1].epoch) == (0, 20)
        assert sum(frame.is_best for frame in frames) == 1


def test_the_model_of_an_epoch_is_loaded_from_its_snapshot(hello: TrainedModel) -> None:
    assert hello.run is not None
    at_epoch = load_epoch(hello, 3)
    kept = snapshots.load(hello.run, 3, hello.network)
    assert all((weight == kept[name]).all() for name, weight in get_weights(at_epoch.network).items())
    with pytest.raises(InputError, match="no snapshot of epoch 21; there are epochs 0 to 20"):
        load_epoch(hello, 21)
    assert trace_epochs(ohlol.fit([("hello", "ohlol")], epochs=1), "hello") == ()
    with pytest.raises(InputError, match="`epoch` needs a run directory"):
        load_epoch(ohlol.fit([("hello", "ohlol")], epochs=1), 0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "it has no epoch"),
        ('{"epoch": 1, "step": 1}', "it has no epoch, step and train_loss"),
        ('{"epoch": 1, "step": 1, "train_loss": NaN}', "NaN is not a number"),
        ('{"epoch": 1, "step": 1, "train_loss": "low"}', "more than numbers"),
        ('{"epoch": 1, "step": 1, "train_loss": 1e999}', "more than numbers"),
        ('{"epoch": 1, "epoch": 1, "step": 1, "train_loss": 1}', "a key stands twice"),
        ("[" * 100000, "cannot be read"),
    ],
)
def test_metrics_that_cannot_be_read(line: str, said: str, tmp_path: Path) -> None:
    good = json.dumps({"epoch": 1, "step": 1, "train_loss": 1.0, "machine": {"ohlol": "0"}})
    (tmp_path / "metrics.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl:2: ") as error:
        metrics_log.read_metrics(tmp_path)
    assert said in str(error.value)
    with pytest.raises(InputError, match="No such file"):
        metrics_log.read_metrics(tmp_path / "nowhere")


def test_the_number_of_frames_fits_the_page(hello: TrainedModel) -> None:
    found = trace(hello, "hello")
    assert page.max_frames(found, compute_saliency(hello, "hello")) == page.MAX_FRAMES
    html = page.render_page(found, saliency=compute_saliency(hello, "hello"), frames=trace_epochs(hello, "hello"))
    assert len(html.encode()) <= 200_000


def test_explain_shows_one_epoch_or_all(
    hello: TrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["explain", str(hello.run), "hello", "--lang", "en", *arguments])
        assert end.value.code == 0
        return capsys.readouterr().out

    assert run("--epoch", "0").startswith("hello → eeeee\n")
    assert json.loads(run("--epoch", "0", "--json"))["loss"] == pytest.approx(1.8942, abs=1e-4)
    run("--html", str(tmp_path / "all.html"))
    run("--html", str(tmp_path / "one.html"), "--epoch", "0")
    assert (tmp_path / "all.html").stat().st_size > 1.5 * (tmp_path / "one.html").stat().st_size


def test_the_epoch_slider_shows_the_trace_of_its_epoch(browser: Any, hello: TrainedModel, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    frames = trace_epochs(hello, "hello")
    file = tmp_path / "learning.html"
    file.write_text(page.render_page(trace(hello, "hello"), frames=frames), encoding="utf-8")
    shown = Shown(browser, file)
    opened = next(frame.epoch for frame in frames if frame.is_best)
    assert shown.page.locator("#epochs").input_value() == str(opened)

    def check(epoch: int, t: int) -> None:
        found = frames[epoch].trace
        layer = found.layers[0]
        assert f"epoch {epoch} / 20 · loss {found.loss:.4f}" in shown.texts("#epoch-label")[0]
        assert shown.texts("#title")[0] == f"hello → {''.join(found.predicted)}"
        cells = shown.page.locator(f"[data-column='{t}'] .cell").all()
        assert [float(c.get_attribute("data-value")) for c in cells] == pytest.approx(
            layer.after["h"][t].tolist(), abs=1e-6
        )
        assert shown.exact("#terms td[data-term=sum]") == pytest.approx(layer.gates[0].total[t].tolist(), abs=1e-6)
        assert shown.exact("#loss") == pytest.approx([found.losses[t]], abs=1e-6)  # pyright: ignore[reportOptionalSubscript]
        assert shown.texts(f"[data-epoch='{epoch}'] .predicted bdi") == list(found.predicted)
        assert shown.page.locator("#history tr.selected").get_attribute("data-epoch") == str(epoch)

    check(opened, 0)
    for epoch, t in ((0, 3), (7, 1), (20, 4)):
        shown.page.locator("#epochs").fill(str(epoch))
        shown.page.locator("#slider").fill(str(t))
        check(epoch, t)  # the selected step is unchanged by a change of epoch
    shown.page.locator("#text").focus()
    shown.page.keyboard.press("Shift+ArrowLeft")
    check(19, 4)
    shown.page.keyboard.press("Shift+ArrowRight")
    shown.page.keyboard.press("Shift+ArrowRight")
    check(20, 4)
    shown.page.locator("[data-epoch='3'] .predicted").click()
    check(3, 4)
    shown.page.locator("#earlier").click()
    check(2, 4)
    shown.page.locator("#epochs").fill("18")
    shown.page.locator("#play-epochs").click()
    expect(shown.page.locator("#play-epochs")).to_have_text("Pause")
    expect(shown.page.locator("#play-epochs")).to_have_text("Play epochs")  # it stops at the last epoch
    check(20, 4)
    assert not shown.page.locator("#epoch-bar").is_hidden()
    shown.close()
