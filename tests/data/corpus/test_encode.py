"""Encoding in pieces: the result depends on the files only, and a stopped encoding is resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TINY, bytes_of, conll_file, names_file, sine_file, text_file, upper_pairs

import ohlol
from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.batches import Dataset
from ohlol.data.codec_encoding import encode_data
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.codec_json import codec_to_json
from ohlol.data.corpus import store
from ohlol.data.corpus.encode import encode
from ohlol.data.corpus.encoded import Encoded
from ohlol.utils.errors import InputError


def parts(found: Encoded) -> dict[str, Dataset]:
    return found.parts


def lists_of(data: Dataset) -> list[list[Any]]:
    values, offsets = np.asarray(data.inputs.values), np.asarray(data.inputs.offsets)
    return [values[a:b].tolist() for a, b in pairwise(offsets)]


def json_file(path: Path) -> Path:
    pairs = [line.split("\t") for line in upper_pairs(path.with_suffix(".tsv"), 40).read_text().splitlines()]
    path.write_text("".join(json.dumps({"input": a, "target": b}) + "\n" for a, b in pairs))
    return path


def segmented_file(path: Path) -> Path:
    path.write_text("我们 在 学校 学习 中文 。\n今天 天气 很 好\n" * 20, encoding="utf-8")
    return path


def parquet_file(path: Path) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [line.split(",") for line in names_file(path.with_suffix(".csv")).read_text().splitlines()[1:]]
    table = arrow.table({"name": [a for a, _ in rows], "kind": [b for _, b in rows]})
    parquet.write_table(table, path, row_group_size=7)
    return path


def arrow_file(path: Path) -> Path:
    arrow = pytest.importorskip("pyarrow")
    rows = [line.split(",") for line in names_file(path.with_suffix(".csv")).read_text().splitlines()[1:]]
    table = arrow.table({"name": [a for a, _ in rows], "kind": [b for _, b in rows]})
    with arrow.OSFile(str(path), "wb") as sink, arrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return path


def quoted_file(path: Path) -> Path:
    """Quoted cells with delimiters and line ends, and literal quotes."""
    cells = ['"a\nb"', '"c ""d"" e"', 'f "g" h', '"i,j"', '"k\r\n""l"', "m", '"\n n\n"']
    rows = [f"{number},{cells[number % 7]},{'xy'[number % 2]}" for number in range(70)]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(['"no","name","kind"', *rows]).encode())
    return path


def json_table(path: Path) -> Path:
    """Objects with keys in any order, and some keys missing."""
    rows = [{"kind": "ab"[i % 2], "name": f"name{i}"} if i % 3 else {"name": f"n{i}", "kind": "a"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"size": 1, **rows[0]}, *rows[1:]]))
    return path


def columnar(make: Any, path: Path) -> Path:
    """A series of numbers, by columns."""
    arrow = pytest.importorskip("pyarrow")
    names, *rows = [line.split(",") for line in sine_file(path.with_suffix(".csv")).read_text().splitlines()]
    make(path, arrow.table({name: [float(row[i]) for row in rows] for i, name in enumerate(names)}))
    return path


def parquet_series(path: Path) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet")
    return columnar(lambda path, table: parquet.write_table(table, path, row_group_size=50), path)


def arrow_series(path: Path) -> Path:
    feather = pytest.importorskip("pyarrow.feather")
    return columnar(lambda path, table: feather.write_feather(table, path, chunksize=50), path)


NAMED = DataSettings(input="name", target="kind")
KINDS: dict[str, tuple[Any, str, DataSettings]] = {
    "pairs": (upper_pairs, "data.tsv", DataSettings()),
    "words": (upper_pairs, "data.tsv", DataSettings(format="pairs", level="word")),
    "json": (json_file, "data.jsonl", DataSettings()),
    "conll": (conll_file, "data.conll", DataSettings()),
    "segment": (segmented_file, "data.txt", DataSettings(format="segment")),
    "csv": (names_file, "data.csv", NAMED),
    "quoted csv": (quoted_file, "data.csv", NAMED),
    "json table": (json_table, "data.jsonl", NAMED),
    "parquet": (parquet_file, "data.parquet", NAMED),
    "arrow": (arrow_file, "data.arrow", NAMED),
    "series": (sine_file, "data.csv", DataSettings(task="next_row")),
    "parquet series": (parquet_series, "data.parquet", DataSettings(task="next_row")),
    "arrow series": (arrow_series, "data.feather", DataSettings(task="next_row")),
    "text": (text_file, "data.txt", DataSettings()),
    "text by word": (text_file, "data.txt", DataSettings(level="word")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_equals_the_files_read_at_once(kind: str, tmp_path: Path) -> None:
    make, name, given = KINDS[kind]
    path = make(tmp_path / name)
    found = encode([str(path)], tmp_path / "c", given, dev_fraction=0.0, jobs=1, piece=70)
    corpus = sequences.read(path, given)
    by_word, by_character = corpus.settings.level == "word", corpus.settings.level == "char"
    labels = corpus.task in ("label", "classify")
    codec = fit_codec(
        corpus,
        unknowns=corpus.task != "next_row",
        with_chars=by_word and labels,
        with_bigrams=by_character and labels,
    )
    assert found.codec == codec
    wanted, data = encode_data(codec, corpus), found.train
    if corpus.task == "next":  # a text is one sequence in memory, and one a shard on disk
        assert np.asarray(data.inputs.values).tolist() == wanted.inputs.values[np.arange(wanted.steps)].tolist()
    else:
        assert lists_of(data) == lists_of(wanted)
    if wanted.targets is not None:
        assert np.asarray(data.targets).tolist() == np.asarray(wanted.targets).tolist()
    assert codec_to_json(found.codec) == codec_to_json(codec)
    if wanted.bigrams is not None:
        assert np.asarray(data.bigrams).tolist() == np.asarray(wanted.bigrams).tolist()
    if wanted.word_ids is not None and wanted.word_chars is not None and data.word_ids is not None and data.word_chars:
        spelled = [[lists_of(Dataset(d.word_chars))[f] for f in np.asarray(d.word_ids)] for d in (wanted, data)]  # type: ignore[arg-type]
        assert spelled[0] == spelled[1]
    assert (len(found.manifest.shards) > 2) == ("series" not in kind)  # a series is one sequence
    assert found.settings == corpus.settings


@pytest.mark.parametrize("kind", ["pairs", "conll", "text", "text by word", "series", "csv"])
def test_training_and_validation_data_partition_the_file(kind: str, tmp_path: Path) -> None:
    make, name, given = KINDS[kind]
    path = names_file(tmp_path / name, 200) if kind == "csv" else make(tmp_path / name)
    whole = encode([str(path)], tmp_path / "whole", given, dev_fraction=0.0, jobs=1, piece=150)
    found = encode([str(path)], tmp_path / "cut", given, dev_fraction=0.2, jobs=1, piece=150)
    assert found.dev is not None
    rows = found.train.steps + found.dev.steps
    assert rows == whole.train.steps
    assert found.dev.steps == pytest.approx(0.2 * rows, rel=0.75)
    again = encode([str(path)], tmp_path / "again", given, dev_fraction=0.2, jobs=1, piece=150)
    assert bytes_of(tmp_path / "cut").keys() == bytes_of(tmp_path / "again").keys()
    assert again.manifest.data_sha256 == found.manifest.data_sha256


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    files = [str(upper_pairs(tmp_path / f"{i}.tsv", 60, seed=i)) for i in range(3)]
    for jobs in (1, 2):
        encode(files, tmp_path / str(jobs), DataSettings(), jobs=jobs, piece=200)
    one, two = bytes_of(tmp_path / "1"), bytes_of(tmp_path / "2")
    assert one == two
    assert len(one) > 20


def test_a_long_series_is_scaled_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean and deviation do not depend on the number of rows read at once."""
    sine_file(tmp_path / "data.csv", 1000)
    monkeypatch.setattr("ohlol.data.counts.BLOCK_ROWS", 64)
    found = []
    for rows in (7, 64, 1000):
        monkeypatch.setattr("ohlol.data.readers.series.ROWS", rows)
        found.append(encode(["data.csv"], tmp_path / str(rows), DataSettings(task="next_row"), dev_fraction=0.3))
    assert found[0].codec == found[1].codec == found[2].codec
    assert len({one.data_sha256 for one in found}) == 1
    assert found[0].train.steps == 699
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ohlol.data.counts.BLOCK_ROWS", 1 << 16)
        whole = encode(["data.csv"], tmp_path / "whole", DataSettings(task="next_row"), dev_fraction=0.3).codec
    assert np.allclose(whole.scale.mean, found[0].codec.scale.mean, rtol=1e-13)  # type: ignore[union-attr]
    assert np.allclose(whole.scale.std, found[0].codec.scale.std, rtol=1e-13)  # type: ignore[union-attr]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_invalid_text_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n" * 40 + b"three \xff\n" + b"four\n" * 40)
    with pytest.raises(InputError, match=r"^a\.txt:81: byte 0xff at column 7 is not UTF-8"):
        encode(["a.txt"], tmp_path / "c", DataSettings(), jobs=1, piece=64)
    (tmp_path / "b.tsv").write_text("ab\tAB\n" * 50 + "abc\tAB\n")
    with pytest.raises(InputError, match=r"^b\.tsv:51: input has 3 characters, target 2"):
        encode(["b.tsv"], tmp_path / "d", DataSettings(), jobs=1, piece=64)


@pytest.mark.parametrize("settings", [DataSettings(), DataSettings(task="forecast")])
def test_series_to_forecast_are_not_encoded(tmp_path: Path, settings: DataSettings) -> None:
    path = sine_file(tmp_path / "data.csv")
    with pytest.raises(InputError, match="task forecast reads whole series, which are not encoded: give the files to"):
        encode([str(path)], tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_a_killed_encoder_resumes(tmp_path: Path) -> None:
    """Killed at several moments and restarted each time; the result equals that of an uninterrupted encoding."""
    path = upper_pairs(tmp_path / "data.tsv", 3000)
    encode([str(path)], tmp_path / "whole", DataSettings(), jobs=1, piece=2000)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from ohlol.data.corpus.encode import encode\nfrom ohlol.config import DataSettings\n"
        "encode([sys.argv[1]], Path(sys.argv[2]), DataSettings(), jobs=1, piece=2000,"
        " report=lambda *s: print(*s, flush=True))"
    )
    left, kills = None, 0
    for at in (3, 9, 2, 7):
        process = subprocess.Popen([sys.executable, "-c", program, str(path), "c"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for number, line in enumerate(process.stdout, 1):
            what, done, _ = line.split()
            if number == 1 and left is not None and what == left[0]:
                assert int(done) >= left[1]  # nothing is done twice
            left = what, int(done)
            if number == at:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
        process.stdout.close()
        process.wait()
    assert kills == 4
    assert not store.is_corpus(tmp_path / "c")
    encode([str(path)], tmp_path / "c", DataSettings(), jobs=1, piece=2000)
    assert bytes_of(tmp_path / "c") == bytes_of(tmp_path / "whole")


def begun(tmp_path: Path) -> None:
    """An incomplete corpus of data.tsv."""

    def stop(what: str, done: int, total: int) -> None:
        if what == "encode" and done == 2:
            raise KeyboardInterrupt

    upper_pairs(tmp_path / "data.tsv", 100)
    with pytest.raises(KeyboardInterrupt):
        encode(["data.tsv"], tmp_path / "c", DataSettings(), jobs=1, piece=200, report=stop)


def test_other_files_or_settings_are_not_resumed(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(InputError, match="c was begun with other files or settings"):
        encode(["data.tsv"], tmp_path / "c", DataSettings(), dev_fraction=0.3, jobs=1, piece=200)
    os.utime("data.tsv", ns=(1, 1))
    with pytest.raises(InputError, match="or the files have changed since"):
        encode(["data.tsv"], tmp_path / "c", DataSettings(), jobs=1, piece=200)
    found = encode(["data.tsv"], tmp_path / "c", DataSettings(), jobs=1, piece=200, overwrite=True)
    assert len(found.train) > 50


def test_a_directory_without_a_corpus_is_not_changed(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "data.tsv")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="c is not an encoded corpus and is not replaced"):
        encode(["data.tsv"], tmp_path / "c", DataSettings(), overwrite=True)
    encode(["data.tsv"], tmp_path / "d", DataSettings(), jobs=1)
    with pytest.raises(InputError, match="d is an encoded corpus: set"):
        encode(["data.tsv"], tmp_path / "d", DataSettings(), jobs=1)


@pytest.mark.parametrize(
    ("files", "more", "message"),
    [
        (["none.tsv"], {}, "none.tsv: no such file"),
        (["-"], {}, "standard input cannot be encoded"),
        (["data.tsv"], {"dev_fraction": 0.7}, "`dev_fraction` is 0.7; it must be from 0 to 0.5"),
        (["data.tsv"], {"jobs": 0}, "`jobs` is 0"),
        (["data.tsv"], {"targets": False}, "`targets=False` needs `vocab`"),
        (["empty.tsv"], {}, "empty.tsv: no rows; the file is empty"),
        (["data.tsv", "empty.tsv"], {}, "empty.tsv: no sequences; the file is empty"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    files: list[str], more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    upper_pairs(tmp_path / "data.tsv")
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(InputError) as refused:
        encode(files, tmp_path / "c", DataSettings(), **more)
    assert str(refused.value).startswith(message)
    assert not store.is_corpus(tmp_path / "c")


def test_the_vocabulary_of_another_run(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "a.tsv", 60)
    (tmp_path / "b.tsv").write_text("abz\tABC\n")
    first = encode(["a.tsv"], tmp_path / "a", DataSettings(), jobs=1)
    second = encode(["b.tsv"], tmp_path / "b", first.settings, vocab=tmp_path / "a", jobs=1)
    assert second.codec == first.codec
    assert second.dev is None
    assert lists_of(second.train)[0][2] == 0  # <unk>
    bare = encode(["b.tsv"], tmp_path / "bare", first.settings, vocab=tmp_path / "a", targets=False, jobs=1)
    assert bare.train.targets is None
    with pytest.raises(InputError, match="encoded without targets"):
        ohlol.fit("bare", **TINY)


def test_a_corpus_is_evaluated(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "a.tsv", 60)
    upper_pairs(tmp_path / "b.tsv", 30, seed=8)
    model = ohlol.fit("a.tsv", out="run", **TINY)
    encode(["b.tsv"], tmp_path / "b", model.config.data, vocab=tmp_path / "run", jobs=1, piece=100)
    assert model.evaluate("b").metrics() == pytest.approx(model.evaluate("b.tsv").metrics())
    encode(["b.tsv"], tmp_path / "other", DataSettings(), jobs=1)
    with pytest.raises(InputError, match="other was encoded with another vocabulary; encode it again with `vocab` run"):
        model.evaluate("other")
    encode(["b.tsv"], tmp_path / "bare", model.config.data, vocab=tmp_path / "run", targets=False, jobs=1)
    with pytest.raises(InputError, match="bare was encoded without targets"):
        model.evaluate("bare")


TRAINED = {"pairs": {}, "conll": {"char_rnn_size": 3}, "csv": {}, "series": {"bptt": 9}, "text": {"bptt": 7}}


@pytest.mark.parametrize("kind", TRAINED)
def test_a_resumed_training_on_a_corpus_ends_with_the_same_bytes(kind: str, tmp_path: Path) -> None:
    from helpers import Recorder

    from ohlol.training.trainer import Interrupted

    make, name, given = KINDS[kind]
    encode([str(make(tmp_path / name))], tmp_path / "c", given, jobs=1, piece=150)
    options = {**TINY, **TRAINED[kind]}
    model = ohlol.fit("c", out="whole", **options)
    assert model.config.train_files == ("c",)

    def stop(recorder: Recorder, step: int) -> None:
        assert recorder.trainer is not None
        if step == 3:
            recorder.trainer.stop()

    with pytest.raises(Interrupted):
        ohlol.fit("c", out="run", callbacks=[Recorder(stop)], **options)
    ohlol.fit(out="run", resume=True)
    one, two = bytes_of(Path("whole")), bytes_of(Path("run"))
    assert one["model.safetensors"] == two["model.safetensors"]
    assert one["metrics.jsonl"] == two["metrics.jsonl"]
    assert not (Path("run") / "resume" / "data").exists()  # the corpus itself is mapped
    shutil.rmtree("c")
    encode([str(make(tmp_path / name))], tmp_path / "c", given, jobs=1, piece=150, seed=5, dev_fraction=0.3)
    with pytest.raises(InputError, match="was started with other data"):
        ohlol.fit(out="run", resume=True)


def test_the_encode_command_writes_a_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ohlol.cli import main

    upper_pairs(tmp_path / "data.tsv", 60)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    code, out, _ = run("encode", "data.tsv", "--out", "c", "--jobs", "1")
    assert code == 0
    assert out.splitlines()[-1] == "saved: c"
    assert "6 different symbols" in out
    assert run("encode", "--check", "--out", "c")[1].startswith("c: all checksums match\ntrain: ")
    targets = tmp_path / "c" / "train-00000" / "targets.npy"
    raw = targets.read_bytes()
    targets.write_bytes(raw[:-4] + raw[-8:-4])
    assert run("encode", "--check", "--out", "c")[::2] == (
        2,
        "ohlol: c/train-00000/targets.npy: damaged: it does not match its checksum; encode the corpus again\n",
    )
    assert run("encode", "--out", "c")[0] == 2
    assert run("encode", "data.tsv", "--check", "--out", "c")[0] == 2
