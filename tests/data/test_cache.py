"""Data of several runs: encoded once for each combination of settings."""

import os
from pathlib import Path
from typing import Any

import pytest
from helpers import SALES, sales_file, upper_pairs

from ohlol.config import ModelSettings, TrainSettings
from ohlol.data import sequences
from ohlol.data.cache import CachedLoader
from ohlol.data.source import Source
from ohlol.utils.errors import InputError


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


TRAINING = TrainSettings(dev_fraction=0.2)


def test_data_is_read_once_and_shared_by_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upper_pairs(tmp_path / "data.tsv", 60)
    reads: list[Any] = []
    original = sequences.read
    monkeypatch.setattr(sequences, "read", lambda *a: reads.append(a) or original(*a))
    loader = CachedLoader(tmp_path / "cache", Source.parse("data.tsv"), {})
    assert loader.settings.format == "pairs"
    data = loader.load(ModelSettings(), TRAINING)
    assert loader.load(ModelSettings(hidden_size=3), TRAINING) is data
    other = CachedLoader(tmp_path / "cache", Source.parse("data.tsv"), {})
    assert other.settings == data.settings
    assert other.load(ModelSettings(), TRAINING).data_sha256 == data.data_sha256
    assert len(reads) == 1


def test_settings_that_change_the_arrays_have_separate_caches(tmp_path: Path) -> None:
    upper_pairs(tmp_path / "data.tsv", 60)
    loader = CachedLoader(tmp_path / "cache", Source.parse("data.tsv"), {})
    plain = loader.load(ModelSettings(), TRAINING)
    assert plain.train.bigrams is None
    assert loader.load(ModelSettings(bigram_size=4), TRAINING).train.bigrams is not None
    assert loader.load(ModelSettings(), TrainSettings(dev_fraction=0.2, seed=1)).data_sha256 != plain.data_sha256
    assert len(list((tmp_path / "cache").glob("*/seed*"))) == 3


def test_series_to_forecast_are_cached_by_the_rows_that_are_read_before_validation(tmp_path: Path) -> None:
    sales_file(tmp_path / "data.csv")
    loader = CachedLoader(tmp_path / "cache", Source.parse("data.csv"), SALES)
    short, long = (loader.load(ModelSettings(), TrainSettings(bptt=bptt)) for bptt in (5, 9))
    assert short.dev is not None
    assert long.dev is not None
    assert len(long.dev.inputs.values) - len(short.dev.inputs.values) == 2 * (9 - 5)  # of two series
    again = CachedLoader(tmp_path / "cache", Source.parse("data.csv"), SALES)
    assert again.load(ModelSettings(), TrainSettings(bptt=5)).data_sha256 == short.data_sha256


@pytest.mark.parametrize("name", ["-", "/dev/zero", "pipe"])
@pytest.mark.parametrize("is_dev", [False, True])
def test_data_that_can_be_read_only_once_are_refused(tmp_path: Path, name: str, is_dev: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    file = str(tmp_path / name) if name == "pipe" else name
    source = Source.parse("data.tsv", dev=file) if is_dev else Source.parse(file)
    with pytest.raises(InputError, match="can be read only once"):
        CachedLoader(tmp_path, source, {})
