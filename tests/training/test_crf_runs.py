"""Runs with the head `crf`: when it is the default, what it is trained on, and what is written and refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TINY, conll_file, names_file, text_file, upper_pairs

import ohlol
from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.codec_json import codec_from_json, codec_to_json
from ohlol.data.corpus.encode import encode
from ohlol.data.spans import IOB1, IOB2, from_bioes, spans_of, to_bioes
from ohlol.explain.trace import trace
from ohlol.inference.batch_predict import predict_corpus
from ohlol.inference.output import make_writer
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError

TEXT = ["Ada", "sees", "New", "Oslo", "old"]


def as_iob1(path: Path) -> Path:
    """The sentences of `conll_file` in IOB1, each followed by itself without a line between."""
    blocks = [[line.split("\t") for line in block.split("\n")] for block in path.read_text().strip().split("\n\n")]
    lines: list[str] = []
    for block in blocks:
        words = [word for word, _ in block] * 2 + ["Ada", "Bob"]
        labels = from_bioes(to_bioes([label for _, label in block] * 2 + ["B-PER", "B-PER"]), IOB1)
        lines += [f"{word}\t{label}" for word, label in zip(words, labels, strict=True)] + [""]
    other = path.with_name("iob1.conll")
    other.write_text("\n".join(lines) + "\n")
    return other


def scheme_of(model: TrainedModel) -> str:
    assert model.codec.file_labels is not None
    return model.codec.file_labels.scheme


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conll_file(tmp_path_factory.mktemp("data") / "data.conll", sentences=60)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "crf"
    ohlol.fit(data, out=out, **{**TINY, "epochs": 12, "lr": 0.02})
    return out


@pytest.fixture(scope="module")
def model(run: Path) -> TrainedModel:
    return ohlol.load(run)


def test_labels_of_spans_are_trained_in_bioes_with_a_crf(model: TrainedModel) -> None:
    assert model.config.model.head == "crf"
    assert scheme_of(model) == IOB2
    assert model.codec.labels is not None
    assert set(model.codec.labels.symbols) == {"O", *(f"{p}-{t}" for p in "BIES" for t in ("PER", "LOC"))}
    counts = dict(zip(model.codec.labels.symbols, model.codec.labels.counts, strict=True))
    assert counts["B-PER"] == counts["I-LOC"] == 0  # every person is one word, every place two
    assert counts["S-PER"] > 0
    assert counts["B-LOC"] == counts["E-LOC"] > 0
    assert (model.network.head.possible_transitions == 0).any()


def test_the_vocabulary_of_a_run_is_checked(model: TrainedModel) -> None:
    written = codec_to_json(model.codec)
    assert codec_from_json(written) == model.codec
    file_labels, other = written["file_labels"], {"symbols": ["O", "X"], "counts": [1, 1]}
    for damaged in (
        {"scheme": "IOB3"},
        {"scheme": None},
        {"file_labels": other},
        {"file_labels": None},
        {"labels": other},
        {"labels": file_labels},
        {"task": "classify"},
    ):
        with pytest.raises(InputError):
            codec_from_json({**written, **damaged})


def test_predictions_are_written_in_the_scheme_of_the_file(model: TrainedModel) -> None:
    prediction = model.predict(TEXT, n_best=9)
    assert prediction.labels == ["B-PER", "O", "B-LOC", "I-LOC", "O"]
    for label, p, best in zip(prediction.labels, prediction.probability, prediction.best, strict=True):
        assert dict(best)[label] == p
        assert set(dict(best)) == {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"}
        assert sum(dict(best).values()) == pytest.approx(1)
        assert [q for _, q in best] == sorted((q for _, q in best), reverse=True)
    labels, probability = prediction.sequences[0]
    assert labels == prediction.labels
    assert len(prediction.sequences) == 9
    assert sum(p for _, p in prediction.sequences) <= 1
    assert probability == max(p for _, p in prediction.sequences)
    record = json.loads(make_writer(model, "jsonl")(prediction))
    assert record["sequences"][0] == [labels, probability]
    rows = [line.split("\t") for line in make_writer(model, "conll")(prediction).splitlines() if line]
    assert [row[:2] for row in rows] == [[word, label] for word, label in zip(TEXT, prediction.labels, strict=True)]
    assert all(len(row) == 1 + 2 * 5 for row in rows)


def test_spans_of_random_text_are_valid(model: TrainedModel) -> None:
    random = np.random.default_rng(0)
    words = ["Ada", "New", "Oslo", "in", "?"]
    for prediction in model.predict_many([random.choice(words, size=n).tolist() for n in range(1, 20)], n_best=3):
        for labels in (prediction.labels, *(labels for labels, _ in prediction.sequences)):
            assert from_bioes(to_bioes(labels), IOB2) == labels


def test_iob1_is_recognized_and_written_again(data: Path) -> None:
    path = as_iob1(data)
    model = ohlol.fit(path, **{**TINY, "epochs": 15, "lr": 0.02})
    assert scheme_of(model) == IOB1
    assert model.config.metrics["span_f1"] > 0.9
    prediction = model.predict(["Ada", "Bob"], n_best=2)
    assert prediction.labels == ["I-PER", "B-PER"]
    assert [best[0][0] for best in prediction.best] == prediction.labels
    raw = sequences.read(path, model.config.data)
    targets: Any = raw.targets
    predicted = [spans_of(p.labels) for p in model.predict_many(raw)]
    correct = sum(a == spans_of(b) for a, b in zip(predicted, targets, strict=True))
    assert correct > 0.8 * len(targets)


def test_other_heads_keep_the_labels_of_the_file(data: Path) -> None:
    model = ohlol.fit(data, head="softmax", **TINY)
    assert model.config.model.head == "softmax"
    assert model.codec.file_labels is None
    assert model.codec.labels is not None
    assert set(model.codec.labels.symbols) == {"O", "B-PER", "B-LOC", "I-LOC"}
    assert not model.predict(TEXT).sequences


def test_labels_that_mark_no_spans_keep_softmax(tmp_path: Path) -> None:
    assert ohlol.fit(upper_pairs(tmp_path / "pairs.tsv"), **TINY).config.model.head == "softmax"
    chosen = ohlol.fit(upper_pairs(tmp_path / "pairs.tsv"), head="crf", **TINY)
    assert chosen.codec.file_labels is None
    assert (chosen.network.head.possible_transitions == 1).all()


def test_a_file_is_evaluated_in_its_own_scheme(model: TrainedModel, data: Path, tmp_path: Path) -> None:
    metrics = model.evaluate(data).metrics()
    assert metrics["span_f1"] > 0.9
    other = tmp_path / "new.conll"
    other.write_text("Ada\tB-PER\nin\tO\nNew\tB-ORG\nOslo\tI-LOC\n")
    with pytest.warns(UserWarning, match="1 of 4 labels were not seen in training, .*: 'B-ORG'"):
        new = model.evaluate(other)
    assert new.unseen == 1
    assert np.isfinite(new.metrics()["loss"])


def test_an_encoded_corpus_gives_the_same_model(model: TrainedModel, data: Path, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    encode([str(data)], folder, DataSettings(), jobs=1)
    with_corpus = ohlol.fit(folder, out=tmp_path / "run", **{**TINY, "epochs": 12, "lr": 0.02})
    assert with_corpus.config.model.head == "crf"
    assert with_corpus.codec.labels is not None
    assert model.codec.labels is not None
    assert with_corpus.codec.labels.symbols == model.codec.labels.symbols
    assert scheme_of(with_corpus) == IOB2
    assert with_corpus.evaluate(folder).metrics()["span_f1"] > 0.9
    assert ohlol.load(tmp_path / "run").identity == with_corpus.identity
    ohlol.fit(out=tmp_path / "run", resume=True)
    encode([str(data)], tmp_path / "own", DataSettings(), vocab=run, jobs=1)
    for predicting, corpus in ((with_corpus, folder), (model, tmp_path / "own")):
        out = tmp_path / f"{corpus.name}-predictions"
        assert predict_corpus(predicting, corpus, out)
        assert {*"".join(path.read_text() for path in out.glob("*.txt")).split()} == {"O", "B-PER", "B-LOC", "I-LOC"}
    assert model.evaluate(tmp_path / "own").metrics()["span_f1"] > 0.9


def test_a_trace_takes_the_labels_of_the_file(model: TrainedModel) -> None:
    result = trace(model, TEXT, target="B-PER O B-LOC I-LOC O")
    assert result.targets == ("S-PER", "O", "B-LOC", "E-LOC", "O") == result.predicted
    assert result.loss is not None
    assert result.losses is not None
    assert result.loss == pytest.approx(np.mean([loss for loss in result.losses if loss is not None]))


def test_an_exported_graph_decodes_with_its_scores(model: TrainedModel, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from ohlol.interop import onnx_export, onnx_verify
    from ohlol.interop.import_run import import_model

    graph = onnx_export.build_graph(model)
    assert onnx_verify.verify(model, graph).passed
    assert onnx_verify.measure_agreement(model, graph) == 1
    outputs = [output.name for output in runtime.InferenceSession(graph).get_outputs()]
    assert outputs[0] == "logits"
    assert outputs[-3:] == ["transitions", "start", "end"]
    path = tmp_path / "model.onnx"
    path.write_bytes(graph)
    imported, _ = import_model(path)
    assert imported.identity == model.identity
    assert imported.predict(TEXT, n_best=3) == model.predict(TEXT, n_best=3)


def test_a_stream_is_refused_in_one_line(data: Path) -> None:
    model = ohlol.fit(data, bidirectional=False, **TINY)
    with pytest.raises(InputError, match="has the `head` crf, which labels a sequence as a whole") as refused:
        model.stream()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("write", "name", "settings", "said"),
    [
        (text_file, "a.txt", {}, "`head` crf labels each step of a whole sequence, and `task` next has no such labels"),
        (names_file, "a.csv", {"input": "name", "target": "kind"}, "`task` classify has no such labels"),
        (upper_pairs, "a.tsv", {"class_weights": "balanced"}, "`class_weights` weighs single labels"),
        (upper_pairs, "a.tsv", {"label_smoothing": 0.1}, "`label_smoothing` weighs single labels"),
    ],
)
def test_what_does_not_fit_is_refused(write: Any, name: str, settings: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        ohlol.fit(write(tmp_path / name), head="crf", out=tmp_path / "run", **{**TINY, **settings})
    assert not (tmp_path / "run").exists()


def test_a_search_has_the_default_head(data: Path, tmp_path: Path) -> None:
    summary = ohlol.tune(data, trials=2, out=tmp_path / "study", search=["head=softmax,crf"], **TINY)
    assert {t.settings["head"] for t in summary.trials} == {"softmax", "crf"}
    assert all(t.state == "complete" for t in summary.trials)
