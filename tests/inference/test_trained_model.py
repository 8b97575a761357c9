"""A trained model: methods of other tasks are refused, and a saved run predicts the same."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import MOVES, TINY, moves_file, text_file, upper_pairs
from hypothesis import given
from hypothesis import strategies as st
from module_cells import imported
from untrained import untrained
from word_vector_files import make_vectors

import ohlol
from ohlol.config import TrainSettings
from ohlol.data.batches import gather
from ohlol.data.codec_encoding import encode_data
from ohlol.data.sequences import read
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop.onnx_export import build_graph
from ohlol.models.inputs import PackedInputs
from ohlol.ops import available
from ohlol.utils.errors import InputError

needs_kernels = pytest.mark.skipif(not available(), reason="a reduced precision needs the compiled kernels")


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder: Path = tmp_path_factory.mktemp("letters")
    return ohlol.fit(upper_pairs(folder / "pairs.tsv"), out=folder / "run", **TINY)


def test_methods_of_other_tasks_are_refused(letters: TrainedModel, tmp_path: Path) -> None:
    text = ohlol.fit(text_file(tmp_path / "text.txt"), bptt=10, **{**TINY, "epochs": 1})
    with pytest.raises(InputError, match="empty"):
        letters.predict("")
    with pytest.raises(InputError, match="empty"):
        letters.predict([])
    with pytest.raises(InputError, match="task is next, which has no labels; use `generate`"):
        text.predict("the")
    with pytest.raises(InputError, match="task is next_row, which has no labels; use `next_rows`"):
        untrained("next_row").predict("the")
    with pytest.raises(InputError, match="task is label; only a model that predicts the next symbol generates"):
        letters.generate("ab")
    with pytest.raises(InputError, match="task is label; it does not predict the next row"):
        letters.next_rows("file.csv")
    with pytest.raises(InputError, match="task is label; it does not forecast series"):
        letters.forecast("file.csv")
    with pytest.raises(InputError, match="task is forecast, which has no labels; use `forecast`"):
        untrained("forecast").predict("the")
    with pytest.raises(InputError, match="task is forecast; it does not predict the next row"):
        untrained("forecast").next_rows("file.csv")


def test_a_saved_run_predicts_the_same(letters: TrainedModel) -> None:
    assert letters.run is not None
    loaded = ohlol.load(letters.run)
    assert loaded.identity == letters.identity
    for text in ("abc", "edcba", "zzz", "a"):
        assert loaded.predict(text) == letters.predict(text)


def test_on_cpu_of_a_model_on_the_cpu_is_the_model(letters: TrainedModel) -> None:
    assert letters.on_cpu is letters


@pytest.mark.parametrize(
    "copy", [lambda model: pickle.loads(pickle.dumps(model)), deepcopy], ids=["pickle", "deepcopy"]
)
def test_a_pickle_is_the_files_of_the_run(letters: TrainedModel, copy: Callable[[TrainedModel], TrainedModel]) -> None:
    restored = copy(letters)
    assert restored.run is None
    assert restored.config == letters.config
    assert restored.codec == letters.codec
    assert restored.identity == letters.identity
    assert restored.predict("abc") == letters.predict("abc")


def test_a_pickle_holds_word_vectors(tmp_path: Path) -> None:
    rows = [{"text": "a b c" if n % 2 else "c b", "label": "xy"[n % 2]} for n in range(24)]
    settings = {"input": "text", "target": "label", "level": "word", "vectors": make_vectors("a b c d"), **TINY}
    model = ohlol.fit(rows, **settings)
    restored = pickle.loads(pickle.dumps(model))
    assert restored.identity == model.identity
    assert restored.predict("d b") == model.predict("d b")


def test_a_damaged_pickle_is_refused(letters: TrainedModel) -> None:
    function, (files, precision) = letters.__reduce__()
    damaged = {**files, "model.safetensors": files["model.safetensors"][:-1] + b"?"}
    with pytest.raises(InputError, match="does not match its checksum"):
        function(damaged, precision)


def test_identities_differ_between_models() -> None:
    base = untrained("next")
    assert base.identity == untrained("next").identity
    assert len(base.identity) == 64
    others = [
        untrained("next", seed=1),
        untrained("next", unknowns=False),
        untrained("next", cell="gru"),
        untrained("label"),
    ]
    assert len({base.identity, *(other.identity for other in others)}) == 5
    forecasts = untrained("forecast")
    longer = replace(forecasts, config=replace(forecasts.config, training=TrainSettings(bptt=7)))
    assert longer.identity != forecasts.identity  # it reads fewer rows before a forecast


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    table = moves_file(tmp_path_factory.mktemp("moves") / "moves.csv")
    return ohlol.fit(table, **MOVES, **{**TINY, "epochs": 20, "lr": 0.02})


def test_series_are_predicted_from_arrays_files_tables_and_data(moves: TrainedModel, tmp_path: Path) -> None:
    table = moves_file(tmp_path / "moves.csv", 40)
    rows = [dict(zip(("id", "t", "x", "y"), line.split(","), strict=False)) for line in table.read_text().split()[1:]]
    data = read(table, moves.data_settings())
    predicted = list(moves.predict_many(table))
    assert [one.labels for one in predicted] == [["up"], ["down"]] * 20
    assert [one.name for one in predicted] == [f"move{i}" for i in range(40)]
    assert all(one.symbols == () and one.unknown == [] for one in predicted)
    assert list(moves.predict_many(data)) == list(moves.predict_many(rows)) == predicted
    alone = [moves.predict(array) for array in data.inputs]
    assert [one.labels for one in alone] == [one.labels for one in predicted]
    assert moves.predict(data.inputs[0].tolist(), n_best=2).best[0][0][0] == "up"  # type: ignore


@given(st.data())
def test_an_array_of_another_shape_is_refused(moves: TrainedModel, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 3), max_size=3).filter(lambda shape: shape[1:] != [2] or not shape[0]))
    with pytest.raises(InputError, match=r"series 1: this model reads a series of numbers, rows of 2: x, y; give"):
        moves.predict(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_numbers_out_of_range_are_refused(moves: TrainedModel, bad: float) -> None:
    with pytest.raises(InputError, match=r"series 1: column y is .*, not a finite number in range"):
        moves.predict([[1.0, 2.0], [3.0, bad]])
    with pytest.raises(InputError, match="it does not predict the next row"):
        moves.next_rows("moves.csv")


def test_a_series_of_one_column_may_be_an_array_of_one_axis(tmp_path: Path) -> None:
    model = ohlol.fit(moves_file(tmp_path / "moves.csv"), input="x", **MOVES, **TINY)
    rows = np.arange(5.0)
    assert model.predict(rows) == model.predict(rows[:, None])


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """A model of task next with two layers."""
    folder: Path = tmp_path_factory.mktemp("sentences")
    settings: dict[str, Any] = {**TINY, "num_layers": 2}
    return ohlol.fit(text_file(folder / "text.txt"), out=folder / "run", bptt=10, **settings)


@pytest.fixture(scope="module")
def sentences_of_mgu(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder: Path = tmp_path_factory.mktemp("sentences_of_mgu")
    settings: dict[str, Any] = {**TINY, "num_layers": 2, "cell": "mgu"}
    return ohlol.fit(text_file(folder / "text.txt"), out=folder / "run", bptt=10, **settings)


@needs_kernels
@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("name", ["sentences", "sentences_of_mgu"])
def test_a_reduced_precision_is_that_of_every_path(name: str, precision: str, request: pytest.FixtureRequest) -> None:
    """Whole sequences, looked up or embedded, and streams of one and of many compute the same numbers."""
    sentences: TrainedModel = request.getfixturevalue(name)
    assert sentences.run is not None
    model = ohlol.load(sentences.run, precision=precision)
    assert (model.network.precision, sentences.network.precision) == (precision, "fp32")
    text = "the cat sat on the mat, and the dog"
    ids = encode_data(model.codec, model.raw_data([text]))
    packed = PackedInputs.of(gather(ids, np.arange(1)))
    with torch.no_grad():
        looked_up, _ = model.network(packed)
        embedded, _ = model.network.hidden(model.network.encoder(packed), packed.batch_sizes, None)
        exact, _ = sentences.network(packed)
    stream, streams = model.stream(), model.streams(2)
    for t, symbol in enumerate(text):
        torch.testing.assert_close(stream.step(symbol).logits, looked_up[t], rtol=0, atol=2e-5)
        torch.testing.assert_close(streams.step({0: symbol, 1: symbol})[1].logits, looked_up[t], rtol=0, atol=2e-5)
    torch.testing.assert_close(model.network.head(embedded), looked_up, rtol=0, atol=2e-5)
    assert 0 < (looked_up - exact).abs().max() < 0.05
    generated = "".join(model.generate("the", length=20, seed=1))
    assert generated == "".join(deepcopy(model).generate("the", length=20, seed=1))


@needs_kernels
def test_copies_have_the_precision_and_identities_differ(sentences: TrainedModel) -> None:
    assert sentences.run is not None
    models = [ohlol.load(sentences.run, precision=precision) for precision in ("fp32", "bf16", "int8")]
    assert models[0].identity == sentences.identity
    assert len({model.identity for model in models}) == 3
    for model in models:
        for other in (deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert (other.network.precision, other.identity) == (model.network.precision, model.identity)
    with pytest.raises(InputError, match="belongs to another model"):
        models[0].stream().restore(models[2].stream().state())


@needs_kernels
def test_what_a_reduced_precision_cannot_do_is_refused(sentences: TrainedModel, tmp_path: Path) -> None:
    assert sentences.run is not None
    with pytest.raises(InputError, match="`precision` is 'int4'; it must be one of fp32, bf16, int8"):
        ohlol.load(sentences.run, precision="int4")
    model = ohlol.load(sentences.run, precision="int8")
    with pytest.raises(InputError, match="`dynamic` trains a copy of the model, and `precision` int8 is for inference"):
        model.evaluate_dynamic(text_file(tmp_path / "text.txt"))
    with pytest.raises(InputError, match="`precision` int8 needs the compiled kernels, the CPU and a model without"):
        untrained("next", cell="gru in a loop").network.quantize("int8")
    with imported():
        in_a_loop = untrained("next", cell="module_cells:Cumulative")
        with pytest.raises(InputError, match=r"module_cells:Cumulative: layers cannot run with int8, since .*cumsum"):
            in_a_loop.network.quantize("int8")
        assert in_a_loop.network.precision == "fp32"
    with pytest.raises(
        InputError, match="a graph holds float32 weights, and this model was loaded with `precision` int8"
    ):
        build_graph(model)
