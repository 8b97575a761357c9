"""A corpus written from memory is read back; a cached one is found if its files are the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import upper_pairs

from ohlol.data import sequences
from ohlol.data.codec_encoding import encode_data
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.corpus import encoded, store
from ohlol.data.pairs import data_from_pairs


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path) -> tuple[encoded.Encoded, list[dict[str, Any]]]:
    corpus = sequences.read(upper_pairs(tmp_path / "data.tsv"))
    codec = fit_codec(corpus, unknowns=True, with_bigrams=True)
    sources = encoded.sources_of(["data.tsv"])
    parts = {"train": encode_data(codec, corpus)}
    return encoded.write(tmp_path / "c", codec, corpus.settings, parts, sources, "d"), sources


def test_written_arrays_are_read_back(tmp_path: Path) -> None:
    corpus, _ = written(tmp_path)
    again = encoded.read(tmp_path / "c")
    assert (again.codec, again.settings, again.data_sha256) == (corpus.codec, corpus.settings, "d")
    data = encode_data(corpus.codec, sequences.read("data.tsv"))
    assert (np.asarray(again.train.inputs.values) == data.inputs.values).all()
    assert (np.asarray(again.train.targets) == data.targets).all()
    assert (np.asarray(again.train.bigrams) == data.bigrams).all()
    assert again.dev is None


def test_a_cached_corpus_is_found_by_its_files_and_codec(tmp_path: Path) -> None:
    corpus, sources = written(tmp_path)
    assert encoded.find_cached(tmp_path / "c", sources, corpus.codec) is not None
    assert encoded.find_cached(tmp_path / "c", [*sources, *sources]) is None
    other = fit_codec(data_from_pairs([("a", "b")]), unknowns=True)
    assert encoded.find_cached(tmp_path / "c", sources, other) is None
    (tmp_path / "c" / "train-00000" / "inputs.npy").write_bytes(b"")
    assert encoded.find_cached(tmp_path / "c", sources) is None


def test_standard_input_is_never_cached(tmp_path: Path) -> None:
    corpus, _ = written(tmp_path)
    sources = encoded.sources_of(["-"])
    encoded.write(tmp_path / "c", corpus.codec, corpus.settings, corpus.parts, sources, "d")
    assert encoded.find_cached(tmp_path / "c", sources) is None


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "c")
    encoded.remove(tmp_path / "link")
    assert not (tmp_path / "link").exists()
    assert store.is_corpus(tmp_path / "c")
