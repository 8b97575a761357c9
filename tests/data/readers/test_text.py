"""Text: a file is one sequence."""

import pytest

from data.reading import DATA, Write, needs_data, read_error
from ohlol.config import DataSettings
from ohlol.data.sequences import read


def test_a_file_is_a_sequence(write: Write):
    corpus = read([write("a.txt", "\ufeffe\u0301 b\r\nc"), write("b.txt", "d\n")])
    assert corpus.inputs == ["é b\nc", "d\n"]
    assert corpus.targets is None
    assert corpus.settings == DataSettings("next", "text", "char")


def test_line_ends_are_words(write: Write):
    corpus = read(write("a.txt", "to be\n\nor  not\n"), DataSettings(level="word"))
    assert corpus.inputs == [["to", "be", "\n", "\n", "or", "not", "\n"]]


@needs_data
def test_tiny_shakespeare_is_read_as_one_sequence():
    corpus = read(DATA / "tinyshakespeare" / "input.txt")
    assert len(corpus.inputs[0]) == 1_115_394
    assert len(set(corpus.inputs[0])) == 65


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("3\n1\n4\n1\n5\n", "its lines are numbers; for a series of numbers choose `task` forecast"),
        ("date y\n" + "2020-01-01  5\n" * 4, "its lines have 2 columns separated by spaces, with numbers; for a table"),
        ("0 1:3 2:4\n" * 4, "its lines have 3 columns separated by spaces, with numbers; for a table"),
        (
            "Anna/NNP sings/VBZ ./.\n" * 4,
            "its words have tags, such as 'Anna/NNP'; to label words, write a word and its",
        ),
        (
            "Anna_NNP runs_VBZ\n" * 4,
            "its words have tags, such as 'Anna_NNP'; to label words, write a word and its tag",
        ),
        (
            "@relation x\n@attribute a numeric\n@data\n1\n",
            "it begins as ARFF or TSF, which is not read; write it as CSV",
        ),
    ],
)
def test_lines_that_are_no_text_are_a_question(write: Write, content: str, problem: str):
    path = write("a.txt", content)
    message = read_error(path)
    assert message.startswith(f"a.txt: {problem}")
    assert message.endswith("; to read the file as a text, choose `task` next")
    assert read(path, DataSettings(task="next")).inputs == [content]


@pytest.mark.parametrize(
    "text",
    [
        "one two\n" * 9,
        "1 and 2\n3 and 4\nor five\nor six\n",
        "and/or\neither/or\n" * 3,
        "/usr/BIN\n/usr/LIB\n" * 9,
        "1 In the\n2 And the\n" * 4,
        "1\n2\n",
    ],
)
def test_other_texts_are_texts(write: Write, text: str):
    assert read(write("a.txt", text)).settings.format == "text"


@pytest.mark.parametrize("chosen", [{"input": "text", "target": "label"}, {"target": "label"}, {"series": "x"}])
def test_columns_that_are_chosen_are_not_left_out(write: Write, chosen: dict[str, str]):
    message = read_error(write("a.txt", "Anna went home\nBob too\n" * 5), DataSettings(**chosen))  # pyright: ignore[reportArgumentType]
    assert message.startswith(
        f"a.txt: `{next(iter(chosen))}` chooses columns, and its lines have none that are named so"
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.txt"])
def test_json_objects_are_a_question_where_the_task_is_next(write: Write, name: str):
    content = '{"text": "one two"}\n{"text": "three"}\n'
    message = read_error(write(name, content), DataSettings(task="next"))
    assert message.startswith(f"{name}: its lines are JSON objects")
    assert message.endswith("to read this one as it stands, choose `format` text")
    assert read(write(name, content), DataSettings(task="next", format="text")).inputs == [content]


@pytest.mark.parametrize("chosen", ["input", "target", "series"])
def test_a_text_has_no_columns_to_choose(write: Write, chosen: str):
    path = write("a.txt", "one two\n" * 9)
    settings = DataSettings(format="text", **{chosen: "x"})  # pyright: ignore[reportArgumentType]
    if chosen == "series":
        assert read_error(path, settings) == "`series` is for series of numbers, and the task is next"
    else:
        message = f"a.txt: `{chosen}` chooses columns, and a file of the format text has none: leave it out"
        assert read_error(path, settings) == message
