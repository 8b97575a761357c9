"""A cell added by one module: training, evaluation, inference, explanation and export."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from registries import registered
from rich.console import Console

import ohlol
from ohlol.cells import CELLS
from ohlol.display.trace_text import step_to_text
from ohlol.explain.equivalence import compare_run
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop import onnx_export, onnx_verify
from ohlol.nn import Recurrent, StepCell
from ohlol.utils.errors import InputError

PAIRS = [("hello", "ohlol"), ("hell", "ohlo")]


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    with registered("toy_cell", CELLS):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "toy_mgu"
    ohlol.fit(PAIRS, cell="toy_mgu", hidden_size=16, head="softmax", epochs=60, lr=0.05, seed=1, out=run)
    return run


@pytest.fixture(scope="module")
def model(run: Path) -> TrainedModel:
    return ohlol.load(run)


def test_train_and_predict(model: TrainedModel) -> None:
    assert isinstance(model.network.layers, Recurrent)
    assert {name for name, _ in model.network.layers.named_parameters()} == {
        "cells.0.weight_ih",
        "cells.0.weight_hh",
        "cells.0.bias_ih",
        "cells.0.bias_hh",
    }
    assert ["".join(model.predict(text).labels) for text, _ in PAIRS] == [labels for _, labels in PAIRS]


def test_evaluate(run: Path, tmp_path: Path) -> None:
    from ohlol.cli import main

    data = tmp_path / "pairs.tsv"
    data.write_text("".join(f"{text}\t{labels}\n" for text, labels in PAIRS))
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(run), str(data)])
    assert ended.value.code == 0


def test_stream(model: TrainedModel) -> None:
    text, labels = PAIRS[0]
    stream = model.stream()
    assert "".join(stream.step(symbol).label for symbol in text) == labels
    many = model.streams(2)
    first, second = many
    for a, b in itertools.pairwise(text):
        many.step({first: a, second: b})


def test_generate(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abcabcabc " * 60)
    writer = ohlol.fit(text, cell="toy_mgu", hidden_size=12, embedding_size=0, epochs=1, seed=1)
    assert len("".join(writer.generate("abc", length=20))) >= 20


def test_explain(model: TrainedModel) -> None:
    found = trace(model, "hello", target="ohlol")
    assert found.difference < 1e-5
    (layer,) = found.layers
    f, n = layer.gates
    assert (f.name, f.activation, n.name, n.activation, n.reset_by) == ("f", "sigmoid", "n", "tanh", "f")
    total = n.W_ih_x + n.b_ih + f.value * (n.W_hh_h + n.b_hh)
    assert abs(total - n.total).max() < 1e-12
    assert all(comparison.agrees for comparison in compare_run(model))
    page = io.StringIO()
    step_to_text(found, 1, Console(file=page, width=100))
    assert "f *" in page.getvalue()


def test_same_seed_same_weights() -> None:
    one, two = (StepCell(CELLS["toy_mgu"], 3, 5) for _ in map(torch.manual_seed, (4, 4)))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.abs().max() <= 5**-0.5


def test_export(model: TrainedModel) -> None:
    assert onnx_verify.verify(model, onnx_export.build_graph(model)).passed


def test_layers_and_directions() -> None:
    options = {"hidden_size": 6, "num_layers": 2, "bidirectional": True, "dropout": 0.1, "head": "softmax"}
    model = ohlol.fit(PAIRS, cell="toy_mgu", epochs=60, lr=0.05, seed=1, **options)
    assert len(model.network.layers.cells) == 4
    assert ["".join(model.predict(text).labels) for text, _ in PAIRS] == [labels for _, labels in PAIRS]
    found = trace(model, "hello")
    assert found.difference < 1e-5
    assert len({(layer.layer, layer.direction) for layer in found.layers}) == 4


def test_loop_needs_a_cell_of_torch() -> None:
    with pytest.raises(
        InputError, match="`loop` calls a cell of torch at each step, and torch has none of `cell` toy_mgu"
    ):
        ohlol.fit(PAIRS, cell="toy_mgu", loop=True)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(InputError, match="`cell` is 'mamba'; it must be one of rnn, "):
        ohlol.fit(PAIRS, cell="mamba")
