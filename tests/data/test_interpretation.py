"""The line that says how a file is read, and why."""

# ruff: noqa: E501 - messages and rows of parameters
import pytest

import ohlol
from data.reading import CONLLU, Write
from ohlol.utils.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "settings", "line"),
    [
        ("a.txt", "to be\n", {}, "text (it has the form of no other format), task next, by character"),
        ("a.txt", "to be\n", {"format": "text", "level": "word"}, "text (chosen), task next, by word"),
        ("a.tsv", "ab\txy\n", {}, "pairs (its first row has two columns of equal length), task label, by character"),
        (
            "a.conllu",
            CONLLU,
            {},
            "conll (its name ends in .conllu), task label, input 'FORM', target 'UPOS', by word",
        ),
        (
            "a.csv",
            "id,name,lang\n7,Abl,cs\n3,Xi,zh\n",
            {"input": "name", "target": "lang"},
            "columns (its name ends in .csv), task classify, input 'name', target 'lang', by character; not read: 'id'",
        ),
        (
            "a.csv",
            "date,low,high\n2020-01-01,1,5\n2020-01-02,4,7\n2020-01-03,2,9\n",
            {"task": "forecast"},
            "columns (its name ends in .csv), task forecast, target 'low', 'high', time 'date', daily, 3 rows, season of 7",
        ),
        (
            "a.csv",
            "3,5\n1,2\n8,3\n",
            {"target": "2"},
            "columns (its name ends in .csv), task forecast, target '2', rows are counted, 3 rows, no season; not read: "
            "'1'",
        ),
    ],
)
def test_a_file_is_described_in_one_line(
    write: Write, name: str, content: str, settings: dict[str, str], line: str
) -> None:
    path = write(name, content)
    assert str(ohlol.interpret(path, **settings)) == f"{path}: {line}"


def test_a_file_that_is_a_question_is_not_described(write: Write) -> None:
    with pytest.raises(InputError, match="choose two by name"):
        ohlol.interpret(write("a.csv", "a,b\nx,1\ny,2\n"))
