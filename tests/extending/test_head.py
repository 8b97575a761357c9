"""A head added by one module: training, evaluation, inference, explanation and export."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from registries import registered

import ohlol
from ohlol.data import sequences
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.heads import HEADS
from ohlol.utils.errors import InputError

PAIRS = [("hello", "ohlol"), ("hell", "ohlo")]


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    with registered("toy_head", HEADS):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "nearest"
    ohlol.fit(PAIRS, head="nearest", cell="gru", hidden_size=16, epochs=80, lr=0.05, seed=1, out=run)
    return run


@pytest.fixture(scope="module")
def model(run: Path) -> TrainedModel:
    return ohlol.load(run)


def nearest(model: TrainedModel, hidden: torch.Tensor) -> list[str]:
    """The labels of the nearest centres, by their definition."""
    assert model.codec.labels is not None
    distances = torch.cdist(hidden, model.network.head.centres.detach())
    return [model.codec.labels.symbols[i] for i in distances.argmin(dim=1).tolist()]


def test_train_and_predict(model: TrainedModel) -> None:
    assert [name for name, _ in model.network.head.named_parameters()] == ["centres"]
    for text, labels in PAIRS:
        prediction = model.predict(text, n_best=2)
        assert "".join(prediction.labels) == labels
        for best, probability in zip(prediction.best, prediction.probability, strict=True):
            assert best[0][1] == probability >= best[1][1]


def test_evaluate(model: TrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("hello\toooll\n")
    corpus = sequences.read(path, model.config.data)
    labels = model.predict("hello").labels
    correct = [label == target for label, target in zip(labels, "oooll", strict=True)]
    assert model.evaluate(corpus).metrics()["accuracy"] == pytest.approx(np.mean(correct))


def test_stream(model: TrainedModel) -> None:
    text, labels = PAIRS[0]
    one, many = model.stream(), model.streams(2)
    steps = [one.step(symbol) for symbol in text]
    assert "".join(step.label for step in steps) == labels
    assert "".join(step.label for step in model.stream().read(text)) == labels
    assert "".join(many.step({1: symbol})[1].label for symbol in text) == labels
    for step in steps:
        assert step.best(1)[0] == (step.label, pytest.approx(step.probability))
        assert step.probability == pytest.approx(float(step.probabilities.max()))


def test_generate(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abcd" * 200)
    model = ohlol.fit(
        path, head="nearest", cell="gru", hidden_size=16, bptt=16, batch_size=4, epochs=4, lr=0.02, seed=1
    )
    assert "".join(model.generate("abcd", length=20, temperature=0)) == "abcd" * 5
    assert "<unk>" not in list(model.generate("abcd", length=50, temperature=9.0, seed=0))
    assert model.stream().read("abc")[-1].label == "d"


def test_explain(model: TrainedModel) -> None:
    result = trace(model, "hello", target="ohlol")
    assert result.difference < 1e-5
    assert "".join(result.predicted) == "ohlol"
    assert [result.best(n, 1)[0][0] for n in range(5)] == list("ohlol")
    top = torch.from_numpy(result.layers[-1].after["h"]).float()
    assert list(result.predicted) == nearest(model, top)


def test_export(model: TrainedModel) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from ohlol.interop import onnx_export, onnx_verify

    for step in (False, True):
        assert onnx_verify.verify(model, onnx_export.build_graph(model, step=step)).passed


def test_a_label_head_is_refused_for_a_forecast(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text("x\n" + "\n".join(str(i % 5) for i in range(60)) + "\n")
    with pytest.raises(InputError, match="`head` nearest does not fit this task; it must be one of regression"):
        ohlol.fit(path, task="next_row", head="nearest")
