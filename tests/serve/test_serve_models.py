"""Models of a server: batches of predictions, the work of a request, and replacing a model."""

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from helpers import TINY
from serving import SECONDS, serve_in_thread
from untrained import untrained

import ohlol
from ohlol.inference.prediction import Prediction
from ohlol.ops import available
from ohlol.serve import models as served_models
from ohlol.serve.encoding import dump_json
from ohlol.serve.limits import Limits
from ohlol.serve.models import load_model, parse_runs, parse_sequence, predict_batch
from ohlol.serve.streams import count_work
from ohlol.utils.errors import InputError


def test_each_sequence_of_a_batch_gets_its_own_number_of_labels() -> None:
    """One that asks for all labels does not cause all labels of the others to be ranked."""
    model = untrained("label")
    batch = [(list("abc"), 1), (list("de"), 100), (list("fgab"), 3)]
    predictions = predict_batch(model, batch)
    for (text, n_best), prediction in zip(batch, predictions, strict=True):
        assert isinstance(prediction, Prediction)
        alone = model.predict(text, n_best=n_best)
        assert [[x for x, _ in best] for best in prediction.best] == [[x for x, _ in best] for best in alone.best]
        assert prediction.probability == pytest.approx(alone.probability, abs=1e-5)


@pytest.mark.skipif(not available(), reason="a reduced precision needs the compiled kernels")
def test_a_cell_of_the_vector_machine_is_served_with_fewer_bits(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("abc\tcba\nbca\tacb\ncab\tbac\n" * 4)
    exact = ohlol.fit(tmp_path / "pairs.tsv", out=tmp_path / "run", **{**TINY, "cell": "mgu"})
    model = load_model(tmp_path / "run", "int8")
    assert model.network.precision == "int8"
    assert model.identity != exact.identity
    for prediction, text in zip(predict_batch(model, [(list("abc"), 1), (list("ca"), 2)]), ("abc", "ca"), strict=True):
        assert isinstance(prediction, Prediction)
        expected = exact.predict(text)
        assert prediction.probability != expected.probability
        assert prediction.probability == pytest.approx(expected.probability, abs=0.02)


def test_a_lone_surrogate_does_not_break_a_response() -> None:
    text = dump_json({"name": "a\ud800"})
    text.encode("utf-8")
    assert json.loads(text) == {"name": "a\ud800"}


def test_the_work_of_a_request_is_limited() -> None:
    """Letters count where words are spelled, and labels where many are asked for: a word can be a megabyte long."""
    spelled, unspelled, limits = untrained("words", char_rnn_size=4), untrained("words"), Limits(max_work=100)
    K = len(unspelled.codec.labels or ())
    assert count_work(spelled, ["the", "cats"], 1) == 7
    assert count_work(unspelled, ["the", "cats"], 1) == 2
    assert count_work(unspelled, ["the", "cats"], 100) == 2 * K
    assert parse_sequence(unspelled, ["a" * 101], limits) == ["a" * 101]
    assert parse_sequence(spelled, ["a" * 100], limits) == ["a" * 100]
    for text in (["a" * 101], "a" * 101, ["ab"] * 51):
        with pytest.raises(InputError, match=r"its words have 10[12] letters; at most 100 are read"):
            parse_sequence(spelled, text, limits)


def test_names_of_runs(runs: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="there is a model 'hello' already"):
        parse_runs([str(runs["hello"]), f"hello={runs['names']}"])
    for invalid in ("../x=run", "=run", "a b=run", ".hidden=run"):
        with pytest.raises(InputError, match="cannot be a model's name"):
            parse_runs([invalid])


def test_no_request_is_dropped_while_models_are_replaced(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request looks up its model and submits to it without waiting in between."""
    two = itertools.cycle([ohlol.load(runs["hello"]), untrained("label", num_layers=1, hidden_size=4)])
    with serve_in_thread(runs["hello"]) as url:
        monkeypatch.setattr(served_models, "load_model", lambda run, precision: next(two))
        stop, statuses = threading.Event(), set[int]()

        def predict() -> None:
            with httpx.Client(base_url=url, timeout=SECONDS, trust_env=False) as client:
                while not stop.is_set():
                    statuses.add(client.post("/v1/models/hello/predict", json={"inputs": "e"}).status_code)

        with ThreadPoolExecutor(8) as threads, httpx.Client(base_url=url, timeout=SECONDS, trust_env=False) as client:
            clients = [threads.submit(predict) for _ in range(8)]
            try:
                replaced = sum(client.post("/v1/reload").json()[0]["changed"] for _ in range(60))
            finally:
                stop.set()
            for one in clients:
                one.result()
    assert replaced >= 59  # the first may read the model that is served
    assert statuses == {200}
