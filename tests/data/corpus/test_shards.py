"""A shard is written in parts, completely or not at all."""

from pathlib import Path

import numpy as np

from ohlol.data.batches import Dataset, Ragged
from ohlol.data.corpus import store
from ohlol.data.corpus.shards import ShardWriter
from ohlol.data.layout import ArrayLayout


def dataset(*rows: list[int]) -> Dataset:
    values = np.array([value for row in rows for value in row])
    return Dataset(Ragged(values, np.cumsum([0, *map(len, rows)])), values % 3)


def test_parts_are_appended(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train-00000", ArrayLayout(inputs=300, targets=3)) as writer:
        writer.add(dataset([1, 2], [299]))
        writer.add(dataset([4, 5, 6]))
        shard = writer.close()
    assert (shard.sequences, shard.steps) == (3, 6)
    folder = tmp_path / "train-00000"
    inputs = np.load(folder / "inputs.npy")
    assert (inputs.tolist(), inputs.dtype) == ([1, 2, 299, 4, 5, 6], np.dtype("<u2"))
    assert np.load(folder / "offsets.npy").tolist() == [0, 2, 3, 6]
    assert shard.files["inputs.npy"] == store.digest_of_file(folder / "inputs.npy")


def test_a_shard_that_is_not_closed_is_removed(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train-00000", ArrayLayout(inputs=10, targets=3)) as writer:
        writer.add(dataset([1]))
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_characters_of_a_word_are_stored_once(tmp_path: Path) -> None:
    spelled = Dataset(
        Ragged(np.array([1, 2, 1]), np.array([0, 3])),
        None,
        False,
        np.array([0, 1, 0]),
        Ragged(np.array([7, 8, 9]), np.array([0, 2, 3])),
    )
    with ShardWriter(tmp_path, "train-00000", ArrayLayout(inputs=10, chars=10)) as writer:
        writer.add(spelled)
        writer.add(spelled)
        assert writer.close().words == 2
    assert np.load(tmp_path / "train-00000" / "forms.npy").tolist() == [0, 1, 0, 0, 1, 0]
    assert np.load(tmp_path / "train-00000" / "spellings.npy").tolist() == [7, 8, 9]
