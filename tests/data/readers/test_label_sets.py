"""Sets of labels in a table: what separates them, lists, columns of 0 and 1, and what is asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading import Write, read_error
from ohlol.config import DataSettings
from ohlol.data.frames import read_records
from ohlol.data.raw_data import RawData
from ohlol.data.readers.label_sets import split_labels
from ohlol.data.sequences import read
from ohlol.utils.errors import InputWarning

SETS = DataSettings(task="multilabel", input="text", target="topics")
ASKED = DataSettings(input="text", target="topics")


def csv_of(cells: Sequence[str], mark: str = "\t") -> str:
    rows = [f"text {number}{mark}{cell}" for number, cell in enumerate(cells)]
    return "\n".join([f"text{mark}topics", *rows]) + "\n"


def sets_of(data: RawData) -> list[Any]:
    return list(data.targets or ())


@pytest.mark.parametrize(
    ("cells", "separator", "sets"),
    [
        (["red|blue", "blue", "red"], "|", [["red", "blue"], ["blue"], ["red"]]),
        (["red;blue", "blue", "red;green;"], ";", [["red", "blue"], ["blue"], ["red", "green"]]),
        (["red, blue", "blue"], ", ", [["red", "blue"], ["blue"]]),
        (["red,blue", "blue", "dark blue,red"], ",", [["red", "blue"], ["blue"], ["dark blue", "red"]]),
        (["red | blue", "red|red"], "|", [["red", "blue"], ["red"]]),
    ],
)
def test_a_separator_without_doubt_is_inferred(write: Write, cells: list[str], separator: str, sets: list[Any]):
    data = read(write("a.tsv", csv_of(cells)), SETS)
    assert data.settings.label_separator == separator
    assert sets_of(data) == sets
    assert f"labels separated by {separator!r}" in str(data.interpretation)


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["red|blue;green", "red|blue"], "'|' and ';' may separate its labels, such as 'red|blue;green'"),
        (["red;blue", "green|red"], "'|' and ';' may separate its labels"),
        (["red blue", "blue"], "no cell has several labels, such as 'red blue'"),
        (["red", "blue"], "no cell has several labels, such as 'red'"),
        (["red,blue", "green"], "',' may separate its labels, such as 'red,blue'"),
    ],
)
def test_another_separator_is_asked(write: Write, cells: list[str], problem: str):
    message = read_error(write("a.tsv", csv_of(cells)), SETS)
    assert message.startswith(f"a.tsv: column 'topics': {problem}")
    assert "with `label_separator`" in message
    chosen = DataSettings(task="multilabel", input="text", target="topics", label_separator=" ")
    assert sets_of(read(write("b.tsv", csv_of(["red blue", "", "red"])), chosen)) == [["red", "blue"], [], ["red"]]


@pytest.mark.parametrize("cell", ["\"['red', 'blue']\"", '"[""red""]"', "\"{'red', 'blue'}\""])
def test_a_list_as_python_prints_it_is_refused(write: Write, cell: str):
    message = read_error(write("a.csv", csv_of(["red|blue", cell, "red"], ",")), SETS)
    assert message.startswith("a.csv:3: column 'topics' holds ")
    assert "a list as Python prints it; write the table as JSON lines" in message


def test_empty_sets_are_read_with_a_warning(write: Write):
    path = write("a.tsv", csv_of(["red|blue", "", "red"]))
    with pytest.warns(InputWarning, match="column 'topics' is empty in 1 of 3 rows, which are read as sets without"):
        data = read(path, SETS)
    assert sets_of(data)[1] == []


def test_values_that_may_be_sets_are_asked(write: Write):
    path = write("a.tsv", csv_of(["red|blue", "blue", "red"]))
    message = read_error(path, ASKED)
    assert message.startswith("a.tsv: the target 'topics' holds values such as 'red|blue', whose parts between '|' are")
    assert message.endswith("for sets of labels, choose `task` multilabel; where each is one class, `task` classify")
    assert sets_of(read(path, DataSettings(task="classify", input="text", target="topics"))) == [
        "red|blue",
        "blue",
        "red",
    ]


def test_classes_with_a_comma_that_do_not_repeat_are_classes(write: Write):
    path = write("a.tsv", csv_of(["Oslo, Norway", "Bern, Switzerland"] * 3))
    assert read(path, ASKED).task == "classify"


@pytest.mark.parametrize("lists", [[["red", "blue"], [], ["red", "red"]], [["red"], ["blue"], ["green", " blue "]]])
def test_lists_are_sets(write: Write, lists: list[list[str]]):
    import json

    rows = [json.dumps({"text": f"text {n}", "topics": labels}) for n, labels in enumerate(lists)]
    data = read(write("a.jsonl", "\n".join(rows)), ASKED)
    expected = [list(dict.fromkeys(label.strip() for label in labels)) for labels in lists]
    assert (data.task, sets_of(data)) == ("multilabel", expected)
    records = read_records([{"text": f"text {n}", "topics": set(labels)} for n, labels in enumerate(lists)])
    assert records is not None
    assert [set(labels) for labels in sets_of(read(records, ASKED))] == [set(labels) for labels in expected]


def test_lists_of_parquet_and_pandas_are_sets(tmp_path: Path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"text": ["a", "b"], "topics": [["red", "blue"], []]})
    frame.to_parquet(tmp_path / "a.parquet")
    records = read_records(frame)
    assert records is not None
    for source in (tmp_path / "a.parquet", records):
        assert sets_of(read(source, ASKED)) == [["red", "blue"], []]


@pytest.mark.parametrize("value", ['"red"', '["red", 1]', '["red", ""]', '{"red": true}'])
def test_a_cell_that_is_no_list_is_refused(write: Write, value: str):
    rows = ['{"text": "a", "topics": ["red"]}', f'{{"text": "b", "topics": {value}}}']
    chosen = DataSettings(task="multilabel", input="text", target="topics")
    message = read_error(write("a.jsonl", "\n".join(rows)), chosen)
    expected = (
        "a.jsonl: column 'topics': no cell has several" if value == '"red"' else "a.jsonl:2: column 'topics' holds"
    )
    assert message.startswith(expected)


def test_lists_as_long_as_the_words_are_asked(write: Write):
    rows = ['{"tokens": ["Anna", "sings"], "tags": ["PER", "O"]}', '{"tokens": ["Hi"], "tags": ["O"]}']
    path = write("a.jsonl", "\n".join(rows))
    message = read_error(path, DataSettings(input="tokens", target="tags"))
    assert message.startswith("a.jsonl: the lists of 'tokens' and 'tags' are equally long in every row; for a label of")
    steps = read(path, DataSettings(task="label", input="tokens", target="tags"))
    assert sets_of(steps) == [["PER", "O"], ["O"]]
    sets = read(path, DataSettings(task="multilabel", input="tokens", target="tags"))
    assert sets_of(sets) == [["PER", "O"], ["O"]]
    assert sets.settings.level == "word"


def test_columns_of_zeros_and_ones_are_a_set(write: Write):
    text = "text,toxic,rude,fine\na,1,0,0\nb,0,0,0\nc,1.0,1,0\n"
    data = read(write("a.csv", text), DataSettings(input="text", target="toxic,rude,fine"))
    assert (data.task, sets_of(data)) == ("multilabel", [["toxic"], [], ["toxic", "rude"]])
    frame = read_records([{"text": "a", "toxic": True, "rude": False}])
    assert frame is not None
    assert sets_of(read(frame, DataSettings(input="text", target="toxic,rude"))) == [["toxic"]]


@pytest.mark.parametrize(("cell", "problem"), [("2", "is '2'"), ("", "is empty"), ("yes", "is 'yes'")])
def test_columns_of_something_else_are_no_set(write: Write, cell: str, problem: str):
    text = f"text,toxic,rude\na,1,0\nb,{cell},0\n"
    message = read_error(write("a.csv", text), DataSettings(input="text", target="toxic,rude"))
    assert message.startswith(f"a.csv:3: column 'toxic' {problem}; where `target` names several columns, each is for a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_separator": ""}, "`label_separator` is empty; give the text between two labels, such as |"),
        (
            {"label_separator": "|", "task": "classify"},
            "`label_separator` separates the labels of a set, and task classify has no sets",
        ),
    ],
)
def test_a_separator_that_separates_nothing_is_refused(write: Write, settings: dict[str, str], message: str):
    assert read_error(write("a.csv", "text,topics\na,b\n"), DataSettings(**settings)) == message  # pyright: ignore[reportArgumentType]


@given(st.lists(st.text("abc d", min_size=1).map(str.strip).filter(bool), unique=True))
def test_joined_labels_are_split_again(labels: list[str]):
    for mark in ("|", "; ", ","):
        assert split_labels(mark.join(labels), mark) == labels
