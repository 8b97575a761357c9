"""Texts as characters and as words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.config import DataSettings
from ohlol.data.symbols import split_line, split_lines, split_text
from ohlol.utils.errors import InputError


@pytest.mark.parametrize(("level", "symbols"), [("char", "to  be\n"), (None, "to  be\n"), ("word", ["to", "be"])])
def test_symbols_of_a_line(level: str | None, symbols: Any) -> None:
    assert split_line("to  be\n", level) == symbols


@given(st.text(st.sampled_from("ab \n\t")))
def test_line_ends_are_words_of_a_text(text: str) -> None:
    words = split_lines(text, "word")
    assert words.count("\n") == text.count("\n")
    assert [word for word in words if word != "\n"] == text.split()
    assert split_lines(text, "char") == text


def test_a_text_on_the_command_line() -> None:
    assert split_text("e\u0301a", DataSettings(level="char")) == "éa"
    assert split_text("to be\n", DataSettings(level="word")) == ["to", "be"]
    assert split_text("to\nbe", DataSettings(task="next", level="word")) == ["to", "\n", "be"]
    assert split_text("ab", DataSettings(task="next", level="char", reversed=True)) == "ba"
    with pytest.raises(InputError, match="character 2 of the text is not UTF-8"):
        split_text("a\udcff", DataSettings())
    with pytest.raises(InputError, match="the text is empty"):
        split_text("", DataSettings())
