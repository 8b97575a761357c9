"""The streams of one model: requests of many sessions, collected into steps that are computed together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ohlol.inference.streaming import StepInput, StreamOutput
from ohlol.inference.trained_model import TrainedModel
from ohlol.serve.batching import Batcher
from ohlol.serve.limits import Limits
from ohlol.utils.errors import InputError

JOINT_SYMBOLS = 8
"""Messages of up to so many symbols are read step by step, together with other sessions; longer ones by themselves."""
DIGITS = 6
"""Digits of a probability in a response: float32 has seven."""


@dataclass(frozen=True)
class StreamRequest:
    """What a session requests; done in the order of the fields."""

    key: int
    leave: bool = False
    resume: bytes | None = None
    reset: bool = False
    symbols: Sequence[StepInput] = ()
    n_best: int = 1
    state: bool = False


@dataclass
class StreamResult:
    """The result of a request."""

    steps: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    read: int = 0
    """Symbols in all; for a new sequence its key."""
    state: bytes | None = None


class ModelStreams:
    """Sessions of one model, each a sequence of its `StreamBatch`, which one thread computes.

    Raises:
        InputError: the model reads whole sequences, as `StreamBatch` says.
    """

    def __init__(self, model: TrainedModel, limits: Limits):
        self._model, self._streams = model, model.streams()
        self._open = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._batcher: Batcher[StreamRequest | None, StreamResult] = Batcher(
            self._compute,
            size=max(limits.batch_size, limits.max_sessions),
            weight=limits.max_work,
            wait=0.0,
            queue=2 * limits.max_sessions,
            timeout=limits.timeout,
        )

    async def join(self) -> int:
        """Start a sequence, and return its key."""
        self._open += 1
        self._empty.clear()
        try:
            (result,) = await self._batcher.submit([None], [1])
        except BaseException:
            self._count_leave()
            raise
        return result.read

    async def leave(self, key: int) -> None:
        """End a sequence."""
        try:
            await self._batcher.submit([StreamRequest(key, leave=True)], [1], always=True)
        finally:
            self._count_leave()

    async def submit(self, request: StreamRequest) -> StreamResult:
        """Do what a session requests.

        Raises:
            InputError: the request is not valid; the sequence stays as it was.
            BusyError: too many requests wait.
        """
        work = 1 + count_work(self._model, request.symbols, request.n_best)
        (result,) = await self._batcher.submit([request], [work])
        return result

    async def close(self) -> None:
        """Wait until all sessions have left, and stop."""
        await self._empty.wait()
        await self._batcher.close()

    def _count_leave(self) -> None:
        self._open -= 1
        if not self._open:
            self._empty.set()

    def _compute(self, requests: list[StreamRequest | None]) -> Sequence[StreamResult | Exception]:
        """The results of a batch; requests of few symbols are computed together, symbol by symbol."""
        results: list[StreamResult | Exception] = []
        for request in requests:
            try:
                results.append(self._prepare(request, alone=len(requests) == 1))
            except InputError as error:
                results.append(error)
        valid = [
            (request, result)
            for request, result in zip(requests, results, strict=True)
            if request is not None and isinstance(result, StreamResult)
        ]
        reading = [(request, result) for request, result in valid if len(result.steps) < len(request.symbols)]
        for position in range(max((len(request.symbols) for request, _ in reading), default=0)):
            current = [(request, result) for request, result in reading if position < len(request.symbols)]
            steps = self._streams.step({request.key: request.symbols[position] for request, _ in current})
            for request, result in current:
                result.steps.append(step_to_json(steps[request.key], request.symbols[position], request.n_best))
        for request, result in valid:
            if not request.leave:
                result.read = self._streams.steps(request.key)
                result.state = self._streams.state(request.key) if request.state else None
        return results

    def _prepare(self, request: StreamRequest | None, *, alone: bool) -> StreamResult:
        """Do everything but read few symbols. A request that is not valid is refused before anything changes."""
        if request is None:
            return StreamResult(read=self._streams.join())
        if request.leave:
            self._streams.leave(request.key)
            return StreamResult()
        for symbol in request.symbols:
            self._streams.check(symbol)
        if request.resume is not None:
            self._streams.restore(request.key, request.resume)
        if request.reset:
            self._streams.reset(request.key)
        if len(request.symbols) <= (1 if alone else JOINT_SYMBOLS):
            return StreamResult()
        steps = self._streams.read(request.key, list(request.symbols))
        pairs = zip(steps, request.symbols, strict=True)
        return StreamResult([step_to_json(step, symbol, request.n_best) for step, symbol in pairs])


def count_work(model: TrainedModel, symbols: Sequence[Any], n_best: int) -> int:
    """The work to read symbols and rank labels after each: characters where the model reads them, or labels if more."""
    inputs = sum(map(len, symbols)) if model.network.encoder.reads_chars else len(symbols)
    return max(inputs, len(symbols) * min(n_best, len(model.codec.labels or ()) or 1))


def step_to_json(step: StreamOutput, symbol: StepInput, n_best: int) -> dict[str, Any]:
    """One step as JSON."""
    try:
        best = step.best(n_best)
    except InputError:  # a forecast
        return {"row": step.row.tolist()}
    label, probability = best[0]
    content: dict[str, Any] = {"symbol": symbol, "label": label, "probability": round(probability, DIGITS)}
    content["unknown"] = step.unknown
    if step.is_set:
        content["labels"] = step.labels
    return content if n_best == 1 else {**content, "best": [(label, round(p, DIGITS)) for label, p in best]}
