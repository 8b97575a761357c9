"""Every cell of the package that is a module: training, evaluation, prediction, streams, explanation, proof, export."""

from pathlib import Path
from typing import Any

import pytest

import ohlol
from ohlol.cells import CELLS
from ohlol.explain.equivalence import compare_run
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.nn import Recurrent

OWN = [name for name, spec in CELLS.items() if spec.module is not None]
pytestmark = pytest.mark.slow  # make test-all

PAIRS = [("hello", "ohlol"), ("hell", "ohlo")]
OPTIONS: dict[str, Any] = {"hidden_size": 16, "embedding_size": 6, "head": "softmax", "lr": 0.05, "seed": 1}


@pytest.fixture(scope="module", params=OWN)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    run = tmp_path_factory.mktemp("runs") / request.param
    ohlol.fit(PAIRS, cell=request.param, epochs=40, out=run, **OPTIONS)
    return ohlol.load(run)


def test_predict_and_evaluate(model: TrainedModel, tmp_path: Path) -> None:
    assert isinstance(model.network.layers, Recurrent)
    assert ["".join(model.predict(text).labels) for text, _ in PAIRS] == [labels for _, labels in PAIRS]
    data = tmp_path / "pairs.tsv"
    data.write_text("".join(f"{text}\t{labels}\n" for text, labels in PAIRS))
    assert model.evaluate(data).metrics()["accuracy"] == 1


def test_stream(model: TrainedModel) -> None:
    first, second = model.stream(), model.stream()
    labels = "".join(first.step(symbol).label for symbol in "hel")
    second.restore(first.state())
    assert labels + "".join(second.step(symbol).label for symbol in "lo") == "ohlol"
    many = model.streams(2)
    a, b = many
    together = [many.step({a: one, b: two}) for one, two in zip("hello", "hello", strict=True)]
    for key in (a, b):
        assert "".join(step[key].label for step in together) == "ohlol"


def test_explain_and_prove(model: TrainedModel) -> None:
    found = trace(model, "hello", target="ohlol")
    assert found.difference < 1e-5
    assert found.layers[0].lines[0]
    assert all(comparison.agrees for comparison in compare_run(model))


@pytest.mark.parametrize("step", [False, True])
def test_export(model: TrainedModel, step: bool) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from ohlol.interop import onnx_export, onnx_verify

    assert onnx_verify.verify(model, onnx_export.build_graph(model, step=step)).passed


@pytest.mark.parametrize("cell", OWN)
def test_the_state_as_logits(cell: str) -> None:
    """As `POST /v1/train` trains without a head."""
    model = ohlol.fit(cell=cell, epochs=2, seed=1)
    assert len(model.predict("hello").labels) == 5


@pytest.mark.parametrize("cell", OWN)
def test_layers_and_directions(cell: str) -> None:
    model = ohlol.fit(PAIRS, cell=cell, epochs=2, num_layers=2, bidirectional=True, dropout=0.1, **OPTIONS)
    assert trace(model, "hello").difference < 1e-5
