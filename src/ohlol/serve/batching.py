"""Batches from concurrent requests: a bounded queue, a bounded wait, one batch at a time."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


PAUSE = 0.25
"""Share of the longest wait after which no more items are expected, where none has come."""


class BusyError(Exception):
    """The server is at one of its limits; the request can be repeated after some seconds."""

    def __init__(self, reason: str, retry_after: int = 1):
        super().__init__(f"busy: {reason}; try again in {retry_after} s")
        self.retry_after = retry_after


@dataclass
class _Waiting(Generic[Item, Result]):
    item: Item
    weight: int
    arrival: float
    result: asyncio.Future[Result]


class Batcher(Generic[Item, Result]):
    """Collects the items of many requests into batches, and computes one batch after the other in its own thread.

    Args:
        compute: the results of a batch, in its order; an exception in place of a result is raised for that item only.
        size: most items in a batch.
        weight: most weight of a batch, by the weights given to `submit`; a single heavier item is a batch by itself.
        wait: seconds that the first item of a batch waits for others; a quarter of it without one ends the wait.
        queue: most items that wait.
        timeout: seconds after which a waiting item gets `BusyError`.
        on_batch: called with the size of each batch and the seconds it took.
    """

    def __init__(
        self,
        compute: Callable[[list[Item]], Sequence[Result | Exception]],
        *,
        size: int,
        weight: int,
        wait: float,
        queue: int,
        timeout: float,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        self._compute, self._size, self._weight, self._wait, self._on_batch = compute, size, weight, wait, on_batch
        self._queue, self._timeout = queue, timeout
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._waiting_weight = 0
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._seconds_per_item = 0.01  # a running mean
        self._open = True
        self._task = asyncio.create_task(self._run())

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    async def submit(self, items: Sequence[Item], weights: Sequence[int], *, always: bool = False) -> list[Result]:
        """The results of some items, of which all are accepted or none.

        Args:
            items: what `compute` gets.
            weights: of each item.
            always: accept them also where the queue is full.

        Raises:
            BusyError: the queue is full, the items waited too long, or the batcher is closed.
            Exception: what `compute` returned in place of a result.
        """
        if len(self._waiting) + len(items) > self._queue and not always:
            raise BusyError(f"{len(self._waiting)} sequences wait, at most {self._queue}", self._seconds_until_free())
        if not self._open:
            raise BusyError("this model stops", 1)
        loop = asyncio.get_running_loop()
        now = loop.time()
        submitted = [
            _Waiting(item, weight, now, loop.create_future()) for item, weight in zip(items, weights, strict=True)
        ]
        self._waiting.extend(submitted)
        self._waiting_weight += sum(weights)
        self._arrived.set()
        if self._has_full_batch():
            self._full.set()
        try:
            async with asyncio.timeout(self._timeout):
                return list(await asyncio.gather(*(one.result for one in submitted)))
        except TimeoutError:
            raise BusyError(f"not computed within {self._timeout:g} s", self._seconds_until_free()) from None
        finally:
            for one in submitted:  # items of a client that has left or timed out are not computed
                one.result.cancel()

    async def close(self) -> None:
        """Compute what waits, and stop."""
        self._open = False
        self._arrived.set()
        self._full.set()
        await self._task
        self._thread.shutdown()

    def _has_full_batch(self) -> bool:
        return len(self._waiting) >= self._size or self._waiting_weight >= self._weight

    def _seconds_until_free(self) -> int:
        return max(1, min(60, math.ceil(len(self._waiting) * self._seconds_per_item)))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._open or self._waiting:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._wait_for_more()
            batch = self._take_batch()
            if not batch:
                continue
            start = time.perf_counter()
            try:
                results = await loop.run_in_executor(self._thread, self._compute, [one.item for one in batch])
            except Exception as error:
                results = [error] * len(batch)
            seconds = time.perf_counter() - start
            self._on_batch(len(batch), seconds)
            self._seconds_per_item += 0.2 * (seconds / len(batch) - self._seconds_per_item)
            for one, result in zip(batch, results, strict=True):
                if one.result.done():
                    continue
                if isinstance(result, Exception):
                    one.result.set_exception(result)
                else:
                    one.result.set_result(result)
            await asyncio.sleep(0)  # requests with a result may submit their next items before the next batch starts

    async def _wait_for_more(self) -> None:
        """Wait while more items come, and no longer than the first may wait."""
        loop = asyncio.get_running_loop()
        deadline, count = self._waiting[0].arrival + self._wait, 0
        while self._open and count < len(self._waiting) and not self._has_full_batch() and loop.time() < deadline:
            count = len(self._waiting)
            self._full.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(deadline, loop.time() + self._wait * PAUSE)):
                    await self._full.wait()

    def _take_batch(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        weight = 0
        while self._waiting and len(batch) < self._size:
            first = self._waiting[0]
            if batch and weight + first.weight > self._weight and not first.result.done():
                break
            self._waiting.popleft()
            self._waiting_weight -= first.weight
            if not first.result.done():
                weight += first.weight
                batch.append(first)
        return batch


class ConcurrencyLimit:
    """A context manager that a bounded number may be inside of; further ones get `BusyError`.

    Attributes:
        used: how many are inside.
    """

    def __init__(self, limit: int, name: str):
        self.limit, self.name, self.used = limit, name, 0

    def __enter__(self) -> None:
        if self.used >= self.limit:
            raise BusyError(f"{self.used} {self.name} are active, at most {self.limit}")
        self.used += 1

    def __exit__(self, *_: object) -> None:
        self.used -= 1
