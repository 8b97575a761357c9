"""What all requests share: models, limits, metrics, and the threads for work other than batches."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from ohlol.serve.access import Access
from ohlol.serve.batching import ConcurrencyLimit
from ohlol.serve.limits import Limits
from ohlol.serve.metrics import Metrics
from ohlol.serve.models import Models

T = TypeVar("T")

STREAM_STOP_SECONDS = 5.0
"""How long streams may take to send their tokens when the server stops."""

PIECE = 32
"""Most symbols of generated text in one event."""


class Service:
    """The state of one server.

    Args:
        models: the models that are served.
        access: which requests are allowed.
        limits: what a request may ask for.
        metrics: where requests are counted.
    """

    def __init__(self, models: Models, access: Access, limits: Limits, metrics: Metrics):
        self.models, self.access, self.limits, self.metrics = models, access, limits, metrics
        self.started, self.stopping = asyncio.Event(), asyncio.Event()
        self.cancellations: set[threading.Event] = set()
        self.side_requests = ConcurrencyLimit(limits.side_requests, "generations, explanations and forecasts")
        self.trainings = ConcurrencyLimit(limits.trainings, "trainings")
        self.sessions = ConcurrencyLimit(limits.max_sessions, "streams")
        self._side_threads = ThreadPoolExecutor(limits.side_threads, thread_name_prefix="side")
        self._training_threads = ThreadPoolExecutor(max(limits.trainings, 1), thread_name_prefix="training")

    @property
    def ready(self) -> bool:
        """Whether requests are served."""
        return self.started.is_set() and not self.stopping.is_set()

    async def run_beside(self, work: Callable[[], T]) -> T:
        """Run a bounded piece of work in a thread that computes no batches; the caller is inside `side_requests`."""
        return await asyncio.get_running_loop().run_in_executor(self._side_threads, work)

    def run_training(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Run a training in a thread; the caller is inside `trainings`."""
        return asyncio.get_running_loop().run_in_executor(self._training_threads, work)

    async def next_piece(self, symbols: Iterator[str]) -> list[str]:
        """The next symbols of a text that is being generated; empty at its end."""
        return await self.run_beside(lambda: list(islice(symbols, PIECE)))

    async def reload(self) -> list[dict[str, object]]:
        """Read every model again, and count the results."""
        reports = await self.models.reload()
        for report in reports:
            result = "refused" if report["error"] else "changed" if report["changed"] else "same"
            self.metrics.reloads.labels(report["name"], result).inc()
        return reports

    async def start(self) -> None:
        """Start to serve the models."""
        await self.models.start()
        self.started.set()

    async def stop(self) -> None:
        """End streams and trainings; other requests are completed."""
        self.stopping.set()
        for cancellation in self.cancellations:
            cancellation.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(STREAM_STOP_SECONDS):
                while self.sessions.used:
                    await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Stop the models and the threads."""
        await self.models.close()
        self._side_threads.shutdown(wait=False, cancel_futures=True)
        self._training_threads.shutdown(wait=False, cancel_futures=True)
