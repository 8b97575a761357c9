"""Numbers in a form that is not read."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.config import DECIMAL_MARKS, THOUSANDS_MARKS, DataSettings
from ohlol.data.readers.number_formats import NumberFormat, describe_number_form, has_number_form, suggest_settings
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
        ("9-", "9 with '-'"),
        ("9*", "9 with '*'"),
        ("9 (p)", "9 with '(p)'"),
        ("<5", "5 with '<'"),
        ("~5", "5 with '~'"),
        ("'5", '5 with "\'"'),
        ("1,00,000", "100000 (a thousands separator)"),
        ("12,50,000.5", "1250000.5 (a thousands separator)"),
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


@given(
    value=st.decimals(-(10**9), 10**9, places=3),
    decimal=st.sampled_from(DECIMAL_MARKS),
    thousands=st.sampled_from([*THOUSANDS_MARKS, "\u202f", "’", ""]),
)
def test_numbers_of_a_chosen_format_come_back_equal(value: Decimal, decimal: str, thousands: str):
    if decimal == thousands:
        return
    text = f"{value:,.3f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
    chosen = {"\u202f": " ", "’": "'", "": None}.get(thousands, thousands)
    form = NumberFormat.of(DataSettings(decimal=decimal, thousands=chosen))
    assert number(text, form) == float(value)


@pytest.mark.parametrize(
    ("decimal", "thousands", "text"),
    [
        (",", None, "1.5"),
        (None, ",", "1,5"),
        (None, ",", "1,0375"),
        (",", ".", "1.03,5"),
        (",", None, "a"),
        (None, " ", "1 37"),
    ],
)
def test_numbers_of_another_format_are_none(decimal: str | None, thousands: str | None, text: str):
    assert number(text, NumberFormat.of(DataSettings(decimal=decimal, thousands=thousands))) is None


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("1,037", ", or set `thousands=,` or `decimal=,`"),
        ("1,037.5", ", or set `thousands=,`"),
        ("1.037.000", ", or set `thousands=.`"),
        ("1 037", ", or set `thousands` ' '"),
        ("1’037", ", or set `thousands='`"),
        ("3,5", ", or set `decimal=,`"),
        ("$5", ""),
        ("x", ""),
    ],
)
def test_the_settings_that_read_a_number_are_named(text: str, settings: str):
    assert suggest_settings(text) == settings
