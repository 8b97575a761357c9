"""The profile of a file as text."""

import io
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

from rich.console import Console

from ohlol.config import DataSettings
from ohlol.data.profile import profile
from ohlol.display.profile_text import print_profile


def width(line: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in line)


def test_a_table_fits_into_80_columns_and_is_aligned(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = ["这个产品很好很好很好很好很好很好很好很好很好很好很好很好很好很好,正面", "short [b],负面"]
    path.write_text("文本,标签\n" + "".join(f"{row}\n" for row in rows * 12), encoding="utf-8")
    output = io.StringIO()
    found = profile(str(path), DataSettings(task="classify", input="文本", target="标签"))
    print_profile(found, Console(file=output, width=80, markup=False))
    head, *lines = output.getvalue().splitlines()
    assert "input '文本', target '标签'" in head
    assert all(width(line) <= 80 for line in lines)
    assert "rows: 24" in lines
    assert "sequences: 24, length 9 to 32, median 20.5" in lines
    assert "labels: 2: '正面' 12, '负面' 12" in lines
    starts = [width(line[: line.index(label)]) for line in lines[-6:] for label in ("正面", "负面") if label in line]
    assert len(starts) == 3
    assert len(set(starts)) == 1
    assert any("short [b]" in line for line in lines)


def test_a_column_of_numbers_with_words_is_named_in_the_language(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("OHLOL_LANG", "zh")
    path = tmp_path / "a.csv"
    path.write_text("y\n" + "1\n2.5\nNA\n" * 12)
    output = io.StringIO()
    print_profile(profile(str(path), DataSettings(task="forecast")), Console(file=output, width=80, markup=False))
    assert "数值、多数" in output.getvalue()
