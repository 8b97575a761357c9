"""The tests of any device other than the CPU; a subclass of `OnDevice` names the device."""

import json
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers import (
    SALES,
    TASKS,
    TINY,
    Recorder,
    bytes_of,
    conll_file,
    names_file,
    prepared,
    sales_file,
    sine_file,
    text_file,
    upper_pairs,
)
from word_vector_files import make_vectors

import ohlol
from ohlol.explain.trace import trace
from ohlol.interop import onnx_export
from ohlol.training.trainer import Interrupted
from ohlol.utils import devices
from ohlol.utils.errors import InputWarning

RUNS: dict[str, tuple[Callable[[Path], Path], str, dict[str, Any]]] = {
    "label": (upper_pairs, "a.tsv", {"cell": "lstm", "bidirectional": True, "bigram_size": 3, "num_layers": 2}),
    "balanced": (upper_pairs, "a.tsv", {"cell": "gru", "class_weights": "balanced", "label_smoothing": 0.1}),
    "one-hot": (upper_pairs, "a.tsv", {"cell": "rnn", "embedding_size": 0, "bidirectional": False}),
    "loop": (upper_pairs, "a.tsv", {"cell": "lstm", "loop": True, "loss_reduction": "sum", "optimizer": "sgd"}),
    "spans": (conll_file, "b.conll", {"char_rnn_size": 4, "cell": "lstm", "optimizer": "adamw"}),
    "vectors": (
        conll_file,
        "b.conll",
        {"cell": "gru", "vectors": make_vectors("Ada bob Rome sees in New"), "vectors_training": "late"},
    ),
    "next": (
        text_file,
        "c.txt",
        {"cell": "lstm", "bptt": 7, "batch_size": 3, "tie_weights": True, "embedding_size": 6},
    ),
    "relayed": (
        text_file,
        "c.txt",
        {"cell": "gru", "bptt": 3, "batch_size": 7, "num_layers": 2, "optimizer": "rmsprop"},
    ),
    "classify": (names_file, "d.csv", {"cell": "gru", "input": "name", "target": "kind", "bidirectional": True}),
    "next_row": (
        sine_file,
        "e.csv",
        {"task": "next_row", "cell": "lstm", "bptt": 9, "batch_size": 5, "lr_schedule": "plateau"},
    ),
    "forecast": (sales_file, "f.csv", {**SALES, "cell": "gru", "bptt": 9, "batch_size": 3}),
}
"""Every task, cell and kind of input; some batches are ragged, and streams end before others do."""
UNDROPPED = {**TINY, "dropout": 0.0, "embedding_dropout": 0.0}
"""Without dropout, since each device has its own random numbers."""
TOLERANCE = 2e-5
"""Of a float32 loss after some twenty steps; each device sums in another order."""


class Losses(Recorder):
    """Records the loss of every step, and may stop the training after one."""

    def __init__(self, stop: int = 0):
        super().__init__()
        self.losses: list[float] = []
        self.stop = stop

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        super().on_batch_end(epoch, done, total, loss, symbols)
        self.losses.append(loss)
        assert self.trainer is not None
        if self.steps == self.stop:
            self.trainer.stop()


class OnDevice:
    """The tests of a device, compared with the CPU."""

    device: ClassVar[str]

    @pytest.mark.parametrize("kind", RUNS)
    def test_losses_equal_those_of_the_cpu(self, kind: str, tmp_path: Path) -> None:
        make, name, settings = RUNS[kind]
        data = make(tmp_path / name)
        found: list[Losses] = []
        models = []
        for device in ("cpu", self.device):
            found.append(Losses())
            models.append(ohlol.fit(data, callbacks=[found[-1]], device=device, **{**UNDROPPED, **settings}))
            assert models[-1].device.type == "cpu"
        one, two = (np.array(losses.losses) for losses in found)
        assert one[-1] != one[0]
        assert np.abs(one - two).max() < TOLERANCE
        for a, b in zip(found[0].epochs, found[1].epochs, strict=True):
            assert a.metrics == pytest.approx(b.metrics, rel=1e-4, abs=TOLERANCE)

    @pytest.mark.parametrize("kind", ["balanced", "relayed"])
    def test_training_tensors_are_on_the_device(self, kind: str, tmp_path: Path) -> None:
        def look(recorder: Recorder, step: int) -> None:
            trainer = recorder.trainer
            assert trainer is not None
            weights = [trainer.loss.weights] if kind == "balanced" else []
            moments = [v for values in trainer.optimizer.state_dict()["state"].values() for v in values.values()]
            for tensor in (*trainer.model.parameters(), *moments, *weights, *(trainer.state or ())):
                assert tensor.device.type == self.device
                assert tensor.dtype == torch.float32

        make, name, settings = RUNS[kind]
        settings = {**TINY, **settings, "optimizer": "adam", "epochs": 1}
        recorder = Recorder(look)
        ohlol.fit(make(tmp_path / name), callbacks=[recorder], device=self.device, precision="bf16", **settings)
        assert recorder.steps > 5

    @pytest.mark.parametrize(
        ("kind", "precision"),
        [*((kind, "fp32") for kind in TASKS), ("next", "bf16"), ("label", "fp16")],
    )
    def test_a_resumed_run_ends_with_the_same_bytes(self, kind: str, precision: str, tmp_path: Path) -> None:
        data, settings = prepared(kind, tmp_path)
        settings |= {"precision": precision, "deterministic": True}
        ohlol.fit(data, out=tmp_path / "whole", device=self.device, **settings)
        with pytest.raises(Interrupted):
            ohlol.fit(data, out=tmp_path / "run", callbacks=[Losses(stop=4)], device=self.device, **settings)
        ohlol.fit(out=tmp_path / "run", resume=True, device=self.device)
        whole, run = bytes_of(tmp_path / "whole"), bytes_of(tmp_path / "run")
        files = ("model.safetensors", "metrics.jsonl", "resume/last.safetensors")
        assert [name for name in files if whole[name] != run[name]] == []

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_lower_precisions_learn_as_well(self, precision: str, tmp_path: Path) -> None:
        data = text_file(tmp_path / "c.txt", 1000)
        settings = {**UNDROPPED, "cell": "gru", "hidden_size": 32, "epochs": 4, "bptt": 16, "lr": 0.02}
        found: list[Losses] = []
        for kind in ("fp32", precision):
            found.append(Losses())
            ohlol.fit(data, callbacks=[found[-1]], device=self.device, precision=kind, **settings)
        one, two = (losses.epochs[-1].metrics["loss"] for losses in found)
        assert one < 0.5
        assert two < 0.6
        assert found[0].losses != found[1].losses

    @pytest.mark.parametrize("way", ["there", "back"])
    def test_a_run_resumes_on_another_device_with_a_warning(self, way: str, tmp_path: Path) -> None:
        data, settings = prepared("next", tmp_path)
        first, second = ("cpu", self.device) if way == "there" else (self.device, "cpu")
        with pytest.raises(Interrupted):
            ohlol.fit(data, out=tmp_path / "run", callbacks=[Losses(stop=20)], device=first, **settings)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", InputWarning)
            ohlol.fit(out=tmp_path / "run", resume=True, device=second)
        messages = " ".join(str(w.message) for w in said if w.category is InputWarning)
        title = devices.describe_device(devices.select_device(self.device))
        assert (
            "saved by the CPU: the dropout" if way == "there" else "saved by another device: the dropout"
        ) in messages
        assert (f"device cpu -> {title}" if way == "there" else f"device {title} -> cpu") in messages
        lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [1, 2, 3]

    def test_predictions_equal_those_of_the_cpu(self, tmp_path: Path) -> None:
        pairs = upper_pairs(tmp_path / "a.tsv", 40)
        ohlol.fit(pairs, out=tmp_path / "label", device="cpu", **TINY)
        text = text_file(tmp_path / "c.txt")
        ohlol.fit(text, out=tmp_path / "next", device="cpu", **TINY)
        rows = sine_file(tmp_path / "e.csv")
        ohlol.fit(rows, out=tmp_path / "next_row", task="next_row", device="cpu", **TINY)
        for name, data in (("label", pairs), ("next", text), ("next_row", rows)):
            here, there = ohlol.load(tmp_path / name), ohlol.load(tmp_path / name, device=self.device)
            assert (here.device.type, there.device.type) == ("cpu", self.device)
            assert here.identity == there.identity
            assert here.evaluate(data).metrics() == pytest.approx(there.evaluate(data).metrics(), rel=1e-5)
            if name == "label":
                one, two = (list(m.predict_many(["abcde", "ab", "edcba"], n_best=2)) for m in (here, there))
                assert [p.labels for p in one] == [p.labels for p in two]
                for a, b in zip(one, two, strict=True):
                    assert a.probability == pytest.approx(b.probability, abs=1e-5)
            if name == "next":
                one, two = ("".join(m.generate("the ", length=40, seed=3)) for m in (here, there))
                assert one == two
            if name == "next_row":
                np.testing.assert_allclose(here.next_rows(rows, 5), there.next_rows(rows, 5), rtol=1e-5)

    def test_streams_traces_and_exports_run_on_the_cpu(self, tmp_path: Path) -> None:
        ohlol.fit(out=tmp_path / "run", device="cpu")
        here, there = ohlol.load(tmp_path / "run"), ohlol.load(tmp_path / "run", device=self.device)
        stream = there.stream()
        assert "".join(stream.step(letter).label for letter in "hello") == "ohlol"
        assert str(trace(there, "hello")) == str(trace(here, "hello"))
        assert there.on_cpu.device.type == "cpu"
        assert there.device.type == self.device
        assert here.on_cpu is here
        pytest.importorskip("onnx", reason="onnx is not installed")
        assert onnx_export.build_graph(there) == onnx_export.build_graph(here)

    def test_the_run_records_its_device(self, tmp_path: Path) -> None:
        title = devices.describe_device(devices.select_device(self.device))
        ohlol.fit(out=tmp_path / "run", device=self.device, precision="bf16", epochs=2)
        machine = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])["machine"]
        assert (machine["device"], machine["precision"]) == (title, "bf16")
        card = (tmp_path / "run" / "README.md").read_text()
        assert f"\n- computed by: {title}\n" in card
        assert "\n| precision | bf16 |\n" in card
        assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["precision"] == "bf16"

    def test_the_next_batch_is_prefetched(self, tmp_path: Path) -> None:
        made: list[tuple[int, int]] = []
        recorder = Losses()
        data, settings = prepared("next", tmp_path)

        def counted(real: Any) -> Callable[[Any, int], Any]:
            def make(feed: Any, place: int) -> Any:
                made.append((place, recorder.steps))
                return real(feed, place)

            return make

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ohlol.training.loader.BatchLoader._load", counted(ohlol.training.loader.BatchLoader._load))
            ohlol.fit(data, callbacks=[recorder], device=self.device, **settings)
        an_epoch = recorder.steps // 3
        assert [place for place, _ in made] == [*range(an_epoch)] * 3  # each once and in order
        for (before, _), (place, steps) in pairwise(made):
            if place == before + 1:  # prepared during the previous step, whose end was not reported yet
                assert steps % an_epoch == place - 1
