"""Texts as characters and as words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.symbols import split_line, split_lines


@pytest.mark.parametrize(("level", "symbols"), [("char", "to  be\n"), (None, "to  be\n"), ("word", ["to", "be"])])
def test_symbols_of_a_line(level: str | None, symbols: Any) -> None:
    assert split_line("to  be\n", level) == symbols


@given(st.text(st.sampled_from("ab \n\t")))
def test_line_ends_are_words_of_a_text(text: str) -> None:
    words = split_lines(text, "word")
    assert words.count("\n") == text.count("\n")
    assert [word for word in words if word != "\n"] == text.split()
    assert split_lines(text, "char") == text
