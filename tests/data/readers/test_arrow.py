"""Parquet and Arrow files; those that are damaged or declare too much are in faults/test_damaged_files.py."""

import sys
from pathlib import Path

import pytest

from data.reading import Write, read_error
from ohlol.data.lines import FileRange


@pytest.mark.parametrize("module", ["pyarrow", "flatbuffers"])
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_the_missing_module_is_named(write: Write, monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    pytest.importorskip("pyarrow.parquet")
    monkeypatch.setitem(sys.modules, module, None)
    message = read_error(write(name, "x"))
    assert message == f"{name}: Parquet and Arrow files need {module}; pip install 'ohlol[arrow]'"


def test_groups_of_rows_can_be_read_alone(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from ohlol.data.readers.arrow import arrow_table, read_groups

    path = str(tmp_path / "a.parquet")
    parquet.write_table(arrow.table({"x": list(range(10))}), path, row_group_size=4)
    assert [group.rows for group in read_groups(path)] == [4, 4, 2]
    rows = list(arrow_table(path, FileRange(path, 1, 3, 5)).rows)
    assert [(row.cells[0], row.place.line) for row in rows] == [(i, i + 1) for i in range(4, 10)]
