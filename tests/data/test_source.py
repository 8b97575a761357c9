"""Where data come from: files, pairs, tables and encoded corpora are told apart."""

from pathlib import Path

import pytest
from helpers import upper_pairs

from ohlol.config import DataSettings
from ohlol.data.corpus.encode import encode
from ohlol.data.source import HELLO, Source, corpus_folder, is_tutorial
from ohlol.utils.errors import InputError


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_pairs_files_and_corpora_are_recognized_as_sources(tmp_path: Path) -> None:
    assert Source.parse(None).pairs == HELLO
    assert Source.parse([("a", "b")]).pairs == (("a", "b"),)
    assert Source.parse(tmp_path / "a.tsv").files == (str(tmp_path / "a.tsv"),)
    assert Source.parse(["a", "b", "a"], dev=Path("c")) == Source(files=("a", "b"), dev="c")
    upper_pairs(tmp_path / "data.tsv")
    encode(["data.tsv"], tmp_path / "c", DataSettings(), jobs=1)
    assert Source.parse("c") == Source(corpus=Path("c"))
    assert Source.parse("c").names == ("c",)
    assert corpus_folder("data.tsv") is None


def test_a_table_in_memory_is_in_the_place_of_files() -> None:
    rows = [{"x": 1, "y": 2}]
    source = Source.parse(rows, dev=rows)
    assert source.records is not None
    assert source.records.names == ("x", "y")
    assert source.names == ()
    assert source.has_dev
    assert Source.parse("a.tsv", dev="b.tsv").has_dev
    assert not Source.parse("a.tsv").has_dev


def test_an_empty_name_and_a_second_split_are_refused() -> None:
    with pytest.raises(InputError, match="the name of a file is empty"):
        Source.parse(["a.tsv", ""])
    source = Source(corpus=Path("c"))
    source.check_split(["seed"])
    with pytest.raises(InputError, match="`dev_fraction` is chosen when a corpus is encoded, and c is encoded already"):
        source.check_split(["dev_fraction"])


def test_few_pairs_are_trained_as_the_tutorial() -> None:
    assert [is_tutorial([("a", "b")] * count) for count in (0, 1, 19, 20)] == [False, True, True, False]
