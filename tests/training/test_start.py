"""Runs that start from the weights of another run: which weights they have, what is frozen, refusals, resuming."""

import hashlib
import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import SALES, SALES_NEXT, Recorder, bytes_of, sales_file, sine_file, text_file
from word_vector_files import make_vectors, write_glove

import ohlol
from ohlol.checkpoint import snapshots
from ohlol.cli import main
from ohlol.config import DataSettings
from ohlol.data.batches import gather
from ohlol.data.codec_encoding import encode_data
from ohlol.data.corpus.encode import encode
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.inputs import PackedInputs
from ohlol.training.trainer import Interrupted
from ohlol.utils.errors import InputError

SMALL: dict[str, Any] = {"hidden_size": 6, "embedding_size": 4, "epochs": 2, "batch_size": 8, "lr": 0.02}
STILL: dict[str, Any] = {"epochs": 1, "batch_size": 8, "lr": 1e-30}
"""A rate so small that no weight of float32 changes."""
WORDS, NEW_WORDS = [f"w{i}" for i in range(10)], ["a0", "v5", "w3x", "z9"]
"""New words come before, between and after the others, so that ids change."""


def label_of(word: str) -> str:
    return "ABC"[ord(word[-1]) % 3]


def write_words(name: str, words: list[str], seed: int, label: Callable[[str], str] = label_of) -> None:
    random = np.random.default_rng(seed)
    sentences = [random.choice(words, size=random.integers(2, 6)).tolist() for _ in range(40)] + [words]
    rows = ["\n".join(f"{word}\t{label(word)}" for word in sentence) for sentence in sentences]
    Path(f"{name}.conll").write_text("\n\n".join(rows) + "\n\n")
    lines = [f"{' '.join(sentence)},{label(sentence[0])},{1.5 * len(sentence)}" for sentence in sentences]
    Path(f"{name}.csv").write_text("\n".join(["text,kind,price", *lines]) + "\n")
    pairs = [f"{''.join(sentence)}\t{''.join(sentence).upper()}" for sentence in sentences]
    Path(f"{name}.tsv").write_text("\n".join(pairs) + "\n")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_words("old", WORDS, 1)
    write_words("new", WORDS + NEW_WORDS, 2)
    write_words("other", WORDS + NEW_WORDS, 3, lambda word: "XY"[int(word in WORDS)])
    write_words("spans", WORDS + NEW_WORDS, 4, lambda word: "B-P" if word in ("w1", "z9") else "O")
    text_file(Path("old.txt"))
    Path("new.txt").write_text(("Zebras eat at the quay\n" * 20) + ("the cat sat\n" * 10))
    sine_file(Path("rows.csv"))
    sales_file(Path("sales.csv"))
    write_glove(Path("v.txt"), make_vectors(" ".join([*WORDS, "v5", "unseen"])))


def logits(model: TrainedModel, data: Any) -> dict[str, np.ndarray]:
    """The logits of each label over all steps, or of each output where there are no labels."""
    raw = data if not isinstance(data, list) else model.raw_data(data)
    encoded = encode_data(model.codec, raw)
    with torch.no_grad():
        values = model.network(PackedInputs.of(gather(encoded, np.arange(len(encoded)))))[0].numpy()
    names = model.codec.labels.symbols if model.codec.labels is not None else map(str, range(values.shape[1]))
    return dict(zip(names, values.T, strict=True))


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "words": ("old.conll", "new.conll", {"char_rnn_size": 3}),
    "words of two layers and vectors": (
        "old.conll", "new.conll", {"char_rnn_size": 3, "num_layers": 2, "vectors": "v.txt"}
    ),
    "frozen vectors alone": (
        "old.conll", "new.conll", {"embedding_size": 0, "vectors": "v.txt", "vectors_training": "frozen"}
    ),
    "spans": ("spans.conll", "spans.conll", {}),
    "a cell that is a module": ("old.conll", "new.conll", {"cell": "mgu"}),
    "characters with bigrams": ("old.tsv", "new.tsv", {"bigram_size": 3}),
    "one-hot": ("old.tsv", "new.tsv", {"embedding_size": 0}),
    "one-hot in a loop": ("old.tsv", "new.tsv", {"embedding_size": 0, "loop": True}),
    "one-hot of a module": ("old.tsv", "new.tsv", {"embedding_size": 0, "cell": "sru"}),
    "text": ("old.txt", "new.txt", {"bptt": 16}),
    "text with tied weights": ("old.txt", "new.txt", {"bptt": 16, "embedding_size": 6, "tie_weights": True}),
    "classes": ("old.csv", "new.csv", {"input": "text", "target": "kind", "task": "classify", "level": "word"}),
    "quantities": ("old.csv", "new.csv", {"input": "text", "target": "price", "task": "regress", "level": "word"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_model_that_is_not_trained_further_gives_the_same_output(name: str) -> None:
    old_file, new_file, settings = CASES[name]
    data = {key: settings[key] for key in ("input", "target", "task", "level") if key in settings}
    old = ohlol.fit(old_file, out="old", **{**SMALL, **settings})
    new = ohlol.fit(new_file, out="new", start_from="old", **STILL, **data)
    assert new.config.start is not None
    assert new.config.start.keeps_head == (name != "characters with bigrams" and "one-hot" not in name)
    texts = (
        ["the cat sat"] if name.startswith("text") else ["w3w1w9"] if new_file == "new.tsv" else [["w3", "w1", "w9"]]
    )
    for model in (new, ohlol.load("new")):
        expected, actual = logits(old, texts), logits(model, texts)
        if new.config.start.keeps_head:
            assert expected.keys() <= actual.keys()
            for label, values in expected.items():
                np.testing.assert_allclose(actual[label], values, atol=1e-6, err_msg=label)
    hidden = []
    for model in (old, new):
        packed = PackedInputs.of(gather(encode_data(model.codec, model.raw_data(texts)), np.arange(1)))
        with torch.no_grad():
            hidden.append(model.network.hidden(model.network.encoder(packed), packed.batch_sizes, None)[0])
    torch.testing.assert_close(hidden[1], hidden[0], atol=1e-6, rtol=0)
    old_symbols, new_symbols = (model.codec.symbols for model in (old, new))
    assert old_symbols is not None
    assert new_symbols is not None
    assert {*old_symbols.symbols} <= {*new_symbols.symbols}
    assert new.config.start.new_symbols == len(new_symbols) - len(old_symbols)
    if new_file != "spans.conll":
        assert new.config.start.new_symbols > 0
        ids = [[vocab.find(symbol) for symbol in old_symbols.symbols] for vocab in (old_symbols, new_symbols)]
        assert ids[0] != ids[1]


@pytest.mark.parametrize("task", ["next_row", "forecast"])
def test_a_model_of_numbers_reads_them_in_the_units_of_the_run(task: str) -> None:
    file, settings = ("rows.csv", {}) if task == "next_row" else ("sales.csv", SALES)
    old = ohlol.fit(file, out="old", task=task, bptt=16, hidden_size=5, epochs=2, **settings)
    lines = Path(file).read_text().splitlines()
    Path("larger.csv").write_text("\n".join([lines[0], *(f"{line[:-4]}9" for line in lines[1:])]) + "\n")
    new = ohlol.fit("larger.csv", out="new", task=task, bptt=16, start_from="old", **STILL, **settings)
    assert new.config.start is not None
    assert new.config.start.keeps_head
    assert (new.codec.scale, new.codec.panel) == (old.codec.scale, old.codec.panel)
    again = ohlol.load("new")
    if task == "next_row":
        np.testing.assert_allclose(again.next_rows("rows.csv", 3), old.next_rows("rows.csv", 3), rtol=1e-5)
    else:
        Path("future.csv").write_text(SALES_NEXT)
        forecasts = [model.forecast("sales.csv", future="future.csv") for model in (old, again)]
        for one, two in zip(*forecasts, strict=True):
            np.testing.assert_allclose(one.quantiles, two.quantiles, rtol=1e-5)


def test_new_words_have_new_rows_and_their_pretrained_vector() -> None:
    old = ohlol.fit("old.conll", out="old", vectors="v.txt", vectors_limit=12, **SMALL)
    Path("v.txt").unlink()
    new = ohlol.fit("new.conll", start_from="old", out="new", **STILL)
    symbols, vectors, encoder = new.codec.symbols, new.codec.vectors, new.network.encoder
    assert symbols is not None
    assert vectors is not None
    assert vectors.table is not None
    assert vectors == old.codec.vectors
    row = encoder.tuned_vectors[symbols.find("v5") or 0]
    assert torch.equal(row, torch.from_numpy(vectors.table[vectors.find("v5")]))
    known = {tuple(r) for r in old.network.encoder.embedding.weight.tolist()}
    for word in NEW_WORDS:
        assert tuple(encoder.embedding.weight[symbols.find(word) or 0].tolist()) not in known
    shutil.rmtree("old")
    assert ohlol.load("new").predict(["unseen"]).unknown == []


def test_counts_are_those_of_both_runs() -> None:
    old = ohlol.fit("old.conll", out="old", **SMALL)
    new = ohlol.fit("new.conll", start_from="old", **STILL)
    assert old.codec.symbols is not None
    assert new.codec.symbols is not None
    by_word = dict(zip(new.codec.symbols.symbols, new.codec.symbols.counts, strict=True))
    assert all(by_word[w] >= n for w, n in zip(old.codec.symbols.symbols, old.codec.symbols.counts, strict=True))


def test_a_head_for_other_labels_is_new() -> None:
    old = ohlol.fit("old.conll", out="old", **SMALL)
    new = ohlol.fit("other.conll", start_from="old", out="new", **STILL)
    assert new.config.start is not None
    assert not new.config.start.keeps_head
    assert new.codec.labels is not None
    assert new.codec.labels.symbols == ("X", "Y")
    assert torch.equal(new.network.layers.weight_hh_l0, old.network.layers.weight_hh_l0)
    spans = ohlol.fit("spans.conll", start_from="old", **STILL)
    assert spans.config.model.head == "crf"  # the default of the task, not the head of the run
    classes = ohlol.fit(
        "other.csv", start_from="old", task="classify", level="word", input="text", target="kind", **STILL
    )
    assert classes.config.model.bidirectional
    assert torch.equal(classes.network.layers.weight_hh_l0, old.network.layers.weight_hh_l0)
    chosen = ohlol.fit("old.conll", start_from="old", head="crf", **STILL)
    assert chosen.config.start is not None
    assert not chosen.config.start.keeps_head


def test_labels_that_the_data_lack_are_kept() -> None:
    ohlol.fit("old.conll", out="old", **SMALL)
    Path("part.conll").write_text("\n\n".join(["w0\tA\nw3\tA"] * 30) + "\n\n")
    new = ohlol.fit("part.conll", start_from="old", **STILL)
    assert new.codec.labels is not None
    assert new.codec.labels.symbols == ("A", "B", "C")
    assert new.codec.labels.counts[1:] == (0, 0)
    assert new.predict(["w1", "w2"]).labels == ohlol.load("old").predict(["w1", "w2"]).labels


def test_the_start_is_measured_and_kept_where_training_does_not_help() -> None:
    ohlol.fit("old.conll", out="old", **{**SMALL, "epochs": 12})
    recorder = Recorder()
    new = ohlol.fit("old.conll", start_from="old", epochs=1, lr=50.0, callbacks=[recorder])
    assert recorder.trainer is not None
    assert recorder.trainer.progress.start == recorder.trainer.progress.best
    assert new.config.metrics == pytest.approx(recorder.trainer.progress.start)
    assert new.predict(["w1", "w2"]).labels == ohlol.load("old").predict(["w1", "w2"]).labels


def moves(run: str) -> dict[str, list[bool]]:
    """For each part of the model of a run with snapshots, whether it changes in each epoch."""
    config, _, model = ohlol.checkpoint.run_directory.load_model(Path(run))
    names = {id(p): name for name, p in model.named_parameters()}
    weights = [snapshots.load(Path(run), epoch, model) for epoch in range(config.training.epochs + 1)]
    return {
        part: [
            not all(torch.equal(one[names[id(p)]], two[names[id(p)]]) for p in parameters)
            for one, two in pairwise(weights)
        ]
        for part, parameters in model.parts.items()
    }


FREEZE: dict[str, set[str]] = {
    "1": {"encoder"},
    "2": {"encoder", "layer1"},
    "encoder": {"encoder"},
    "layers": {"layer1", "layer2"},
    "encoder, layer2": {"encoder", "layer2"},
    "head": {"head"},
}


@pytest.mark.parametrize(
    ("cell", "freeze"), [*(("lstm", freeze) for freeze in FREEZE), ("mgu", "2"), ("mgu", "encoder, layer2")]
)
def test_frozen_parts_do_not_change(cell: str, freeze: str) -> None:
    settings = {**SMALL, "num_layers": 2, "char_rnn_size": 3, "cell": cell}
    ohlol.fit("old.conll", out="old", **settings)
    new = ohlol.fit("old.conll", out="new", start_from="old", freeze=freeze, epochs=2, snapshots=True, weight_decay=0.1)
    parts = ("encoder", "layer1", "layer2", "head")
    assert moves("new") == {part: [part not in FREEZE[freeze]] * 2 for part in parts}
    assert all(parameter.requires_grad for parameter in new.network.parameters())


def test_parts_are_unfrozen_from_the_head_downward() -> None:
    ohlol.fit("old.conll", out="old", num_layers=2, **SMALL)
    ohlol.fit(
        "old.conll", out="new", start_from="old", freeze=1, unfreeze_epochs=2, epochs=6, optimizer="adamw",
        weight_decay=0.1, snapshots=True,
    )  # fmt: skip
    assert moves("new") == {
        "head": [True] * 6,
        "layer2": [False] * 2 + [True] * 4,
        "layer1": [False] * 4 + [True] * 2,
        "encoder": [False] * 6,
    }


def test_rates_fall_from_the_head_to_the_encoder() -> None:
    ohlol.fit("old.conll", out="old", num_layers=2, **SMALL)
    recorder = Recorder()
    ohlol.fit("old.conll", start_from="old", layer_lr_factor=0.5, lr=0.1, lr_schedule="constant", epochs=1,
              callbacks=[recorder])  # fmt: skip
    assert recorder.trainer is not None
    groups = recorder.trainer.optimizer.param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.0125, 0.025, 0.05, 0.1])
    for group, own in zip(groups, recorder.trainer.model.parts.values(), strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in own]


@pytest.mark.parametrize(
    "settings", [{}, {"freeze": "encoder", "layer_lr_factor": 0.4, "unfreeze_epochs": 1, "optimizer": "adamw"}]
)
@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_stopped_run_resumes_with_the_same_bytes_without_the_run_it_started_from(
    settings: dict[str, Any], step: int
) -> None:
    ohlol.fit("old.conll", out="old", char_rnn_size=3, vectors="v.txt", **SMALL)
    more: dict[str, Any] = {"start_from": "old", "epochs": 3, "batch_size": 8, **settings}
    ohlol.fit("new.conll", out="whole", **more)

    def stop(recorder: Recorder, at: int) -> None:
        if at == step:
            assert recorder.trainer is not None
            recorder.trainer.stop()

    with pytest.raises(Interrupted):
        ohlol.fit("new.conll", out="part", callbacks=[Recorder(stop)], **more)
    shutil.rmtree("old")
    Path("v.txt").unlink()
    ohlol.fit(out="part", resume=True, start_from="old")
    whole, part = (bytes_of(Path(run)) for run in ("whole", "part"))
    assert {k: v for k, v in whole.items() if k != "README.md"} == {k: v for k, v in part.items() if k != "README.md"}
    with pytest.raises(InputError, match="part was started with `start_from` old, not other; `resume` keeps it"):
        ohlol.fit(out="part", resume=True, start_from="other")


def test_a_run_without_its_encoded_data_resumes() -> None:
    pairs = [(word * 2, (word * 2).upper()) for word in WORDS * 3]
    ohlol.fit("new.tsv", out="old", **SMALL)
    first = ohlol.fit(pairs, out="new", start_from="old", epochs=2)
    assert first.config.start is not None
    shutil.rmtree("old")
    assert ohlol.fit(out="new", resume=True).codec == first.codec
    write_words("old", WORDS, 1)
    ohlol.fit("old.conll", out="base", **SMALL)
    third = ohlol.fit("new.conll", out="again", start_from="base", epochs=1)
    shutil.rmtree("again/resume/data")
    shutil.rmtree("base")
    assert ohlol.fit(out="again", resume=True).codec == third.codec


def test_a_corpus_that_the_run_encoded_trains_it_further() -> None:
    ohlol.fit("old.conll", out="old", vectors="v.txt", **SMALL)
    encode(["new.conll"], Path("corpus"), DataSettings(format="conll"), vocab=Path("old"), jobs=1)
    new = ohlol.fit("corpus", out="new", start_from="old", **STILL)
    assert new.predict(["w1", "w2"]).probability == pytest.approx(ohlol.load("old").predict(["w1", "w2"]).probability)
    encode(["new.conll"], Path("apart"), DataSettings(format="conll"), jobs=1)
    with pytest.raises(InputError, match="apart was encoded with another vocabulary than that of the run"):
        ohlol.fit("apart", start_from="old", **STILL)


def test_the_run_says_where_it_started() -> None:
    old = ohlol.fit("old.conll", out="old", **SMALL)
    ohlol.fit("new.conll", out="new", start_from="old", **STILL)
    start = json.loads(Path("new/config.json").read_text())["start"]
    assert start["weights_sha256"] == hashlib.sha256(Path("old/model.safetensors").read_bytes()).hexdigest()
    assert start["run"] == "old"
    assert start["metrics"] == old.config.metrics
    card = Path("new/README.md").read_text()
    assert "- started from: old (accuracy " in card
    assert f"with its head; SHA-256 of its weights: {start['weights_sha256']}" in card
    assert "start" not in json.loads(Path("old/config.json").read_text())


def damage_weights() -> None:
    content = bytearray(Path("old/model.safetensors").read_bytes())
    content[-1] ^= 1
    Path("old/model.safetensors").write_bytes(content)


ERRORS: dict[str, tuple[str, dict[str, Any], str]] = {
    "missing": ("old.conll", {"start_from": "nothing"}, "nothing: there is no such run directory"),
    "hidden units": ("old.conll", {"hidden_size": 8}, "`start_from` old has `hidden_size` 6, not 8: leave it out"),
    "cell": ("old.conll", {"cell": "gru"}, "old has the `cell` lstm, not gru"),
    "vectors": ("old.conll", {"vectors": "v.txt"}, "`start_from` old has `vectors` None, not v.txt"),
    "level": (
        "old.tsv", {}, "`start_from` old reads by word, and the data are read by character: set `level` to word"
    ),
    "numbers": ("rows.csv", {"task": "next_row"}, "names a run that reads symbols, and the data are rows of numbers"),
    "itself": ("old.conll", {"out": "old", "overwrite": True}, "old cannot be replaced by a run that starts from it"),
    "unknown part": (
        "old.conll", {"freeze": "layer2"}, "`freeze` names 'layer2'; the parts of this model are encoder, layer1, head"
    ),
    "all parts": ("old.conll", {"freeze": "3"}, "`freeze` 3 leaves nothing to train"),
    "more parts": ("old.conll", {"freeze": "9"}, "`freeze` 9 leaves nothing to train"),
    "factor": ("old.conll", {"layer_lr_factor": 1.5}, "`layer_lr_factor` is 1.5; it must be above 0 and at most 1"),
    "without a run": ("old.conll", {"start_from": None, "freeze": 1}, "`freeze` is a setting of `start_from`"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_what_does_not_fit_is_refused_and_nothing_is_written(name: str) -> None:
    ohlol.fit("old.conll", out="old", **SMALL)
    before = bytes_of(Path("old"))
    file, settings, problem = ERRORS[name]
    with pytest.raises(InputError, match=problem):
        ohlol.fit(file, **{"out": "new", "start_from": "old", **STILL, **settings})
    assert not Path("new").exists()
    assert bytes_of(Path("old")) == before


def test_a_damaged_run_is_refused() -> None:
    ohlol.fit("old.conll", out="old", **SMALL)
    damage_weights()
    with pytest.raises(InputError, match=r"old/model\.safetensors: cannot be read: it does not match its checksum"):
        ohlol.fit("new.conll", out="new", start_from="old", **STILL)
    Path("old/model.safetensors").unlink()
    with pytest.raises(InputError, match=r"old: has no model\.safetensors"):
        ohlol.fit("new.conll", out="new", start_from="old", **STILL)
    assert not Path("new").exists()


def test_an_encoder_that_the_task_does_not_have_is_refused() -> None:
    ohlol.fit("old.conll", out="old", char_rnn_size=3, bidirectional=False, **SMALL)
    with pytest.raises(InputError, match="the run reads the characters of words, and this one does not: a model of"):
        ohlol.fit("old.txt", start_from="old", task="next", level="word", **STILL)


def test_a_classifier_of_characters_starts_from_a_tagger_with_bigrams() -> None:
    ohlol.fit("old.tsv", out="old", bigram_size=3, **SMALL)
    choice = {"task": "classify", "level": "char", "input": "text", "target": "kind"}
    new = ohlol.fit("old.csv", start_from="old", **choice, **STILL)
    assert new.network.encoder.bigrams.weight.shape[1] == 3


def test_columns_of_numbers_must_be_those_of_the_run() -> None:
    ohlol.fit("rows.csv", out="old", task="next_row", hidden_size=5, epochs=1)
    Path("renamed.csv").write_text("a,b,c,d,e"[: 2 * len(Path("rows.csv").read_text().split("\n")[0].split(",")) - 1]
                                   + "\n" + Path("rows.csv").read_text().split("\n", 1)[1])  # fmt: skip
    with pytest.raises(InputError, match="names a run whose input columns are"):
        ohlol.fit("renamed.csv", start_from="old", task="next_row", **STILL)


def test_the_command_starts_from_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    ohlol.fit("old.conll", out="old", **SMALL)

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return int(ended.value.code or 0)

    assert run("train", "new.conll", "--from", "old", "--freeze", "encoder", "--epochs", "1", "--out", "new") == 0
    output = capsys.readouterr().out
    assert f"starts from old, with its head; new symbols: {len(NEW_WORDS)}\n" in output
    assert "the run that this one started from" in output
    assert run("train", "other.conll", "--from", "old", "--epochs", "1", "--out", "other") == 0
    assert "starts from old, with a new head" in capsys.readouterr().out
    assert run("train", "new.conll", "--from", "old", "--hidden-size", "8", "--out", "no") == 2
    assert "--from old has --hidden-size 6, not 8" in capsys.readouterr().err
    assert run("predict", "new", "w1 z9") == 0
