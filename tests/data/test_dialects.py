"""Random tables in every dialect come back equal: delimiters, quotes, line ends, encodings, compression, numbers."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading import slow_disk
from ohlol.config import DataSettings
from ohlol.data.sequences import read

ENDINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
}  # fmt: skip
ENCODINGS = {"utf-8": None, "utf-8-sig": None, "utf-16": None, "utf-16-le": "utf-16-le", "gb18030": "gb18030"}
"""Encodings of files, and the setting that reads each."""
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff")).filter(
    str.strip
)
LINES = st.text(st.sampled_from('ab ,;|"\n\u6f22'), min_size=1).filter(str.strip)
"""Texts with delimiters, quotes and line ends."""
ROWS = st.lists(st.tuples(TEXT | LINES, st.sampled_from(["pos", "neg", "so, so"])), min_size=1, max_size=8)


def write_csv(rows: list[tuple[str, str]], delimiter: str, quoting: int, end: str, header: bool) -> str:
    """Rows as CSV, in which a cell may have several lines."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)  # pyright: ignore[reportArgumentType]
    writer.writerows(([("text", "label")] if header else []) + rows)
    return text.getvalue()


@slow_disk
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t"),
    quotes_all=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(list(ENCODINGS)),
    ending=st.sampled_from(list(ENDINGS)),
    has_header=st.booleans(),
    has_last_end=st.booleans(),
)
def test_texts_and_classes_come_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    delimiter: str,
    quotes_all: bool,
    end: str,
    encoding: str,
    ending: str,
    has_header: bool,
    has_last_end: bool,
) -> None:
    if delimiter == "\t":  # a quote that merges rows of a TSV is refused
        rows = [(text.replace("\n", " "), label) for text, label in rows]
    quoting = csv.QUOTE_ALL if quotes_all or not has_header else csv.QUOTE_MINIMAL
    content = write_csv(rows, delimiter, quoting, end, has_header)
    content = content if has_last_end else content.removesuffix(end)
    path = tmp_path_factory.mktemp("dialects") / f"a.csv{ending}"
    path.write_bytes(ENDINGS[ending](content.encode(encoding)))
    columns = {"input": "text", "target": "label"} if has_header else {"input": "1", "target": "2"}
    settings = DataSettings(task="classify", encoding=ENCODINGS[encoding], header=has_header, **columns)
    data = read(path, settings)
    assert data.inputs == [normalize("NFC", text) for text, _ in rows]
    assert data.targets == [label for _, label in rows]


def format_number(value: float, decimal: str, thousands: str) -> str:
    """A number with these marks."""
    return f"{value:,.3f}".replace(",", "T").replace(".", decimal).replace("T", thousands)


@slow_disk
@given(
    numbers=st.lists(st.integers(-(10**10), 10**10).map(lambda n: n / 1000), min_size=1, max_size=8),
    marks=st.sampled_from([(".", ""), (",", ""), (".", ","), (",", "."), (",", " "), (".", "'"), (".", "_")]),
    delimiter=st.sampled_from(",;\t"),
    ending=st.sampled_from(list(ENDINGS)),
)
def test_numbers_come_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[float],
    marks: tuple[str, str],
    delimiter: str,
    ending: str,
) -> None:
    decimal, thousands = marks
    rows = [(f"text {i}", format_number(value, *marks)) for i, value in enumerate(numbers)]
    content = write_csv(rows, delimiter, csv.QUOTE_MINIMAL, "\n", True)
    path = tmp_path_factory.mktemp("numbers") / f"a.csv{ending}"
    path.write_bytes(ENDINGS[ending](content.encode()))
    settings = DataSettings(task="regress", input="text", target="label", decimal=decimal, thousands=thousands or None)
    assert read(path, settings).targets == numbers


@slow_disk
@given(rows=ROWS, ascii_only=st.booleans(), indent=st.sampled_from(["", " "]), ending=st.sampled_from(list(ENDINGS)))
def test_json_lines_come_back_equal(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], ascii_only: bool, indent: str, ending: str
) -> None:
    objects = [{"text": text, "label": label} for text, label in rows]
    lines = [indent + json.dumps(entry, ensure_ascii=ascii_only) for entry in objects]
    path: Path = tmp_path_factory.mktemp("json") / f"a.jsonl{ending}"
    path.write_bytes(ENDINGS[ending]("\n".join(lines).encode()))
    data = read(path, DataSettings(task="classify", input="text", target="label"))
    assert data.inputs == [normalize("NFC", text) for text, _ in rows]
    assert data.targets == [label for _, label in rows]


def test_semicolons_in_texts_are_no_delimiters(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a;b;c,pos\nd,neg\n", encoding="utf-8")
    data = read(path, DataSettings(task="classify", input="1", target="2", header=False))
    assert (data.inputs, data.targets) == (["a;b;c", "d"], ["pos", "neg"])
