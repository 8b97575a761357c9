"""Tables from CSV and JSON."""

from typing import Any

import pytest

from data.reading import Write
from ohlol.config import DataSettings
from ohlol.data.lines import Lines, Place
from ohlol.data.readers import tables
from ohlol.utils.errors import InputError


@pytest.mark.parametrize(
    ("content", "chosen", "header"),
    [
        ("x,y\n1,2\n", {}, True),
        ("1,2\n3,4\n", {}, False),
        ("a,b\nc,d\n", {}, False),
        ("a,b\n", {}, True),
        ("a,b\nc,d\n", {"input": "a"}, True),
        ("x,y\n1,2\n", {"input": "1"}, False),
        ("1,2\n3,4\n", {"header": True}, True),
    ],
)
def test_a_header_is_inferred(write: Write, content: str, chosen: dict[str, Any], header: bool) -> None:
    table = tables.csv_table(Lines(write("a.csv", content)), DataSettings(**chosen))
    assert table.header is header
    assert len(list(table.rows)) == content.count("\n") - header


def test_peeked_rows_are_not_consumed(write: Write) -> None:
    table = tables.csv_table(Lines(write("a.csv", "x\n1\n2\n")), DataSettings())
    first = table.first()
    assert first is not None
    assert (first.cells, first.place.line) == (["1"], 2)
    assert [row.cells for row in table.keep_rows()] == [row.cells for row in table.rows] == [["1"], ["2"]]


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1.5", 1.5), (" 2 ", 2.0), ("1e3", 1000.0), (3, 3.0), ("1_000", None), ("x", None), (True, None), (None, None)],
)
def test_a_cell_is_read_as_a_number_or_none(cell: Any, number: float | None) -> None:
    assert tables.number(cell) == number


@pytest.mark.parametrize(("cell", "message"), [("nan", "is 'nan', which is not a finite number"), (" ", "is empty")])
def test_a_cell_without_a_finite_number(cell: str, message: str) -> None:
    with pytest.raises(InputError, match=f"a.csv:2: column 'x' {message}; fill it in"):
        tables.finite_number(tables.Row([cell], Place("a.csv", 2)), ("x",), 0)
