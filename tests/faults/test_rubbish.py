"""Spoiled data files of every format: each is read, or refused in one short line, in bounded memory and time."""

import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rubbish import FORMATS, spoiled, try_to_read

from ohlol.data import arrow, lines, readers
from ohlol.data.arrow import PARQUET_BYTES, arrow_table
from ohlol.errors import InputError
from ohlol.settings import DataSettings

MUTATIONS = int(os.environ.get("OHLOL_MUTATIONS", "260"))
"""Files spoiled, over all formats; `make faults` asks for 2,000."""


@pytest.mark.parametrize("kind", FORMATS)
def test_spoiled_files(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, name, how = FORMATS[kind]
    path = make(tmp_path / name)
    raw = path.read_bytes()
    outcomes: list[bool] = []

    @settings(
        max_examples=-(-MUTATIONS // len(FORMATS)),
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.integers(0, 2**63))
    def spoil(seed: int) -> None:
        path.write_bytes(spoiled(raw, random.Random(seed)))
        outcomes.append(try_to_read(path, how))

    spoil()
    assert False in outcomes or name.endswith(".txt")  # a text may hold nearly anything
    with capsys.disabled():
        print(f"{kind}: {len(outcomes)} spoiled files, {outcomes.count(False)} refused in one line, the others read")


@pytest.mark.parametrize("kind", FORMATS)
@given(raw=st.binary(max_size=300))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_binary_garbage(kind: str, tmp_path: Path, raw: bytes) -> None:
    _, name, how = FORMATS[kind]
    (tmp_path / name).write_bytes(raw)
    try_to_read(tmp_path / name, how)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("tags.conllu", b"1\tx\t"),
        ("names.jsonl", b'{"a": 1, "b": "'),
        ("text.txt", b"a"),
        ("names.csv", b"a,"),
        ("pairs.tsv", b"ab"),
        ("open.csv", b'"'),
    ][: 6 if MUTATIONS >= 2000 else 2],  # they take seconds each
)
def test_a_line_of_100_megabytes(name: str, raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(raw + b"x" * (100 << 20))
    began = time.monotonic()
    try_to_read(path, DataSettings(task="classify", input="1", target="2") if name.endswith("csv") else DataSettings())
    assert time.monotonic() - began < 60


def test_a_line_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"ab\n" + b"x" * 1001)
    assert len(readers.read(path).inputs[0]) == 1004
    monkeypatch.setattr(lines, "LINE_LIMIT", 1000)
    with pytest.raises(InputError, match=r"text\.txt:2: a line of more than 1000 bytes"):
        readers.read(path)


def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(InputError, match=r"/dev/zero:1: a line of more than \d+ bytes"):
        readers.read("/dev/zero")


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"column{i}" for i in range(5000)) + "\n" + ",".join("x" * 5000) + "\n")
    assert not try_to_read(path, DataSettings(task="classify", input="none", target="column1"))


@pytest.mark.parametrize("depth", [17, 400, 100_000])
def test_deep_json_is_refused(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"input": ' + "[" * depth + "]" * depth + ', "target": ["a"]}\n')
    assert not try_to_read(path, DataSettings(format="pairs"))


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"input": ["a"], "target": ["b"], "target": ["c"]}\n')
    with pytest.raises(InputError, match=r"pairs\.jsonl:1: not JSON \(the key 'target' stands twice in an object\)"):
        readers.read(path, DataSettings(format="pairs"))


def listed_once(rows: int, texts: list[str]) -> Any:
    """A column whose one text takes the place of many: thousands of bytes that stand for millions."""
    arrow = pytest.importorskip("pyarrow")
    return arrow.DictionaryArray.from_arrays(arrow.array(np.zeros(rows, np.int8)), arrow.array(texts))


def test_a_small_parquet_file_of_a_large_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    entries = 1 << 20
    monkeypatch.setattr("ohlol.data.arrow.PARQUET_CELLS", entries)
    names = arrow.ListArray.from_arrays(arrow.array([0, entries], arrow.int32()), listed_once(entries, ["a"]))
    path = tmp_path / "names.parquet"
    parquet.write_table(arrow.table({"name": names, "kind": ["x"]}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(
        InputError, match=f"names.parquet: a row group of {entries + 1} cells; at most .* smaller row groups"
    ):
        readers.read(path, FORMATS["Parquet classes"][2])


@pytest.mark.parametrize("nested", [False, True])
def test_a_small_parquet_file_of_a_large_text_is_refused(tmp_path: Path, nested: bool) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows, text = 10_000, "x" * (PARQUET_BYTES // 10_000 + 1)
    names = listed_once(rows, [text])
    if nested:
        names = arrow.ListArray.from_arrays(arrow.array(range(rows + 1), arrow.int32()), names)
    path = tmp_path / "names.parquet"
    parquet.write_table(arrow.table({"name": names, "kind": ["x"] * rows}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    with pytest.raises(
        InputError, match=r"names\.parquet: a row group of \d+ bytes unpacked; at most .* smaller row groups"
    ):
        readers.read(path, FORMATS["Parquet classes"][2])


def test_parquet_texts_and_lists_are_as_they_were(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    words = [["the", "cat"], ["a"], ["the", "the"]]
    rows = {"words": words, "name": ["x", None, "x"], "size": [1, 2, None], "of": [{"a": "b"}, None, {"a": "b"}]}
    rows["pairs"] = arrow.array([[("k", "v")], None, []], arrow.map_(arrow.string(), arrow.string()))
    table = arrow.table(rows)
    for name, options in (("one", {}), ("groups", {"row_group_size": 1}), ("plain", {"use_dictionary": False})):
        parquet.write_table(table, tmp_path / f"{name}.parquet", **options)
        found = arrow_table(str(tmp_path / f"{name}.parquet"))
        assert [row.cells for row in found.rows] == [tuple(row.values()) for row in table.to_pylist()]


def test_bytes_in_parquet_are_texts_or_refused(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, how = tmp_path / "names.parquet", FORMATS["Parquet classes"][2]
    parquet.write_table(arrow.table({"name": ["é".encode()], "kind": [b"x"]}), path)
    assert readers.read(path, how).inputs == ["é"]
    parquet.write_table(arrow.table({"name": [b"\xff"], "kind": [b"x"]}), path)
    with pytest.raises(InputError, match=r"names\.parquet: .*UTF8"):
        readers.read(path, how)


@pytest.mark.parametrize("kind", ["Parquet classes", "Arrow classes"])
def test_spoiled_lengths_and_places(tmp_path: Path, kind: str) -> None:
    """In the footer of Parquet and anywhere in Arrow: they must not end the process, nor take what is claimed."""
    make, name, how = FORMATS[kind]
    raw = make(tmp_path / name).read_bytes()
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little") if name.endswith(".parquet") else 0
    chance = random.Random(MUTATIONS)
    outcomes: list[bool] = []
    for _ in range(2 * MUTATIONS):
        spoilt = bytearray(raw)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(start, len(raw))
            if chance.random() < 0.7:
                spoilt[at] = chance.randrange(256)
            else:
                spoilt[at : at + 4] = chance.choice([b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff\xff\xff\xff"])
        (tmp_path / name).write_bytes(spoilt)
        outcomes.append(try_to_read(tmp_path / name, how))
    assert set(outcomes) == {False, True}


def test_a_parquet_file_that_would_unpack_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, name, how = FORMATS["Parquet classes"]
    path = make(tmp_path / name)
    for limit in ("PARQUET_CELLS", "PARQUET_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(arrow, limit, 10)
            with pytest.raises(
                InputError, match=r"\d+ (cells|bytes unpacked); at most 10 are read; write it with smaller row groups"
            ):
                readers.read(path, how)
