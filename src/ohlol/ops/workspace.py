"""Memory for what a forward pass keeps and a backward pass reads, which later calls use again.

The C library gives large blocks back to the operating system when they are freed, and each page of a new block then
costs a page fault, up to an eighth of a training step. So each thread keeps the blocks that no tensor uses any more.
"""

import threading
import weakref
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ohlol.ops.backend import empty, poison

LEAST_BYTES = 1 << 19
"""Of a block; the C library keeps smaller ones itself."""
MOST_BYTES = 1 << 28
"""Of all blocks that a thread keeps."""
_ALIGNMENT = 64
_DTYPES: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


class _Block:
    """Memory that one tensor uses at a time."""

    def __init__(self, size: int, dtype: torch.dtype):
        numbers: Any = np.empty(size + _ALIGNMENT, _DTYPES[dtype])
        first = -numbers.ctypes.data % _ALIGNMENT // numbers.itemsize
        self.dtype, self.size, self.nbytes = dtype, size, numbers.nbytes
        self._numbers = numbers[first : first + size]
        self._used: weakref.ref[Any] | None = None

    def is_free(self) -> bool:
        """Whether no tensor uses the memory: the storage of one holds the array that it was made of."""
        return self._used is None or self._used() is None

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """A tensor over the first numbers."""
        numbers = self._numbers[: prod(shape)].reshape(shape)
        self._used = weakref.ref(numbers)
        return torch.from_numpy(numbers)


class _Blocks(threading.local):
    """The blocks of a thread, those used last at the end."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []


_local = _Blocks()


def workspace(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of the dtype of another, in memory that an earlier call may have used.

    It is for tensors that stay within this package: its storage cannot be resized.

    Args:
        like: a tensor on the CPU, float32 or float64.
        shape: of the result.

    >>> workspace(torch.zeros(()), 3, 2).shape
    torch.Size([3, 2])
    """
    size = prod(shape)
    if not LEAST_BYTES <= size * like.itemsize <= MOST_BYTES // 2:
        return empty(like, *shape)
    blocks = _local.blocks
    for k in range(len(blocks) - 1, -1, -1):
        block = blocks[k]
        if size <= block.size <= 2 * size and block.dtype is like.dtype and block.is_free():
            blocks.append(blocks.pop(k))
            break
    else:
        block = _Block(size, like.dtype)
        total = block.nbytes + sum(b.nbytes for b in blocks)
        while blocks and total > MOST_BYTES:
            total -= blocks.pop(0).nbytes  # a tensor that uses it keeps its memory
        blocks.append(block)
    return poison(block.take(shape))
