"""What this machine can do at most: multiply-adds in registers, transfers from and to memory, and a large `torch.mm`.

The *roofline* of a layer (Williams, Waterman and Patterson 2009) is the least time in which the machine could run it:
its arithmetic at the rate of multiply-adds in registers, or what it must read and write at the rate of the memory,
whichever takes longer. It does not know the caches: what a layer reads again at each step counts once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ohlol.ops import backend

MATMUL_SIZE = 1024
STREAMED_BYTES = 64 * 2**20
"""Of each of the three tensors that measure the memory: more than the caches of most processors."""
COMPUTE, MEMORY = "multiply-adds", "memory"
"""What bounds a layer."""


@dataclass(frozen=True)
class Limits:
    """The most that this machine did, on all threads."""

    dtype: str
    threads: int
    variant: str
    """The instruction set of the kernels in use, or "off"."""
    multiply_adds: dict[str, float]
    """Operations a second in registers, two for each multiply-add, by instruction set; empty without kernels."""
    bandwidth: float
    """Bytes a second, read and written, of a sum of two large tensors."""
    matmul: float
    """Operations a second of the fastest large `torch.mm`."""

    @property
    def peak(self) -> float:
        """Operations a second of the instruction set in use, or that of `torch.mm` if there are no kernels."""
        return self.multiply_adds.get(self.variant, self.matmul)

    def least_time(self, operations: int, size: int) -> tuple[float, str]:
        """The least seconds in which so many operations on so many bytes are possible, and what bounds them."""
        return max((operations / self.peak, COMPUTE), (size / self.bandwidth, MEMORY))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**vars(self), "multiply_adds": dict(self.multiply_adds)}


def measure_limits(dtype: torch.dtype = torch.float32, seconds: float = 0.2) -> Limits:
    """Measure this machine, with `torch.get_num_threads()` threads; `seconds` for each figure."""
    threads = torch.get_num_threads()
    return Limits(
        dtype=str(dtype).removeprefix("torch."),
        threads=threads,
        variant=backend.selected(),
        multiply_adds={name: backend.measure_peak(name, dtype, threads, seconds) for name in backend.available()},
        bandwidth=_measure_bandwidth(dtype, seconds),
        matmul=_measure_matmul(dtype, seconds),
    )


def _measure_matmul(dtype: torch.dtype, seconds: float) -> float:
    a, b, out = (torch.randn(MATMUL_SIZE, MATMUL_SIZE, dtype=dtype) for _ in range(3))
    return 2 * MATMUL_SIZE**3 / _time_best(lambda: torch.mm(a, b, out=out), seconds)


def _measure_bandwidth(dtype: torch.dtype, seconds: float) -> float:
    a, b, out = (torch.ones(STREAMED_BYTES // dtype.itemsize, dtype=dtype) for _ in range(3))
    return 3 * STREAMED_BYTES / _time_best(lambda: torch.add(a, b, out=out), seconds)


def _time_best(call: Callable[[], object], seconds: float) -> float:
    """The shortest time of a call, of as many as fit in so many seconds and at least two."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)
