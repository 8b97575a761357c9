"""The run directory: files are read back as written; damaged ones and other versions are refused in one line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SALES, TINY, bytes_of, names_file, sales_file, sine_file, text_file, upper_pairs
from safetensors.torch import load_file, save_file

import ohlol
from ohlol.checkpoint import run_config, run_directory
from ohlol.data.codec_json import codec_to_json
from ohlol.data.word_vectors import TABLE
from ohlol.utils.errors import InputError
from ohlol.utils.files import write_json

MAKERS = {
    "label": upper_pairs,
    "next": text_file,
    "classify": names_file,
    "next_row": sine_file,
    "forecast": sales_file,
}
SUFFIX = {"label": "tsv", "next": "txt", "classify": "csv", "next_row": "csv", "forecast": "csv"}
OPTIONS: dict[str, dict[str, Any]] = {
    "label": {"cell": "lstm", "bidirectional": True},
    "next": {"tie_weights": True, "embedding_size": 6, "bptt": 8},
    "classify": {"input": "name", "target": "kind"},
    "next_row": {"task": "next_row", "bptt": 16},
    "forecast": {**SALES, "bptt": 16},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for task, maker in MAKERS.items():
        data = maker(folder / f"{task}.{SUFFIX[task]}")
        ohlol.fit(data, out=folder / task, **{**TINY, "epochs": 1, **OPTIONS[task]})
        made[task] = folder / task
    return made


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the run that a test may damage."""
    return Path(shutil.copytree(runs["label"], tmp_path / "run"))


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("task", MAKERS)
def test_a_loaded_run_is_written_with_the_same_bytes(runs: dict[str, Path], task: str, tmp_path: Path) -> None:
    config, codec, model = run_directory.load_model(runs[task])
    assert config.task == codec.task == task
    assert not model.training
    out = tmp_path / "again"
    run_directory.create(out, overwrite=False)
    write_json(out / "config.json", config.to_json())
    write_json(out / "vocab.json", codec_to_json(codec))
    run_directory.save_model(out, model)
    for name in ("config.json", "vocab.json", "model.safetensors"):
        assert (out / name).read_bytes() == (runs[task] / name).read_bytes()
    assert run_directory.read_config(out) == config
    assert {p.name for p in runs[task].iterdir()} == {*run_directory.FILES, "resume"} - {TABLE}
    assert {p.name for p in (runs[task] / "resume").iterdir()} == {"last.safetensors", "before.safetensors", "data"}


def test_a_tied_weight_is_written_once(runs: dict[str, Path]) -> None:
    names = set(load_file(runs["next"] / "model.safetensors"))
    assert "encoder.embedding.weight" in names
    assert "head.weight" not in names
    model = ohlol.load(runs["next"]).network
    assert model.head.weight is model.encoder.embedding.weight


@pytest.mark.parametrize("version", [0, 1, "2", None])
def test_another_version_is_refused(run: Path, version: object) -> None:
    edit(run, lambda c: c.update(format=version))
    said = refused(lambda: ohlol.load(run))
    assert said.startswith(f"{run}: config.json has format {version!r}; this version of ohlol")


def edit(run: Path, change: Callable[[dict[str, Any]], object], name: str = "config.json") -> None:
    data = json.loads((run / name).read_text(encoding="utf-8"))
    del data["sha256"]  # otherwise the checksum refuses every change
    change(data)
    (run / name).write_text(json.dumps(data), encoding="utf-8")


CONFIG_DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "a missing part": lambda c: c.pop("model"),
    "an unknown setting": lambda c: c["model"].update(color="red"),
    "a wrong type": lambda c: c["model"].update(hidden_size="6"),
    "a bool for a number": lambda c: c["model"].update(num_layers=True),
    "out of range": lambda c: c["model"].update(hidden_size=-1),
    "no such cell": lambda c: c["model"].update(cell="transformer"),
    "another size": lambda c: c["sizes"].update(scores=99),
    "more units than weights": lambda c: c["model"].update(hidden_size=7),
    "another task": lambda c: c.update(task="classify"),
    "metrics that are not a mapping": lambda c: c.update(metrics=3),
}


@pytest.mark.parametrize("damage", CONFIG_DAMAGE)
def test_a_damaged_config_is_refused(run: Path, damage: str) -> None:
    edit(run, CONFIG_DAMAGE[damage])
    assert str(run) in refused(lambda: ohlol.load(run))


VOCAB_DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "a missing part": lambda v: v.pop("labels"),
    "a label more": lambda v: (v["labels"]["symbols"].append("zz"), v["labels"]["counts"].append(1)),
    "a symbol twice": lambda v: v["symbols"]["symbols"].__setitem__(1, v["symbols"]["symbols"][2]),
    "another task": lambda v: v.update(task="next"),
}


@pytest.mark.parametrize("damage", VOCAB_DAMAGE)
def test_a_damaged_vocabulary_is_refused(run: Path, damage: str) -> None:
    edit(run, VOCAB_DAMAGE[damage], "vocab.json")
    assert str(run) in refused(lambda: ohlol.load(run))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


def nested(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


@pytest.mark.parametrize("damage", [cut, empty, noise, nested, Path.unlink])
@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.safetensors"])
def test_a_damaged_file_is_refused(run: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(run / name)
    assert str(run) in refused(lambda: ohlol.load(run))


def test_wrong_missing_and_extra_weights_are_named(run: Path) -> None:
    path = run / "model.safetensors"
    weights = load_file(path)
    cases = {
        "head.bias is (99,)": {**weights, "head.bias": torch.zeros(99)},
        "torch.float64": {**weights, "head.bias": weights["head.bias"].double()},
        "the weight 'head.bias' is missing": {k: v for k, v in weights.items() if k != "head.bias"},
        "the weight 'extra' is unknown": {**weights, "extra": torch.zeros(1)},
    }
    for wanted, wrong in cases.items():
        save_file(wrong, path)
        said = refused(lambda: ohlol.load(run))
        assert wanted in said
        assert str(path) in said


def test_a_file_that_was_trained_on_is_found_by_its_content(runs: dict[str, Path], tmp_path: Path) -> None:
    trained, copy, other = runs["label"].parent / "label.tsv", tmp_path / "copy.txt", tmp_path / "label.tsv"
    shutil.copy(trained, copy)
    other.write_bytes(trained.read_bytes()[::-1])  # the same name and size
    found = run_directory.trained_on(runs["label"], [trained, copy, other, tmp_path / "missing", "-"])
    assert found == [str(trained), str(copy)]
    shutil.copytree(runs["label"], tmp_path / "run")
    shutil.rmtree(tmp_path / "run/resume")
    assert run_directory.trained_on(tmp_path / "run", [trained]) == []


def test_a_dev_file_was_not_trained_on(tmp_path: Path) -> None:
    train, dev = upper_pairs(tmp_path / "train.tsv"), tmp_path / "dev.tsv"
    dev.write_text("ab\tAB\n", encoding="utf-8")
    ohlol.fit(train, dev=dev, out=tmp_path / "run", **{**TINY, "epochs": 1})
    assert run_directory.trained_on(tmp_path / "run", [dev, train]) == [str(train)]


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    assert "there is no such run directory" in refused(lambda: ohlol.load(tmp_path / "nothing"))
    assert "it has no config.json; `ohlol train` makes one" in refused(lambda: ohlol.load(tmp_path))
    (tmp_path / "file").write_text("")
    assert "there is no such run directory" in refused(lambda: ohlol.load(tmp_path / "file"))


def test_an_existing_output_directory_is_refused_and_left_unchanged(run: Path) -> None:
    before = bytes_of(run)
    assert "give `overwrite` to replace it" in refused(lambda: ohlol.fit(out=run, epochs=1))
    assert bytes_of(run) == before


def test_overwrite_replaces_a_run_and_keeps_other_files(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    ohlol.fit(out=run, overwrite=True, epochs=1)
    assert ohlol.load(run).config.train_files == ()
    assert (run / "notes.txt").read_text() == "mine"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.txt": "years of work"},
        {
            "config.json": '{"model_type": "bert"}',
            "model.safetensors": "weights",
            "README.md": "a model of another kind",
        },
        {"config.json": "not JSON", "vocab.json": "{}"},
        {"config.json": "[]", "metrics.jsonl": "{}"},
        {"README.md": "a project"},
    ],
)
def test_overwrite_deletes_no_directory_without_a_run(tmp_path: Path, files: dict[str, str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    before = bytes_of(out)
    assert "is not a run directory and is left alone" in refused(lambda: ohlol.fit(out=out, overwrite=True, epochs=1))
    assert bytes_of(out) == before


def test_overwrite_of_a_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    assert "left alone" in refused(lambda: ohlol.fit(out=out, overwrite=True, epochs=1))
    assert out.read_text() == "mine"
    assert "cannot be made" in refused(lambda: ohlol.fit(out=out / "deeper", epochs=1))


def test_invalid_input_overwrites_nothing(run: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tsv"
    bad.write_text("ab\tAB\nabc\tAB\n")
    before = bytes_of(run)
    assert f"{bad}:2:" in refused(lambda: ohlol.fit(bad, out=run, overwrite=True))
    assert bytes_of(run) == before


def test_a_forecast_of_an_earlier_version_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    """Its task predicted the next row, as `next_row` does, and had the same files."""
    old = Path(shutil.copytree(runs["next_row"], tmp_path / "old"))
    for name in ("config.json", "vocab.json"):
        data = json.loads((old / name).read_text().replace('"next_row"', '"forecast"'))
        del data["sha256"]
        write_json(old / name, data)
    expected = "whose task forecast gave the next row: train again, with `task` next_row for the same"
    assert expected in refused(lambda: ohlol.load(old))
    assert expected in refused(lambda: ohlol.fit(out=old, resume=True))


def test_a_free_name_has_the_next_unused_number(tmp_path: Path) -> None:
    assert run_directory.choose_free_name("a", tmp_path) == tmp_path / "a-1"
    (tmp_path / "a-1").mkdir()
    (tmp_path / "a-2").touch()
    assert run_directory.choose_free_name("a", tmp_path) == tmp_path / "a-3"


def test_a_config_round_trips_through_json(runs: dict[str, Path]) -> None:
    config = run_directory.read_config(runs["next_row"])
    data = json.loads(json.dumps(config.to_json()))
    assert next(iter(data)) == "format"
    assert run_config.RunConfig.from_json(data) == config
    assert run_config.RunConfig.from_json(replace(config, metrics={}).to_json()).metrics == {}
