"""Arrays in files, read as one array."""

from pathlib import Path

import numpy as np
import pytest

from ohlol.data.mapped import READS_BEFORE_RELEASE, Chain, in_memory
from ohlol.utils.errors import InputError


def test_chained_arrays_act_as_one() -> None:
    parts = [np.arange(5), np.arange(5, 6), np.arange(6, 6), np.arange(6, 20)]
    whole, chain = np.concatenate(parts), Chain(parts)
    assert len(chain) == 20
    assert (np.asarray(chain) == whole).all()
    chance = np.random.default_rng(0)
    for _ in range(2 * READS_BEFORE_RELEASE):
        index = chance.integers(0, 20, 7)
        assert (chain[index] == whole[index]).all()
    assert len(chain[np.empty(0, np.int64)]) == 0
    assert (Chain(parts, shifts=[1, 0, 0, 2])[np.array([0, 5, 19])] == [1, 5, 21]).all()
    with pytest.raises(InputError, match="x: damaged: it holds 19, and 18 is the largest"):
        Chain(parts, limits=[4, 5, 0, 18], name="x")[np.array([19])]


def test_pages_are_released_and_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(1000))
    chain = Chain([np.load(tmp_path / "a.npy", mmap_mode="r")])
    for _ in range(READS_BEFORE_RELEASE + 1):
        assert chain[np.array([0, 999])].tolist() == [0, 999]
    assert in_memory(chain).sum() == 499_500
