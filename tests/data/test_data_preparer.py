"""One path from files, pairs and corpora to arrays, for new and resumed runs."""

import sys
import time
from pathlib import Path

import pytest
from helpers import TINY, conll_file, upper_pairs

import ohlol
from ohlol.checkpoint.run_directory import DATA_FOLDER
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.corpus import store
from ohlol.data.corpus.encode import encode
from ohlol.data.data_preparer import DataPreparer
from ohlol.data.pairs import data_from_pairs
from ohlol.data.source import Source
from ohlol.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("in_folder")
MODEL, TRAINING = ModelSettings(), TrainSettings(dev_fraction=0.2)


def test_a_cache_of_other_files_or_another_codec_is_not_used(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "data.tsv", 60)
    data = DataPreparer(Source.parse("data.tsv"), {}).prepare(MODEL, TRAINING).save(tmp_path / "cache")
    other = fit_codec(data_from_pairs([("a", "b")]), unknowns=True)
    assert not DataPreparer(data.source, {}).prepare(MODEL, TRAINING, cache=tmp_path / "cache", codec=other).mapped
    upper_pairs(tmp_path / "data.tsv", 61)
    assert not DataPreparer(data.source, {}).prepare(MODEL, TRAINING, cache=tmp_path / "cache").mapped
    assert DataPreparer(data.source, {}).prepare(MODEL, TRAINING, cache=tmp_path / "cache", verify=False).mapped


def test_data_is_kept_until_it_is_released(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "data.tsv", 60)
    preparer = DataPreparer(Source.parse("data.tsv"), {})
    assert preparer.settings.format == "pairs"
    (tmp_path / "data.tsv").unlink()
    assert len(preparer.prepare(MODEL, TRAINING).train) == 48
    preparer.release()
    with pytest.raises(InputError, match="no such file"):
        preparer.prepare(MODEL, TRAINING)


def test_standard_input_can_be_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with upper_pairs(tmp_path / "data.tsv", 30).open() as handle:
        monkeypatch.setattr(sys, "stdin", handle)
        model = ohlol.fit("-", out="run", **TINY)
    assert model.config.train_files == ("-",)
    assert store.is_corpus(tmp_path / "run" / DATA_FOLDER)


def test_one_corpus_and_its_settings(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "data.tsv", 60)
    encode(["data.tsv"], tmp_path / "c", DataSettings(), jobs=1)
    for data, more, message in (
        (["c", "data.tsv"], {}, "c is an encoded corpus and cannot be mixed with others"),
        ("c", {"level": "word"}, "c was encoded with `level` char, not word"),
        ("c", {"dev_fraction": 0.2}, "`dev_fraction` is chosen when a corpus is encoded"),
    ):
        with pytest.raises(InputError, match=message):
            ohlol.fit(data, **{**TINY, **more})  # pyright: ignore
    encode(["data.tsv"], tmp_path / "dev", DataSettings(), vocab=tmp_path / "c", jobs=1)
    model = ohlol.fit("c", dev="dev", out="run", **TINY)
    assert model.config.dev_file == "dev"
    encode([str(conll_file(tmp_path / "x.conll"))], tmp_path / "other", DataSettings(), jobs=1)
    with pytest.raises(InputError, match="other was encoded with another vocabulary"):
        ohlol.fit("c", dev="other", **TINY)


def test_files_are_cached_in_the_run_and_read_again_after_a_change(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "data.tsv", 60)
    ohlol.fit("data.tsv", out="run", **TINY)
    kept = Path("run/resume/data")
    assert store.is_corpus(kept)
    before = (kept / "corpus.json").stat().st_mtime_ns
    ohlol.fit(out="run", resume=True)
    assert (kept / "corpus.json").stat().st_mtime_ns == before
    (kept / "train-00000" / "inputs.npy").write_bytes(b"\x93NUMPY\x01\x00")
    ohlol.fit(out="run", resume=True)  # the damaged cache is written again
    assert (kept / "corpus.json").stat().st_mtime_ns > before
    store.verify(kept, store.read_manifest(kept))
    time.sleep(0.01)
    upper_pairs(tmp_path / "data.tsv", 61)
    with pytest.raises(InputError, match="was started with other data"):
        ohlol.fit(out="run", resume=True)
