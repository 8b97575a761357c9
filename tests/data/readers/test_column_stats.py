"""Statistics of columns."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.lines import Place
from ohlol.data.readers.column_stats import DISTINCT, SAMPLE_ROWS, TableStats, parse_date
from ohlol.data.readers.tables import Row, Table


def stats_of(*cells: object) -> TableStats:
    rows = (Row([cell], Place("a.csv", i)) for i, cell in enumerate(cells, 1))
    return TableStats.of(Table("a.csv", ("x",), True, rows), rows)


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


@pytest.mark.parametrize("cell", ["", "x", "2020", "2020-13-01", "30.02.2020", "1.5.2", "0000-01-01", 5, None, "1/2"])
@pytest.mark.parametrize("reading", ["ISO", "year first", "day first", "month first", "year and month"])
def test_other_cells_are_no_dates(cell: object, reading: str):
    assert parse_date(cell, reading) is None


def test_dates_of_python_are_dates():
    day = parse_date("2020-01-31", "ISO")
    assert parse_date(date(2020, 1, 31), "ISO") == parse_date(datetime(2020, 1, 31, tzinfo=UTC), "ISO") == day
    assert parse_date("2020-01-31T02:00:00+02:00", "ISO") == day
    assert parse_date("2020/01", "year and month") == parse_date("2020-01-01", "ISO")


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.integers(-5, 5)), min_size=1))
def test_numbers_are_counted(values: list[float]):
    (column,) = stats_of(*values).columns
    assert column.is_numeric
    assert (column.low, column.high, column.filled) == (min(values), max(values), len(values))
    assert column.order.increases == all(a < b for a, b in pairwise(values))
    assert column.integers == all(value == int(value) for value in values)


def test_missing_values_do_not_make_a_column_a_text():
    (column,) = stats_of("5", "N/A", "N/A", "", "-").columns
    assert (column.filled, column.numbers, column.missing) == (4, 1, 3)
    assert column.is_meant_numeric
    assert not column.is_numeric
    assert column.not_finite is not None
    assert column.not_finite.place.line == 2
    (text,) = stats_of("5", "a", "b").columns
    assert not text.is_meant_numeric


def test_memory_is_bounded():
    stats = stats_of(*(f"text {n}" for n in range(DISTINCT + SAMPLE_ROWS)))
    assert (len(stats.columns[0].values), len(stats.sample), stats.rows) == (DISTINCT, SAMPLE_ROWS, 2 * DISTINCT)
