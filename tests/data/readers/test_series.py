"""Series: rows of numbers from the columns of a table."""

from pathlib import Path

import numpy as np
import pytest

from data.reading import Write, read_error
from ohlol.config import DataSettings
from ohlol.data.sequences import read

NEXT_ROW = DataSettings(task="next_row")


def test_all_numbers_with_and_without_a_header(write: Write):
    corpus = read([write("a.csv", "x,y\n1,2.5\n3,-4e1\n"), write("b.csv", "x,y\n5,6\n")], NEXT_ROW)
    assert corpus.task == "next_row"
    assert [rows.tolist() for rows in corpus.inputs] == [[[1, 2.5], [3, -40]], [[5, 6]]]
    assert corpus.targets is not None
    assert np.array_equal(corpus.targets[0], corpus.inputs[0])
    assert corpus.columns == corpus.target_columns == ("x", "y")
    assert corpus.settings == DataSettings("next_row", "columns", None, "x,y", "x,y", True)
    assert read(write("c.csv", "1,2\n3,4\n"), NEXT_ROW).columns == ("1", "2")


def test_a_column_of_dates_is_left_out(write: Write):
    path = write("a.csv", "date,x,y\n2020-01-01,1,2\n2020-01-02,3,4\n")
    corpus = read(path, DataSettings(task="next_row", target="y"))
    assert (corpus.columns, corpus.target_columns) == (("x", "y"), ("y",))
    assert corpus.targets is not None
    assert corpus.targets[0].tolist() == [[2], [4]]
    assert read(path, DataSettings(task="next_row", input="x")).target_columns == ("x",)


def test_names_with_commas_are_read_again(write: Write):
    path = write("a.csv", '"a,b","c ""d"""\n1,2\n')
    corpus = read(path, NEXT_ROW)
    assert corpus.columns == ("a,b", 'c "d"')
    assert read(path, corpus.settings).columns == corpus.columns


def test_json_and_parquet(write: Write, tmp_path: Path):
    assert read(write("a.jsonl", '{"x": 1, "y": 2.5}\n'), NEXT_ROW).inputs[0].tolist() == [[1, 2.5]]
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"x": [1, 2], "y": [0.5, 1.5]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", NEXT_ROW).inputs[0].tolist() == [[1, 0.5], [2, 1.5]]


def test_a_target_is_not_needed_to_predict(write: Write):
    trained = read(write("a.csv", "x,y\n1,2\n3,4\n"), DataSettings(task="next_row", input="x", target="y")).settings
    corpus = read(write("b.csv", "x\n1\n"), trained, with_targets=False)
    assert corpus.inputs[0].tolist() == [[1]]
    assert corpus.targets is None


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        ("x,y\n1,2\n3,\n", NEXT_ROW, "a.csv:3: column 'y' is empty; "),
        ("x,y\n1,2\n3,nan\n", NEXT_ROW, "a.csv:3: column 'y' is 'nan', which is not a finite number"),
        ("x,y\n1,2\n3,1e999\n", NEXT_ROW, "a.csv:3: column 'y' is '1e999', which is not a finite number"),
        ("x\n1\n2\nn/a\n", DataSettings(task="next_row"), "a.csv:4: column 'x' is 'n/a', which is not a finite"),
        ("x,y\na,b\n", DataSettings(task="next_row"), "a.csv: no column of numbers to forecast; there are"),
    ],
)
def test_invalid_rows_are_refused(write: Write, content: str, given: DataSettings | None, message: str):
    assert read_error(write("a.csv", content), given).startswith(message)
