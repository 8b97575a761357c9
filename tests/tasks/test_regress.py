"""Regression: its errors by hand, its files, and a number wherever a label is predicted otherwise."""

import math
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, lengths_file

import ohlol
from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.codec import Codec
from ohlol.data.corpus.encode import encode
from ohlol.data.formats import resolve
from ohlol.data.scale import Scale
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.tasks.regress import RegressMetrics
from ohlol.utils.errors import InputError

SETTINGS = {"task": "regress", "input": "name", "target": "size"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regress")
    lengths_file(folder / "sizes.csv", 120)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> TrainedModel:
    return ohlol.fit(
        folder / "sizes.csv", out=folder / "run", hidden_size=24, epochs=40, lr=1e-2, bidirectional=False, **SETTINGS
    )


def test_errors_are_in_the_unit_of_the_target_beside_those_of_the_mean() -> None:
    scale = Scale((10.0,), (2.0,))
    accumulator = RegressMetrics(Codec("regress", target_columns=("y",), target_scale=scale))
    targets, predictions = (scale.apply(np.array([side]).T) for side in ([7.0, 14.0], [10.0, 15.0]))
    accumulator.add(targets, predictions, [np.arange(1), np.arange(1, 2)])
    accumulator.add_loss(3.0, 2)
    assert accumulator.metrics() == pytest.approx({"rmse": math.sqrt(5), "mae": 2.0, "loss": 1.5})
    assert accumulator.baseline() == pytest.approx({"rmse": math.sqrt(12.5), "mae": 3.5})
    assert accumulator.main_metric == "rmse"


def test_numbers_are_learned_and_measured(model: TrainedModel, folder: Path) -> None:
    accumulator = model.evaluate(folder / "sizes.csv")
    assert isinstance(accumulator, RegressMetrics)
    metrics = accumulator.metrics()
    data = sequences.read(folder / "sizes.csv", model.config.data)
    targets = np.array(data.targets, np.float64)
    predicted = np.array([p.number for p in model.predict_many(data)])
    assert metrics["rmse"] == pytest.approx(np.sqrt(((predicted - targets) ** 2).mean()), rel=1e-5)
    assert metrics["mae"] == pytest.approx(np.abs(predicted - targets).mean(), rel=1e-5)
    assert metrics["rmse"] < 0.4 * accumulator.baseline()["rmse"]
    assert model.codec.target_columns == ("size",)


def test_a_prediction_is_a_number_without_labels(model: TrainedModel, folder: Path) -> None:
    prediction = model.predict("banana")
    assert (prediction.labels, prediction.probability, prediction.best) == ([], [], [])
    assert prediction.number == pytest.approx(65, abs=10)
    assert ohlol.load(folder / "run").predict("banana").number == prediction.number
    together = list(model.predict_many(["ab", "banana", "a", "lambda"]))
    alone = [model.predict(text).number for text in ("ab", "banana", "a", "lambda")]
    assert [p.number for p in together] == pytest.approx(alone, rel=1e-5)


def test_a_stream_has_the_number_of_what_was_read(model: TrainedModel) -> None:
    step = model.stream().read("banana")[-1]
    assert step.row == pytest.approx([model.predict("banana").number], rel=1e-5)
    with pytest.raises(InputError, match="predicts numbers, not labels"):
        _ = step.label


def test_what_needs_labels_is_refused(model: TrainedModel) -> None:
    with pytest.raises(InputError, match="the task of this model is regress; only models that predict labels can be"):
        trace(model, "banana")
    with pytest.raises(InputError, match="only a model that predicts the next symbol generates text"):
        next(model.generate("b"))
    with pytest.raises(InputError, match="task is regress"):
        model.next_rows("sizes.csv")


def test_an_encoded_corpus_holds_the_same_numbers(folder: Path) -> None:
    settings = resolve(folder / "sizes.csv", DataSettings(**SETTINGS))
    encode([str(folder / "sizes.csv")], folder / "corpus", settings, dev_fraction=0.0)
    by_corpus = ohlol.fit(folder / "corpus", dev=folder / "sizes.csv", **{**TINY, "epochs": 2})
    by_file = ohlol.fit(folder / "sizes.csv", dev=folder / "sizes.csv", **{**TINY, "epochs": 2}, **SETTINGS)
    assert by_corpus.codec == by_file.codec
    assert by_corpus.predict("banana").number == pytest.approx(by_file.predict("banana").number, rel=1e-4)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("", "3: column 'size' is empty"),
        ("many", "3: column 'size' is 'many', which is not a finite number"),
        ("inf", "3: column 'size' is 'inf', which is not a finite number"),
    ],
)
def test_a_target_that_is_no_number_is_refused(tmp_path: Path, cell: str, problem: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"name,size\nab,1\nba,{cell}\n" + "bb,2\n" * 30, encoding="utf-8")
    with pytest.raises(InputError, match=f"a.csv:{problem}"):
        ohlol.fit(path, **SETTINGS)


def test_decimal_commas_are_read_as_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name;size\nab;1,5\nba;2\n", encoding="utf-8")
    data = sequences.read(path, DataSettings(decimal=",", **SETTINGS))
    assert data.targets == [1.5, 2.0]


def test_another_head_is_refused(folder: Path) -> None:
    with pytest.raises(
        InputError, match="`head` softmax does not fit this task; it must be one of regression, absolute"
    ):
        ohlol.fit(folder / "sizes.csv", head="softmax", **SETTINGS)


def test_the_absolute_error_is_minimized_by_its_head(folder: Path) -> None:
    model = ohlol.fit(folder / "sizes.csv", head="absolute", **{**TINY, "epochs": 3}, **SETTINGS)
    accumulator = model.evaluate(folder / "sizes.csv")
    assert model.codec.target_scale is not None
    assert accumulator.mean_loss == pytest.approx(
        accumulator.metrics()["mae"] / model.codec.target_scale.std[0], rel=1e-5
    )
