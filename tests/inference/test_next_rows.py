"""The next rows of a series: better than repeating the last row, and each row is read as the next input."""

import math
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, sine_file

import ohlol
from ohlol.data import sequences
from ohlol.data.raw_data import RawData
from ohlol.evaluation.baselines import evaluate_persistence
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("next_row")


@pytest.fixture(scope="module")
def sine(folder: Path) -> TrainedModel:
    return ohlol.fit(
        sine_file(folder / "sine.csv"),
        task="next_row",
        hidden_size=16,
        epochs=40,
        batch_size=4,
        bptt=30,
        lr=0.02,
        lr_schedule="constant",
    )


def test_a_sine_is_forecast_better_than_by_persistence(sine: TrainedModel, folder: Path) -> None:
    corpus = sequences.read(folder / "sine.csv", sine.config.data)
    metrics = sine.evaluate(corpus).metrics()
    persistence = evaluate_persistence(corpus.targets)  # pyright: ignore[reportArgumentType]
    assert metrics["rmse"] < persistence["rmse"] / 3
    assert metrics["mae"] < persistence["mae"] / 3
    rows = sine.next_rows(folder / "sine.csv", steps=6)
    true = np.array([[50 + 20 * math.sin(2 * math.pi * t / 12), 3 * math.cos(2 * math.pi * t / 12)] for t in range(6)])
    last = np.asarray(corpus.inputs[0])[-1]
    assert rows.shape == (6, 2)
    assert np.abs(rows - true).mean() < np.abs(last - true).mean() / 2


def test_a_row_is_read_as_the_next_input(sine: TrainedModel, folder: Path) -> None:
    corpus = sequences.read(folder / "sine.csv", sine.config.data)
    rows = sine.next_rows(corpus, steps=3)
    np.testing.assert_allclose(sine.next_rows(corpus, steps=1), rows[:1])
    longer = RawData(
        corpus.task,
        corpus.settings,
        [np.concatenate([corpus.inputs[0], rows[:2]])],
        None,
        corpus.places,
        corpus.columns,
        corpus.target_columns,
    )
    np.testing.assert_allclose(sine.next_rows(longer, steps=1), rows[2:], rtol=1e-4)


def test_wrong_steps_and_columns_are_refused(sine: TrainedModel, folder: Path) -> None:
    with pytest.raises(InputError, match="`steps` is 0; it must be at least 1"):
        sine.next_rows(folder / "sine.csv", steps=0)
    other = folder / "other.csv"
    other.write_text("height,depth\n1,2\n3,4\n")
    with pytest.raises(InputError, match="no column 'slope'"):
        sine.next_rows(other)
    one = ohlol.fit(folder / "sine.csv", task="next_row", input="height", target="slope", **TINY)
    assert one.next_rows(folder / "sine.csv", steps=1).shape == (1, 1)
    with pytest.raises(InputError, match=r"`steps` is 2; it must be 1, .* forecasts slope from height"):
        one.next_rows(folder / "sine.csv", steps=2)
    with pytest.raises(InputError, match="no such file"):
        sine.next_rows(folder / "missing.csv")
    swapped = sequences.read(folder / "sine.csv", one.config.data)
    with pytest.raises(InputError, match="the input columns are height; the model was trained on height, slope"):
        sine.next_rows(swapped)
