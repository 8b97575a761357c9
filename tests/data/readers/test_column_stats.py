"""Statistics of columns."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.lines import Place
from ohlol.data.readers.column_stats import DISTINCT, SAMPLE_ROWS, TableStats
from ohlol.data.readers.tables import Row, Table


def stats_of(*cells: object) -> TableStats:
    rows = (Row([cell], Place("a.csv", i)) for i, cell in enumerate(cells, 1))
    return TableStats.of(Table("a.csv", ("x",), True, rows), rows)


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
