"""Tables of texts with a class."""

import sys
from pathlib import Path

import pytest

from data.reading import DATA, Write, needs_data, read_error
from ohlol.config import DataSettings
from ohlol.data.sequences import read


def test_columns_by_number_have_no_header(write: Write):
    path = write("a.csv", '"Müller","German"\r\n"O""Neil, J","Irish"\r\n\r\n')
    corpus = read(path, DataSettings(input="1", target="2"))
    assert corpus.task == "classify"
    assert corpus.inputs == ["Müller", 'O"Neil, J']
    assert corpus.targets == ["German", "Irish"]
    assert corpus.settings == DataSettings("classify", "columns", "char", "1", "2", False)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_columns_are_chosen_by_name(write: Write, mark: str):
    content = "\n".join(mark.join(row) for row in (["id", "lang", "name"], ["1", "cs", "Adsit"], ["2", "7", "Abl"]))
    corpus = read(write("a.csv", content), DataSettings(input="name", target="lang"))
    assert (corpus.inputs, corpus.targets) == (["Adsit", "Abl"], ["cs", "7"])
    assert [place.line for place in corpus.places] == [2, 3]
    assert corpus.settings.header is True


def test_cells_of_several_lines_are_split_into_words(write: Write):
    path = write("a.csv", 'text,class\n"good\nfilm",pos\nbad film,neg\n')
    corpus = read(path, DataSettings(input="text", target="class", level="word"))
    assert corpus.inputs == [["good", "film"], ["bad", "film"]]
    assert [place.line for place in corpus.places] == [2, 4]


def test_a_cell_of_200_000_characters_is_read(write: Write):
    path = write("a.csv", "text,class\n" + "x" * 200_000 + ",pos\n")
    assert len(read(path, DataSettings(input="text", target="class")).inputs[0]) == 200_000


def test_numbers_are_texts_where_the_task_says_so(write: Write):
    path = write("a.csv", "digits,class\n123,1\n45,0\n")
    corpus = read(path, DataSettings(task="classify", input="digits", target="class"))
    assert (corpus.inputs, corpus.targets) == (["123", "45"], ["1", "0"])


def test_json_objects_are_read_by_key(write: Write):
    path = write("a.jsonl", '{"name": "Abl", "n": 1}\n{"n": 2, "name": "e\\u0301"}\n')
    corpus = read(path, DataSettings(input="name", target="n"))
    assert (corpus.inputs, corpus.targets) == (["Abl", "é"], ["1", "2"])
    lists = read(write("b.jsonl", '{"w": ["a b", "c"], "n": "x"}\n'), DataSettings(input="w", target="n"))
    assert (lists.inputs, lists.settings.level) == ([["a b", "c"]], "word")


def test_parquet_columns_are_read_or_refused(tmp_path: Path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    assert read_error(path) == "a.parquet: no such file"
    parquet.write_table(arrow.table({"name": ["Abl", "Xi"], "lang": ["cs", None]}), path)
    corpus = read(path, DataSettings(input="name", target="lang"), with_targets=False)
    assert corpus.inputs == ["Abl", "Xi"]
    assert read_error(path, DataSettings(input="name", target="lang")).startswith("a.parquet:2: column 'lang' is empty")
    assert "no column 'x'; there are 'name', 'lang'" in read_error(path, DataSettings(input="x", target="lang"))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing")
    assert "b.parquet: not a Parquet file" in read_error(tmp_path / "b.parquet")


def test_parquet_without_pyarrow(write: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'ohlol[arrow]'" in read_error(write("a.parquet", "x"))


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        (
            "a,b\nx,y\n",
            None,
            "a.csv: the columns are '1', '2' (the first row: 'a', 'b'); choose two by number with",
        ),
        (
            "d,v\nx,1\ny,2\n",
            None,
            "a.csv: the columns are 'd', 'v'; choose two by name with `input` and `target`, "
            "or forecast 'v' with `task` forecast",
        ),
        ("a,b\nx,y\n", DataSettings(input="c", target="b"), "a.csv:1: no column 'c'; there are 'a', 'b'"),
        ("a,b\nx,y\nz\n", DataSettings(input="a", target="b"), "a.csv:3: 1 columns, where the first row has 2"),
        ("a,b\nx,y\n,z\n", DataSettings(input="a", target="b"), "a.csv:3: column 'a' is empty"),
        ("a,b\nx,y\nz, \n", DataSettings(input="a", target="b"), "a.csv:3: column 'b' is empty"),
        ("a,b\n", DataSettings(input="a", target="b"), "a.csv: no rows below the header"),
        ('a,b\nx,"y\n', DataSettings(input="a", target="b"), "a.csv:2: not CSV (unexpected end of data)"),
        ("a,b\nx,y\n", DataSettings(input="a,b", target="b"), "a.csv: `input` 'a,b' names several columns"),
        (
            "a,b\nx,y\n",
            DataSettings(task="classify", input="a", target="a,b"),
            "a.csv: `target` 'a,b' names several columns",
        ),
    ],
)
def test_invalid_rows_are_refused(write: Write, content: str, given: DataSettings | None, message: str):
    assert read_error(write("a.csv", content), given).startswith(message)


@needs_data
def test_columns_by_number_read_the_names_data():
    by_number = DataSettings(input="1", target="2")
    assert len(read(DATA / "names" / "names_train.csv", by_number).inputs) == 13_374
    test = read(DATA / "names" / "names_test.csv", by_number)
    assert len(test.inputs) == 6_700
    assert len(set(map(str, test.targets or ()))) == 18
