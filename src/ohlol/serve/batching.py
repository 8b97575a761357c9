"""Requests become batches: a bounded queue, a bounded wait, one batch at a time; knows nothing of models or of HTTP."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


PAUSE = 0.25
"""Share of the longest wait after which nobody else is expected, where nobody has come."""


class Busy(Exception):  # noqa: N818 - it is no error of anybody's
    """There is more to do than the queue holds; try again after some seconds."""

    def __init__(self, what: str, retry_after: int = 1):
        super().__init__(f"busy: {what}; try again in {retry_after} s")
        self.retry_after = retry_after


@dataclass
class _Waiting(Generic[Asked, Answer]):
    asked: Asked
    weight: int
    arrived: float
    answer: asyncio.Future[Answer]


class Batcher(Generic[Asked, Answer]):
    """Gathers what many requests ask into batches, and works them off one after the other in a thread of its own.

    Args:
        work: the answers to a batch, in its order; an exception in place of an answer is raised for that one alone.
        size: asked in a batch at most.
        weight: of a batch at most, by what `submit` says each weighs; a single heavier one makes a batch by itself.
        wait: seconds the first of a batch waits for others at most; a quarter of it without one ends the wait.
        queue: how many may wait.
        patience: seconds after which one that waits is told that the server is busy.
        watch: is told the size of each batch and the seconds it took.
    """

    def __init__(
        self,
        work: Callable[[list[Asked]], Sequence[Answer | Exception]],
        *,
        size: int,
        weight: int,
        wait: float,
        queue: int,
        patience: float,
        watch: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        self._work, self._size, self._weight, self._wait, self._watch = work, size, weight, wait, watch
        self._queue, self._patience = queue, patience
        self._waiting: deque[_Waiting[Asked, Answer]] = deque()
        self._heavy = 0  # what all that wait weigh
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._seconds_each = 0.01  # of one asked, a running mean
        self._open = True
        self._task = asyncio.create_task(self._run())

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def submit(self, asked: Sequence[Asked], weights: Sequence[int], *, always: bool = False) -> list[Answer]:
        """The answers to some, all admitted or none; `always` admits them even where the queue is full.

        Raises:
            Busy: the queue is full, or they waited too long; or no more are taken.
            Exception: what `work` gave in place of an answer.
        """
        if len(self._waiting) + len(asked) > self._queue and not always:
            raise Busy(f"{len(self._waiting)} sequences wait, at most {self._queue}", self._until_free())
        if not self._open:  # nobody would ever come for it
            raise Busy("this model stops", 1)
        loop = asyncio.get_running_loop()
        now = loop.time()
        mine = [_Waiting(one, weight, now, loop.create_future()) for one, weight in zip(asked, weights, strict=True)]
        self._waiting.extend(mine)
        self._heavy += sum(weights)
        self._arrived.set()
        if self._enough():
            self._full.set()
        try:
            async with asyncio.timeout(self._patience):
                return list(await asyncio.gather(*(one.answer for one in mine)))
        except TimeoutError:
            raise Busy(f"not worked off within {self._patience:g} s", self._until_free()) from None
        finally:
            for one in mine:  # of a client that is gone, or told to come back: what still waits is not worked on
                one.answer.cancel()

    async def close(self) -> None:
        """Work off what waits, and stop."""
        self._open = False
        self._arrived.set()
        self._full.set()
        await self._task
        self._thread.shutdown()

    def _enough(self) -> bool:
        """Whether what waits makes a whole batch."""
        return len(self._waiting) >= self._size or self._heavy >= self._weight

    def _until_free(self) -> int:
        return max(1, min(60, math.ceil(len(self._waiting) * self._seconds_each)))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._open or self._waiting:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._others()
            batch = self._take()
            if not batch:
                continue
            began = time.perf_counter()
            try:
                answers = await loop.run_in_executor(self._thread, self._work, [one.asked for one in batch])
            except Exception as error:
                answers = [error] * len(batch)
            seconds = time.perf_counter() - began
            self._watch(len(batch), seconds)
            self._seconds_each += 0.2 * (seconds / len(batch) - self._seconds_each)
            for one, answer in zip(batch, answers, strict=True):
                if one.answer.done():
                    continue
                if isinstance(answer, Exception):
                    one.answer.set_exception(answer)
                else:
                    one.answer.set_result(answer)
            await asyncio.sleep(0)  # let those who were answered go on, and perhaps ask again, before the next batch

    async def _others(self) -> None:
        """Wait for more to come, while more do come, and no longer than the first may wait."""
        loop = asyncio.get_running_loop()
        late, waiting = self._waiting[0].arrived + self._wait, 0
        while self._open and waiting < len(self._waiting) and not self._enough() and loop.time() < late:
            waiting = len(self._waiting)
            self._full.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(late, loop.time() + self._wait * PAUSE)):
                    await self._full.wait()

    def _take(self) -> list[_Waiting[Asked, Answer]]:
        batch: list[_Waiting[Asked, Answer]] = []
        heavy = 0
        while self._waiting and len(batch) < self._size:
            one = self._waiting[0]
            if batch and heavy + one.weight > self._weight and not one.answer.done():
                break
            self._waiting.popleft()
            self._heavy -= one.weight
            if not one.answer.done():
                heavy += one.weight
                batch.append(one)
        return batch


class Gate:
    """Lets a bounded number in; the others are told that the server is busy."""

    def __init__(self, places: int, what: str):
        self.places, self.what, self.inside = places, what, 0

    def __enter__(self) -> None:
        if self.inside >= self.places:
            raise Busy(f"{self.inside} {self.what} at work, at most {self.places}")
        self.inside += 1

    def __exit__(self, *_: object) -> None:
        self.inside -= 1
