"""Damaged data files of every format: each is read, or refused in one short line, in bounded memory and time."""

import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_files import FORMATS, damage, try_to_read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ohlol.config import DataSettings
from ohlol.data import lines, sequences
from ohlol.data.corpus.encode import encode
from ohlol.data.readers import arrow as arrow_of_ours
from ohlol.data.readers.arrow import PARQUET_BYTES, arrow_table, read_groups
from ohlol.utils.errors import InputError

MUTATIONS = int(os.environ.get("OHLOL_MUTATIONS", "260"))
"""Number of damaged files, over all formats; `make faults` asks for 2,000."""


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_read_or_reported_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
        path.write_bytes(damage(raw, random.Random(seed)))
        outcomes.append(try_to_read(path, how))

    spoil()
    assert False in outcomes or name.endswith(".txt")  # nearly any file is a valid text
    with capsys.disabled():
        print(f"{kind}: {len(outcomes)} damaged files, {outcomes.count(False)} refused in one line, the others read")


@pytest.mark.parametrize("kind", FORMATS)
@given(raw=st.binary(max_size=300))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_binary_garbage_is_read_or_reported_in_one_line(kind: str, tmp_path: Path, raw: bytes) -> None:
    _, name, how = FORMATS[kind]
    (tmp_path / name).write_bytes(raw)
    try_to_read(tmp_path / name, how)


@pytest.mark.slow
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
    assert len(sequences.read(path).inputs[0]) == 1004
    monkeypatch.setattr(lines, "LINE_LIMIT", 1000)
    with pytest.raises(InputError, match=r"text\.txt:2: a line of more than 1000 bytes"):
        sequences.read(path)


def test_an_endless_device_is_refused() -> None:
    with pytest.raises(InputError, match=r"/dev/zero:1: a line of zero bytes only; this is not a text file"):
        sequences.read("/dev/zero")


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"column{i}" for i in range(5000)) + "\n" + ",".join("x" * 5000) + "\n")
    assert not try_to_read(path, DataSettings(task="classify", input="none", target="column1"))


@pytest.mark.parametrize("depth", [17, 400, 100_000])
def test_deep_json_is_refused(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"input": ' + "[" * depth + "]" * depth + ', "target": ["a"]}\n')
    assert not try_to_read(path, DataSettings(format="pairs"))


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"input": ["a"], "target": ["b"], "target": ["c"]}\n')
    with pytest.raises(InputError, match=r"pairs\.jsonl:1: not JSON \(an object has the key 'target' twice\)"):
        sequences.read(path, DataSettings(format="pairs"))


def listed_once(rows: int, texts: list[str]) -> Any:
    """A column whose one text takes the place of many: thousands of bytes that stand for millions."""
    arrow = pytest.importorskip("pyarrow")
    return arrow.DictionaryArray.from_arrays(arrow.array(np.zeros(rows, np.int8)), arrow.array(texts))


def test_a_small_parquet_file_of_a_large_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    entries = 1 << 20
    monkeypatch.setattr("ohlol.data.readers.arrow.PARQUET_CELLS", entries)
    names = arrow.ListArray.from_arrays(arrow.array([0, entries], arrow.int32()), listed_once(entries, ["a"]))
    path = tmp_path / "names.parquet"
    parquet.write_table(arrow.table({"name": names, "kind": ["x"]}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(
        InputError, match=f"names.parquet: a row group of {entries + 1} cells; at most .* smaller row groups"
    ):
        sequences.read(path, FORMATS["Parquet classes"][2])


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
        InputError, match=r"names\.parquet: a row group of \d+ bytes decompressed; at most .* smaller row groups"
    ):
        sequences.read(path, FORMATS["Parquet classes"][2])


def test_parquet_texts_and_lists_are_read_unchanged(tmp_path: Path) -> None:
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
    assert sequences.read(path, how).inputs == ["é"]
    parquet.write_table(arrow.table({"name": [b"\xff"], "kind": [b"x"]}), path)
    with pytest.raises(InputError, match=r"names\.parquet: .*UTF8"):
        sequences.read(path, how)


@pytest.mark.parametrize("kind", ["Parquet classes", "Arrow classes"])
def test_damaged_lengths_and_offsets(tmp_path: Path, kind: str) -> None:
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


def test_a_parquet_file_that_unpacks_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, name, how = FORMATS["Parquet classes"]
    path = make(tmp_path / name)
    for limit in ("PARQUET_CELLS", "PARQUET_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(arrow_of_ours, limit, 10)
            with pytest.raises(
                InputError,
                match=r"\d+ (cells|bytes decompressed); at most 10 are read; write it with smaller row groups",
            ):
                sequences.read(path, how)


def arrow_bytes(path: Path, columns: dict[str, Any], compression: str | None = "zstd") -> Path:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table(columns)
    options = arrow.ipc.IpcWriteOptions(compression=compression)
    with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_file(file, table.schema, options=options) as writer:
        writer.write_table(table)
    return path


MANY = 1 << 22


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_a_small_arrow_file_that_unpacks_large_is_refused(
    compression: str, dictionary: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what its metadata say, before anything is unpacked."""
    arrow = pytest.importorskip("pyarrow")
    monkeypatch.setattr("ohlol.data.readers.arrow.ARROW_BYTES", 10 * MANY)
    names = arrow.array(["x" * (12 * MANY), "y"])
    names = names.dictionary_encode() if dictionary else names
    path = arrow_bytes(tmp_path / "names.arrow", {"name": names, "kind": ["a", "b"]}, compression)
    assert path.stat().st_size < MANY // 8
    before = arrow.default_memory_pool()
    pool = arrow.proxy_memory_pool(before)
    arrow.set_memory_pool(pool)
    what = "dictionaries" if dictionary else "a record batch"
    try:
        with pytest.raises(InputError, match=rf"names\.arrow: {what} of \d+ bytes decompressed; .* smaller batches"):
            sequences.read(path, FORMATS["Arrow classes"][2])
    finally:
        arrow.set_memory_pool(before)
    assert pool.max_memory() < MANY


@pytest.mark.parametrize("claimed", [1 << 40, (1 << 63) - 1, -2, -(1 << 63)])
def test_a_declared_size_of_terabytes_is_refused(claimed: int, tmp_path: Path) -> None:
    text = "x" * 100_003
    path = arrow_bytes(tmp_path / "names.arrow", {"name": [text], "kind": ["a"]})
    raw, length = path.read_bytes(), len(text).to_bytes(8, "little")
    at = raw.rindex(length)  # what the text unpacks to; before it stands where it ends
    path.write_bytes(raw[:at] + claimed.to_bytes(8, "little", signed=True) + raw[at + 8 :])
    with pytest.raises(InputError, match=r"names\.arrow: (a record batch of \d+ bytes|not an Arrow file)"):
        sequences.read(path, FORMATS["Arrow classes"][2])


@pytest.mark.parametrize("kind", ["text in many rows", "nothing in many rows", "many entries", "lists of nothing"])
def test_a_small_arrow_file_of_many_repeated_values_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow = pytest.importorskip("pyarrow")
    monkeypatch.setattr("ohlol.data.readers.arrow.ARROW_BYTES", 10 * MANY)
    monkeypatch.setattr("ohlol.data.readers.arrow.PARQUET_CELLS", MANY)
    rows = 1 << 10
    columns = {
        "text in many rows": {"name": listed_once(rows, ["x" * MANY * 11]), "kind": ["a"] * rows},
        "nothing in many rows": {"name": arrow.nulls(MANY), "kind": arrow.nulls(MANY)},
        "many entries": {
            "name": arrow.ListArray.from_arrays(arrow.array([0, MANY], arrow.int32()), listed_once(MANY, ["a"])),
            "kind": ["a"],
        },
        "lists of nothing": {
            "name": arrow.FixedSizeListArray.from_arrays(arrow.nulls(MANY), MANY),
            "kind": ["a"],
        },
    }[kind]
    path = arrow_bytes(tmp_path / "names.arrow", columns, None if kind == "text in many rows" else "zstd")
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"names\.arrow: a (row|record batch) of \d+ (cells|bytes decompressed); at most"
    ):
        sequences.read(path, FORMATS["Arrow classes"][2])
    assert time.monotonic() - began < 60


def test_arrow_texts_and_lists_are_read_unchanged(tmp_path: Path) -> None:
    """Every kind of column, in slices of any size; a column whose unpacked size is unknown is refused."""
    arrow = pytest.importorskip("pyarrow")
    texts = ["the", None, "", "cat" * 9]
    rows: dict[str, Any] = {
        "text": texts,
        "large": arrow.array(texts, arrow.large_string()),
        "bytes": arrow.array([text and text.encode() for text in texts], arrow.binary()),
        "view": arrow.array(texts, arrow.string_view()),
        "listed": arrow.array(texts).dictionary_encode(),
        "words": [["a", "b"], [], None, ["c"]],
        "sized": arrow.array([["a", "b"]] * 4, arrow.list_(arrow.string(), 2)),
        "number": [1.5, None, 2.0, 3.0],
        "half": arrow.array(np.arange(4, dtype=np.float16)),
        "flag": [True, None, False, True],
        "pairs": arrow.array([[("k", "v")], None, [], []], arrow.map_(arrow.string(), arrow.string())),
        "of": [{"a": "b"}, None, {"a": "c"}, {"a": None}],
        "none": arrow.nulls(4),
    }
    table = arrow.table(rows)
    wanted = [list(row.values()) for row in table.to_pylist()]
    for row, text in zip(wanted, texts, strict=True):
        row[2] = text
    unread = arrow.array([["a"], [], ["b"], []], arrow.list_view(arrow.string()))
    path = arrow_bytes(tmp_path / "all.arrow", {**rows, "unread": unread})
    for limit in (1 << 20, 5):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(arrow_of_ours, "MAX_SLICE_CELLS", limit)
            found = [list(row.cells) for row in arrow_table(str(path)).rows]
        assert [row[:-1] for row in found] == wanted
        assert [row[-1] for row in found] == [{}] * 4


@pytest.mark.parametrize("name", ["names.arrow", "names.parquet"])
def test_the_encoder_checks_every_row_group_before_cutting(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, _, how = FORMATS["Arrow classes" if name.endswith("arrow") else "Parquet classes"]
    path = make(tmp_path / name)
    assert sum(group.rows for group in read_groups(str(path))) == 20
    monkeypatch.setattr("ohlol.data.readers.arrow.PARQUET_CELLS", 10)
    with pytest.raises(InputError, match="cells; at most 10 are read"):
        encode([str(path)], tmp_path / "c", how, jobs=1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"names\.\w+: not an? (Arrow|Parquet) file"):
        encode([str(path)], tmp_path / "d", how, jobs=1)
