"""Text: a file is one sequence."""

from data.reading import DATA, Write, needs_data
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
