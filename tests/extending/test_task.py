"""A task added by one module: training, evaluation, inference, explanation and export."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import upper_pairs
from registries import registered

import ohlol
from ohlol.cli import main
from ohlol.data import sequences
from ohlol.data.targets import TARGET_KINDS
from ohlol.explain.trace import trace
from ohlol.inference.output import FORMATS, make_writer
from ohlol.inference.trained_model import TrainedModel
from ohlol.tasks import TASKS


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    with registered("toy_task", TASKS, TARGET_KINDS):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rarest")
    data = upper_pairs(folder / "pairs.tsv", 60)
    ohlol.fit(data, task="rarest", dev=data, out=folder / "run")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> TrainedModel:
    return ohlol.load(folder / "run")


def test_train(folder: Path, model: TrainedModel) -> None:
    assert model.task == "rarest"
    assert (model.config.model.hidden_size, model.config.training.class_weights) == (12, "balanced")
    assert list(model.config.metrics) == ["lowest_recall", "accuracy", "loss"]
    card = (folder / "run" / "README.md").read_text()
    assert "lowest recall" in card
    assert "ohlol predict" in card


def test_the_main_metric_selects_the_best_weights(folder: Path, model: TrainedModel) -> None:
    import json

    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert model.config.metrics["lowest_recall"] == max(line["lowest_recall"] for line in lines)


def test_resume(folder: Path, model: TrainedModel) -> None:
    assert ohlol.fit(out=folder / "run", resume=True).identity == model.identity


def test_evaluate(folder: Path, model: TrainedModel, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = model.evaluate(folder / "pairs.tsv").metrics()
    assert metrics == pytest.approx(model.config.metrics)
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(folder / "run"), str(folder / "pairs.tsv")])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("lowest recall ")


def test_predict(folder: Path, model: TrainedModel) -> None:
    corpus = sequences.read(folder / "pairs.tsv", model.config.data)
    predictions = list(model.predict_many(corpus))
    assert [len(p.labels) for p in predictions] == [len(text) for text in corpus.inputs]
    for output_format in FORMATS:
        assert make_writer(model, output_format)(predictions[0])


def test_stream(folder: Path) -> None:
    model = ohlol.fit(folder / "pairs.tsv", task="rarest", bidirectional=False, epochs=2)
    stream = model.stream()
    assert [stream.step(symbol).label for symbol in "abc"] == model.predict("abc").labels


def test_explain(model: TrainedModel) -> None:
    result = trace(model, "abc", target="ABC")
    assert result.difference < 1e-5
    assert list(result.predicted) == model.predict("abc").labels


def test_export_and_import(model: TrainedModel, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from ohlol.interop import import_run, onnx_export, onnx_verify

    graph = onnx_export.build_graph(model)
    assert onnx_verify.verify(model, graph).passed
    (tmp_path / "model.onnx").write_bytes(graph)
    imported, _ = import_run.import_model(tmp_path / "model.onnx")
    assert (imported.task, imported.identity) == ("rarest", model.identity)
