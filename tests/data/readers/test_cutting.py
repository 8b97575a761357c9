"""Pieces begin where lines, sentences or words do."""

from pathlib import Path
from typing import Any

import pytest

from ohlol.data.readers import cutting


@pytest.mark.parametrize(
    ("boundary", "content", "starts"),
    [
        (cutting.line_boundary, b"aaa\nbbb\nccc\n", [0, 4, 8]),
        (cutting.sentence_boundary, b"a\nb\n\nc\nd\n\ne\n", [0, 5, 10]),
        (cutting.text_boundary, b"aaaa bbbb cccc", [0, 5, 10]),
    ],
)
def test_pieces_begin_at_boundaries(tmp_path: Path, boundary: Any, content: bytes, starts: list[int]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    spans = list(cutting.cut_file(str(path), boundary, 2))
    assert [span.start for span in spans] == starts
    assert b"".join(content[span.start : span.end] for span in spans) == content
    assert [span.line for span in spans] == [1 + content[: span.start].count(b"\n") for span in spans]


def test_a_piece_ends_at_a_chosen_offset_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("aa\nbb\ncc\n")
    spans = list(cutting.cut_file(str(tmp_path / "a.txt"), cutting.line_boundary, 100, also_at=6))
    assert [(span.start, span.end, span.line) for span in spans] == [(0, 6, 1), (6, 9, 3)]
