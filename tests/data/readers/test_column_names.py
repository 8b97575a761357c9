"""Columns by name and by number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.lines import Place
from ohlol.data.readers import column_names
from ohlol.utils.errors import InputError

PLACE = Place("a.csv", 1)


def test_columns_are_found_by_name_before_number() -> None:
    names = ("x", "3", "y")
    assert column_names.find_column(names, "3", PLACE) == 1
    assert column_names.find_column(names, "1", PLACE) == 0
    assert column_names.find_columns(names, "y, x", PLACE) == [2, 0]
    assert column_names.find_columns(("a,b", "c"), "a,b", PLACE) == [0]


@pytest.mark.parametrize("name", ["0", "4", "z", "", "9999999999", "²"])
def test_other_columns_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"a\.csv:1: no column .*; there are 'x', 'y', 'z x'"):
        column_names.find_column(("x", "y", "z x"), name, PLACE)


@given(st.lists(st.text(st.sampled_from('ab," ;'), min_size=1).map(str.strip).filter(bool), min_size=1))
def test_joined_names_are_split_again(names: list[str]) -> None:
    assert column_names.split_names(column_names.join_names(names)) == names


def test_long_lists_are_shortened() -> None:
    assert column_names.list_names(tuple(map(str, range(25)))).endswith("'19' and 5 more")
    assert column_names.list_names(()) == "none"
