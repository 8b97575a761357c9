"""Excel files: types, sheets, empty rows and columns, and what is refused."""

import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY

import ohlol
from data.reading import Write, read_error
from ohlol.config import DataSettings
from ohlol.data.formats import resolve
from ohlol.data.profile import profile
from ohlol.data.readers.excel import excel_table
from ohlol.data.sequences import read

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")

CLASSIFY = DataSettings(input="text", target="label")
ROWS: list[tuple[Any, ...]] = [(f"text {n}", ("pos", "neg")[n % 2]) for n in range(12)]
WriteBook = Callable[..., Path]


@pytest.fixture
def book(tmp_path: Path) -> WriteBook:
    def write(name: str, **sheets: Sequence[Sequence[Any]]) -> Path:
        workbook = openpyxl.Workbook()
        workbook.remove(workbook.active)
        for title, rows in sheets.items():
            sheet = workbook.create_sheet(title)
            for row in rows:
                sheet.append(row)
        workbook.save(tmp_path / name)
        return tmp_path / name

    return write


def test_texts_and_classes_are_read(book: WriteBook) -> None:
    path = book("a.xlsx", One=[("text", "label"), *ROWS])
    data = read(path, CLASSIFY)
    assert (data.inputs, data.targets) == ([text for text, _ in ROWS], [label for _, label in ROWS])
    assert [place.line for place in data.places] == list(range(2, 14))
    assert "its name ends in .xlsx" in str(data.interpretation)


def test_numbers_dates_and_booleans_keep_their_types(book: WriteBook) -> None:
    row = (1, 2.5, True, datetime(2020, 1, 31, 12), date(2020, 2, 1), "01", None)
    table = excel_table(str(book("a.xlsx", One=[list("abcdefg"), row])), DataSettings())
    assert [type(cell) for cell in next(table.rows).cells] == [int, float, bool, datetime, datetime, str, type(None)]
    assert table.header


def test_dates_are_those_of_a_series(book: WriteBook) -> None:
    days = [date(2020, 1, 1) + timedelta(n) for n in range(12)]
    wave = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8.5]
    path = book("a.xlsx", One=[("day", "y"), *zip(days, wave, strict=True)])
    data = read(path, DataSettings(task="forecast"))
    assert data.columns == ("y",)
    assert [float(value) for (value,) in data.inputs[0]] == wave
    path = book("b.xlsx", One=[("day", "y"), *zip(days[::-1], wave, strict=True)])
    assert read_error(path, DataSettings(task="forecast")).startswith("b.xlsx:3: column 'day' runs backward")


def test_empty_rows_and_columns_are_left_out(book: WriteBook) -> None:
    path = book("a.xlsx", One=[(), (None, ""), ("text", "label", None), *ROWS[:6], (), *ROWS[6:], (" ",)])
    data = read(path, CLASSIFY)
    assert data.inputs == [text for text, _ in ROWS]
    assert data.places[0].line == 4


def test_a_sheet_without_header_is_read_by_number(book: WriteBook) -> None:
    data = read(book("a.xlsx", One=ROWS), DataSettings(input="1", target="2"))
    assert data.inputs == [text for text, _ in ROWS]


def test_one_of_several_sheets_is_chosen(book: WriteBook) -> None:
    path = book("a.xlsx", Notes=[("nothing",)], Data=[("text", "label"), *ROWS])
    assert read_error(path, CLASSIFY) == "a.xlsx: has 2 sheets; choose one with `sheet`: 'Notes', 'Data'"
    for sheet in ("Data", "2"):
        data = read(path, DataSettings(input="text", target="label", sheet=sheet))
        assert data.inputs == [text for text, _ in ROWS]
        assert f"sheet '{sheet}'" in str(data.interpretation)
    for sheet in ("data", "3", "0"):
        message = read_error(path, DataSettings(input="text", target="label", sheet=sheet))
        assert message == f"a.xlsx: no sheet '{sheet}'; there are 'Notes', 'Data'"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "a.xlsx: no rows; the sheet is empty"),
        ([("text", "label")], "a.xlsx: no rows below the header"),
        (
            [("text", "label"), ("x", "pos"), ("y", "neg", "more")],
            "a.xlsx:3: 'more' is beyond the 2 columns of the first",
        ),
        ([("text", "label"), ("x", "pos"), ("y", None)], "a.xlsx:3: column 'label' is empty"),
    ],
)
def test_other_rows_are_refused(book: WriteBook, rows: list[tuple[Any, ...]], message: str) -> None:
    assert read_error(book("a.xlsx", One=rows), CLASSIFY).startswith(message)


def test_files_of_another_form_are_refused(write: Write, tmp_path: Path) -> None:
    for content in (b"", b"text,label\n", b"PK\x03\x04" + bytes(99)):
        assert read_error(write("a.xlsx", content), CLASSIFY).startswith("a.xlsx: not an Excel file")
    assert read_error(tmp_path / "b.xlsx", CLASSIFY) == "b.xlsx: no such file"
    assert read_error(write("a.xlsx.gz", b""), CLASSIFY).startswith("a.xlsx.gz: Excel files are compressed already")


def test_the_package_is_named_where_it_is_missing(book: WriteBook, monkeypatch: pytest.MonkeyPatch) -> None:
    path = book("a.xlsx", One=[("text", "label"), *ROWS])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert read_error(path, CLASSIFY) == "a.xlsx: Excel files need openpyxl; pip install 'ohlol[excel]'"


def test_a_model_is_trained_evaluated_and_profiled(book: WriteBook, tmp_path: Path) -> None:
    from ohlol.data.corpus.encode import encode

    path = book("a.xlsx", One=[("text", "label"), *ROWS])
    model = ohlol.fit(path, input="text", target="label", **TINY)
    assert 0 <= model.evaluate(path).metrics()["accuracy"] <= 1
    assert len(list(model.predict_many(read(path, model.config.data)))) == 12
    settings = resolve(path, CLASSIFY)
    corpus = encode([str(path)], tmp_path / "corpus", settings, dev_fraction=0.0)
    assert sum(shard.sequences for shard in corpus.manifest.shards) == 12
    shown = profile(str(path), CLASSIFY)
    assert (shown.rows, shown.is_whole, [column.kind for column in shown.columns]) == (12, True, ["text", "text"])
