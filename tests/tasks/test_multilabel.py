"""Sets of labels: their metrics against scikit-learn, and the task wherever a model of it is used."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from counting import codec_of
from helpers import TINY, sets_file
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

import ohlol
from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.corpus.encode import encode
from ohlol.data.formats import resolve
from ohlol.evaluation.baselines import compute_baselines
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.output import make_writer
from ohlol.inference.trained_model import TrainedModel
from ohlol.tasks.multilabel import MultilabelMetrics
from ohlol.utils.errors import InputError, InputWarning

SETTINGS = {"task": "multilabel", "input": "name", "target": "letters"}
ROWS = st.lists(st.tuples(*[st.integers(0, 1)] * 6), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multilabel")
    sets_file(folder / "sets.jsonl", 300)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> TrainedModel:
    return ohlol.fit(
        folder / "sets.jsonl", out=folder / "run", hidden_size=24, epochs=30, lr=1e-2, bidirectional=False, **SETTINGS
    )


def accumulate(targets: np.ndarray, predictions: np.ndarray, unseen: int = 0) -> MultilabelMetrics:
    accumulator = MultilabelMetrics(codec_of("multilabel", ["a", "b", "c"]))
    counts = np.array([[unseen]] + [[0]] * (len(targets) - 1))
    accumulator.add(np.hstack([targets, counts]), predictions, list(np.arange(len(targets)).reshape(-1, 1)))
    return accumulator


@given(ROWS)
def test_metrics_equal_sklearn(rows: list[tuple[int, ...]]) -> None:
    targets, predictions = np.hsplit(np.array(rows), 2)
    accumulator = accumulate(targets, predictions)
    metrics = accumulator.metrics()
    occurs = np.flatnonzero((targets + predictions).any(axis=0)).tolist()
    for average in ("micro", "macro"):
        labels = occurs or [0]
        scores = precision_recall_fscore_support(targets, predictions, average=average, labels=labels, zero_division=0)
        assert metrics[f"{average}_f1"] == pytest.approx(scores[2])
    micro = precision_recall_fscore_support(targets, predictions, average="micro", zero_division=0)
    assert (accumulator.micro().precision, accumulator.micro().recall) == pytest.approx(micro[:2])
    assert metrics["subset_accuracy"] == pytest.approx(accuracy_score(targets, predictions))
    scores = precision_recall_fscore_support(targets, predictions, average=None, zero_division=0)
    for entry in accumulator.report().classes:
        at = "abc".index(entry.label)
        assert (entry.precision, entry.recall, entry.f1, entry.support) == pytest.approx([s[at] for s in scores])


def test_labels_that_training_did_not_see_are_missed() -> None:
    targets = np.array([[1, 0, 0], [0, 1, 0]])
    accumulator = accumulate(targets, targets, unseen=2)
    assert accumulator.micro().recall == pytest.approx(0.5)
    assert accumulator.micro().precision == 1
    assert accumulator.metrics()["subset_accuracy"] == 0.5


def test_only_predicted_labels_are_counted_for_the_calibration() -> None:
    accumulator = accumulate(np.array([[1, 0, 0]]), np.array([[1, 1, 0]]))
    accumulator.add_confidences(np.array([[1, 0, 0, 0]]), np.array([[1, 1, 0]]), np.array([[0.9, 0.6, 0.1]]))
    bins = [entry for entry in accumulator.report().bins if entry.count]
    assert [(entry.count, entry.accuracy) for entry in bins] == [(1, 0.0), (1, 1.0)]
    assert accumulator.report().calibration_error == pytest.approx((0.6 + 0.1) / 2)


def test_sets_are_learned_and_measured(model: TrainedModel, folder: Path) -> None:
    accumulator = model.evaluate(folder / "sets.jsonl")
    data = sequences.read(folder / "sets.jsonl", model.config.data)
    predicted = [set(p.labels) for p in model.predict_many(data)]
    expected = [set(labels) for labels in data.targets or ()]  # pyright: ignore[reportArgumentType]
    share = np.mean([a == b for a, b in zip(predicted, expected, strict=True)])
    assert accumulator.metrics()["subset_accuracy"] == pytest.approx(share)
    assert share > 0.9
    assert set() in predicted
    assert model.config.metrics["micro_f1"] > 0.8


def test_a_prediction_is_a_set_with_probabilities(model: TrainedModel, folder: Path) -> None:
    prediction = model.predict("banad", n_best=2)
    assert set(prediction.labels) == {"a", "b", "d"}
    assert prediction.probability == sorted(prediction.probability, reverse=True)
    assert prediction.best == [list(zip(prediction.labels, prediction.probability, strict=True))[:2]]
    empty = model.predict("mno")
    assert (empty.labels, empty.probability) == ([], [])
    assert len(empty.best[0]) == 1
    assert ohlol.load(folder / "run").predict("banad") == model.predict("banad")


def test_sets_are_written_in_every_format(model: TrainedModel) -> None:
    prediction, empty = model.predict("banad", n_best=2), model.predict("mno")
    assert make_writer(model, "plain")(prediction) == "|".join(prediction.labels)
    assert make_writer(model, "plain")(empty) == ""
    text, labels, *best = make_writer(model, "tsv")(prediction).split("\t")
    assert (text, labels, best[::2]) == ("banad", "|".join(prediction.labels), prediction.labels[:2])
    record = json.loads(make_writer(model, "jsonl")(prediction))
    assert (record["labels"], record["probability"]) == (prediction.labels, prediction.probability)
    assert json.loads(make_writer(model, "jsonl")(empty))["labels"] == []
    with pytest.raises(InputError, match="the task multilabel has a set of labels for each sequence"):
        make_writer(model, "conll")


def test_a_stream_has_the_labels_of_what_was_read(model: TrainedModel) -> None:
    steps = model.stream().read("banad")
    for length, step in enumerate(steps, 1):
        expected = model.predict("banad"[:length], n_best=3)
        assert step.labels == expected.labels
        assert [label for label, _ in step.best(3)] == [label for label, _ in expected.best[0]]
        assert step.best(1)[0][1] == pytest.approx(step.probability)
    with pytest.raises(InputError, match="predicts sets of labels: use `labels`"):
        _ = steps[0].label


def test_labels_that_training_did_not_see_are_counted(model: TrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [("banad", ["a", "b", "d", "z"]), ("mno", ["y"]), ("mmo", [])]
    lines = [json.dumps({"name": name, "letters": letters}) for name, letters in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.warns(InputWarning, match="2 of 5 labels were not seen in training, and each of them counts as missed"):
        accumulator = model.evaluate(path)
    assert isinstance(accumulator, MultilabelMetrics)
    assert accumulator.unseen_labels == 2
    assert accumulator.micro().recall <= 0.6
    assert np.isfinite(accumulator.mean_loss)


def test_the_influence_of_inputs_on_each_label(model: TrainedModel) -> None:
    saliency = compute_saliency(model, "banad")
    assert set(saliency.labels) == set(model.predict("banad").labels)
    assert saliency.gradient.shape == saliency.ablation.shape == (3, 5)
    (row,) = compute_saliency(model, "mno").gradient
    assert row.shape == (3,)
    of_b = saliency.ablation[saliency.labels.index("b")]
    assert of_b.argmax() == 0  # the only b of the text


def test_a_trace_has_the_loss_of_a_set(model: TrainedModel) -> None:
    result = trace(model, "banad", target=["a", "d"])
    assert result.difference < 1e-5
    assert set(result.predicted[0].split(", ")) == {"a", "b", "d"}
    assert result.targets == ("a, d",)
    p = result.probabilities[0]
    expected = -np.log([p[0], 1 - p[1], p[2]]).mean()
    assert result.loss == pytest.approx(expected, rel=1e-4)
    assert trace(model, "banad", target="a|d").targets == ("a, d",)
    assert trace(model, "mno").predicted == ("",)


def test_an_encoded_corpus_holds_the_same_sets(folder: Path) -> None:
    settings = resolve(folder / "sets.jsonl", DataSettings(**SETTINGS))
    encode([str(folder / "sets.jsonl")], folder / "corpus", settings, dev_fraction=0.0)
    tiny = {**TINY, "epochs": 2}
    by_corpus = ohlol.fit(folder / "corpus", dev=folder / "sets.jsonl", **tiny)
    by_file = ohlol.fit(folder / "sets.jsonl", dev=folder / "sets.jsonl", **tiny, **SETTINGS)
    assert replace(by_corpus.codec, bigrams=None) == by_file.codec  # a corpus has them for any model
    assert by_corpus.evaluate(folder / "corpus").metrics() == pytest.approx(
        by_file.evaluate(folder / "sets.jsonl").metrics(), rel=1e-4
    )


def test_the_loss_is_compared_with_the_shares_of_labels(model: TrainedModel, folder: Path) -> None:
    accumulator = model.evaluate(folder / "sets.jsonl")
    assert isinstance(accumulator, MultilabelMetrics)
    baselines = compute_baselines(model.config, model.codec, accumulator)
    shares = accumulator.support / accumulator.sequences
    expected = -(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)).mean()
    assert (baselines.uniform, baselines.frequencies) == pytest.approx((np.log(2), expected))
    assert baselines.learned


def test_class_weights_and_other_heads_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="`class_weights` weighs the one label of a prediction, and task multilabel"):
        ohlol.fit(folder / "sets.jsonl", class_weights="balanced", **SETTINGS)
    with pytest.raises(InputError, match="`head` softmax does not fit this task; it must be one of sigmoid"):
        ohlol.fit(folder / "sets.jsonl", head="softmax", **SETTINGS)
    with pytest.raises(InputError, match="`head` sigmoid does not fit this task; it must be one of"):
        ohlol.fit([("hello", "ohlol")], head="sigmoid")


def test_sets_that_are_all_empty_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"name": "ab", "letters": []}\n' * 3, encoding="utf-8")
    with pytest.raises(InputError, match="every set of labels is empty; choose another `target`"):
        ohlol.fit(path, **SETTINGS)
