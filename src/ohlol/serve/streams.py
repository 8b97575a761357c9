"""The streams of one model: what many sessions read, gathered into steps; knows nothing of WebSockets."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ohlol.inference.streaming import Step, Symbol
from ohlol.inference.trained_model import TrainedModel
from ohlol.serve.batching import Batcher
from ohlol.serve.limits import Limits
from ohlol.utils.errors import InputError

TOGETHER = 8
"""Symbols of a message up to which it is read step by step, with those of other sessions; longer ones alone."""
DIGITS = 6


@dataclass(frozen=True)
class Ask:
    """What one session wants, in the order of the fields."""

    key: int
    leave: bool = False
    resume: bytes | None = None
    reset: bool = False
    symbols: Sequence[Symbol] = ()
    n_best: int = 1
    state: bool = False


@dataclass
class Told:
    """What came of it."""

    steps: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    read: int = 0
    """Symbols in all."""
    state: bytes | None = None


class ModelStreams:
    """Sessions of one model, each a sequence in `Streams`, all in the hands of one thread.

    Raises:
        InputError: the model reads from both ends.
    """

    def __init__(self, model: TrainedModel, limits: Limits):
        self._model, self._streams = model, model.streams()
        self._open = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._batcher: Batcher[Ask | None, Told] = Batcher(
            self._work,
            size=max(limits.batch, limits.sessions),
            weight=limits.work,
            wait=0.0,
            queue=2 * limits.sessions,
            patience=limits.wait,
        )

    async def join(self) -> int:
        """Begin a sequence; its key."""
        self._open += 1
        self._empty.clear()
        try:
            (told,) = await self._batcher.submit([None], [1])
        except BaseException:
            self._gone()
            raise
        return told.read

    async def leave(self, key: int) -> None:
        """End one."""
        try:
            await self._batcher.submit([Ask(key, leave=True)], [1], always=True)
        finally:
            self._gone()

    async def ask(self, ask: Ask) -> Told:
        """Do what a session wants.

        Raises:
            InputError: what it wants cannot be; the sequence is where it was.
            Busy: too many want something.
        """
        (told,) = await self._batcher.submit([ask], [1 + work_of(self._model, ask.symbols, ask.n_best)])
        return told

    async def close(self) -> None:
        """Wait for the last session to leave, and stop."""
        await self._empty.wait()
        await self._batcher.close()

    def _gone(self) -> None:
        self._open -= 1
        if not self._open:
            self._empty.set()

    def _work(self, asked: list[Ask | None]) -> Sequence[Told | Exception]:
        """What came of each: those that read a few symbols read them together."""
        answers: list[Told | Exception] = []
        for ask in asked:
            try:
                answers.append(self._begin(ask, alone=len(asked) == 1))
            except InputError as error:
                answers.append(error)
        rounds = [(ask, told) for ask, told in zip(asked, answers, strict=True) if isinstance(told, Told)]
        reading = [(ask, told) for ask, told in rounds if ask is not None and len(told.steps) < len(ask.symbols)]
        for place in range(max((len(ask.symbols) for ask, _ in reading), default=0)):
            now = [(ask, told) for ask, told in reading if place < len(ask.symbols)]
            steps = self._streams.step({ask.key: ask.symbols[place] for ask, _ in now})
            for ask, told in now:
                told.steps.append(shown(steps[ask.key], ask.symbols[place], ask.n_best))
        for ask, told in rounds:
            if ask is not None and not ask.leave:
                told.read = self._streams.steps(ask.key)
                told.state = self._streams.state(ask.key) if ask.state else None
        return answers

    def _begin(self, ask: Ask | None, *, alone: bool) -> Told:
        """Everything but short reading; refuses before anything has moved."""
        if ask is None:
            return Told(read=self._streams.join())
        if ask.leave:
            self._streams.leave(ask.key)
            return Told()
        for symbol in ask.symbols:
            self._streams.check(symbol)
        if ask.resume is not None:
            self._streams.restore(ask.key, ask.resume)
        if ask.reset:
            self._streams.reset(ask.key)
        if len(ask.symbols) > (1 if alone else TOGETHER):
            steps = self._streams.read(ask.key, list(ask.symbols))
            return Told([shown(*found, ask.n_best) for found in zip(steps, ask.symbols, strict=True)])
        return Told()


def work_of(model: TrainedModel, symbols: Sequence[Any], n_best: int) -> int:
    """How much it is to read symbols and to name labels after each: letters where words are spelled, and labels."""
    read = sum(map(len, symbols)) if model.network.encoder.spelled else len(symbols)
    return max(read, len(symbols) * min(n_best, len(model.codec.labels or ()) or 1))


def shown(step: Step, symbol: Symbol, n_best: int) -> dict[str, Any]:
    """One step as JSON."""
    try:
        best = step.best(n_best)
    except InputError:  # a forecast
        return {"row": step.row.tolist()}
    made = {"symbol": symbol, "label": best[0][0], "probability": round(best[0][1], DIGITS), "unknown": step.unknown}
    return made if n_best == 1 else {**made, "best": [(label, round(p, DIGITS)) for label, p in best]}
