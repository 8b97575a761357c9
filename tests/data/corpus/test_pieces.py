"""Files in pieces: the pieces cover the file, and each can be read alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import conll_file, sine_file, text_file
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.corpus.pieces import make_plan, part_lengths, split_examples, split_rows
from ohlol.data.iteration import iterate_examples
from ohlol.data.lines import FileRange
from ohlol.utils.errors import InputError


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


cells = st.text(st.sampled_from('a,"\n\r; '), max_size=30)


@given(cells, st.integers(1, 9), st.booleans())
@example(",\n;,", 1, False)  # a row of empty cells that is not the last
@example(",\n,\n;,\na,b\n,\n,\n", 1, True)
@settings(deadline=None)
def test_a_table_in_pieces_equals_the_table(content: str, size: int, small: bool) -> None:
    """With valid or invalid quotes: the same rows at the same lines, or the same error."""
    path = Path("table.csv")
    path.write_bytes(b"no,name\n" + content.encode())
    how = DataSettings(task="classify", format="columns", level="char", header=True, input="name", target="no")

    def read(spans: Callable[[], list[Any]]) -> list[Any]:
        found: list[Any] = []
        try:
            for span in spans():
                found += iterate_examples(span, how)
        except InputError as error:
            found.append(str(error))
        return found

    def pieces() -> list[FileRange]:
        with pytest.MonkeyPatch.context() as patched:
            if small:
                patched.setattr("ohlol.data.readers.tables.BLOCK", 5)
            spans = [piece.span for piece in make_plan([str(path)], how, 0.0, 0, True, size).pieces]
        assert [span.start for span in spans] == [0, *(span.end for span in spans[:-1])]
        assert spans[-1].end == path.stat().st_size
        return spans

    assert read(pieces) == read(lambda: [path])


def test_a_text_is_cut_where_its_validation_part_begins(tmp_path: Path) -> None:
    path = text_file(tmp_path / "data.txt", 400)
    plan = make_plan([str(path)], DataSettings(), 0.25, 0, True, 64)
    assert [piece.part for piece in plan.pieces] == sorted((piece.part for piece in plan.pieces), reverse=True)
    dev = sum(piece.span.end - piece.span.start for piece in plan.pieces if piece.part == "dev")
    assert dev == pytest.approx(100, abs=23)
    for piece in plan.pieces[1:]:
        assert path.read_bytes()[piece.span.start - 1 : piece.span.start] in (b"\n", b" ")


def test_the_lines_of_pieces_are_numbered_as_in_the_file(tmp_path: Path) -> None:
    path = conll_file(tmp_path / "data.conll")
    plan = make_plan([str(path)], DataSettings(), 0.0, 0, True, 100)
    places = [place for piece in plan.pieces for _, corpus in split_examples(plan, piece) for place in corpus.places]
    assert len(plan.pieces) > 3
    assert places == sequences.read(path).places


def test_the_end_of_a_series_is_validation_data(tmp_path: Path) -> None:
    path = sine_file(tmp_path / "data.csv", 100)
    plan = make_plan([str(path)], DataSettings(task="next_row"), 0.2, 0, True, 50)
    (piece,) = plan.pieces
    lengths = part_lengths(plan, piece)
    assert lengths == {"train": 80, "dev": 21}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ohlol.data.readers.series.ROWS", 7)
        rows = list(split_rows(plan, piece, lengths))
    whole = sequences.read(path).inputs[0]
    parts = {name: np.concatenate([part.inputs for n, _, part in rows if n == name]).tolist() for name in lengths}
    assert parts == {"train": whole[:80].tolist(), "dev": whole[79:].tolist()}  # the row before predicts the first
