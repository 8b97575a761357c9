"""Tables from CSV and JSON."""

from pathlib import Path
from typing import Any

import pytest

import ohlol
from data.reading import Write, read_error
from ohlol.config import DataSettings
from ohlol.data.lines import Lines, Place
from ohlol.data.readers import tables
from ohlol.data.sequences import read
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
        ("date,rate\n2020-01-01,n/a\n", {}, True),
        ("2020-01-01,n/a\n2020-01-02,5\n", {}, True),
        ("2020-01-01,5\n2020-01-02,n/a\n", {}, False),
        ("shop,2020-01-01\na,5\n", {}, True),
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


def rows_of(path: Any) -> list[list[Any]]:
    return [list(row.cells) for row in tables.csv_table(Lines(path), DataSettings(header=True)).rows]


@pytest.mark.parametrize("lines", [1, 2, 4])
def test_a_quote_that_merges_rows_of_a_tsv_is_refused(write: Write, lines: int) -> None:
    between = "".join(f"text {n}\tneg\n" for n in range(lines - 1))
    path = write("a.tsv", f'text\tclass\nok\tpos\n"Hello there\tpos\n{between}he said so"\tneg\nbye\tpos\n')
    with pytest.raises(InputError, match=f"a.tsv:3: a quote that is opened here and closed in line {3 + lines} merges"):
        rows_of(path)


def test_a_cell_of_several_lines_in_a_tsv_is_read(write: Write) -> None:
    path = write("a.tsv", 'text\tclass\n"good\nfilm"\tpos\n"bad ""film"""\tneg\n5" disk\tneg\n')
    assert rows_of(path) == [["good\nfilm", "pos"], ['bad "film"', "neg"], ['5" disk', "neg"]]


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("date;sales (EUR, net)\n2020-01-01;1,5\n2020-01-02;2,5\n", ";"),
        ("name,notes; remarks\nx,y\nz,w\n", ","),
        ("a\tb, c\nx\ty\n", "\t"),
        ("a,b\n1;2,3\n", ","),
        ("a\n1,5\n", ","),
    ],
)
def test_the_delimiter_splits_all_lines_alike(write: Write, content: str, delimiter: str) -> None:
    assert tables.delimiter_of(Lines(write("a.csv", content))) == delimiter


def test_the_start_stays_in_the_table(write: Write) -> None:
    table = tables.csv_table(Lines(write("a.csv", "x\n1\n2\n")), DataSettings())
    assert [row.cells for row in table.start(9)] == [row.cells for row in table.rows] == [["1"], ["2"]]


def test_all_rows_of_a_file_without_the_target_are_read(write: Write) -> None:
    path = write("a.csv", "text,more\n" + "".join(f"{n},x\n" for n in range(30)))
    table = tables.csv_table(Lines(path), DataSettings(target="label", header=True))
    assert [row.cells[0] for row in table.rows] == [str(n) for n in range(30)]


def test_rows_of_empty_cells_at_the_end_are_left_out(write: Write) -> None:
    table = tables.csv_table(Lines(write("a.csv", "x,y\n1,2\n,\n3,4\n,\n,,,\n")), DataSettings())
    assert [(row.cells, row.place.line) for row in table.rows] == [(["1", "2"], 2), (["", ""], 3), (["3", "4"], 4)]


def test_a_number_among_texts_is_no_late_header(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("what is it\ta cat\nwho\tme\nwhen was it\t1945\nwhere\there\n", encoding="utf-8")
    with pytest.raises(InputError, match="choose two by number with `input` and `target`"):
        ohlol.interpret(path)


@pytest.mark.parametrize(
    ("name", "content", "chosen", "place"),
    [
        ("a.csv", "y\n" + "1\n" * 30 + "-2e300\n", {"task": "forecast"}, "a.csv:32"),
        ("b.csv", "y\n" + "1\n" * 30 + "-2e300\n", {"task": "next_row"}, "b.csv:32"),
        (
            "c.csv",
            "text,y\n" + "a,1\n" * 30 + "b,-2e300\n",
            {"task": "regress", "input": "text", "target": "y"},
            "c.csv:32",
        ),
        ("d.ts", "@classLabel true a b\n@data\n1,2:a\n-2e300,1:b\n", {}, "d.ts:4"),
        ("e.ts", "@targetLabel true\n@data\n1,2:3\n1,2:-2e300\n", {}, "e.ts:4"),
        (
            "f.csv",
            "id,x,y\n" + "".join(f"{n // 2},1,{n // 2}\n" for n in range(30)) + "16,1,-2e300\n16,1,-2e300\n",
            {"task": "regress", "series": "id", "target": "y"},
            "f.csv:32",
        ),
    ],
)
def test_a_number_whose_square_is_infinite_is_refused(
    write: Write, name: str, content: str, chosen: dict[str, Any], place: str
) -> None:
    settings = DataSettings(**chosen)
    message = read_error(write(name, content), settings)
    assert message.startswith(place)
    assert "-2e+300' is beyond 1e+100, too large" in message.replace("2e300", "2e+300")
    read(write(name, content.replace("2e300", "2e99")), settings)
