"""Arrays in files, mapped into memory and read as one array.

Values are copied when they are read and the pages are released, so that memory does not grow with the data read. Values
in files are not trusted: each is checked against a limit before it is used as an index.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.utils.errors import InputError, describe_error

READS_BEFORE_RELEASE = 16
"""Reads after which the pages of a file are released. The system maps the 16 pages around one that is touched, so 16
reads of 32 sequences take 32 MB."""
BLOCK = 1 << 20
"""Elements copied at once when all are read in order."""
MAGIC = b"\x93NUMPY\x01\x00"
"""The first bytes of an array file: numpy's format 1.0, whose header has 64 KiB at most."""
HEADER_ERRORS = (ValueError, SyntaxError, TokenError, RecursionError, OverflowError, MemoryError, TypeError)
"""What numpy raises for a damaged header, which it parses as Python."""


class Chain:
    """Several arrays as one, concatenated along the first axis.

    Args:
        parts: arrays of one type whose shapes differ in the first axis only.
        limits: for each part, the largest value it may hold; None where values are not indices.
        shifts: for each part, a number that is added to its values.
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
        self._touched: set[int] = set()  # parts read since the pages were released

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """The elements at some indices, (n,), which must be in range."""
        if not len(index):
            return self._read(0, index) if self.parts else np.empty(0, np.int64)
        owner = np.searchsorted(self.bounds, index, side="right") - 1
        first = int(owner[0])
        if (owner == first).all():
            values = self._read(first, index - self.bounds[first])
        else:
            values = None
            for part in np.unique(owner).tolist():
                in_part = owner == part
                piece = self._read(part, index[in_part] - self.bounds[part])
                if values is None:
                    values = np.empty((len(index), *piece.shape[1:]), piece.dtype)
                values[in_part] = piece
            assert values is not None
        self._reads += 1
        if self._reads % READS_BEFORE_RELEASE == 0:
            self.release()
        return values

    def _read(self, part: int, index: NDArray[np.int64]) -> NDArray[Any]:
        self._touched.add(part)
        values = np.asarray(self.parts[part][index])
        if self.limits is not None and len(values) and not 0 <= values.min() <= values.max() <= self.limits[part]:
            raise InputError(
                "{name}: damaged: it holds {max}, and {limits} is the largest",
                name=self.name,
                max=values.max(),
                limits=self.limits[part],
            )
        return values if self.shifts is None else values + self.shifts[part]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The whole array, in memory."""
        pieces = [self[np.arange(start, min(start + BLOCK, len(self)))] for start in range(0, max(len(self), 1), BLOCK)]
        array = np.concatenate(pieces)
        return array if dtype is None else array.astype(dtype)

    def release(self) -> None:
        """Release the pages that were read; the system reads them again when they are needed."""
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
    """The whole array, in memory."""
    return np.asarray(values) if isinstance(values, Chain) else values


def map_array(
    path: Path, dtypes: set[np.dtype[Any]], shape: tuple[int, ...], remedy: str, *, writable: bool = False
) -> NDArray[Any]:
    """Map the array of a file into memory.

    Args:
        path: the file, in numpy's format 1.0.
        dtypes: the types it may have.
        shape: the shape it must have.
        remedy: what to do where it is missing, for the message.
        writable: whether the array can be written to, which changes the memory and not the file.

    Raises:
        InputError: the file is missing or damaged, or holds another array.
    """
    try:
        if path.is_symlink() or not path.is_file():
            raise InputError("{path}: is not a regular file, or is missing: {remedy}", path=path, remedy=remedy)
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError("it does not begin like an array file")
        if not np.prod(shape):  # an empty file cannot be mapped
            return np.empty(shape, min(dtypes, key=lambda dtype: dtype.itemsize))
        array = np.load(path, mmap_mode="c" if writable else "r", allow_pickle=False)
    except OSError as error:
        raise InputError("{path}: cannot be read: {error}", path=path, error=error.strerror) from None
    except HEADER_ERRORS as error:
        raise InputError("{path}: damaged: {error}", path=path, error=describe_error(error)) from None
    if array.dtype not in dtypes or array.shape != shape or not array.flags.c_contiguous:
        expected = " or ".join(map(str, dtypes))
        raise InputError(
            "{path}: damaged: it holds {dtype} {found}, and should hold {expected} {shape}",
            path=path,
            dtype=array.dtype,
            found=array.shape,
            expected=expected,
            shape=shape,
        )
    size = path.stat().st_size
    if size != array.offset + array.nbytes:
        raise InputError(
            "{path}: damaged: it has {size} bytes, and should have {offset}",
            path=path,
            size=size,
            offset=array.offset + array.nbytes,
        )
    return array
