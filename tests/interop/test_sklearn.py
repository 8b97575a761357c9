"""Estimators of scikit-learn: what `X` may be, scikit-learn's own checks, pipelines, grid searches and pickles."""

import pickle
import pickletools
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TINY

import ohlol
from ohlol.utils.errors import InputError

pytest.importorskip("sklearn", reason="needs scikit-learn")
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from ohlol.sklearn import Forecaster, SequenceClassifier, SequenceRegressor, SequenceTagger

SEED = 7
SMALL = {"hidden_size": 8, "epochs": 6, "lr": 0.03}
WORDS = [f"{'ab'[n % 2]}c{'de'[n % 3 == 0]}" for n in range(48)]
KINDS = np.array(["first", "second"])[np.arange(48) % 2]
"""The class of a word is that of its first letter."""
SENTENCES = [["Anna", "saw", "Rome", "twice"][: 2 + n % 3] for n in range(36)]
TAGS = [["NOUN", "VERB", "NAME", "ADV"][: 2 + n % 3] for n in range(36)]
NUMBERS = np.random.default_rng(SEED).normal(size=(40, 5, 2))
SIGNS = np.where(NUMBERS[:, :, 0].mean(axis=1) > 0, 1, -1)

FORECASTS = "rows are time steps, and those after the training data are predicted"
EXPECTED_FAILURES: dict[type, dict[str, str]] = {
    SequenceClassifier: {},
    SequenceRegressor: {},
    Forecaster: {
        "check_fit2d_1sample": "one row is no series; the error is an `InputError`",
        "check_methods_sample_order_invariance": FORECASTS,
        "check_methods_subset_invariance": FORECASTS,
        "check_supervised_y_no_nan": "missing values of a series are read",
    },
}
"""The checks of scikit-learn that do not hold, with the reason, as docs/integrations.md lists them."""


def checks_of(*estimators: Any) -> Any:
    """All checks of scikit-learn for some estimators, as parameters of a test."""
    return parametrize_with_checks(
        list(estimators),
        expected_failed_checks=lambda estimator: EXPECTED_FAILURES[type(estimator)],
        xfail_strict=True,
    )


@checks_of(SequenceClassifier(**SMALL))
@pytest.mark.filterwarnings("ignore::ohlol.utils.errors.InputWarning")
def test_the_checks_of_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.slow
@checks_of(
    SequenceRegressor(**{**SMALL, "epochs": 30, "hidden_size": 16, "batch_size": 16}),
    Forecaster(**{**SMALL, "epochs": 1}),
)
@pytest.mark.filterwarnings("ignore::ohlol.utils.errors.InputWarning")
def test_the_checks_of_scikit_learn_for_numbers(
    estimator: Any, check: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "subset_invariance" in str(check) and isinstance(estimator, SequenceRegressor):
        # scikit-learn asks for 1e-7, and sums in float32 have another order in another batch.
        close = partial(np.testing.assert_allclose, rtol=1e-6)
        monkeypatch.setattr(estimator_checks, "assert_allclose", lambda a, b, atol, err_msg: close(a, b, atol=1e-6))
    check(estimator)


def lower_case(sentences: list[list[str]]) -> list[list[str]]:
    return [[word.lower() for word in sentence] for sentence in sentences]


def as_frame(column: list[Any]) -> Any:
    return pytest.importorskip("pandas").DataFrame({"text": column})


def as_polars(column: list[Any]) -> Any:
    return pytest.importorskip("polars").DataFrame({"text": column})


TEXTS: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "array": np.array,
    "column": lambda words: np.array(words, object)[:, None],
    "pandas": as_frame,
    "pandas series": lambda words: as_frame(words)["text"],
    "polars": as_polars,
    "lists": lambda words: [list(word) for word in words],
}
SERIES: dict[str, Callable[[], Any]] = {
    "(N, T)": lambda: NUMBERS[:, :, 0],
    "(N, T, I)": lambda: NUMBERS,
    "arrays of one column": lambda: [rows[: 3 + n % 3, 0] for n, rows in enumerate(NUMBERS)],
    "arrays": lambda: [rows[: 3 + n % 3] for n, rows in enumerate(NUMBERS)],
    "lists": lambda: [rows[: 3 + n % 3].tolist() for n, rows in enumerate(NUMBERS)],
    "frame": lambda: pytest.importorskip("pandas").DataFrame(NUMBERS[:, :, 0], columns=list("abcde")),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_of_every_kind(kind: str) -> None:
    X = TEXTS[kind](WORDS)
    expected = SequenceClassifier(**SMALL).fit(WORDS, KINDS)
    model = clone(expected).fit(X, KINDS)
    assert model.classes_.tolist() == ["first", "second"]
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(WORDS))
    assert model.score(X, KINDS) == 1.0
    lengths = np.array([len(word) for word in WORDS]) + np.arange(48) % 2
    assert SequenceRegressor(**SMALL).fit(X, lengths).score(X, lengths) > 0.9


@pytest.mark.parametrize("kind", SERIES)
def test_series_of_every_kind(kind: str) -> None:
    X = SERIES[kind]()
    model = SequenceClassifier(**SMALL).fit(X, SIGNS)
    assert model.classes_.tolist() == [-1, 1]
    assert model.predict(X).dtype == SIGNS.dtype
    assert model.score(X, SIGNS) > 0.7
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    means = np.array([np.mean(np.asarray(rows)) for rows in X]) if kind != "frame" else X.mean(axis=1)
    assert SequenceRegressor(**{**SMALL, "epochs": 30}).fit(X, means).score(X, means) > 0.5


def test_words_of_a_text_and_the_settings_of_fit() -> None:
    texts = ["to be or not" if n % 2 else "be not to" for n in range(30)]
    y = np.arange(30) % 2
    model = SequenceClassifier(level="word", cell="gru", seed=3, **TINY).fit(texts, y)
    assert model.model_.codec.symbols is not None
    assert {"to", "be", "or", "not"} <= set(model.model_.codec.symbols.symbols)
    config = model.model_.config
    assert (config.model.cell, config.model.hidden_size, config.training.seed) == ("gru", TINY["hidden_size"], 3)
    rows = [{"text": text, "class": str(label)} for text, label in zip(texts, y, strict=True)]
    chosen = {"task": "classify", "input": "text", "target": "class", "level": "word", "cell": "gru", "seed": 3}
    assert model.model_.identity == ohlol.fit(rows, **chosen, **TINY).identity


def test_texts_with_columns_beside_them() -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    countries = np.array(["DE", "FR", "US"])[np.arange(48) % 3]
    X = pandas.DataFrame({"country": countries, "word": WORDS, "price": np.arange(48.0)})
    X.loc[5, "price"] = np.nan
    y = countries == "DE"
    classifier = SequenceClassifier(static="country,price", seed=SEED, **SMALL).fit(X, y)
    assert classifier.model_.codec.statics.names == ("country", "price")
    assert (classifier.predict(X) == y).all()
    np.testing.assert_allclose(classifier.predict_proba(X[:3]).sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="X must be a data frame of country, price and one column of texts"):
        classifier.predict(X[["word", "price"]])
    with pytest.raises(ValueError, match="X must be a data frame of country, price and one column of texts"):
        classifier.predict(WORDS)


def test_a_setting_that_does_not_exist_or_is_out_of_range() -> None:
    with pytest.raises(TypeError, match=r"there is no setting 'units'; there are .*, hidden_size,"):
        SequenceClassifier(units=3)
    with pytest.raises(ValueError, match="Invalid parameter 'units'"):
        SequenceClassifier().set_params(units=3)
    with pytest.raises(InputError, match="`hidden_size` is 0; it must be at least 1"):
        SequenceClassifier(hidden_size=0).fit(WORDS, KINDS)


def test_sequences_that_cannot_be_read() -> None:
    model = SequenceClassifier(**SMALL).fit(WORDS, KINDS)
    for X, error, message in (
        ([], ValueError, "0 sample"),
        ([1.0, 2.0], ValueError, "Expected 2D array"),
        ([np.zeros((2, 3)), np.zeros((2, 2, 2))], ValueError, r"a series must be an array \(T, I\)"),
        ([np.zeros(2), np.array([1.0, np.nan, 2.0])], ValueError, "of finite numbers"),
    ):
        with pytest.raises(error, match=message):
            model.predict(X)
    with pytest.raises(InputError, match="the text is empty"):
        model.predict(["a", ""])
    with pytest.raises(ValueError, match=r"X is one string; give a list of sequences, such as \[X\]"):
        model.predict("word")
    for missing in (None, float("nan")):
        with pytest.raises(ValueError, match="Input X contains NaN or None: sequence 1 is missing"):
            model.predict(["a", missing])
        with pytest.raises(ValueError, match="Input X contains NaN or None: sequence 0 is missing"):
            SequenceClassifier(**SMALL).fit([missing, "ab"], ["a", "b"])
        with pytest.raises(ValueError, match="Input y contains NaN or None"):
            SequenceClassifier(**SMALL).fit(WORDS[:3], np.array(["a", "b", missing], object))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SequenceClassifier(**SMALL).fit(WORDS[:3], ["a", "b"])
    with pytest.raises(ValueError, match="two classes are the same text"):
        SequenceClassifier(**SMALL).fit(WORDS[:4], ["\u00e9", "e\u0301", "a", "a"])


def test_a_tagger_in_a_pipeline_and_a_grid_search() -> None:
    """As docs/integrations.md shows it."""
    pipeline = Pipeline([("lower", FunctionTransformer(lower_case)), ("tag", SequenceTagger(**SMALL))])
    search = GridSearchCV(
        pipeline, {"tag__hidden_size": [4, 8], "tag__cell": ["gru", "lstm"]}, cv=2, error_score="raise"
    )
    search.fit(SENTENCES, TAGS)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ == search.cv_results_["mean_test_score"].max() > 0.9
    tagger = search.best_estimator_.named_steps["tag"]
    assert tagger.model_.config.model.hidden_size == search.best_params_["tag__hidden_size"]
    assert tagger.model_.codec.symbols is not None
    assert "anna" in tagger.model_.codec.symbols.symbols
    assert [labels.tolist() for labels in search.predict(SENTENCES[:3])] == TAGS[:3]
    probabilities = search.predict_proba(SENTENCES[:3])
    assert [rows.shape for rows in probabilities] == [(len(s), 4) for s in SENTENCES[:3]]
    best = [tagger.classes_[rows.argmax(axis=1)].tolist() for rows in probabilities]
    assert best == TAGS[:3]


@pytest.mark.parametrize("make", [list, as_frame, as_polars])
def test_a_tagger_of_lists_and_frames(make: Callable[[list[Any]], Any]) -> None:
    X = make(SENTENCES)
    model = SequenceTagger(**SMALL).fit(X, [np.array(tags) for tags in TAGS])
    expected = SequenceTagger(**SMALL).fit(SENTENCES, TAGS)
    assert model.model_.identity == expected.model_.identity
    assert model.score(X, TAGS) == expected.score(SENTENCES, TAGS) > 0.9


def test_a_tagger_of_characters_numbers_and_spans() -> None:
    words = ["hello", "hole", "ohe"] * 8
    model = SequenceTagger(**SMALL).fit(words, [word.upper() for word in words])
    assert "".join(model.predict(["hello"])[0]) == "HELLO"
    vowels = [[int(letter in "eo") for letter in word] for word in words]
    model = SequenceTagger(**SMALL).fit(words, vowels)
    assert model.predict(["hello"])[0].tolist() == [0, 1, 0, 0, 1]
    texts = ["the old man", "a man"] * 12
    model = SequenceTagger(level="word", **SMALL).fit(texts, [["D", "A", "N"], ["D", "N"]] * 12)
    assert model.predict(["a old man"])[0].tolist() == ["D", "A", "N"]
    spans = [["B-PER", "O", "B-LOC", "O"][: len(tags)] for tags in TAGS]
    model = SequenceTagger(**{**SMALL, "epochs": 20}).fit(SENTENCES, spans)
    assert model.model_.evaluate([{"input": SENTENCES[2], "target": spans[2]}]).main_metric == "span_f1"
    assert model.score(SENTENCES, spans) > 0.9
    assert model.classes_.tolist() == ["B-LOC", "B-PER", "O"]


def test_a_tagger_whose_labels_do_not_match() -> None:
    with pytest.raises(InputError, match="row 2: input has 3 words, target 1"):
        SequenceTagger(**SMALL).fit(SENTENCES[:3], [TAGS[0], ["NOUN"], TAGS[2]])
    with pytest.raises(ValueError, match="X has 3 sequences, and y has 2"):
        SequenceTagger(**SMALL).fit(SENTENCES[:3], TAGS[:2])


def test_cross_validation_of_a_classifier() -> None:
    scores = cross_val_score(SequenceClassifier(**SMALL), WORDS, KINDS, cv=3, error_score="raise")
    assert scores.tolist() == [1.0, 1.0, 1.0]
    probabilities = cross_val_predict(SequenceClassifier(**SMALL), WORDS, KINDS, cv=2, method="predict_proba")
    assert probabilities.shape == (48, 2)


def days(count: int) -> Any:
    pandas = pytest.importorskip("pandas")
    n = np.arange(count)
    frame = pandas.DataFrame({"date": pandas.date_range("2024-01-01", periods=count), "open": (n % 7 < 5) * 1.0})
    return frame.assign(sales=10 * frame["open"] + n % 3)


FORECAST = {**SMALL, "epochs": 3, "horizon": 7}


def test_a_forecaster_predicts_the_rows_that_follow() -> None:
    frame = days(90)
    X, y = frame[["date", "open"]], frame["sales"]
    model = Forecaster(**FORECAST).fit(X[:80], y[:80])
    assert model.history_.columns.targets == ("sales",)
    assert model.history_.columns.known == ("open",)
    more = X[:80].assign(late=[None] * 3 + [1.0] * 77, shop="a", stock=1.0)
    parts = Forecaster(observed="stock", static="shop", **FORECAST).fit(more, y[:80]).history_.columns
    assert (parts.known, parts.observed, parts.static) == (("open", "late"), ("stock",), ("shop",))
    medians = model.predict(X[80:87])
    expected = model.model_.forecast(frame[:80], 7, future=X[80:87])
    np.testing.assert_array_equal(medians, expected[0].point[:, 0])
    np.testing.assert_array_equal(model.predict(X[80:90])[3:7], medians[3:])
    assert model.score(X[80:87], y[80:87]) > 0.5
    whole = Forecaster(target="sales", known="open", **FORECAST).fit(frame[:80])
    assert whole.model_.identity == model.model_.identity
    assert whole.score(frame[80:87]) == model.score(X[80:87], y[80:87])


@pytest.mark.filterwarnings("ignore:.* has gaps of 1 row:ohlol.utils.errors.InputWarning")
def test_rows_that_do_not_follow_are_refused() -> None:
    frame = days(60)
    X, y = frame[["date", "open"]], frame["sales"]
    model = Forecaster(**FORECAST).fit(X[20:50], y[20:50])
    for rows, message in (
        (X[:7], "begin at 2024-01-01, which is not a step after the training data; .* `TimeSeriesSplit`"),
        (X[45:55], "begin at 2024-02-15"),
        (X[53:55], "no row 2024-02-20 in the future values"),
        (X[50:55].drop(index=52), "give a row for each time step"),
    ):
        with pytest.raises(InputError, match=message):
            model.predict(rows)
    with pytest.raises(ValueError, match="the column 'sales' is in X and in y"):
        Forecaster(**FORECAST).fit(frame, y)


def test_a_forecaster_of_several_series_and_targets() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.concat([days(60).assign(shop="a"), days(50).assign(shop="b")]).sort_values(["date", "shop"])
    frame["returns"] = frame["sales"] / 2
    train, test = frame[frame["date"] < "2024-02-13"], frame[frame["date"] >= "2024-02-13"]
    model = Forecaster(target="sales,returns", series="shop", **FORECAST).fit(train)
    medians = model.predict(test[["date", "shop"]])
    assert medians.shape == (len(test), 2)
    forecasts = {forecast.series: forecast.point for forecast in model.model_.forecast(train, 17)}
    for shop in ("a", "b"):
        rows = (test["shop"] == shop).to_numpy()
        np.testing.assert_array_equal(medians[rows], forecasts[shop][: rows.sum()])
    with pytest.raises(InputError, match="series 'c' is not in the training data"):
        model.predict(test[["date", "shop"]].assign(shop="c")[-1:])


def test_cross_validation_and_pipelines_of_a_forecaster() -> None:
    frame = days(80)
    split = TimeSeriesSplit(2, test_size=7)
    scores = cross_val_score(
        Forecaster(**FORECAST), frame[["date", "open"]], frame["sales"], cv=split, error_score="raise"
    )
    assert (scores > 0.5).all()
    arrays = Pipeline([("scale", StandardScaler()), ("forecast", Forecaster(**FORECAST))])
    X, y = frame[["open"]].to_numpy(), frame["sales"].to_numpy()
    search = GridSearchCV(
        arrays, {"forecast__cell": ["gru", "lstm"]}, cv=split, scoring="neg_mean_absolute_error", error_score="raise"
    ).fit(X, y)
    assert search.best_score_ > -3
    assert search.predict(X[:7]).shape == (7,)


@pytest.mark.parametrize("kind", ["classifier", "regressor", "tagger", "forecaster"])
def test_a_pickle_holds_the_files_of_a_run(kind: str) -> None:
    model, X = {
        "classifier": lambda: (SequenceClassifier(**SMALL).fit(WORDS, KINDS), WORDS),
        "regressor": lambda: (SequenceRegressor(**SMALL).fit(NUMBERS, SIGNS), NUMBERS),
        "tagger": lambda: (SequenceTagger(**SMALL).fit(SENTENCES, TAGS), SENTENCES),
        "forecaster": lambda: (Forecaster(**FORECAST).fit(NUMBERS[:, 0, :1], SIGNS), NUMBERS[:7, 0, :1]),
    }[kind]()
    data = pickle.dumps(model)
    assert not any(
        "torch" in str(argument) for code, argument, _ in pickletools.genops(data) if code.name != "BINBYTES"
    )
    assert all(name in data for name in (b"config.json", b"vocab.json", b"model.safetensors"))
    loaded = pickle.loads(data)
    assert loaded.get_params() == model.get_params()
    assert loaded.model_.identity == model.model_.identity
    for before, after in zip(model.predict(X), loaded.predict(X), strict=True):
        np.testing.assert_array_equal(before, after)


def test_callbacks_and_clones() -> None:
    epochs: list[int] = []

    class Count(ohlol.Callback):
        def on_epoch_end(self, epoch: Any) -> None:
            epochs.append(epoch.number)

        def __deepcopy__(self, memo: dict[int, Any]) -> "Count":
            return self

    model = clone(SequenceClassifier(callbacks=[Count()], **SMALL))
    model.fit(WORDS, KINDS)
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert not hasattr(clone(model), "model_")


def test_without_scikit_learn_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "sklearn.py").write_text("raise ImportError", encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import ohlol.sklearn"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = process.stderr.strip().splitlines()[-1]
    assert last.endswith("ohlol.sklearn needs scikit-learn: pip install 'ohlol[sklearn]'")
