"""Lines of a file and pieces of a text, with their places."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.reading import Write
from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.lines import FileRange, Lines, Place, error_at, is_filled, is_row, quote, text_pieces
from ohlol.utils.errors import InputError


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


text = st.text(st.sampled_from("aé \n\u0301\u1100\u1161e\r"), max_size=60)


@given(text, st.integers(1, 9))
@settings(deadline=None)
def test_a_text_in_pieces_equals_the_text(content: str, size: int) -> None:
    path = Path("text.txt")
    path.write_bytes(content.encode())
    found = sequences.read(path, DataSettings(format="text")).inputs if content else [""]
    pieces = "".join(text_pieces(FileRange(str(path), 0, path.stat().st_size, 1), size))
    assert pieces == found[0]


def test_one_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfab\r\ncd \xef\xbb\xbfe")
    found = "".join(text_pieces(FileRange("a.txt", 0, 100, 1), 4))
    assert found == "ab\ncd \ufeffe"


def test_lines_end_with_lf_or_crlf_only(write: Write) -> None:
    lines = Lines(write("a.txt", "a\r\nb\x0bc\rd\u2028e\n\nf"))
    assert [(line.text, line.place.line) for line in lines] == [("a", 1), ("b\x0bc\rd\u2028e", 2), ("", 3), ("f", 4)]
    assert not lines.ended


def test_looking_ahead_consumes_no_line(write: Write) -> None:
    lines = Lines(write("a.txt", "# comment\n\nrow\nnext\n"))
    first = lines.first(is_row)
    assert first is not None
    assert first.text == "row"
    assert [line.text for line in lines.until(is_filled)] == ["# comment"]
    assert [line.text for line in lines] == ["# comment", "", "row", "next"]


def test_a_span_is_a_part_of_a_file(write: Write) -> None:
    path = write("a.txt", "one\ntwo\nthree\n")
    lines = Lines(FileRange(str(path), 4, 8, 2))
    assert [(line.text, line.place.line) for line in lines] == [("two", 2)]
    assert [line.text for line in lines.head] == ["one", "two", "three"]


def test_messages_quote_and_shorten() -> None:
    assert quote("a\nb") == repr("a\nb")
    assert len(quote("x" * 100)) == 42
    assert str(error_at(Place("a.txt", 3), "wrong")) == "a.txt:3: wrong"


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    for path, message in (
        ("a\0b", "is not a file name"),
        (str(tmp_path), "is a directory"),
        ("x" * 300, "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            next(Lines(path))
