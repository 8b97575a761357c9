"""Plain text with a sequence in each line."""

import pytest

from data.reading import Write
from ohlol.data.lines import Lines, Place
from ohlol.data.readers import plain_lines
from ohlol.utils.errors import InputError


def test_a_sequence_for_each_line_that_is_not_blank(write: Write) -> None:
    path = write("a.txt", "e\u0301 b\n\n c\n")
    assert [(e.input, e.place.line) for e in plain_lines.read_plain_lines(Lines(path), "char")] == [
        ("é b", 1),
        (" c", 3),
    ]
    assert [e.input for e in plain_lines.read_plain_lines(Lines(path), "word")] == [["é", "b"], ["c"]]


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(InputError, match="a:3: the sequence is empty"):
        plain_lines.require_symbols(Place("a", 3), "")
