"""The profile of a file."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading import Write, slow_disk
from ohlol.config import DataSettings
from ohlol.data import profile as profiling
from ohlol.data.profile import ColumnProfile, profile
from ohlol.data.sequences import read, read_panel
from ohlol.utils.errors import InputError

CLASSIFY = DataSettings(input="text", target="label")


def series(days: list[int]) -> str:
    return "date,y,note\n" + "".join(f"2020-01-{day:02},{day / 4},\n" for day in days)


def test_a_table_of_texts(write: Write) -> None:
    path = write("a.csv", "text,label,n\n" + "天气,好,1\n天,坏,N/A\n今天天气,好,3\n" * 20)
    found = profile(str(path), CLASSIFY)
    assert found.reading.endswith("input 'text', target 'label', by character; not read: 'n'")
    assert (found.is_whole, found.rows, found.sequences, found.lengths) == (True, 60, 60, (1, 2, 4))
    assert (found.labels, found.label_count) == ((("好", 40), ("坏", 20)), 2)
    assert found.columns == (
        ColumnProfile("text", "input", "text", 0, None, None, (("天气", 20), ("天", 20), ("今天天气", 20)), 3),
        ColumnProfile("label", "target", "text", 0, None, None, (("好", 40), ("坏", 20)), 2),
        ColumnProfile("n", "", "integer, mostly", 20, 1.0, 3.0),
    )
    assert found.first == (("天气", "好", "1"), ("天", "坏", "N/A"), ("今天天气", "好", "3"))
    assert (found.warnings, found.refusal, found.time) == ((), None, None)


def test_a_number_for_each_sequence_is_no_label(write: Write) -> None:
    path = write("a.csv", "text,score\n" + "good,4.5\nbad,1\nfine,3\n" * 20)
    found = profile(str(path), DataSettings(task="regress", input="text", target="score"))
    assert (found.sequences, found.labels, found.label_count, found.refusal) == (60, (), 0, None)
    assert (found.columns[1].low, found.columns[1].high) == (1.0, 4.5)
    assert found.first[0] == ("good", "4.5")


def test_a_series_with_a_gap(write: Write) -> None:
    path = write("a.csv", series([*range(1, 12), *range(20, 31)]))
    found = profile(str(path), DataSettings(task="forecast"))
    assert found.time == "2020-01-01 to 2020-01-30, usual step 1 day, gaps: 1"
    assert [(c.role, c.kind, c.missing) for c in found.columns] == [
        ("time", "date", 0),
        ("target", "number", 0),
        ("", "empty", 22),
    ]
    assert (found.columns[0].low, found.columns[1].high) == ("2020-01-01", 7.5)
    assert (found.sequences, found.lengths) == (1, (30, 30, 30))
    assert len(found.warnings) == 1
    assert "has gaps of 8 rows, where rows are daily" in found.warnings[0]
    assert found.reading.endswith(
        "columns (its name ends in .csv), task forecast, target 'y', time 'date', daily, 30 "
        "rows, season of 7, missing values: 8; not read: 'note'"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\n" + "x,y\n" * 12, "choose two by"),
        ("b.csv", series([1, 2, 3, 5, 4]), "runs backward"),
        ("c.csv", "a,b\n1,2\n3\n", "c.csv:3: 1 columns, where the first row has 2"),
        ("d.csv", "y\n" + '"1,037"\n' * 5, "holds '1,037'"),
    ],
)
def test_the_question_of_training_is_kept_and_the_columns_are_shown(
    write: Write, name: str, content: str, message: str
) -> None:
    path = str(write(name, content))
    settings = DataSettings() if name != "b.csv" else DataSettings(task="forecast")
    found = profile(path, settings)
    assert found.refusal is not None
    assert message in found.refusal
    assert found.columns
    assert found.first
    with pytest.raises(InputError) as refused:
        (read_panel if name in ("b.csv", "d.csv") else read)(path, settings)
    assert str(refused.value) == found.refusal


@pytest.mark.parametrize(
    ("name", "content", "labels", "first"),
    [
        ("a.tsv", "ab\tXY\nb\tY\n", {"X": 1, "Y": 2}, ("ab", "XY")),
        ("a.conll", "Anna\tB-PER\nlebt\tO\n\nhier\tO\n", {"B-PER": 1, "O": 2}, ("Anna lebt", "B-PER O")),
        ("a.txt", "to be or not\n", {}, ("to be or not\n",)),
    ],
)
def test_other_formats(write: Write, name: str, content: str, labels: dict[str, int], first: tuple[str, ...]) -> None:
    found = profile(str(write(name, content)), DataSettings())
    assert dict(found.labels) == labels
    assert found.first[0] == first
    assert found.columns == ()


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".arrow"])
def test_a_large_file_is_sampled(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(profiling, "SAMPLE_BYTES", 2000)
    texts = [f'a "quoted"\ntext {n}' for n in range(1000)]
    labels = ["x" if n % 3 else "y" for n in range(1000)]
    path = tmp_path / ("a" + suffix)
    if suffix.startswith(".csv"):
        content = "text,label\n" + "".join(
            '"' + t.replace('"', '""') + f'",{c}\n' for t, c in zip(texts, labels, strict=True)
        )
        write(path.name, gzip.compress(content.encode()) if suffix.endswith(".gz") else content)
    else:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        table = arrow.table({"text": texts, "label": labels})
        if suffix == ".parquet":
            parquet.write_table(table, path, row_group_size=100)
        else:
            with arrow.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table, max_chunksize=100)
    found = profile(str(path), CLASSIFY)
    assert not found.is_whole
    assert found.refusal is None
    assert 50 < found.rows == found.sequences < 250
    monkeypatch.undo()
    whole = profile(str(path), CLASSIFY)
    assert (whole.is_whole, whole.rows) == (True, 1000)


def test_files_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    for path, message in (
        ("-", "stdin: can be read only once"),
        (str(tmp_path / "none.csv"), "no such file"),
        (str(write("empty.csv", "")), "empty"),
        (str(write("binary.csv", b"\xff\xfe\x00")), "is not utf-16|zero byte|empty"),
    ):
        with pytest.raises(InputError, match=message):
            profile(path, DataSettings())


@given(
    st.binary(max_size=60) | st.text(st.sampled_from('ab,\t\n1. "'), max_size=60).map(str.encode),
    st.sampled_from([".csv", ".tsv", ".txt", ".conllu", ".jsonl", ""]),
)
@slow_disk
def test_any_bytes_have_a_profile_or_an_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / ("a" + suffix)
    path.write_bytes(content)
    try:
        found: Any = profile(str(path), DataSettings())
    except InputError:
        with pytest.raises(InputError):
            read(path)
        return
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["file"] == str(path)
    assert found.refusal is not None or found.sequences
