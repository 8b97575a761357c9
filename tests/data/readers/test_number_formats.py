"""Numbers in a form that is not read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.readers.number_formats import describe_number_form, has_number_form
from ohlol.data.readers.tables import number


@given(value=st.integers(1000, 10**12), mark=st.sampled_from(list(",.'’ \u00a0\u202f")))
def test_grouped_integers_are_understood(value: int, mark: str):
    text = f"{value:,}".replace(",", mark)
    if number(text) is None:
        assert has_number_form(text)
        assert describe_number_form(text).startswith(f"{value} (a thousands separator)")


@given(value=st.integers(1000, 10**9), cents=st.integers(0, 99))
def test_german_numbers_are_understood(value: int, cents: int):
    text = f"{value:,}".replace(",", ".") + f",{cents:02}"
    assert describe_number_form(text) == f"{value}.{cents:02} (a decimal comma)"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("EUR 1.037,50", "1037.50 with 'EUR'"),
        ("1 037 kr", "1037 with 'kr'"),
        ("-5%", "5 with '%'"),
        ("21.5°C", "21.5 with '°C'"),
        ("3 km/h", "3 with 'km/h'"),
    ],
)
def test_units_are_named(text: str, meaning: str):
    assert describe_number_form(text) == meaning


@pytest.mark.parametrize(
    "text",
    ["", "Q1", "CO2", "10am", "1st", "1990s", "12:30", "2020-01-01", "01.02.2020", "3/4", "1.2.3", "5 of 7", "week 3"],
)
def test_other_texts_are_no_numbers(text: str):
    assert not has_number_form(text)
    assert describe_number_form(text) == "no number"


def test_values_that_are_no_texts_are_no_forms():
    assert not any(has_number_form(value) for value in (None, 5, True, [], "9" * 80))
