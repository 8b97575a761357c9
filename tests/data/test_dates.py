"""Dates in cells and in numbers: the forms that are read, and those that are none."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.dates import (
    NAMED_MONTH,
    PERIOD,
    READINGS,
    YEAR_AND_MONTH,
    days_in_numbers,
    is_date,
    is_time_name,
    is_unix_name,
    parse_date,
    parse_moment,
)


def seconds(text: str) -> float:
    """The seconds from year 1 to a time as ISO 8601 writes it."""
    return (datetime.fromisoformat(text) - datetime(1, 1, 1)).total_seconds()


@given(moment=st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)).map(lambda m: m.replace(microsecond=0)))
def test_dates_are_read_in_every_order(moment: datetime):
    for form, reading in (
        ("%Y-%m-%d %H:%M:%S", "ISO"),
        ("%Y-%m-%dT%H:%M:%SZ", "ISO"),
        ("%d.%m.%Y %H:%M:%S", "day first"),
        ("%m/%d/%Y %H:%M:%S", "month first"),
        ("%Y/%m/%d %H:%M:%S", "year first"),
    ):
        seconds = parse_date(moment.strftime(form), reading)
        assert seconds == (moment - datetime(1, 1, 1)).total_seconds()


@pytest.mark.parametrize(
    "cell",
    ["", "x", "2020", "2020-13-01", "30.02.2020", "1.5.2", "0000-01-01", 5, None, "1/2", "2020-01-01 25:00", "13:00"],
)
@pytest.mark.parametrize("reading", ["ISO", "year first", "day first", "month first", "year and month"])
def test_other_cells_are_no_dates(cell: object, reading: str):
    assert parse_date(cell, reading) is None


def test_dates_of_python_are_dates():
    day = parse_date("2020-01-31", "ISO")
    assert parse_date(date(2020, 1, 31), "ISO") == parse_date(datetime(2020, 1, 31, tzinfo=UTC), "ISO") == day
    assert parse_date("2020-01-31T02:00:00+02:00", "ISO") == day
    assert parse_date("2020/01", "year and month") == parse_date("2020-01-01", "ISO")


@pytest.mark.parametrize(
    ("cell", "reading", "meant"),
    [
        ("Jan 5, 2020", NAMED_MONTH, "2020-01-05"),
        ("January 5 2020", NAMED_MONTH, "2020-01-05"),
        ("Sunday, January 5, 2020", NAMED_MONTH, "2020-01-05"),
        ("5th Sept. 2020", NAMED_MONTH, "2020-09-05"),
        ("05-Jan-20", NAMED_MONTH, "2020-01-05"),
        ("05JAN2020", NAMED_MONTH, "2020-01-05"),
        ("2020-Jan-05", NAMED_MONTH, "2020-01-05"),
        ("Jan 2020", NAMED_MONTH, "2020-01-01"),
        ("Jan-20", NAMED_MONTH, "2020-01-01"),
        ("Dec '99", NAMED_MONTH, "2099-12-01"),
        ("5 Jan 2020 3:30 PM", NAMED_MONTH, "2020-01-05T15:30"),
        ("01/05/2020 12:00 AM", "month first", "2020-01-05T00:00"),
        ("01/05/2020, 12:15:30 pm", "month first", "2020-01-05T12:15:30"),
        ("05/01/2020 24:00", "day first", "2020-01-06T00:00"),
        ("2020-01-31 24:00:00", "ISO", "2020-02-01T00:00"),
        ("2020-01-31 05:00 UTC", "ISO", "2020-01-31T05:00"),
        ("2020-W05", "ISO", "2020-01-27"),
        ("2020W05", "ISO", "2020-01-27"),
        ("20-01-05", "year first", "2020-01-05"),
        ("2020年1月5日", "year first", "2020-01-05"),
        ("2020年12月", YEAR_AND_MONTH, "2020-12-01"),
        ("Q3 2020", PERIOD, "2020-07-01"),
        ("3Q20", PERIOD, "2020-07-01"),
        ("2020-Q3", PERIOD, "2020-07-01"),
        ("2020H2", PERIOD, "2020-07-01"),
        ("2020-S2", PERIOD, "2020-07-01"),
        ("Q3'20", PERIOD, "2020-07-01"),
        ("H2 2020", PERIOD, "2020-07-01"),
        ("2020M07", PERIOD, "2020-07-01"),
    ],
)
def test_forms_of_dates(cell: str, reading: str, meant: str):
    assert parse_date(cell, reading) == seconds(meant)
    assert is_date(cell)


@pytest.mark.parametrize(
    "cell",
    [
        "Jan 15", "15 Jan", "Jan", "Januar 2020", "FY2020", "2020Q5", "5Q20", "2020H3", "H1", "2020-W54", "31 Feb 2020",
        "01/05/2020 13:00 PM", "01/05/2020 0:30 am", "May be 2020", "2020-01-01 00:00 CET", "2008/2009", "12:30", "Q1",
        "1. März 2020", "2020年13月",
        "H123",
        "Q120",
        "S1-20",
        "1000S1",
    ],
)  # fmt: skip
def test_other_texts_are_no_dates(cell: str):
    assert not is_date(cell)


def test_the_month_is_not_first_between_points():
    assert parse_date("02.01.2020", "month first") is None
    assert parse_date("02.01.2020", "day first") == seconds("2020-01-02")


def test_a_zone_is_kept_apart_from_the_clock():
    moment = parse_moment("2020-01-31T00:00:00+08:00", "ISO")
    assert moment == (seconds("2020-01-31"), 8 * 3600)
    assert parse_moment("2020-01-31", "ISO") == (seconds("2020-01-31"), None)


@given(st.text(max_size=45))
def test_any_text_is_looked_at(text: str):
    for reading in READINGS:
        parse_moment(text, reading)


@pytest.mark.parametrize(
    ("numbers", "name", "meant"),
    [
        ([20200131, 20200201], "x", ["2020-01-31", "2020-02-01"]),
        ([202001, 202012], "x", ["2020-01-01", "2020-12-01"]),
        ([202001, 202012], "yearweek", ["2019-12-30", "2020-03-16"]),
        ([202001, 202053], "x", ["2019-12-30", "2020-12-28"]),
        ([43831, 43862], "Date", ["2020-01-01", "2020-02-01"]),
    ],
)
def test_days_in_numbers(numbers: list[int], name: str, meant: list[str]):
    assert days_in_numbers(numbers, name) == [seconds(day) for day in meant]


@pytest.mark.parametrize(
    ("numbers", "name"),
    [([43831], "sales"), ([20200132], "date"), ([202000], "date"), ([202154], "week"), ([5], "date")],
)
def test_other_numbers_are_no_days(numbers: list[int], name: str):
    assert days_in_numbers(numbers, name) is None


@pytest.mark.parametrize(("name", "is_unix"), [("ts", True), ("event_time", True), ("time_spent", False), ("1", False)])
def test_names_of_unix_time(name: str, is_unix: bool):
    assert is_unix_name(name) == is_unix


@pytest.mark.parametrize(
    "name", ["Order Date", "orderDate", "sales", "dateline", "daytime", "ts", "销售日期", "Sonntag"]
)
def test_names_of_times(name: str):
    assert is_time_name(name) == (name in ("Order Date", "orderDate", "ts", "销售日期"))
