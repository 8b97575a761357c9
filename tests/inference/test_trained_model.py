"""A trained model at work: one and many agree, scores are those of the predictions, texts and series go on."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import TINY, names_file, sine_file, text_file, upper_pairs

import ohlol
from ohlol.data import sequences
from ohlol.evaluation.baselines import persistence
from ohlol.evaluation.evaluate import EVAL_BATCH
from ohlol.inference.trained_model import TrainedModel
from ohlol.ops import available
from ohlol.ops.stepping import sample, uniform
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("infer")


@pytest.fixture(scope="module")
def letters(folder: Path) -> TrainedModel:
    return ohlol.fit(upper_pairs(folder / "pairs.tsv"), **TINY)


@pytest.fixture(scope="module")
def names(folder: Path) -> TrainedModel:
    return ohlol.fit(names_file(folder / "names.csv"), input="name", target="kind", **TINY)


@pytest.fixture(scope="module")
def text(folder: Path) -> TrainedModel:
    return ohlol.fit(text_file(folder / "text.txt"), bptt=10, **{**TINY, "hidden_size": 24, "lr": 0.03, "epochs": 8})


@pytest.fixture(scope="module")
def sine(folder: Path) -> TrainedModel:
    return ohlol.fit(
        sine_file(folder / "sine.csv"),
        hidden_size=16,
        epochs=40,
        batch_size=4,
        bptt=30,
        lr=0.02,
        lr_schedule="constant",
    )


def many(count: int) -> list[str]:
    random = np.random.default_rng(0)
    return ["".join(random.choice(list("abcde"), size=random.integers(1, 12))) for _ in range(count)]


@pytest.mark.parametrize("fixture", ["letters", "names"])
def test_one_and_many_agree_in_order(fixture: str, request: pytest.FixtureRequest) -> None:
    model: TrainedModel = request.getfixturevalue(fixture)
    texts = many(2 * EVAL_BATCH + 5)
    found = list(model.predict_many(texts, n_best=2))
    assert [p.symbols for p in found] == texts
    for given, prediction in zip(texts, found, strict=True):
        alone = model.predict(given, n_best=2)
        assert alone.labels == prediction.labels
        assert alone.probability == pytest.approx(prediction.probability, abs=1e-5)
        assert len(prediction.labels) == (1 if fixture == "names" else len(given))


def test_many_are_read_as_they_are_asked_for(letters: TrainedModel) -> None:
    taken = itertools.count()
    endless = ("ab" for _ in taken)
    first = next(letters.predict_many(endless))
    assert first.labels == letters.predict("ab").labels
    assert next(taken) <= EVAL_BATCH + 1


def test_n_best_are_the_likeliest(letters: TrainedModel) -> None:
    assert letters.codec.labels is not None
    count = len(letters.codec.labels)
    prediction = letters.predict("abcde", n_best=100)
    for step, best in enumerate(prediction.best):
        assert len(best) == count
        chances = [p for _, p in best]
        assert chances == sorted(chances, reverse=True)
        assert sum(chances) == pytest.approx(1, abs=1e-5)
        assert best[0] == (prediction.labels[step], prediction.probability[step])
    assert [len(best) for best in letters.predict("ab", n_best=2).best] == [2, 2]
    assert [len(best) for best in letters.predict("ab").best] == [1, 1]


def test_unknown_symbols_are_reported_once_and_in_order(letters: TrainedModel) -> None:
    prediction = letters.predict("zaz😀b")
    assert prediction.unknown == ["z", "😀"]
    assert len(prediction.labels) == 5
    assert letters.predict("ab").unknown == []
    closed = ohlol.fit([("ab", "AB")], epochs=1)
    with pytest.raises(InputError, match=r"^argument:1: symbol 'z' was not seen in training"):
        closed.predict("az")


def test_what_cannot_be_predicted_is_refused(letters: TrainedModel, text: TrainedModel, sine: TrainedModel) -> None:
    with pytest.raises(InputError, match="empty"):
        letters.predict("")
    with pytest.raises(InputError, match="empty"):
        letters.predict([])
    with pytest.raises(InputError, match="task is next and labels nothing"):
        text.predict("the")
    with pytest.raises(InputError, match="task is forecast and labels nothing"):
        sine.predict("the")
    with pytest.raises(InputError, match="only a model of task next generates"):
        letters.generate("ab")
    with pytest.raises(InputError, match="task is label, not forecast"):
        letters.forecast("file.csv")


def test_evaluate_is_the_score_of_the_predictions(letters: TrainedModel, folder: Path) -> None:
    corpus = sequences.read(folder / "pairs.tsv")
    scores = letters.evaluate(folder / "pairs.tsv").metrics()
    right = steps = whole = 0
    loss = 0.0
    assert corpus.targets is not None
    for given, wanted in zip(corpus.inputs, corpus.targets, strict=True):
        prediction = letters.predict(str(given), n_best=99)
        hits = [w == c for w, c in zip(wanted, prediction.labels, strict=True)]
        right, steps, whole = right + sum(hits), steps + len(hits), whole + all(hits)
        loss -= sum(math.log(dict(best)[w]) for w, best in zip(wanted, prediction.best, strict=True))
    assert scores["accuracy"] == pytest.approx(right / steps)
    assert scores["sequence_accuracy"] == pytest.approx(whole / len(corpus.inputs))
    assert scores["loss"] == pytest.approx(loss / steps, rel=1e-4)


def test_evaluate_of_classes_is_the_score_of_the_predictions(names: TrainedModel, folder: Path) -> None:
    corpus = sequences.read(folder / "names.csv", names.config.data)
    found = [p.labels[0] for p in names.predict_many(corpus)]
    tally = names.evaluate(folder / "names.csv")
    assert tally.metrics()["accuracy"] == pytest.approx(np.mean(np.array(found) == np.array(corpus.targets)))
    assert tally.confusion is not None
    assert tally.confusion.sum() == len(found)


@torch.no_grad()
def test_evaluate_of_a_text_counts_every_symbol(text: TrainedModel, folder: Path) -> None:
    tally = text.evaluate(folder / "text.txt")
    assert tally.steps == len((folder / "text.txt").read_text()) - 1
    scores = tally.metrics()
    assert scores["bits"] == pytest.approx(scores["loss"] / math.log(2))
    assert scores["perplexity"] == pytest.approx(2 ** scores["bits"])


def test_evaluation_leaves_the_mode_alone(letters: TrainedModel, folder: Path) -> None:
    letters.network.train()
    letters.evaluate(folder / "pairs.tsv")
    assert letters.network.training
    letters.network.eval()


def made(model: TrainedModel, **options: object) -> str:
    return "".join(model.generate("the ", **{"length": 60, **options}))  # pyright: ignore[reportArgumentType]


def test_a_seed_repeats_the_text(text: TrainedModel) -> None:
    assert made(text, seed=3) == made(text, seed=3)
    assert made(text, seed=3) != made(text, seed=4)
    assert made(text) != made(text)
    assert len(made(text, length=17)) == 17
    assert made(text, length=0) == ""


def test_temperature_0_takes_the_likeliest(text: TrainedModel) -> None:
    best = made(text, temperature=0)
    assert best == made(text, temperature=0, seed=9) == made(text, top_k=1, seed=1) == made(text, top_p=1e-9, seed=2)
    assert best.startswith("cat ")  # the text repeats itself, so the likeliest is the text
    assert made(text, temperature=100.0, seed=1) != best


def test_generating_is_running_over_all_that_came_before(text: TrainedModel) -> None:
    """Each symbol drawn with the state carried equals the one after the whole text read anew."""
    said = list("the cat")
    for symbol in text.generate("the cat", length=12, temperature=0):
        assert [symbol] == list(text.generate(said, length=1, temperature=0))
        said.append(symbol)


def test_without_a_prompt_a_line_begins(text: TrainedModel) -> None:
    assert "".join(text.generate(length=8, temperature=0)) == "".join(text.generate("\n", length=8, temperature=0))


def test_unk_is_never_made(folder: Path) -> None:
    path = folder / "words.txt"
    path.write_text("a b a b once a b a b twice never\n" + "a b a b\n" * 5)
    model = ohlol.fit(path, level="word", bptt=5, **TINY)
    assert model.codec.symbols is not None
    assert model.codec.symbols.unk == 0
    words = list(model.generate("a", length=300, temperature=5.0, seed=0))
    assert "<unk>" not in words
    assert set(words) == {"a", "b", "\n"}
    assert len(list(model.generate("unheard of", length=2))) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"length": -1},
        {"seed": -1},
        {"seed": 1 << 64},
    ],
)
def test_options_out_of_range_are_refused(text: TrainedModel, options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="`"):
        text.generate("the", **options)  # pyright: ignore[reportArgumentType]


def test_a_prompt_that_cannot_be_read_is_refused(folder: Path) -> None:
    closed = ohlol.fit(text_file(folder / "closed.txt"), unk_probability=0.0, bptt=10, **TINY)
    with pytest.raises(InputError, match="symbol 'Z' was not seen in training"):
        list(closed.generate("Z"))


@pytest.mark.skipif(not available(), reason="the compiled kernels are not installed")
@pytest.mark.parametrize(
    "model",
    [
        {"cell": "lstm", "num_layers": 2},
        {"cell": "gru"},
        {"cell": "rnn", "embedding_size": 0},
        {"cell": "lstm", "tie_weights": True},
    ],
)
def test_the_kernel_writes_the_text_of_the_loop(
    folder: Path, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**TINY, "hidden_size": 6, "embedding_size": 6, "num_layers": 1, "bptt": 10, **model}
    text = ohlol.fit(text_file(folder / "both.txt"), **settings)
    options: list[dict[str, Any]] = [
        {"temperature": 0.7},
        {"temperature": 0.0},
        {"top_k": 3},
        {"top_p": 0.8, "temperature": 1.3},
    ]
    quick = ["".join(text.generate("the ", length=100, seed=5, **option)) for option in options]
    monkeypatch.setattr(type(text.network), "writer", lambda self, never: None)
    assert quick == ["".join(text.generate("the ", length=100, seed=5, **option)) for option in options]


LOGITS = torch.log(torch.tensor([0.05, 0.5, 0.15, 0.3]))


def drawn(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, times: int = 4000) -> list[float]:
    found = [sample(LOGITS, uniform(0, number), temperature, top_k, top_p) for number in range(times)]
    return [found.count(i) / times for i in range(4)]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [0.05, 0.5, 0.15, 0.3]),
        ({"top_k": 2}, [0, 0.625, 0, 0.375]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 99}, [0.05, 0.5, 0.15, 0.3]),
        ({"top_p": 0.5}, [0, 1, 0, 0]),
        ({"top_p": 0.51}, [0, 0.625, 0, 0.375]),
        ({"top_p": 0.9}, [0, 10 / 19, 3 / 19, 6 / 19]),
        ({"top_k": 3, "top_p": 0.6}, [0, 0.625, 0, 0.375]),
        ({"temperature": 0.5}, [0.0025 / 0.365, 0.25 / 0.365, 0.0225 / 0.365, 0.09 / 0.365]),
        ({"temperature": 0.0}, [0, 1, 0, 0]),
    ],
)
def test_symbols_are_drawn_as_often_as_they_should(options: dict[str, float], wanted: list[float]) -> None:
    found = drawn(**options)  # pyright: ignore[reportArgumentType]
    assert found == pytest.approx(wanted, abs=0.03)
    assert [f > 0 for f in found] == [w > 0 for w in wanted]


def test_a_sine_is_forecast_better_than_by_repetition(sine: TrainedModel, folder: Path) -> None:
    corpus = sequences.read(folder / "sine.csv")
    scores, lazy = sine.evaluate(corpus).metrics(), persistence(corpus.targets)  # pyright: ignore[reportArgumentType]
    assert scores["rmse"] < lazy["rmse"] / 3
    assert scores["mae"] < lazy["mae"] / 3
    rows = sine.forecast(folder / "sine.csv", steps=6)
    true = np.array([[50 + 20 * math.sin(2 * math.pi * t / 12), 3 * math.cos(2 * math.pi * t / 12)] for t in range(6)])
    last = np.asarray(corpus.inputs[0])[-1]
    assert rows.shape == (6, 2)
    assert np.abs(rows - true).mean() < np.abs(last - true).mean() / 2


def test_a_forecast_is_fed_back(sine: TrainedModel, folder: Path) -> None:
    corpus = sequences.read(folder / "sine.csv")
    rows = sine.forecast(corpus, steps=3)
    np.testing.assert_allclose(sine.forecast(corpus, steps=1), rows[:1])
    longer = sequences.Corpus(
        corpus.task,
        corpus.settings,
        [np.concatenate([corpus.inputs[0], rows[:2]])],
        None,
        corpus.places,
        corpus.columns,
        corpus.target_columns,
    )
    np.testing.assert_allclose(sine.forecast(longer, steps=1), rows[2:], rtol=1e-4)


def test_a_forecast_that_cannot_be_made_is_refused(sine: TrainedModel, folder: Path) -> None:
    with pytest.raises(InputError, match="0 steps: at least 1"):
        sine.forecast(folder / "sine.csv", steps=0)
    other = folder / "other.csv"
    other.write_text("height,depth\n1,2\n3,4\n")
    with pytest.raises(InputError, match="no column 'slope'"):
        sine.forecast(other)
    one = ohlol.fit(folder / "sine.csv", input="height", target="slope", **TINY)
    assert one.forecast(folder / "sine.csv", steps=1).shape == (1, 1)
    with pytest.raises(InputError, match="more than 1 only where the targets are the inputs, not slope from height"):
        one.forecast(folder / "sine.csv", steps=2)
    with pytest.raises(InputError, match="no such file"):
        sine.forecast(folder / "missing.csv")


def test_a_run_read_again_predicts_the_same(letters: TrainedModel, folder: Path) -> None:
    model = ohlol.fit(folder / "pairs.tsv", out=folder / "run", **TINY)
    assert model.predict("abc") == letters.predict("abc")
    again = ohlol.load(folder / "run")
    for text in many(20):
        assert model.predict(text) == again.predict(text)
