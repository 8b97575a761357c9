"""The validation data, at random or at the end of each text."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ohlol.config import DataSettings
from ohlol.data.lines import Place
from ohlol.data.raw_data import RawData
from ohlol.data.split import split_dev, split_in_time


def labelled(n: int, label: Callable[[int], str] = lambda i: "xy"[i % 2]) -> RawData:
    settings = DataSettings("classify", "columns", "char")
    return RawData(
        "classify",
        settings,
        [f"a{i % 3}" for i in range(n)],
        [label(i) for i in range(n)],
        [Place("a.csv", i + 1) for i in range(n)],
    )


def test_a_share_at_random_and_the_same_for_a_seed() -> None:
    corpus = labelled(100)
    train, dev = split_dev(corpus, 0.2, 1, unknowns=True)
    assert dev is not None
    assert (len(train.inputs), len(dev.inputs)) == (80, 20)
    assert sorted([*train.places, *dev.places]) == corpus.places
    assert split_dev(corpus, 0.2, 1, unknowns=True)[1] == dev
    assert split_dev(corpus, 0.2, 2, unknowns=True)[1] != dev


def test_few_sequences_or_no_share_are_not_split() -> None:
    assert split_dev(labelled(19), 0.5, 0, unknowns=True)[1] is None
    assert split_dev(labelled(100), 0.0, 0, unknowns=True)[1] is None


def test_a_label_that_occurs_once_stays_in_training() -> None:
    corpus = labelled(40, lambda i: f"label{i}" if i < 20 else "x")
    for seed in range(5):
        train, dev = split_dev(corpus, 0.5, seed, unknowns=True)
        assert dev is None or set(dev.targets or ()) == {"x"}
        assert len(set(train.targets or ())) == 21


def test_the_end_of_each_text_is_validation_data() -> None:
    texts: Any = ["abcdefghij", "x"]
    corpus = RawData("next", DataSettings("next", "text", "char"), texts, None, [Place("a", 1), Place("b", 1)])
    train, dev = split_in_time(corpus, 0.3)
    assert dev is not None
    assert (train.inputs, dev.inputs) == (["abcdefg"], ["hij"])
    assert split_dev(corpus, 0.3, 7, unknowns=True) == (train, dev)


def test_series_keep_their_targets() -> None:
    rows = np.arange(10.0)[:, None]
    settings = DataSettings("next_row", "columns")
    corpus = RawData("next_row", settings, [rows], [2 * rows], [Place("a", 1)], ("x",), ("y",))
    train, dev = split_in_time(corpus, 0.2)
    assert dev is not None
    assert dev.targets is not None
    assert dev.targets[0].tolist() == [
        [14.0],
        [16.0],
        [18.0],
    ]  # after the last training row
    assert train.inputs[0].tolist() == rows[:8].tolist()
