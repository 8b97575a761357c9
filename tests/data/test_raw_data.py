"""Sequences in memory: what they are built from, and their parts."""

import numpy as np
import pytest
from corpora import CORPORA

from ohlol.config import DataSettings
from ohlol.data.lines import Example, Place, StaticCell
from ohlol.data.raw_data import data_from_examples, data_from_labelled, data_from_series
from ohlol.data.readers.labelled import LabelledSeries
from ohlol.data.readers.series import Series
from ohlol.data.statics import StaticText
from ohlol.utils.errors import InputError

PLACE = Place("a.csv", 2)


def test_the_kind_of_data_follows_from_the_task_and_the_columns() -> None:
    assert CORPORA["classify"].kind.has_one_label
    assert not CORPORA["classify"].kind.reads_numbers
    labelled = data_from_labelled(
        [LabelledSeries(np.ones((3, 2)), "x", PLACE, "s")], DataSettings(task="classify"), with_targets=True
    )
    assert labelled.kind.rows
    assert labelled.kind.reads_numbers


def test_a_text_that_is_read_from_its_end_is_reversed() -> None:
    settings = DataSettings("next", "text", "word", reversed=True)
    data = data_from_examples([Example(["to", "be"], "", PLACE)], settings, with_targets=False)
    assert (data.inputs, data.targets, data.places) == ([["be", "to"]], None, [PLACE])


def test_texts_have_their_static_cells() -> None:
    settings = DataSettings("classify", "columns", "char", input="text", target="label", static="country")
    cells = (StaticCell("DE"),)
    data = data_from_examples([Example("ab", "x", PLACE, cells)], settings, with_targets=True)
    assert data.static_columns == ("country",)
    assert data.texts() == [StaticText("ab", cells)]
    assert data.targets == ["x"]


def test_series_of_several_files_keep_their_names() -> None:
    series = [LabelledSeries(np.full((length, 2), 1.0), length / 2, PLACE, f"s{length}") for length in (3, 4)]
    data = data_from_labelled(series, DataSettings(task="regress", target="price"), with_targets=True)
    assert (data.columns, data.target_columns, data.targets) == (("1", "2"), ("price",), [1.5, 2.0])
    assert [(one.name, len(one.rows), one.target) for one in data.series()] == [("s3", 3, None), ("s4", 4, None)]


def test_series_of_different_widths_are_refused() -> None:
    series = [LabelledSeries(np.ones((3, width)), "x", Place("a.csv", width)) for width in (1, 2)]
    with pytest.raises(InputError, match=r"^a.csv:1: 1 columns, a.csv:2: 2 columns; all must agree$"):
        data_from_labelled(series, DataSettings(task="classify"), with_targets=True)
    with pytest.raises(InputError, match=r"`level` is for symbols, and a.csv holds series of numbers"):
        data_from_labelled(series[:1], DataSettings(task="classify", level="char"), with_targets=True)


def test_rows_of_numbers_have_the_columns_of_the_first_file() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    settings = DataSettings(task="next_row")
    series = [Series(rows, rows[:, :1], ("a", "b"), ("a",))]
    data = data_from_series(series, [PLACE], settings, with_targets=True)
    assert (data.columns, data.target_columns) == (("a", "b"), ("a",))
    assert data.targets is not None
    assert np.array_equal(data.targets[0], [[0], [2], [4]])
    assert data_from_series(series, [PLACE], settings, with_targets=False).targets is None
