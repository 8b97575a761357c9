"""A trained model: methods of other tasks are refused, and a saved run predicts the same."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers import TINY, text_file, upper_pairs
from untrained import untrained

import ohlol
from ohlol.config import TrainSettings
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder: Path = tmp_path_factory.mktemp("letters")
    return ohlol.fit(upper_pairs(folder / "pairs.tsv"), out=folder / "run", **TINY)


def test_methods_of_other_tasks_are_refused(letters: TrainedModel, tmp_path: Path) -> None:
    text = ohlol.fit(text_file(tmp_path / "text.txt"), bptt=10, **{**TINY, "epochs": 1})
    with pytest.raises(InputError, match="empty"):
        letters.predict("")
    with pytest.raises(InputError, match="empty"):
        letters.predict([])
    with pytest.raises(InputError, match="task is next, which has no labels; use `generate`"):
        text.predict("the")
    with pytest.raises(InputError, match="task is next_row, which has no labels; use `next_rows`"):
        untrained("next_row").predict("the")
    with pytest.raises(InputError, match="task is label; only a model that predicts the next symbol generates"):
        letters.generate("ab")
    with pytest.raises(InputError, match="task is label; it does not predict the next row"):
        letters.next_rows("file.csv")
    with pytest.raises(InputError, match="task is label; it does not forecast series"):
        letters.forecast("file.csv")
    with pytest.raises(InputError, match="task is forecast, which has no labels; use `forecast`"):
        untrained("forecast").predict("the")
    with pytest.raises(InputError, match="task is forecast; it does not predict the next row"):
        untrained("forecast").next_rows("file.csv")


def test_a_saved_run_predicts_the_same(letters: TrainedModel) -> None:
    assert letters.run is not None
    loaded = ohlol.load(letters.run)
    assert loaded.identity == letters.identity
    for text in ("abc", "edcba", "zzz", "a"):
        assert loaded.predict(text) == letters.predict(text)


def test_on_cpu_of_a_model_on_the_cpu_is_the_model(letters: TrainedModel) -> None:
    assert letters.on_cpu is letters


def test_identities_differ_between_models() -> None:
    base = untrained("next")
    assert base.identity == untrained("next").identity
    assert len(base.identity) == 64
    others = [
        untrained("next", seed=1),
        untrained("next", unknowns=False),
        untrained("next", cell="gru"),
        untrained("label"),
    ]
    assert len({base.identity, *(other.identity for other in others)}) == 5
    forecasts = untrained("forecast")
    longer = replace(forecasts, config=replace(forecasts.config, training=TrainSettings(bptt=7)))
    assert longer.identity != forecasts.identity  # it reads fewer rows before a forecast
