"""Compressed files and encodings: the same data, or one line that says what is wrong."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading import Write, read_error, slow_disk
from ohlol.config import DataSettings
from ohlol.data import sequences
from ohlol.data.corpus.encode import encode
from ohlol.data.opening import (
    FREE_BYTES,
    array_lines,
    check_encoding,
    describe_encoding,
    guess_encodings,
    is_converted,
    open_utf8,
    without_compression,
)
from ohlol.utils.errors import InputError


def zstd(data: bytes) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    return arrow.compress(data, codec="zstd", asbytes=True)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}
endings = pytest.mark.parametrize("ending", COMPRESS)
ROWS = "text,label\n" + "".join(f"这是第{n}个产品很好,{'pos' if n % 2 else 'neg'}\n" for n in range(30))
CLASSIFY = DataSettings(task="classify", input="text", target="label")


@given(st.binary(max_size=300), st.sampled_from(list(COMPRESS)), st.integers(0, 300))
@slow_disk
def test_a_compressed_file_holds_the_same_bytes(tmp_path: Path, content: bytes, ending: str, offset: int) -> None:
    content = b"x" + content  # without the mark of another encoding
    path = tmp_path / ("a.txt" + ending)
    path.write_bytes(COMPRESS[ending](content[:offset]) + COMPRESS[ending](content[offset:]))
    with open_utf8(path) as handle:
        assert is_converted(handle)
        assert handle.read() == content
        assert handle.seek(offset) == min(offset, len(content))
        assert handle.read() == content[offset:]
        assert handle.seek(0, io.SEEK_END) == len(content)


def is_utf8(raw: bytes) -> bool:
    try:
        return bool(raw.decode())
    except UnicodeDecodeError:
        return False


@given(
    st.text(st.characters(codec="utf-16-le", exclude_characters="\0\r\ufeff"), max_size=80),
    st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "utf-8"]),
    st.sampled_from(["", ".gz"]),
)
@slow_disk
def test_a_text_is_read_in_its_encoding(tmp_path: Path, text: str, encoding: str, ending: str) -> None:
    path = tmp_path / ("a.txt" + ending)
    raw = text.encode(encoding)
    path.write_bytes(gzip.compress(raw) if ending else raw)
    with open_utf8(path, encoding) as handle:
        if encoding == "gb18030" and is_utf8(raw):  # by chance
            return
        assert handle.read().decode().removeprefix("\ufeff") == text


@endings
def test_a_table_is_the_same_compressed(write: Write, ending: str) -> None:
    plain = sequences.read(write("a.csv", ROWS), CLASSIFY)
    packed = sequences.read(write("a.csv" + ending, COMPRESS[ending](ROWS.encode())), CLASSIFY)
    assert (packed.inputs, packed.targets, packed.settings) == (plain.inputs, plain.targets, plain.settings)
    assert packed.interpretation is not None
    assert "its name ends in .csv" in str(packed.interpretation)


@endings
@pytest.mark.parametrize("task", ["next", "classify"])
def test_a_corpus_is_the_same_compressed(write: Write, tmp_path: Path, ending: str, task: str) -> None:
    settings = CLASSIFY if task == "classify" else DataSettings(task="next")
    corpora = [
        encode([str(file)], tmp_path / name, settings, dev_fraction=0.2 if task == "next" else 0.0, jobs=1)
        for name, file in (
            ("plain", write("a.csv", ROWS)),
            ("packed", write("a.csv" + ending, COMPRESS[ending](ROWS.encode()))),
        )
    ]
    assert corpora[0].codec == corpora[1].codec
    assert corpora[0].parts.keys() == corpora[1].parts.keys()
    for name, data in corpora[0].parts.items():
        np.testing.assert_array_equal(data.inputs.values, corpora[1].parts[name].inputs.values)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16-le"])
def test_a_corpus_is_the_same_in_another_encoding(write: Write, tmp_path: Path, encoding: str) -> None:
    plain = encode([str(write("a.txt", ROWS))], tmp_path / "plain", DataSettings(task="next"), jobs=1)
    settings = DataSettings(task="next", encoding=encoding)
    other = encode([str(write("b.txt", ROWS.encode(encoding)))], tmp_path / "other", settings, jobs=1)
    assert plain.data_sha256 == other.data_sha256


@endings
def test_a_damaged_file_is_refused_in_one_line(write: Write, ending: str) -> None:
    header, _, rows = ROWS.partition("\n")
    packed = COMPRESS[ending](f"{header}\n{rows * 20}".encode())
    for name, content in (
        ("cut.csv", packed[: len(packed) // 2]),
        ("other.csv", b"text,label\n"),
        ("flipped.csv", packed[:-20] + bytes(255 - byte for byte in packed[-20:-10]) + packed[-10:]),
        ("rest.csv", packed + b"rest"),
    ):
        message = read_error(write(name + ending, content), CLASSIFY)
        assert message.startswith(f"{name}{ending}: is damaged")
    assert "empty" in read_error(write("empty.csv" + ending, COMPRESS[ending](b"")), CLASSIFY)


@pytest.mark.slow
@endings
def test_a_decompression_bomb_is_refused_in_little_memory(write: Write, ending: str) -> None:
    packed = COMPRESS[ending](b"a,b\n" * (FREE_BYTES // 2))
    path = write("bomb.csv" + ending, packed)
    assert len(packed) < FREE_BYTES // 200
    tracemalloc.start()
    try:
        with open_utf8(path) as handle, pytest.raises(InputError, match="decompresses to more than 16777216 bytes"):
            handle.seek(0, io.SEEK_END)
        assert tracemalloc.get_traced_memory()[1] < FREE_BYTES  # the window of xz takes 8 MiB
    finally:
        tracemalloc.stop()


def test_xz_that_wants_much_memory_is_refused(write: Write) -> None:
    filters: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "preset": 0}]
    packed = lzma.compress(b"a\tb\n", lzma.FORMAT_ALONE, filters=[{**filters[0], "id": lzma.FILTER_LZMA1}])
    assert "Memory usage limit" in read_error(write("a.tsv.xz", packed))


def test_zstd_without_pyarrow(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.tsv.zst", zstd(b"a\tb\n"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert read_error(path) == "a.tsv.zst: zstd needs pyarrow; pip install 'ohlol[arrow]'"


@pytest.mark.parametrize("name", ["a.parquet.gz", "a.arrow.zst"])
def test_formats_that_compress_themselves(write: Write, name: str) -> None:
    assert "Parquet and Arrow files are read in parts" in read_error(write(name, b"PAR1"))


def test_standard_input_is_not_decompressed(tmp_path: Path) -> None:
    script = "from ohlol.data.lines import Lines; print([line.text for line in Lines('-')])"
    for content, expected in (("é\n".encode(), "['é']"), ("é\n".encode("utf-16"), "['é']")):
        found = subprocess.run(
            [sys.executable, "-X", "utf8", "-c", script], input=content, capture_output=True, check=True
        )
        assert found.stdout.decode().strip() == expected


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["", ".xz"])
def test_a_byte_order_mark_is_recognized(write: Write, encoding: str, ending: str) -> None:
    raw = ROWS.encode(encoding)
    data = sequences.read(write("a.csv" + ending, lzma.compress(raw) if ending else raw), CLASSIFY)
    assert data.inputs[0] == "这是第0个产品很好"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("这个产品很好，我很喜欢。\n", "gb18030"),
        ("這個產品很好，我們很喜歡。\n", "big5"),
        ("この製品はとても良いです。\n", "shift_jis"),
        ("이 제품은 아주 좋습니다.\n", "euc_kr"),
        ("Größe und Straße, schön\n", "cp1252"),
        ("Привет, как дела?\n", "cp1251"),
    ],
)
def test_an_encoding_is_guessed(write: Write, text: str, encoding: str) -> None:
    raw = text.encode(encoding)
    assert guess_encodings(raw)[0] == encoding
    message = read_error(write("a.txt", b"ascii\n" + raw))
    assert message.startswith("a.txt:2: byte 0x")
    assert f"is not UTF-8; it reads as {encoding}: {text.strip()!r}" in message
    assert f"; give `encoding={encoding}`" in message
    data = sequences.read(write("a.txt", b"ascii\n" + raw), DataSettings(encoding=encoding))
    assert data.inputs == ["ascii\n" + text]


def test_bytes_of_no_encoding_are_not_guessed() -> None:
    assert "iconv" in describe_encoding(b"\xff\xff\x00\x01\xfe")


def test_lines_of_two_encodings(write: Write) -> None:
    message = read_error(write("a.txt", "gut\nschön\nnur\n".encode() + "schön\n".encode("latin-1")))
    assert message == (
        "a.txt:4: byte 0xf6 at column 4 is not UTF-8; line 2 is UTF-8, and this is not; "
        "write the whole file in one encoding"
    )


def test_zero_bytes(write: Write) -> None:
    assert read_error(write("a.txt", b"one\ntw\0o\n")) == "a.txt:2: a zero byte; this is not a text file"
    for encoding in ("utf-16-le", "utf-16-be"):
        path = write("b.txt", "one two\nthree\n".encode(encoding))
        assert read_error(path) == f"b.txt:1: a zero byte; the file may be UTF-16; give `encoding={encoding}`"
        assert sequences.read(path, DataSettings(encoding=encoding)).inputs == ["one two\nthree\n"]


def test_another_encoding_than_that_of_the_file(write: Write) -> None:
    path = write("a.csv", ROWS)
    assert read_error(path, DataSettings(encoding="gb18030")).startswith("a.csv: is UTF-8, and would be read as")
    assert sequences.read(path, DataSettings(task="next", encoding="UTF8")).inputs == [ROWS]
    path = write("b.txt", "一\n二\n".encode("gb18030") + b"\x81\n")
    assert read_error(path, DataSettings(encoding="gb18030")) == (
        "b.txt:3: is not gb18030: byte 0x81 has no meaning there; choose another `encoding`"
    )


@pytest.mark.parametrize("name", ["klingon", "base64", "a\0b", ""])
def test_an_encoding_that_does_not_exist(name: str) -> None:
    with pytest.raises(InputError, match=r"`encoding` is .*; give one that Python knows"):
        check_encoding(name)


def test_the_name_without_its_compression() -> None:
    assert [without_compression(name).name for name in ("a.csv.gz", "a.tar.XZ", "a.csv", ".gz")] == [
        "a.csv",
        "a.tar",
        "a.csv",
        ".gz",
    ]


VALUES = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=5), st.sampled_from([None, 0, 2]))
def test_an_array_is_read_as_lines(objects: list[dict[str, Any]], indent: int | None) -> None:
    raw = ("\ufeff \r\n" + json.dumps(objects, indent=indent, ensure_ascii=False) + "\r\n").encode("utf-8", "replace")
    expected = json.loads(raw.decode("utf-8-sig"))
    rows = array_lines(raw, "a.json").split(b"\n")
    assert [json.loads(row) for row in rows if row] == expected
    if indent is not None:  # each on the line on which it begins
        begins = [n for n, row in enumerate(raw.split(b"\n")) if row.strip(b" ,\r") in (b"{", b"{}")]
        assert [n for n, row in enumerate(rows) if row] == begins


def test_arrays_of_one_line_each_stay_as_they_are() -> None:
    for raw in (b'["a"]\n["b"]\n', b"[\xff]"):
        assert array_lines(raw, "a.json") == raw


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_of_one_array_trains_as_its_objects_do(write: Write, ending: str) -> None:
    objects = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(12)]
    array = json.dumps(objects, indent=1).encode()
    path = write("a.json" + ending, gzip.compress(array) if ending else array)
    lines = write("b.jsonl", "\n".join(map(json.dumps, objects)).encode())
    read = [sequences.read(file, CLASSIFY) for file in (path, lines)]
    assert read[0].inputs == read[1].inputs
    assert read[0].targets == read[1].targets
    assert [place.line for place in read[0].places] == [2 + 4 * n for n in range(12)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"a": 1}\n {"a": 2}]', "a.json:2: not JSON (a comma is missing)"),
        ('[{"a": 1},\n', "a.json:2: not JSON (Expecting value)"),
        ('[{"a": 1}\n', "a.json:2: not JSON (the array has no end)"),
        ("[" * 100_000, "a.json: not JSON (a value out of bounds)"),
        ("[" + "9" * 5000 + "]", "a.json: not JSON (a value out of bounds)"),
    ],
)
def test_an_array_that_is_not_json(content: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        array_lines(content.encode(), "a.json")
    assert str(caught.value).startswith(problem)
