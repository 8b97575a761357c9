"""Models that read words by language models over characters: trained, resumed, saved, read by other packages."""

import json
import pickle
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Recorder, bytes_of

import ohlol
from ohlol.checkpoint import run_directory
from ohlol.cli import main
from ohlol.config import DataSettings
from ohlol.data.batches import gather
from ohlol.data.char_lm import FOLDER
from ohlol.data.codec_encoding import encode_data
from ohlol.data.corpus.encode import encode
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.inputs import PackedInputs
from ohlol.training import contexts
from ohlol.training.trainer import Interrupted
from ohlol.utils.errors import InputError

WORDS = ["cat", "sat", "mat", "the", "on", "Oslo", "rat", "tin"]
SETTINGS: dict[str, Any] = {
    "hidden_size": 6, "embedding_size": 4, "char_rnn_size": 0, "epochs": 3, "batch_size": 8, "lr": 0.02,
}  # fmt: skip
TEXT: dict[str, Any] = {"task": "next", "hidden_size": 7, "embedding_size": 5, "epochs": 1, "bptt": 16}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two language models, and sentences with labels in the formats of several tasks."""
    folder = tmp_path_factory.mktemp("made")
    random = np.random.default_rng(4)
    sentences = [random.choice(WORDS, size=random.integers(2, 6)).tolist() for _ in range(50)]
    text = "\n".join(map(" ".join, sentences))
    (folder / "text.txt").write_text(text + "\n")
    rows = ["\n".join(f"{word}\t{'XY'[word[-1] == 't']}" for word in words) for words in sentences]
    (folder / "data.conll").write_text("\n\n".join(rows) + "\n\n")
    lines = [f"{' '.join(words)},{'XY'[words[0][-1] == 't']},{1.5 * len(words)}" for words in sentences]
    (folder / "data.csv").write_text("\n".join(["text,kind,price", *lines]) + "\n")
    ohlol.fit(folder / "text.txt", out=folder / "forward", **TEXT)
    ohlol.fit(folder / "text.txt", out=folder / "backward", reversed=True, cell="gru", **TEXT)
    return folder


@pytest.fixture(autouse=True)
def _files(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def fit(data: str = "data.conll", **settings: Any) -> TrainedModel:
    return ohlol.fit(data, **{**SETTINGS, "char_lm": "forward,backward", **settings})


def encoder_output(model: TrainedModel, words: list[str]) -> torch.Tensor:
    data = encode_data(model.codec, model.raw_data([words]))
    with torch.no_grad():
        return model.network.encoder(PackedInputs.of(gather(data, np.arange(1))))


def test_the_states_stand_beside_embedding_and_character_rnn() -> None:
    model = fit(char_rnn_size=2)
    assert model.network.encoder.size == 4 + 2 * 2 + 7 + 7
    output = encoder_output(model, ["cat", "Oslo"])
    forward, backward = ohlol.load("forward"), ohlol.load("backward")
    with torch.no_grad():
        for lm, text, ends, columns in (
            (forward, "\ncat Oslo", [3, 8], slice(8, 15)),
            (backward, "cat Oslo\n", [8, 4], slice(15, 22)),  # read from the end: the first letters of both words
        ):
            data = encode_data(lm.codec, lm.raw_data([text]))
            hidden, _ = lm.network.outputs(PackedInputs.of(gather(data, np.arange(1))))
            torch.testing.assert_close(output[:, columns], hidden[ends], atol=1e-6, rtol=1e-5)
    assert all("contextual" not in name for name in model.network.state_dict())


def test_states_that_are_kept_are_those_that_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    model = fit(callbacks=[recorder], char_rnn_size=2)
    assert recorder.trainer is not None
    for data in (recorder.trainer.train, recorder.trainer.dev):
        assert data is not None
        assert data.contexts is not None
        for row in range(len(data)):
            packed = PackedInputs.of(gather(data, np.array([row])))
            assert packed.contexts is not None
            computed = model.network.encoder.encode_text(packed._replace(contexts=None))
            torch.testing.assert_close(packed.contexts, computed, atol=1e-6, rtol=1e-5)
    monkeypatch.setattr(contexts, "MEMORY", recorder.trainer.train.contexts.nbytes)  # type: ignore[union-attr]
    train_only = Recorder()
    fit(callbacks=[train_only])
    assert train_only.trainer is not None
    assert train_only.trainer.dev is not None
    assert (train_only.trainer.train.contexts is None, train_only.trainer.dev.contexts is None) == (False, True)
    monkeypatch.setattr(contexts, "MEMORY", 0)
    computed_each_time = fit(char_rnn_size=2)
    for name, weight in model.network.state_dict().items():
        torch.testing.assert_close(computed_each_time.network.state_dict()[name], weight, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("memory", [contexts.MEMORY, 0])
def test_a_stopped_run_resumes_with_the_same_bytes_without_the_language_models(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contexts, "MEMORY", memory)
    fit(out="whole")

    def stop(recorder: Recorder, step: int) -> None:
        if step == 8:
            assert recorder.trainer is not None
            recorder.trainer.stop()

    with pytest.raises(Interrupted):
        fit(out="part", callbacks=[Recorder(stop)])
    shutil.rmtree("forward")
    shutil.rmtree("backward")
    ohlol.fit(out="part", resume=True)
    whole, part = (bytes_of(Path(run)) for run in ("whole", "part"))
    assert {k: v for k, v in whole.items() if k != "README.md"} == {k: v for k, v in part.items() if k != "README.md"}
    shutil.rmtree("part/resume/data")
    assert ohlol.fit(out="part", resume=True).codec == ohlol.load("whole").codec


def test_a_run_needs_no_other_run() -> None:
    model = fit(out="run", char_rnn_size=2)
    words = ["Oslo", "new", "tin", "é☃"]
    expected = model.predict(words)
    for name in ("forward", "backward", "run/resume"):
        shutil.rmtree(name)
    shutil.move("run", "moved")
    again = ohlol.load("moved")
    assert again.identity == model.identity
    assert again.predict(words) == expected
    many = [["cat"], words, ["the", "rat"]]
    for one, two in zip(again.predict_many(many), many, strict=True):
        assert one.probability == pytest.approx(again.predict(two).probability, abs=1e-5)
    assert again.evaluate("data.conll").metrics() == pytest.approx(model.evaluate("data.conll").metrics(), abs=1e-6)
    assert not list(Path("moved").rglob("*.pkl"))


def test_a_pickle_holds_the_language_models() -> None:
    model = fit()
    restored = pickle.loads(pickle.dumps(model))
    again = deepcopy(restored)  # from the files of the pickle
    assert again.identity == restored.identity == model.identity
    words = ["Anna", "lives", "in", "Bonn"]
    assert torch.equal(encoder_output(again, words), encoder_output(model, words))


@pytest.mark.parametrize("runs", ["forward", "backward", "backward, forward"])
def test_one_direction_is_enough_and_the_order_does_not_matter(runs: str) -> None:
    model = fit(char_lm=runs, out="run")
    names = [lm.name for lm in model.codec.char_lms]
    assert names == sorted(runs.split(", "), reverse=True)
    assert {path.name for path in Path("run", FOLDER).iterdir()} == set(names)
    assert model.network.encoder.size == 4 + 7 * len(names)
    fit(char_lm=None, out="run", overwrite=True)
    assert not Path("run", FOLDER).exists()
    ohlol.load("run")


def test_the_states_may_stand_alone() -> None:
    model = fit(embedding_size=0)
    assert not hasattr(model.network.encoder, "embedding")
    assert encoder_output(model, ["cat"]).shape == (1, 14)


TASKS: dict[str, dict[str, Any]] = {
    "classify": {"input": "text", "target": "kind", "task": "classify", "level": "word"},
    "regress": {"input": "text", "target": "price", "task": "regress", "level": "word"},
}


@pytest.mark.parametrize("task", TASKS)
def test_tasks_over_words_read_them(task: str) -> None:
    model = fit("data.csv", out="run", **TASKS[task])
    again = ohlol.load("run")
    assert again.evaluate("data.csv").metrics() == pytest.approx(model.evaluate("data.csv").metrics(), abs=1e-5)
    assert again.predict("the cat") == model.predict("the cat")


def test_the_identity_depends_on_the_language_models() -> None:
    first = fit(epochs=1)
    ohlol.fit("text.txt", out="forward", overwrite=True, **{**TEXT, "seed": 3})
    assert fit(epochs=1).identity != first.identity


def test_another_language_model_in_the_directory_of_a_run_is_refused() -> None:
    fit(out="run")
    path = Path("run", FOLDER, "forward", "model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"char_lm/forward/model\.safetensors: cannot be read: it does not match"):
        ohlol.load("run")
    ohlol.fit("text.txt", out="other", **{**TEXT, "seed": 3})
    shutil.copy("other/model.safetensors", path)
    with pytest.raises(InputError, match="run/char_lm/forward: is another language model than that of the run"):
        ohlol.load("run")
    shutil.rmtree(path.parent)
    with pytest.raises(InputError, match="run/char_lm/forward: there is no such run directory"):
        ohlol.load("run")


def test_a_vocabulary_with_language_models_is_checked() -> None:
    fit(out="run")
    assert run_directory.read_codec(Path("run")) == ohlol.load("run").codec
    data = json.loads(Path("run/vocab.json").read_text())
    del data["sha256"]
    data["char_lms"][1]["reversed"] = False
    Path("run/vocab.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="of which two read forward"):
        ohlol.load("run")
    del data["char_lms"][1], data["chars"]
    Path("run/vocab.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="language models read the characters of words, and there are none"):
        ohlol.load("run")


def test_characters_of_the_language_models_are_known_beside_those_of_the_words() -> None:
    Path("text.txt").write_text(Path("text.txt").read_text() + "Zürich\n" * 20)
    ohlol.fit("text.txt", out="forward", overwrite=True, **TEXT)
    model = fit(char_rnn_size=2)
    assert model.codec.chars is not None
    assert "ü" in model.codec.chars
    assert not torch.equal(encoder_output(model, ["ü"])[:, 8:15], encoder_output(model, ["☃"])[:, 8:15])


def test_an_encoded_corpus_is_read() -> None:
    encode(["data.conll"], Path("corpus"), DataSettings(format="conll"), jobs=1)
    model = fit("corpus", out="run")
    assert model.evaluate("corpus").metrics() == pytest.approx(model.config.metrics, abs=1e-6)
    ohlol.fit("corpus", out="run", resume=True)
    encode(["data.conll"], Path("new"), DataSettings(format="conll"), vocab=Path("run"), jobs=1)
    assert model.evaluate("new").metrics() == pytest.approx(model.evaluate("data.conll").metrics(), abs=1e-6)
    with pytest.raises(InputError, match="new was encoded for a run with language models, and only that run"):
        fit("new")


def test_a_run_starts_from_one_with_language_models() -> None:
    old = fit(out="run")
    shutil.rmtree("forward")
    new = ohlol.fit("data.conll", out="new", start_from="run", epochs=1, lr=1e-30)
    assert new.predict(["cat", "new"]).probability == pytest.approx(old.predict(["cat", "new"]).probability, abs=1e-6)
    shutil.rmtree("run")
    assert ohlol.load("new").identity == new.identity


def test_a_trace_and_saliency_read_the_text() -> None:
    model = fit()
    assert trace(model, ["cat", "Oslo", "no"]).difference < 1e-5
    assert compute_saliency(model, ["cat", "Oslo", "no"]) is not None


def test_a_study_reads_them() -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    settings = {**SETTINGS, "epochs": 1, "char_lm": "forward,backward"}
    del settings["lr"]
    ohlol.tune("data.conll", trials=2, out="study", search=["lr"], **settings)
    assert ohlol.load("study/best").predict(["cat"]).labels
    ohlol.tune("data.conll", trials=3, out="study", search=["lr"], **settings)


def test_graphs_and_streams_are_refused() -> None:
    model = fit(bidirectional=False, char_lm="forward")
    with pytest.raises(InputError, match="reads the text around each word by language models"):
        model.stream()
    pytest.importorskip("onnx", reason="onnx is not installed")
    from ohlol.interop import onnx_export

    with pytest.raises(InputError, match=r"by language models \(`char_lm`\), which a graph does not hold"):
        onnx_export.build_graph(model)


def test_a_text_is_read_from_its_end() -> None:
    model = ohlol.load("backward")
    assert model.config.data.reversed
    codec = model.codec
    assert codec.symbols is not None
    assert codec.decode_symbols(encode_data(codec, model.raw_data(["ab\n"])).inputs.values.tolist())[::2] == ["\n", "a"]
    other = ohlol.fit("text.txt", **TEXT)
    Path("mirrored.txt").write_text(Path("text.txt").read_text()[::-1])
    mirrored = ohlol.fit("mirrored.txt", reversed=True, **TEXT)
    assert mirrored.evaluate("mirrored.txt").metrics() == other.evaluate("text.txt").metrics()
    with pytest.raises(InputError, match="it reads a text from its end and writes none"):
        model.generate("a")
    encode(["text.txt"], Path("corpus"), DataSettings(task="next"), jobs=1)
    with pytest.raises(InputError, match="holds texts from their beginning"):
        model.evaluate("corpus")
    with pytest.raises(InputError, match="`reversed` reads a whole text"):
        encode(["text.txt"], Path("other"), DataSettings(task="next", reversed=True), jobs=1)


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "missing": (lambda: fit(char_lm="nothing"), "nothing: there is no such run directory"),
    "empty": (lambda: fit(char_lm="forward,"), "`char_lm` has an empty name"),
    "two of one direction": (lambda: fit(char_lm="forward,forward"), "of which two read forward"),
    "another task": (
        lambda: (fit(out="run", char_lm=None), fit(char_lm="run")),
        "`char_lm` run: is not a language model over characters in one direction: its task is label, by word",
    ),
    "by word": (
        lambda: (ohlol.fit("text.txt", out="run", level="word", **TEXT), fit(char_lm="run")),
        "its task is next, by word",
    ),
    "without an unknown symbol": (
        lambda: (ohlol.fit("text.txt", out="run", unk_probability=0.0, **TEXT), fit(char_lm="run")),
        "has no <unk> for characters that it has not seen",
    ),
    "characters": (
        lambda: fit("data.csv", input="text", target="kind", task="classify", level="char"),
        "`char_lm` reads the text of words that have a target, and the data are read by char for classify",
    ),
    "a text": (lambda: fit("text.txt", task="next", level="word"), "the data are read by word for next"),
    "reversed labels": (lambda: fit(reversed=True), "`reversed` is for texts whose symbols are predicted"),
    "reversed numbers": (
        lambda: ohlol.fit([{"x": float(i)} for i in range(50)], reversed=True),
        "`reversed` is for texts whose symbols are predicted",
    ),
    "another direction": (
        lambda: ohlol.fit("text.txt", start_from="backward", epochs=1),
        "`start_from` backward and the data differ in `reversed`",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_settings_that_do_not_fit_are_refused(name: str) -> None:
    call, problem = ERRORS[name]
    with pytest.raises(InputError, match=problem):
        call()


def test_the_commands_train_and_predict(capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return int(ended.value.code or 0)

    small = ["--hidden-size", "7", "--epochs", "1"]
    assert run("train", "text.txt", "--task", "next", "--reversed", "--out", "b", *small) == 0
    flags = ["--char-rnn-size", "0", "--embedding-size", "4", "--char-lm", "forward,b", "--out", "run"]
    assert run("train", "data.conll", *small, *flags) == 0
    assert "embedding 4, language models 7 + 7: " in capsys.readouterr().out
    assert run("predict", "run", "the cat") == 0
    assert run("evaluate", "run", "data.conll") == 0
    capsys.readouterr()
    assert run("train", "data.conll", "--char-lm", "none") == 2
    assert "none: there is no such run directory" in capsys.readouterr().err
