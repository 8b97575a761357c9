"""Counts and moments of parts are those of the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.counts import EDGE, NO_CHARACTER, Counts, Moments, RunningMoments, concatenate, with_edges
from ohlol.data.pairs import data_from_pairs
from ohlol.utils.errors import InputError


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_moments_do_not_depend_on_the_parts(lengths: list[int]) -> None:
    rows = np.random.default_rng(0).normal(size=(sum(lengths), 2))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ohlol.data.counts.BLOCK_ROWS", 4)
        whole, running = RunningMoments().add(rows).moments(), RunningMoments()
        for part in np.split(rows, np.cumsum(lengths)[:-1]):
            running.add(part)
        moments = running.moments()
    assert moments.rows == len(rows)
    assert (moments.mean == whole.mean).all()
    assert (moments.variance == whole.variance).all()
    assert np.allclose(moments.variance, rows.var(axis=0))


def test_counts_are_joined() -> None:
    pairs = data_from_pairs([("aab", "xyx"), ("ba", "xx")])
    counts = Counts.of(pairs, with_bigrams=True)
    one = Counts.of(data_from_pairs([("aab", "xyx")]), with_bigrams=True)
    one.join(Counts.of(data_from_pairs([("ba", "xx")]), with_bigrams=True))
    assert counts.symbols == one.symbols == {"a": 3, "b": 2}
    assert counts.labels == one.labels == {"x": 4, "y": 1}
    assert one.bigrams["aa"] == 1
    assert one.bigrams[EDGE + "b"] == 1


def test_other_columns_are_refused() -> None:
    moments = Moments.of(np.ones((2, 1)))
    one = Counts(inputs=moments, targets=moments, columns=("x",), target_columns=("x",))
    with pytest.raises(InputError, match="files with different columns: x, and y"):
        one.join(Counts(inputs=moments, targets=moments, columns=("y",), target_columns=("y",)))


def test_edges_and_entries_that_are_not_characters() -> None:
    assert with_edges(["ab", ["c", "de"]]) == f"{EDGE}ab{EDGE}c{NO_CHARACTER}{EDGE}"
    assert concatenate(["ab", "c"]) == "abc"
    assert concatenate([["ab"], ["c"]]) == ["ab", "c"]
