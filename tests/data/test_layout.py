"""The arrays of an encoded corpus."""

import numpy as np
import pytest

from ohlol.data.layout import ArrayLayout, smallest_type


@pytest.mark.parametrize(("count", "name"), [(2, "u1"), (256, "u1"), (257, "u2"), (65_536, "u2"), (65_537, "u4")])
def test_the_smallest_type_holds_all_ids(count: int, name: str) -> None:
    kind = smallest_type(count)
    assert kind == np.dtype("<" + name)
    assert np.iinfo(kind).max >= count - 1


def test_arrays_of_labels_numbers_and_words() -> None:
    assert set(ArrayLayout(inputs=10, targets=3).arrays()) == {"inputs", "offsets", "targets"}
    assert ArrayLayout(columns=2, target_columns=1).arrays()["inputs"] == (np.dtype("<f4"), (2,))
    assert ArrayLayout(inputs=10, chars=300).arrays()["spellings"] == (np.dtype("<u2"), ())
    assert ArrayLayout(inputs=10, bigrams=70_000).arrays()["bigrams"] == (np.dtype("<u4"), (2,))
