"""A report on packing on a terminal and as a page: its width, its pictures, its languages."""

import io
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from ohlol.display import texts
from ohlol.display.packing import packing_to_text, render_page
from ohlol.explain.packing import PackedShapes
from ohlol.explain.shapes import shapes
from ohlol.utils.translation import LANGUAGES

LARGEST = (16,) * 7


def packing(*lengths: int, kind: str = "lstm", **options: Any) -> PackedShapes:
    report = shapes(kind, lengths=lengths, **options)
    assert isinstance(report, PackedShapes)
    return report


def text_of(report: PackedShapes, lang: str = "en", *, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    packing_to_text(report, Console(file=stream, width=80), lang=lang)
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("lengths", [(1,), (5, 3, 2), (2, 5, 3), (4, 4), LARGEST])
@pytest.mark.parametrize("both", [False, True])
def test_a_report_fits_80_columns(lengths: tuple[int, ...], both: bool, lang: str) -> None:
    report = packing(*lengths, bidirectional=both, batch_first=both, num_layers=1 + both, hidden_size=5)
    text = text_of(report, lang)
    assert max(map(cell_len, text.splitlines())) <= 80
    for step in report.steps:  # no row of letters is wrapped
        assert f"data[{step.first}:{step.last}]" in text
    assert all(end.equality.claim in text for end in report.ends)


def test_the_pictures_of_three_sequences() -> None:
    text = text_of(packing(2, 5, 3))
    assert "  t=2 .  b3 c3\n" in text
    assert "data        │ b1 c1 a1 │ b2 c2 a2 │ b3 c3 │ b4 │ b5\n" in text
    assert "batch_sizes │ 3        │ 3        │ 2     │ 1  │ 1\n" in text
    assert "sorted_indices    [1, 2, 0]\n" in text
    assert "  a b1" not in text
    assert "  b b1  b2  b3  b4  b5\n" in text_of(packing(2, 5, 3, batch_first=True))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_sentences_follow_from_the_report(lang: str) -> None:
    def has(key: str, report: PackedShapes) -> bool:
        said = re.sub(r"\s", "", texts.text(f"packing_{key}", lang, steps=5))
        return said in re.sub(r"\s", "", text_of(report, lang))

    assert has("nothing", packing(4, 4))
    assert not has("nothing", packing(5, 4))
    assert has("unpacked", packing(5, 4))
    assert has("unpacked_forward", packing(5, 4))
    assert has("unpacked_backward", packing(5, 4, bidirectional=True))
    assert not has("unpacked_layers", packing(5, 4, bidirectional=True))
    assert has("unpacked_layers", packing(5, 4, bidirectional=True, num_layers=2))
    assert has("no_error_same", packing(3, 2, 1))
    assert not has("no_error_same", packing(2, 5, 3))
    assert has("sorted", packing(5, 4))
    assert not has("sorted", packing(4, 5))


def test_an_ascii_terminal() -> None:
    assert max(map(len, text_of(packing(2, 5, 3, hidden_size=4), encoding="ascii").splitlines())) <= 80


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_loads_nothing(lang: str) -> None:
    report = packing(2, 5, 3, bidirectional=True)
    page = render_page(report, lang=lang)
    assert f'<html lang="{lang}">' in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=|https?:", page)
    assert "batch_sizes │ 3        │ 3" in page
    assert page.count("<tr>") == len(report.steps) + len(report.ends) + len(report.finals) + len(report.tensors) + 7
    assert page == render_page(report, lang=lang)
