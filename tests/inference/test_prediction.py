"""Predictions: one sequence and many give the same, the n best labels are the most probable."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, names_file, upper_pairs

import ohlol
from ohlol.data.codec_encoding import encode_data
from ohlol.evaluation.evaluate import EVAL_BATCH
from ohlol.inference.prediction import predict_batch
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return ohlol.fit(upper_pairs(tmp_path_factory.mktemp("letters") / "pairs.tsv"), **TINY)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    path: Path = tmp_path_factory.mktemp("names") / "names.csv"
    return ohlol.fit(names_file(path), input="name", target="kind", **TINY)


def random_texts(count: int) -> list[str]:
    random = np.random.default_rng(0)
    return ["".join(random.choice(list("abcde"), size=random.integers(1, 12))) for _ in range(count)]


@pytest.mark.parametrize("fixture", ["letters", "names"])
def test_predict_many_equals_predict_in_order(fixture: str, request: pytest.FixtureRequest) -> None:
    model: TrainedModel = request.getfixturevalue(fixture)
    texts = random_texts(2 * EVAL_BATCH + 5)
    predictions = list(model.predict_many(texts, n_best=2))
    assert [p.symbols for p in predictions] == texts
    for text, prediction in zip(texts, predictions, strict=True):
        alone = model.predict(text, n_best=2)
        assert alone.labels == prediction.labels
        assert alone.probability == pytest.approx(prediction.probability, abs=1e-5)
        assert len(prediction.labels) == (1 if fixture == "names" else len(text))


def test_an_endless_iterator_is_read_batch_by_batch(letters: TrainedModel) -> None:
    count = itertools.count()
    first = next(letters.predict_many("ab" for _ in count))
    assert first.labels == letters.predict("ab").labels
    assert next(count) <= EVAL_BATCH + 1


def test_n_best_are_the_most_probable(letters: TrainedModel) -> None:
    assert letters.codec.labels is not None
    count = len(letters.codec.labels)
    prediction = letters.predict("abcde", n_best=100)
    for step, best in enumerate(prediction.best):
        assert len(best) == count
        probabilities = [p for _, p in best]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert best[0] == (prediction.labels[step], prediction.probability[step])
    assert [len(best) for best in letters.predict("ab", n_best=2).best] == [2, 2]
    assert [len(best) for best in letters.predict("ab").best] == [1, 1]


def test_n_best_of_each_sequence(letters: TrainedModel) -> None:
    predictions = list(letters.predict_many(["abc", "ab", "abcd"], n_best=[2, 0, 3]))
    assert [len(p.best[0]) for p in predictions] == [2, 1, 3]


def test_symbols_are_decoded_from_ids(letters: TrainedModel) -> None:
    texts = random_texts(9)
    data = encode_data(letters.codec, letters.raw_data(texts))
    rows = np.array([5, 0, 3])
    predictions = predict_batch(letters.network, letters.codec, data, rows, n_best=2)
    assert ["".join(p.symbols) for p in predictions] == [texts[row] for row in rows]
    assert [p.labels for p in predictions] == [letters.predict(texts[row]).labels for row in rows]


def test_unknown_symbols_are_reported_once_and_in_order(letters: TrainedModel) -> None:
    prediction = letters.predict("zaz😀b")
    assert prediction.unknown == ["z", "😀"]
    assert len(prediction.labels) == 5
    assert letters.predict("ab").unknown == []
    closed = ohlol.fit([("ab", "AB")], epochs=1)
    with pytest.raises(InputError, match=r"^text 1: symbol 'z' was not seen in training"):
        closed.predict("az")


def test_labels_are_decoded_by_the_head(letters: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    second = 1  # a head that decodes the second most probable label
    monkeypatch.setattr(
        letters.network.head, "decode", lambda logits, batch_sizes: logits.topk(2, dim=1).indices[:, second]
    )
    prediction = letters.predict("abcde", n_best=2)
    assert prediction.labels == [best[second][0] for best in prediction.best]
    assert prediction.probability == [best[second][1] for best in prediction.best]
    assert all(best[0][1] >= best[1][1] for best in prediction.best)
