"""Pairs given as values, in the place of a file."""

import pytest

from ohlol.data.pairs import data_from_pairs
from ohlol.utils.errors import InputError


def test_values_instead_of_files() -> None:
    corpus = data_from_pairs([("hello", "ohlol"), ("e\u0301", "a")])
    assert (corpus.inputs, corpus.targets) == (["hello", "é"], ["ohlol", "a"])
    assert corpus.settings.level == "char"
    assert data_from_pairs([(["a", "b"], ("X", "Y"))]).targets == [["X", "Y"]]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "no pairs"),
        ([("ab", "cd"), ("abc", "de")], "pair 2: input has 3 characters, target 2"),
        ([("", "")], "pair 1: the sequence is empty"),
        ([("ab", ["c", "d"])], "pair 1: strings and lists do not mix"),
        ([(["c", "d"], "ab")], "pair 1: strings and lists do not mix"),
        ([(["c", 1], ["d", "e"])], "pair 1: a list must hold strings"),
        ([("a", "b", "c")], "pair 1: 3 sides"),
    ],
)
def test_invalid_values_are_refused(pairs: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        data_from_pairs(pairs)
