"""The table of word vectors in a file, and their words in JSON."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ohlol.data.word_vectors import TABLE, WordVectors, read_table, write_table
from ohlol.utils.errors import InputError

VECTORS = WordVectors.of(("cat", "Dog", "dog"), np.arange(8, dtype=np.float32).reshape(4, 2))


def test_a_table_is_mapped_and_equal(tmp_path: Path) -> None:
    write_table(tmp_path, VECTORS)
    again = read_table(tmp_path, WordVectors.from_json(json.loads(json.dumps(VECTORS.to_json()))))
    assert again == VECTORS
    assert isinstance(again.table, np.memmap)
    assert (again.table == VECTORS.table).all()
    before = (tmp_path / TABLE).read_bytes()
    torch.from_numpy(again.table)[0] = 7  # a warning, which would be an error, says if it is read-only
    assert (tmp_path / TABLE).read_bytes() == before


def test_rows_are_found() -> None:
    assert [VECTORS.find(word) for word in ("cat", "CAT", "dog", "Dog", "DOG", "")] == [1, 1, 3, 2, 3, 0]
    assert VECTORS.rows_of(["dog", "<unk>", "x"]).tolist() == [3, 0, 0]


def test_a_link_to_a_table_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_table(tmp_path / "a", VECTORS)
    (tmp_path / "b" / TABLE).symlink_to(tmp_path / "a" / TABLE)
    assert read_table(tmp_path / "b", replace(VECTORS, table=None)).table is not None


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing"):
        read_table(tmp_path, VECTORS)
    write_table(tmp_path, VECTORS)
    path = tmp_path / TABLE
    content = path.read_bytes()
    for damaged, problem in (
        (content[:-1] + b"\xff", "does not match its checksum"),
        (content[:-4], "damaged"),
        (b"x" + content[1:], "does not begin like an array file"),
        (b"", "does not begin like an array file"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=problem):
            read_table(tmp_path, VECTORS)
    np.save(path, np.zeros((5, 2), np.float32))
    with pytest.raises(InputError, match=r"it holds float32 \(5, 2\), and should hold float32 \(4, 2\)"):
        read_table(tmp_path, VECTORS)


@pytest.mark.parametrize(
    "change",
    [
        {"words": ["a", "a"]},
        {"words": ["<unk>"]},
        {"words": [1]},
        {"words": "ab"},
        {"size": 0},
        {"size": 1.0},
        {"size": 1 << 60},
        {"sha256": "x"},
        {"sha256": None},
    ],
)
def test_other_json_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        WordVectors.from_json(VECTORS.to_json() | change)
