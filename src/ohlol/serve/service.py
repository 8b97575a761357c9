"""What a server works with while it runs, and the work that stands beside the batches; knows nothing of HTTP."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from ohlol.serve.access import Access
from ohlol.serve.batching import Gate
from ohlol.serve.limits import Limits
from ohlol.serve.metrics import Metrics
from ohlol.serve.models import Models

T = TypeVar("T")

GOODBYE = 5.0
"""Seconds that streams have to hand over their tokens when the server stops."""

PIECE = 32
"""Symbols of generated text handed on at once, at most."""


class Service:
    """Models, limits, counters and a few threads.

    Args:
        models: what is served.
        access: who may ask.
        limits: how much.
        metrics: where it is counted.
    """

    def __init__(self, models: Models, access: Access, limits: Limits, metrics: Metrics):
        self.models, self.access, self.limits, self.metrics = models, access, limits, metrics
        self.started, self.stopping = asyncio.Event(), asyncio.Event()
        self.cancels: set[threading.Event] = set()
        self.side = Gate(limits.side_queue, "generations, explanations and forecasts")
        self.trainings = Gate(limits.trainings, "trainings")
        self.sessions = Gate(limits.sessions, "streams")
        self._side = ThreadPoolExecutor(limits.side, thread_name_prefix="side")
        self._training = ThreadPoolExecutor(max(limits.trainings, 1), thread_name_prefix="training")

    @property
    def ready(self) -> bool:
        """Whether requests are served."""
        return self.started.is_set() and not self.stopping.is_set()

    async def beside(self, work: Callable[[], T]) -> T:
        """Do a bounded piece of work in one of a few threads; the caller holds a place in `side`."""
        return await asyncio.get_running_loop().run_in_executor(self._side, work)

    def train(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Train in a thread; the caller holds a place in `trainings`."""
        return asyncio.get_running_loop().run_in_executor(self._training, work)

    async def piece(self, symbols: Iterator[str]) -> list[str]:
        """The next symbols of a text that is being generated; none at its end."""
        return await self.beside(lambda: list(islice(symbols, PIECE)))

    async def reload(self) -> list[dict[str, object]]:
        """Read every model again, and count what came of it."""
        told = await self.models.reload()
        for one in told:
            result = "refused" if one["error"] else "changed" if one["changed"] else "same"
            self.metrics.reloads.labels(one["name"], result).inc()
        return told

    async def start(self) -> None:
        """Load the models."""
        await self.models.start()
        self.started.set()

    async def stop(self) -> None:
        """Say that the end is near: streams and trainings end, everything else is finished."""
        self.stopping.set()
        for cancelled in self.cancels:
            cancelled.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                while self.sessions.inside:
                    await asyncio.sleep(0.02)

    async def close(self) -> None:
        """The end."""
        await self.models.close()
        self._side.shutdown(wait=False, cancel_futures=True)
        self._training.shutdown(wait=False, cancel_futures=True)
