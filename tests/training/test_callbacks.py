"""Callbacks: what is called and when, curves of TensorBoard, and those that the page on integrations shows."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers import TINY, Recorder, upper_pairs

import ohlol
from ohlol.training.callbacks import TensorBoard
from ohlol.training.trainer import Interrupted
from ohlol.utils.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"


class Calls(ohlol.Callback):
    """Records the name of each call."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_train_begin(self, trainer: Any) -> None:
        self.names.append("begin")

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        self.names.append(f"{epoch}: {done}/{total}")

    def on_epoch_end(self, epoch: Any) -> None:
        self.names.append(f"epoch {epoch.number}")

    def on_train_end(self, trainer: Any, accumulator: Any) -> None:
        self.names.append(f"end {accumulator.main_metric}")


def test_the_order_of_the_calls(tmp_path: Path) -> None:
    calls = Calls()
    ohlol.fit(upper_pairs(tmp_path / "a.tsv", lines=10), callbacks=[calls, ohlol.Callback()], **{**TINY, "epochs": 2})
    steps = [name for name in calls.names if "/" in name]
    total = len(steps) // 2
    epochs = [[f"{epoch}: {n + 1}/{total}" for n in range(total)] + [f"epoch {epoch}"] for epoch in (1, 2)]
    assert calls.names == ["begin", *epochs[0], *epochs[1], "end accuracy"]


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves in the event files of a folder, as TensorBoard reads them."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    events = module.EventAccumulator(str(folder)).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def log_curves(run: Path) -> dict[str, list[tuple[int, Any]]]:
    """The same from `metrics.jsonl`; an event file holds float32."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    names = ("train_loss", "lr", "loss", "accuracy", "sequence_accuracy")
    return {name: [(line["epoch"], pytest.approx(line[name], rel=1e-6)) for line in lines] for name in names}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_the_curves_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    run = tmp_path / "run"
    ohlol.fit(upper_pairs(tmp_path / "a.tsv"), out=run, callbacks=[TensorBoard(run / "tensorboard")], **TINY)
    curves = read_curves(run / "tensorboard")
    assert curves == log_curves(run)
    assert [step for step, _ in curves["loss"]] == [1, 2, 3]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_resumed_run_has_each_epoch_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    run, data = tmp_path / "run", upper_pairs(tmp_path / "a.tsv")

    def stop(recorder: Recorder, step: int) -> None:
        assert recorder.trainer is not None
        if step == 8:  # in the second epoch
            recorder.trainer.stop()

    with pytest.raises(Interrupted):
        ohlol.fit(data, out=run, callbacks=[TensorBoard(run / "events"), Recorder(stop)], **TINY)
    ohlol.fit(data, out=run, resume=True, callbacks=[TensorBoard(run / "events")])
    assert read_curves(run / "events") == log_curves(run)


def test_without_tensorboard_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlol.training.callbacks.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package tensorboard: pip install 'ohlol\[tensorboard\]'"):
        TensorBoard("events")


class Tracker(ModuleType):
    """Stands for mlflow and for wandb: records the names and the arguments of the calls that the page makes."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any, Any]] = []

    def start_run(self) -> None:
        self.calls.append(("begin", None, None))

    def log_params(self, params: dict[str, Any]) -> None:
        self.calls.append(("settings", params, None))

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.calls.append(("metrics", metrics, step))

    def end_run(self) -> None:
        self.calls.append(("end", None, None))

    def init(self, *, project: str, config: dict[str, Any]) -> "Tracker":
        assert project
        self.calls += [("begin", None, None), ("settings", config, None)]
        return self

    log = log_metrics
    finish = end_run


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_the_callbacks_of_the_page(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if f"import {package}\n" in block]
    tracker = Tracker(package)
    monkeypatch.setitem(sys.modules, package, tracker)
    names: dict[str, Any] = {}
    exec(code, names)
    (callback,) = [value for value in names.values() if isinstance(value, type) and value.__module__ == "builtins"]
    model = ohlol.fit(upper_pairs(tmp_path / "a.tsv"), callbacks=[callback()], **TINY)
    assert [name for name, *_ in tracker.calls] == ["begin", "settings", "metrics", "metrics", "metrics", "end"]
    assert tracker.calls[1][1]["hidden_size"] == TINY["hidden_size"]
    assert [step for _, _, step in tracker.calls[2:5]] == [1, 2, 3]
    assert min(metrics["loss"] for _, metrics, _ in tracker.calls[2:5]) <= model.config.metrics["loss"] + 1e-9
