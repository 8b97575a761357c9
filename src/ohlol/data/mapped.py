"""Arrays in files, mapped into memory and read as one array; knows nothing of what they hold.

What is read is copied out and the pages are let go again, so memory does not grow with what was read. The numbers come
from files: each is checked against its limit before anybody uses it as an index.
"""

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.utils.errors import InputError

READS = 16
"""Reads after which the pages of a file are let go. The system maps the 16 pages around one that is touched, so 16
times 32 sequences take 32 MB."""
AT_ONCE = 1 << 20
"""Elements of a piece when all are read in order."""


class Chain:
    """Some arrays, one after the other; an index is one of the whole.

    Args:
        parts: arrays of one type and of equal shape beyond the first axis.
        limits: for each part, the largest value it may hold; None where they are no indices.
        shifts: what is added to the values of each part.
        name: of the files, for messages.
    """

    def __init__(
        self,
        parts: Sequence[NDArray[Any]],
        *,
        limits: Sequence[int] | None = None,
        shifts: Sequence[int] | None = None,
        name: str = "",
    ):
        self.parts, self.limits, self.shifts, self.name = list(parts), limits, shifts, name
        self.bounds = np.cumsum([0, *map(len, self.parts)], dtype=np.int64)
        self._reads = 0
        self._touched: set[int] = set()  # the parts that were read since

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """The elements at some indices, (n,), which must be in range."""
        if not len(index):
            return self._read(0, index) if self.parts else np.empty(0, np.int64)
        owner = np.searchsorted(self.bounds, index, side="right") - 1
        first = int(owner[0])
        if (owner == first).all():
            found = self._read(first, index - self.bounds[first])
        else:
            found = None
            for part in np.unique(owner).tolist():
                mine = owner == part
                piece = self._read(part, index[mine] - self.bounds[part])
                if found is None:
                    found = np.empty((len(index), *piece.shape[1:]), piece.dtype)
                found[mine] = piece
            assert found is not None
        self._reads += 1
        if self._reads % READS == 0:
            self.forget()
        return found

    def _read(self, part: int, index: NDArray[np.int64]) -> NDArray[Any]:
        self._touched.add(part)
        values = np.asarray(self.parts[part][index])
        if self.limits is not None and len(values) and not 0 <= values.min() <= values.max() <= self.limits[part]:
            raise InputError(f"{self.name}: damaged: it holds {values.max()}, and {self.limits[part]} is the largest")
        return values if self.shifts is None else values + self.shifts[part]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, in memory."""
        pieces = [
            self[np.arange(start, min(start + AT_ONCE, len(self)))] for start in range(0, max(len(self), 1), AT_ONCE)
        ]
        found = np.concatenate(pieces)
        return found if dtype is None else found.astype(dtype)

    def forget(self) -> None:
        """Let the pages go that were read; the system reads them again where they are needed."""
        for part in self._touched:
            owner: Any = self.parts[part]
            while isinstance(owner, np.ndarray):
                owner = owner.base
            if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise"):
                owner.madvise(mmap.MADV_DONTNEED)
        self._touched.clear()


Values = NDArray[Any] | Chain
"""An array in memory or in files."""


def in_memory(values: Values) -> NDArray[Any]:
    """All of an array, in memory."""
    return np.asarray(values) if isinstance(values, Chain) else values
