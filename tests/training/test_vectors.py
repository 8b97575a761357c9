"""Models with pretrained word vectors: trained, resumed, saved, read by every other part of the package."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Recorder, bytes_of
from safetensors.torch import load_file
from word_vector_files import WRITERS, make_vectors, write_glove

import ohlol
from ohlol.checkpoint import run_directory
from ohlol.cli import main
from ohlol.config import DataSettings
from ohlol.data.batches import gather
from ohlol.data.codec_encoding import encode_data
from ohlol.data.corpus.encode import encode
from ohlol.data.word_vectors import TABLE
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.batch_predict import predict_corpus
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.inputs import PackedInputs
from ohlol.training.trainer import Interrupted
from ohlol.utils.errors import InputError, InputWarning

SEEN, FURTHER = [f"w{i}" for i in range(24)], [f"w{i}" for i in range(24, 32)]
VECTORS = make_vectors(" ".join(SEEN + FURTHER))
"""The words of the training data, and further ones."""
NO_VECTOR = "plain"
"""A word of the training data that has no vector."""
SETTINGS: dict[str, Any] = {
    "hidden_size": 6, "embedding_size": 4, "char_rnn_size": 0, "epochs": 4, "batch_size": 8, "lr": 0.02,
}  # fmt: skip


def label_of(word: str) -> str:
    return "ABC"[int(np.argmax(VECTORS[word][:3]))] if word in VECTORS else "D"


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences of the words in SEEN, each labelled by its vector, in the formats of several tasks."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(4)
    sentences = [random.choice([*SEEN, NO_VECTOR], size=random.integers(2, 6)).tolist() for _ in range(50)]
    rows = ["\n".join(f"{word}\t{label_of(word)}" for word in words) for words in sentences]
    Path("data.conll").write_text("\n\n".join(rows) + "\n\n")
    lines = [f"{' '.join(words)},{label_of(words[0])},{1.5 * len(words)}" for words in sentences]
    Path("data.csv").write_text("\n".join(["text,kind,price", *lines]) + "\n")
    Path("data.txt").write_text("\n".join(map(" ".join, sentences)) + "\n")
    write_glove(Path("v.txt"), VECTORS)


def fit(data: str = "data.conll", **settings: Any) -> TrainedModel:
    frozen = {} if settings.get("vectors", "") is None else {"vectors_training": "frozen"}
    return ohlol.fit(data, **{**SETTINGS, "vectors": "v.txt", **frozen, **settings})


def encoder_output(model: TrainedModel, words: list[str]) -> torch.Tensor:
    data = encode_data(model.codec, model.raw_data([words]))
    with torch.no_grad():
        return model.network.encoder(PackedInputs.of(gather(data, np.arange(1))))


def test_an_embedding_stands_beside_the_vector() -> None:
    model = fit()
    codec, weight = model.codec, model.network.encoder.embedding.weight.detach()
    assert codec.symbols is not None
    words = ["w3", "W5", "w30", NO_VECTOR, "unseen"]
    vectors = encoder_output(model, words)
    assert vectors.shape == (5, 4 + 5)
    embedded = [codec.symbols.find(word) or 0 for word in words]
    assert embedded[1:3] == embedded[4:] * 2 == [0, 0]
    assert torch.equal(vectors[:, :4], weight[embedded])
    expected = [VECTORS["w3"], VECTORS["w5"], VECTORS["w30"], np.zeros(5), np.zeros(5)]
    assert torch.equal(vectors[:, 4:], torch.from_numpy(np.stack(expected).astype(np.float32)))


def test_a_word_outside_of_training_keeps_its_vector_at_prediction() -> None:
    model = fit()
    prediction = model.predict(["w30", "W31", "unseen"])
    assert prediction.unknown == ["unseen"]
    inputs = encoder_output(model, ["unseen"] * 3)
    assert not torch.equal(
        model.network.head(model.network.hidden(inputs, torch.ones(3).long(), None)[0])[0], inputs[0]
    )
    inputs[0, 4:], inputs[1, 4:] = torch.from_numpy(VECTORS["w30"]), torch.from_numpy(VECTORS["w31"])
    with torch.no_grad():
        hidden, _ = model.network.hidden(inputs, torch.ones(3, dtype=torch.int64), None)
        probabilities = model.network.head.probabilities(model.network.head(hidden))
    assert prediction.probability == pytest.approx(probabilities.max(dim=1).values.tolist(), abs=1e-6)
    unknown = model.predict(["unseen"] * 3)
    assert prediction.probability != pytest.approx(unknown.probability, abs=1e-3)


def test_labels_of_unseen_words_are_learned_from_their_vectors() -> None:
    words = FURTHER
    correct = [label_of(word) for word in words]

    def accuracy(**settings: Any) -> float:
        model = fit(epochs=60, unk_probability=0.5, **settings)
        return float(
            np.mean([model.predict([word]).labels == [label] for word, label in zip(words, correct, strict=True)])
        )

    assert accuracy() > 0.7 > accuracy(vectors=None)


@pytest.mark.parametrize("name", WRITERS)
def test_the_result_is_that_of_vectors_in_memory(name: str) -> None:
    expected = fit(vectors=VECTORS)
    model = fit(vectors=WRITERS[name](Path(name), VECTORS))
    assert model.identity == expected.identity
    assert model.config.model.vectors == name


def test_frozen_vectors_are_not_parameters_and_do_not_move() -> None:
    recorder = Recorder()
    model = fit(out="run", callbacks=[recorder])
    assert recorder.trainer is not None
    table = model.network.encoder.vectors
    assert torch.equal(table, torch.from_numpy(np.stack([np.zeros(5, np.float32), *VECTORS.values()])))
    assert not any("vectors" in name for name in model.network.state_dict())
    assert np.array_equal(np.load(Path("run") / TABLE), table.numpy())
    assert "vectors" not in str(load_file("run/model.safetensors").keys())


def tuned_by_epoch(**settings: Any) -> list[torch.Tensor]:
    fit(out="run", overwrite=True, snapshots=True, **settings)
    files = sorted(Path("run/snapshots").iterdir())
    return [load_file(file)["encoder.tuned_vectors"] for file in files]


def test_tuned_vectors_of_training_words_start_from_the_file_and_move() -> None:
    tuned = tuned_by_epoch(vectors_training="tuned")
    model = ohlol.load("run")
    symbols = model.codec.symbols
    assert symbols is not None
    assert torch.equal(tuned[0][symbols.find("w3") or 0], torch.from_numpy(VECTORS["w3"]))
    assert all(not torch.equal(one, two) for one, two in pairwise(tuned))
    assert torch.equal(encoder_output(model, ["w30"])[0, 4:], torch.from_numpy(VECTORS["w30"]))
    moved = encoder_output(model, ["w3"])[0, 4:]
    assert torch.equal(moved, model.network.encoder.tuned_vectors[symbols.find("w3") or 0])


@pytest.mark.parametrize(("epochs", "frozen"), [(4, 2), (5, 3), (1, 1)])
def test_vectors_tuned_late_move_in_the_second_half_of_the_epochs(epochs: int, frozen: int) -> None:
    tuned = tuned_by_epoch(vectors_training="late", epochs=epochs)
    assert len(tuned) == epochs + 1
    for number, (one, two) in enumerate(pairwise(tuned)):
        assert torch.equal(one, two) == (number < frozen)


def test_weight_decay_does_not_move_frozen_vectors() -> None:
    tuned = tuned_by_epoch(vectors_training="late", optimizer="adamw", weight_decay=0.1)
    assert torch.equal(tuned[0], tuned[2])


@pytest.mark.parametrize("training", ["frozen", "tuned", "late"])
def test_a_stopped_run_resumes_with_the_same_bytes_without_the_file(training: str) -> None:
    fit(out="whole", vectors_training=training)

    def stop(recorder: Recorder, step: int) -> None:
        if step == 11:
            assert recorder.trainer is not None
            recorder.trainer.stop()

    with pytest.raises(Interrupted):
        fit(out="part", vectors_training=training, callbacks=[Recorder(stop)])
    Path("v.txt").unlink()
    ohlol.fit(out="part", resume=True)
    whole, part = (bytes_of(Path(run)) for run in ("whole", "part"))
    assert {k: v for k, v in whole.items() if k != "README.md"} == {k: v for k, v in part.items() if k != "README.md"}


def test_resuming_keeps_the_vectors() -> None:
    fit(vectors=VECTORS, out="run", epochs=2)
    ohlol.fit(out="run", resume=True, vectors=VECTORS)
    with pytest.raises(InputError, match=r"run was started with `vectors` vectors in memory, not v\.txt"):
        ohlol.fit(out="run", resume=True, vectors="v.txt")
    shutil.rmtree("run/resume/data")
    ohlol.fit(out="run", resume=True)


def test_a_run_needs_no_other_file() -> None:
    model = fit(out="run")
    expected = model.predict(["w3", "w30", "no"])
    Path("v.txt").unlink()
    shutil.rmtree("run/resume")
    shutil.move("run", "moved")
    again = ohlol.load("moved")
    assert again.identity == model.identity
    assert again.predict(["w3", "w30", "no"]) == expected
    assert again.codec.vectors is not None
    assert isinstance(again.codec.vectors.table, np.memmap)


def test_the_identity_depends_on_the_vectors() -> None:
    first = fit(epochs=1)
    other = fit(epochs=1, vectors={**VECTORS, "w31": -VECTORS["w31"]})
    assert first.network.state_dict().keys() == other.network.state_dict().keys()
    assert first.identity != other.identity


def test_a_run_without_vectors_replaces_one_with_them() -> None:
    fit(out="run")
    assert (Path("run") / TABLE).exists()
    fit(out="run", overwrite=True, vectors=None)
    assert not (Path("run") / TABLE).exists()
    ohlol.load("run")


def test_a_damaged_table_is_refused() -> None:
    fit(out="run")
    path = Path("run") / TABLE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"run/vectors\.npy: damaged: it does not match its checksum in vocab\.json"):
        ohlol.load("run")
    path.unlink()
    with pytest.raises(InputError, match=r"run/vectors\.npy: is not a regular file, or is missing"):
        ohlol.load("run")


def test_the_limit_is_that_of_further_words() -> None:
    model = fit(vectors_limit=0)
    assert model.codec.vectors is not None
    assert set(model.codec.vectors.words) == set(SEEN)
    assert model.predict(["w30"]).unknown == ["w30"]
    model = fit(vectors_limit=26)
    assert model.codec.vectors is not None
    assert model.codec.vectors.words == (*SEEN, "w24", "w25")


def test_vectors_may_stand_alone() -> None:
    model = fit(embedding_size=0)
    assert torch.equal(encoder_output(model, ["w3"])[0], torch.from_numpy(VECTORS["w3"]))
    assert not hasattr(model.network.encoder, "embedding")
    with_letters = fit(embedding_size=0, char_rnn_size=3)
    assert encoder_output(with_letters, ["w3"]).shape == (1, 5 + 6)


def test_a_stream_reads_words_outside_of_training() -> None:
    for cell in ("gru", "rnn"):
        model = fit(bidirectional=False, cell=cell, char_rnn_size=3 * (cell == "rnn"))
        words = ["w3", "w30", "W31", "no", "w4"]
        expected = model.predict(words)
        stream = model.stream()
        steps = [stream.step(word) for word in words]
        assert [step.unknown for step in steps] == [False, False, False, True, False]
        assert [step.probability for step in steps] == pytest.approx(expected.probability, abs=1e-5)
        read = model.stream().read(words)
        assert [step.probability for step in read] == pytest.approx(expected.probability, abs=1e-5)


TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "classify": ("data.csv", {"input": "text", "target": "kind", "task": "classify", "level": "word"}),
    "regress": ("data.csv", {"input": "text", "target": "price", "task": "regress", "level": "word"}),
    "next": ("data.txt", {"task": "next", "level": "word", "bptt": 5}),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_over_words_reads_vectors(task: str) -> None:
    data, settings = TASKS[task]
    model = fit(data, out="run", vectors_training="tuned", **settings)
    assert model.network.encoder.reads_vectors
    again = ohlol.load("run")
    assert again.evaluate(data).metrics() == pytest.approx(model.evaluate(data).metrics(), abs=1e-5)
    assert np.isfinite(list(again.config.metrics.values())).all()
    if model.targets.is_supervised:
        assert again.predict("w30 w3") == model.predict("w30 w3")
        assert again.predict("w30 w3").probability != again.predict("no w3").probability or task == "regress"


def test_a_word_of_the_vectors_alone_is_an_input_and_never_a_target_of_a_text() -> None:
    """Words that occur once are no labels of a language model; their vectors are read."""
    Path("rare.txt").write_text("w1 w2 w30 w1 w2 w1 w2 w3 w1 w3\n" * 1 + "w1 w2 w3\n" * 30 + "w31 w1\n")
    model = fit("rare.txt", task="next", level="word", bptt=7, dev_fraction=0.0, cell="gru")
    codec = model.codec
    assert codec.symbols is not None
    assert "w30" not in codec.symbols
    ids = encode_data(codec, model.raw_data(["w1 w30 no"])).inputs.values
    assert ids.tolist() == [codec.symbols.find("w1"), len(codec.symbols) + 30, 0]
    metrics = model.evaluate("rare.txt").metrics()
    assert metrics["bits"] < np.log2(len(codec.symbols))
    texts = ["".join(model.generate(prompt.split(), length=6, seed=1)) for prompt in ("w1 w30", "w1 no")]
    assert all(set(text.replace("\n", "w").replace("w", " ").split()) <= {"1", "2", "3"} for text in texts)
    tied = fit("rare.txt", task="next", level="word", cell="gru", tie_weights=True, embedding_size=6, epochs=1)
    assert tied.network.head.weight is tied.network.encoder.embedding.weight


def test_words_read_as_unknown_in_training_keep_their_vectors() -> None:
    model = fit()
    codec = model.codec
    assert codec.symbols is not None
    V = len(codec.symbols)
    unknown = codec.unknown_ids
    assert len(unknown) == V + len(VECTORS)
    assert unknown[codec.symbols.find("w3") or 0] == V + 3
    assert unknown[codec.symbols.find(NO_VECTOR) or 0] == unknown[0] == 0
    assert (unknown[V:] == np.arange(V, V + len(VECTORS))).all()
    assert codec.decode_symbols(unknown[1:].tolist())[-1] == "w31"


def test_an_encoded_corpus_holds_words_of_the_vectors() -> None:
    model = fit(out="run")
    Path("new.conll").write_text("w30\tA\nw3\tB\nno\tA\n\nw31\tC\n\n")
    corpus = encode(["new.conll"], Path("corpus"), DataSettings(format="conll"), vocab=Path("run"), jobs=1)
    V = len(model.codec.symbols or ())
    ids = np.asarray(corpus.train.inputs.values).tolist()
    assert [max(0, i - V) for i in ids] == [30, 0, 0, 31]
    assert model.evaluate("corpus").metrics() == model.evaluate("new.conll").metrics()
    predict_corpus(model, Path("corpus"), Path("predictions"))
    lines = Path("predictions/train-00000.txt").read_text().splitlines()
    assert lines == [" ".join(model.predict(words).labels) for words in (["w30", "w3", "no"], ["w31"])]
    with pytest.raises(
        InputError, match="corpus was encoded for a run with word vectors, and only that run can read it"
    ):
        fit("corpus")


def test_a_model_trains_on_an_encoded_corpus() -> None:
    encode(["data.conll"], Path("corpus"), DataSettings(format="conll"), jobs=1)
    model = fit("corpus", out="run")
    assert model.predict(["w30"]).unknown == []
    assert model.evaluate("corpus").metrics() == pytest.approx(model.config.metrics)
    ohlol.fit("corpus", out="run", resume=True)


def test_a_trace_and_saliency_read_words_outside_of_training() -> None:
    model = fit()
    shown = trace(model, ["w3", "w30", "no"])
    assert shown.difference < 1e-5
    assert shown.layers[0].inputs[1, 4:] == pytest.approx(VECTORS["w30"])
    assert compute_saliency(model, ["w3", "w30", "no"]) is not None


@pytest.mark.parametrize("training", ["frozen", "tuned"])
@pytest.mark.parametrize("embedding_size", [0, 4])
def test_a_graph_has_the_vectors(training: str, embedding_size: int) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from ohlol.interop import import_run, onnx_export, onnx_verify

    model = fit(vectors_training=training, embedding_size=embedding_size, bidirectional=False, char_rnn_size=2)
    for step in (False, True):
        graph = onnx_export.build_graph(model, step=step)
        onnx_verify.verify(model, graph)
    symbols = json.loads(onnx_export.graph_metadata(model)["symbols"])
    assert symbols[len(model.codec.symbols or ()) + 30] == "w30"
    Path("m.onnx").write_bytes(graph := onnx_export.build_graph(model))
    imported, _ = import_run.import_model(Path("m.onnx"))
    assert imported.identity == model.identity
    import_run.save_run(imported, Path("imported"))
    assert ohlol.load("imported").predict(["w30", "w3", "no"]) == model.predict(["w30", "w3", "no"])
    position = graph.index(VECTORS["w31"].tobytes())
    Path("m.onnx").write_bytes(graph[:position] + b"\0\0\0\0" + graph[position + 4 :])
    with pytest.raises(InputError, match="its word vectors differ from those it was exported with"):
        import_run.import_model(Path("m.onnx"))


def test_a_study_reads_the_vectors_once_and_searches_their_training(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    from ohlol.data import data_preparer

    calls: list[str] = []
    read = data_preparer.read_vectors
    monkeypatch.setattr(data_preparer, "read_vectors", lambda *given: (calls.append("read"), read(*given))[1])
    settings = {**SETTINGS, "epochs": 2, "vectors": "v.txt"}
    summary = ohlol.tune("data.conll", trials=3, out="study", search=["vectors_training"], **settings)
    assert {trial.settings["vectors_training"] for trial in summary.trials} == {"frozen", "tuned", "late"}
    assert calls == ["read"]
    assert ohlol.load("study/best").predict(["w30"]).unknown == []
    ohlol.tune("data.conll", trials=3, out="study", search=["vectors_training"], **settings)
    assert calls == ["read"]
    with pytest.raises(InputError, match="is not a setting that can be searched"):
        ohlol.tune("data.conll", trials=3, out="other", search=["vectors=a,b"], **SETTINGS)


def test_a_copy_of_a_model_on_another_device_has_its_vectors() -> None:
    model = fit()
    network = copy.deepcopy(model.network).to(torch.float64)
    assert network.encoder.vectors.dtype == torch.float64
    assert network.encoder.vector_rows.dtype == torch.int64
    assert model.network.encoder.vectors.dtype == torch.float32
    assert network.to("meta").encoder.vectors.device.type == "meta"


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "by character": (
        lambda: fit("data.csv", input="text", target="kind", task="classify", level="char"),
        "`vectors` are those of words, and the data are read by character; `level=word` reads words",
    ),
    "numbers": (
        lambda: ohlol.fit([{"x": float(i)} for i in range(50)], task="forecast", vectors="v.txt"),
        "`vectors` are those of words, and the data are numbers",
    ),
    "without unk": (lambda: fit(unk_probability=0.0), "set `unk_probability` above 0"),
    "training without vectors": (
        lambda: fit(vectors=None, vectors_training="tuned"),
        "`vectors_training` is a setting of `vectors`",
    ),
    "unknown training": (lambda: fit(vectors_training="half"), "it must be one of frozen, tuned, late"),
    "negative limit": (lambda: fit(vectors_limit=-1), "`vectors_limit` is -1; it must be at least 0"),
    "missing file": (lambda: fit(vectors="no.txt"), r"no\.txt: cannot be read: No such file"),
    "other words": (lambda: fit(vectors=make_vectors("x y")), "has a vector for none of the 26 words"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_settings_that_do_not_fit_are_refused(name: str) -> None:
    call, problem = ERRORS[name]
    with pytest.raises(InputError, match=problem):
        call()


def test_a_warning_counts_words_that_are_skipped() -> None:
    with pytest.warns(InputWarning, match="vectors in memory: word 33: skipped as the first of 1 words"):
        fit(vectors={**VECTORS, "bad": np.full(5, np.nan)}, epochs=1)


def test_the_command_prints_how_many_words_have_a_vector(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--vectors", "v.txt", "--vectors-training", "late", "--vectors-limit", "30", "--epochs", "1"]

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return int(ended.value.code or 0)

    assert run("train", "data.conll", "--char-rnn-size", "0", "--embedding-size", "4", "--out", "run", *flags) == 0
    output = capsys.readouterr().out
    assert "embedding 4, vectors 5 (late): " in output
    assert "vectors: 96.0% of the 25 words of the training data have one (9" in output
    assert "; 30 words in all" in output
    assert run("predict", "run", "w25 w31") == 0
    assert "w31" in (error := capsys.readouterr().err)
    assert "w25" not in error
    assert run("train", "data.conll", "--vectors-limit", "3") == 2
    assert "--vectors-limit is a setting of --vectors" in capsys.readouterr().err


def test_a_vocabulary_with_vectors_is_checked() -> None:
    fit(out="run")
    codec = run_directory.read_codec(Path("run"))
    assert codec == ohlol.load("run").codec
    assert replace(codec, vectors=None) != codec
    data = json.loads(Path("run/vocab.json").read_text())
    del data["sha256"]
    data["vectors"]["words"][0] = data["vectors"]["words"][1]
    Path("run/vocab.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="the vectors have a word twice"):
        ohlol.load("run")
