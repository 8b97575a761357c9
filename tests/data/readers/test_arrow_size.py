"""The memory of a column as Python objects; whole files are in faults/test_damaged_files.py."""

import pytest


def test_sizes_of_columns() -> None:
    arrow = pytest.importorskip("pyarrow")
    from ohlol.data.readers.arrow_size import ColumnSize, column_size

    assert column_size(arrow.array(["ab", None, "c"])) == ColumnSize(3, 3)
    assert column_size(arrow.array(["abc"] * 5).dictionary_encode()) == ColumnSize(5, 15)
    assert column_size(arrow.array([["a", "b"], []])) == ColumnSize(4, 2)
    assert column_size(arrow.array([1.0, 2.0])) == ColumnSize(2, 16)
    assert column_size(arrow.nulls(7)) == ColumnSize(7, 0)
    assert column_size(arrow.array([["a"]], arrow.list_view(arrow.string()))) is None
