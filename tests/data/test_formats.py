"""The format of a file: inferred or chosen, and the settings that follow from it."""

import pytest

from data.reading import CONLLU, Write
from ohlol.config import DataSettings
from ohlol.data.formats import infer_format, open_file, open_lines, reader_of, resolve
from ohlol.data.lines import Lines
from ohlol.data.sequences import read
from ohlol.utils.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "task", "format"),
    [
        ("a.tsv", "ab\tcd\n", "label", "pairs"),
        ("a.tsv", "1\t22\n3\t44\n8\t9\n", "forecast", "columns"),
        ("a.txt", "ab\tcd\n", "label", "pairs"),
        ("a.txt", "ab\tcde\n", "next", "text"),
        ("a", CONLLU, "label", "conll"),
        ("a.conll", "a\tb\n", "label", "conll"),
        ("a.jsonl", '{"input": "ab", "target": "cd"}', "label", "pairs"),
        ("a.jsonl", '{"input": 1, "target": 2}\n' * 3, "forecast", "columns"),
        ("a.csv", "1,2\n4,1\n2,3\n", "forecast", "columns"),
        ("a.md", "# Title\n", "next", "text"),
    ],
)
def test_the_format_is_inferred_from_the_file(write: Write, name: str, content: str, task: str, format: str) -> None:
    corpus = read(write(name, content))
    assert (corpus.task, corpus.settings.format) == (task, format)
    again = read(write(name, content), corpus.settings)
    assert str(again) == str(corpus)


def test_a_chosen_format_is_not_inferred(write: Write) -> None:
    path = write("a.tsv", "ab\tcd\n")
    chosen = DataSettings(format="text")
    reader, settings, reason = infer_format(open_lines(path, chosen), chosen)
    assert (reader.name, settings, reason) == ("text", chosen, "chosen")
    assert reader_of(settings) is reader
    _, inferred, reason = infer_format(Lines(path), DataSettings())
    assert (inferred, reason) == (DataSettings("label", "pairs"), "its first row has two columns of equal length")


def test_a_file_is_opened_with_the_settings_that_were_completed(write: Write) -> None:
    path = write("a.tsv", "ab\tcd\n")
    settings = resolve(path, DataSettings())
    assert settings == DataSettings("label", "pairs", "char")
    contents, reason = open_file(Lines(path), settings, with_targets=True)
    assert (contents.settings, reason) == (settings, "chosen")
    assert [(example.input, example.target) for example in contents.examples or ()] == [("ab", "cd")]


def test_only_texts_are_reversed(write: Write) -> None:
    settings = DataSettings("label", "pairs", "char", reversed=True)
    with pytest.raises(InputError, match="`reversed` is for texts whose symbols are predicted, and the task is label"):
        open_file(Lines(write("a.tsv", "ab\tcd\n")), settings, with_targets=True)
