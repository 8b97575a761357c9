"""The arrays that a trainer reads: saved, mapped and loaded again."""

from pathlib import Path

import numpy as np
import pytest
from helpers import sine_file, upper_pairs

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.batches import fingerprint
from ohlol.data.data_preparer import DataPreparer
from ohlol.data.source import Source

pytestmark = pytest.mark.usefixtures("in_folder")
MODEL, TRAINING = ModelSettings(), TrainSettings(dev_fraction=0.2)


def test_saved_data_is_loaded_unchanged(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "data.tsv", 60)
    preparer = DataPreparer(Source.parse("data.tsv"), {})
    data = preparer.prepare(MODEL, TRAINING)
    saved = data.save(tmp_path / "cache")
    assert not data.mapped
    assert saved.mapped
    again = DataPreparer(Source.parse("data.tsv"), {}).prepare(
        MODEL, TRAINING, cache=tmp_path / "cache", codec=data.codec
    )
    assert again.mapped
    assert again.data_sha256 == data.data_sha256 == fingerprint(data.train, data.dev)
    assert (np.asarray(again.train.inputs.values) == data.train.inputs.values).all()
    assert again.codec == data.codec
    assert again.files == ("data.tsv",)


def test_pairs_stay_in_memory(tmp_path: Path) -> None:
    data = DataPreparer(Source.parse([("hllo", "ohle")]), {}).prepare(MODEL, TRAINING)
    assert data.save(tmp_path / "cache") is data
    assert not (tmp_path / "cache").exists()
    assert data.codec.symbols is not None
    assert data.codec.symbols.symbols == ("<unk>", *"ehlo")  # e is a label alone: few pairs share their symbols


def test_a_table_is_replaced_by_its_corpus(tmp_path: Path) -> None:
    rows = [{"text": f"a{n % 7}", "label": "xy"[n % 2]} for n in range(40)]
    chosen = {"input": "text", "target": "label", "task": "classify"}
    data = DataPreparer(Source.parse(rows), chosen).prepare(MODEL, TRAINING)
    assert data.files == ()
    saved = data.save(tmp_path / "cache")
    assert saved.source == Source(corpus=tmp_path / "cache")
    assert saved.files == (str(tmp_path / "cache"),)
    assert saved.interpretation == data.interpretation


def test_validation_data_continue_series_that_end_in_the_same_file(tmp_path: Path) -> None:
    path = str(sine_file(tmp_path / "data.csv"))
    data = DataPreparer(Source.parse(path), {"task": "next_row"}).prepare(MODEL, TRAINING)
    assert data.history is data.train
    other = DataPreparer(Source.parse(path, dev=path), {"task": "next_row"}).prepare(MODEL, TRAINING)
    assert other.history is None
