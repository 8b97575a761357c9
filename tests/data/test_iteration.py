"""The sequences of a file one at a time, as soon as their lines arrive."""

import sys
from collections.abc import Iterator

import pytest

from data.reading import Write
from ohlol.config import DataSettings
from ohlol.data.iteration import iterate_examples, iterate_inputs, iterate_series
from ohlol.data.lines import FileRange
from ohlol.data.sequences import read
from ohlol.utils.errors import InputError


def test_text_is_one_sequence(write: Write) -> None:
    assert next(iterate_inputs(write("a.txt", "a\nb\n"), DataSettings("next", "text", "char")))[0] == "a\nb\n"


def test_standard_input_is_read_a_line_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    read_so_far = []

    def typed() -> Iterator[bytes]:
        for raw in (b"\xef\xbb\xbfab\n", b"cd\r\n", b"\xff\n"):
            read_so_far.append(raw)
            yield raw

    class Typed:
        lines = typed()

        def readline(self, limit: int) -> bytes:
            return next(self.lines, b"")

    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Typed()}))
    given = iterate_inputs("-", DataSettings("label", "pairs", "char"))
    assert next(given) == ("ab", ("stdin", 1))
    assert len(read_so_far) == 1
    assert next(given) == ("cd", ("stdin", 2))
    with pytest.raises(InputError, match="stdin:3: byte 0xff at column 1 is not UTF-8"):
        next(given)


def test_a_part_of_a_file_has_its_examples(write: Write) -> None:
    path = write("a.tsv", "ab\tcd\nef\tgh\nij\tkl\n")
    part = iterate_examples(FileRange(path, 6, 12, 2), DataSettings("label", "pairs", "char"))
    assert [(example.input, example.target, example.place.line) for example in part] == [("ef", "gh", 2)]


def test_the_parts_of_a_series_are_its_rows(write: Write) -> None:
    path = write("a.csv", "y,z\n" + "".join(f"{n * n % 5},{n * n % 7}\n" for n in range(9)))
    data = read(path, DataSettings(task="next_row"))
    parts = list(iterate_series(path, data.settings))
    assert [row for part in parts for row in part.inputs.tolist()] == data.inputs[0].tolist()  # type: ignore[union-attr]
