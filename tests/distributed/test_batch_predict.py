"""Predictions of a corpus: each sequence once and in order, for any number of processes and interruptions."""

from pathlib import Path

import pytest
from helpers import TINY, bytes_of, names_file, text_file, upper_pairs
from launch import run, torchrun

import ohlol
from ohlol.cli import main
from ohlol.config import DataSettings
from ohlol.data.corpus.encode import encode
from ohlol.inference import batch_predict
from ohlol.utils.errors import InputError
from ohlol.utils.files import read_json


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, and a corpus of many shards encoded for it."""
    monkeypatch.chdir(tmp_path)
    upper_pairs(tmp_path / "train.tsv", 60)
    upper_pairs(tmp_path / "new.tsv", 300, seed=9)
    model = ohlol.fit("train.tsv", out="run", **TINY)
    found = encode(["new.tsv"], Path("corpus"), model.config.data, vocab=Path("run"), jobs=1, piece=400)
    assert len(found.manifest.shards) > 5
    return tmp_path


def lines(folder: Path) -> list[str]:
    """All predictions, in the order of the index."""
    files = read_json(folder / "predictions.json")["files"]
    found = [(folder / entry["file"]).read_text(encoding="utf-8").splitlines() for entry in files]
    assert [len(part) for part in found] == [entry["sequences"] for entry in files]
    return [line for part in found for line in part]


def test_each_sequence_once_and_in_order(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "run", "corpus", "--out", "pred", "--output-format", "tsv"])
    assert capsys.readouterr().out == "300 sequences\nsaved: pred\n"
    model = ohlol.load("run")
    texts = [line.split("\t")[0] for line in (place / "new.tsv").read_text().splitlines()]
    wanted = ["\t".join([text, "".join(model.predict(text).labels)]) for text in texts]
    assert lines(place / "pred") == wanted


@pytest.mark.slow
def test_several_processes_write_the_same_files(place: Path) -> None:
    batch_predict.predict_corpus(ohlol.load("run"), Path("corpus"), Path("one"), output_format="jsonl")
    command = ["-m", "ohlol", "predict", "run", "corpus", "--out", "two", "--output-format", "jsonl"]
    out, _ = run(torchrun(2, *command), place)
    assert out.count("300 sequences") == 1
    assert bytes_of(Path("one")) == bytes_of(Path("two"))


def test_complete_files_are_not_predicted_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ohlol.load("run")
    batch_predict.predict_corpus(model, Path("corpus"), Path("whole"))
    done: list[int] = []
    real = batch_predict._write_shard

    def stop(*rest: object) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        real(*rest)  # type: ignore[arg-type]

    monkeypatch.setattr(batch_predict, "_write_shard", stop)
    with pytest.raises(KeyboardInterrupt):
        batch_predict.predict_corpus(model, Path("corpus"), Path("pred"))
    assert "files" not in read_json(Path("pred/predictions.json"))
    before = {path.name: path.stat().st_mtime_ns for path in Path("pred").glob("*.txt")}
    assert len(before) == 3
    monkeypatch.setattr(batch_predict, "_write_shard", real)
    batch_predict.predict_corpus(model, Path("corpus"), Path("pred"))
    assert {name: (Path("pred") / name).stat().st_mtime_ns for name in before} == before
    assert bytes_of(Path("pred")) == bytes_of(Path("whole"))


def test_classes_are_predicted_without_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names_file(tmp_path / "names.csv")
    model = ohlol.fit("names.csv", input="name", target="kind", out="run", **TINY)
    Path("new.csv").write_text("name\n" + "".join(f"b{'dl' * n}{'ao'[n % 2]}\n" for n in range(1, 40)))
    encode(["new.csv"], Path("c"), model.config.data, vocab=Path("run"), targets=False, jobs=1)
    batch_predict.predict_corpus(model, Path("c"), Path("pred"))
    names = Path("new.csv").read_text().splitlines()[1:]
    assert lines(Path("pred")) == [model.predict(name).labels[0] for name in names]


def test_wrong_directories_and_formats_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ohlol.load("run")
    encode(["new.tsv"], Path("other"), DataSettings(), jobs=1)
    with pytest.raises(InputError, match="other was encoded with another vocabulary than the model's"):
        batch_predict.predict_corpus(model, Path("other"), Path("pred"))
    batch_predict.predict_corpus(model, Path("corpus"), Path("pred"))
    with pytest.raises(InputError, match="pred holds the predictions of another model, corpus or format"):
        batch_predict.predict_corpus(model, Path("corpus"), Path("pred"), output_format="tsv")
    Path("full").mkdir()
    Path("full/letter").write_text("dear")
    with pytest.raises(InputError, match="full is not empty and holds no predictions"):
        batch_predict.predict_corpus(model, Path("corpus"), Path("full"))
    with pytest.raises(InputError, match="`output_format` is 'xml'"):
        batch_predict.predict_corpus(model, Path("corpus"), Path("pred2"), output_format="xml")
    text_file(place / "text.txt")
    encode(["text.txt"], Path("text"), DataSettings(), jobs=1)
    speaker = ohlol.fit("text", out="speaker", **TINY)
    with pytest.raises(InputError, match="this model's task is next"):
        batch_predict.predict_corpus(speaker, Path("text"), Path("pred3"))
    for command, message in (
        (["predict", "run", "corpus"], "give --out"),
        (["predict", "run", "abc", "--out", "x"], "--out is for the predictions of an encoded corpus"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
