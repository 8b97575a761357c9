"""A small model trained before somebody's eyes: bounded, watched epoch by epoch, cancelled at any step."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import torch
from fastapi import HTTPException

from ohlol.display import page
from ohlol.explain.history import Frame
from ohlol.explain.trace import Trace, encode_sequence, trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.serve import schemas
from ohlol.serve.limits import Limits
from ohlol.serve.service import Service
from ohlol.training import fit
from ohlol.training.callbacks import Epoch, Silent
from ohlol.training.trainer import Trainer
from ohlol.utils.errors import InputError

FRAMES = 60
"""Epochs that the explanation of a training shows, at most."""
DIGITS = 4
Tell = Callable[[str, dict[str, Any]], None]

_building = threading.Lock()
"""Initial weights come from torch's one generator: two trainings that build their models at once would share it."""


class Ended(Exception):  # noqa: N818 - it is no error
    """The training was cancelled, or its time is up."""


class Watcher(Silent):
    """Tells of every epoch, and ends the training when it is to end."""

    def __init__(self, asked: schemas.Train, limits: Limits, tell: Tell, cancelled: threading.Event):
        self.asked, self.tell, self.cancelled = asked, tell, cancelled
        self.seconds = limits.train_seconds
        self.until = time.monotonic() + limits.train_seconds + asked.epochs * asked.pace
        self.every = -(-asked.epochs // FRAMES)
        self.frames: dict[int, Frame] = {}
        self.best = 0
        self.trainer: Trainer | None = None

    def start(self, trainer: Trainer) -> None:
        """The model is built; say what it is, and what it says untaught."""
        _building.release()
        self.trainer = trainer
        self.model = TrainedModel(trainer.config, trainer.codec, trainer.model)
        assert trainer.codec.labels is not None
        about = trainer.config
        self.tell(
            "start",
            {
                "epochs": about.training.epochs,
                "parameters": trainer.parameters,
                "hidden_size": about.model.hidden_size,
                "labels": list(trainer.codec.labels.symbols),
                "reduction": about.training.loss,
                "pairs": [list(p) for p in about.pairs],
            },
        )
        self.said = self._look()
        self._keep(0)

    def step(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """End here where it is to end."""
        if self.cancelled.is_set():
            raise Ended("cancelled")
        if time.monotonic() > self.until:
            raise Ended(f"stopped after {self.seconds:g} s, the most a training may take")

    def epoch(self, epoch: Epoch) -> None:
        """What the weights said in this epoch, its loss, and a pause to look at it."""
        self.tell("epoch", {"epoch": epoch.number, "loss": epoch.loss, "pairs": self.said})
        self.said = self._look()
        self.best = epoch.number if epoch.best else self.best
        if epoch.number % self.every == 0 or epoch.number == epoch.epochs:
            self._keep(epoch.number)
        self.cancelled.wait(self.asked.pace)

    def _keep(self, epoch: int) -> None:
        """Everything of the first pair, for the explanation, as the weights stand after an epoch."""
        self.frames[epoch] = Frame(epoch, self._traced(self.model))

    def _traced(self, model: TrainedModel) -> Trace:
        first = self.asked.pairs[0]
        return trace(model, first.input, target=first.target)

    def explained(self, model: TrainedModel) -> dict[str, Any]:
        """The epochs that were kept, opened at the best one, whose weights the finished model has."""
        best = Frame(self.best, self._traced(model), is_best=True)
        frames = {**self.frames, self.best: best}
        return page.page_data(best.trace, frames=[frames[epoch] for epoch in sorted(frames)])

    def _look(self) -> list[dict[str, Any]]:
        return [said(self.model, pair.input) for pair in self.asked.pairs]


@torch.no_grad()
def said(model: TrainedModel, text: str) -> dict[str, Any]:
    """The labels, their probabilities and the top layer's hidden states (T, H) over one sequence."""
    _, steps = encode_sequence(model, text)
    network, labels = model.network, model.codec.labels
    assert labels is not None
    was_training = network.training
    network.eval()
    hidden, _ = network.hidden(network.encoder(steps), steps.batch_sizes, None)
    chances = torch.softmax(network.head(hidden), dim=1)
    network.train(was_training)
    top = chances.max(dim=1)
    return {
        "labels": labels.decode(top.indices.tolist()),
        "probabilities": [round(p, DIGITS) for p in top.values.tolist()],
        "hidden": [[round(v, DIGITS) for v in row] for row in hidden.tolist()],
    }


def refuse(asked: schemas.Train, limits: Limits) -> None:
    """Refuse what is above the limits.

    Raises:
        HTTPException: with status 422, naming the limit.
    """
    sides = [len(side) for pair in asked.pairs for side in (pair.input, pair.target)]
    for value, most, what in (
        (len(asked.pairs), limits.train_pairs, "pairs"),
        (max(sides), limits.train_symbols, "characters in a side of a pair"),
        (asked.epochs, limits.train_epochs, "epochs"),
        (asked.hidden_size or 1, limits.train_hidden, "hidden units"),
    ):
        if value > most:
            raise HTTPException(422, f"{value:,} {what}; at most {most}")
    if asked.hidden_size is not None and not asked.head:
        raise HTTPException(422, "hidden_size: without a head the hidden units are the labels; give head too")


async def events(asked: schemas.Train, at: Service) -> AsyncGenerator[str]:
    """Begin a training; its events, once it has begun. Closing them cancels it.

    Raises:
        HTTPException: above the limits, or pairs that do not fit each other.
        Busy: as many as may are at work.
    """
    refuse(asked, at.limits)
    at.trainings.__enter__()  # until its thread is through, which may be after the client has left
    loop, queue, cancelled = asyncio.get_running_loop(), asyncio.Queue[str | None](), threading.Event()

    def tell(name: str, content: dict[str, Any]) -> None:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        loop.call_soon_threadsafe(queue.put_nowait, f"event: {name}\ndata: {text}\n\n")

    at.cancels.add(cancelled)
    work = at.train(lambda: _train(asked, at.limits, tell, cancelled))

    def over(_: object) -> None:
        at.trainings.__exit__()
        at.cancels.discard(cancelled)
        queue.put_nowait(None)

    work.add_done_callback(over)
    try:
        first = await queue.get()
        if first is None:
            await work  # it ended before it began: raises what it ended with
            raise AssertionError("a training told nothing")
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    except BaseException:
        cancelled.set()
        raise

    async def told() -> AsyncGenerator[str]:
        try:
            text: str | None = first
            while text is not None:
                yield text
                text = await queue.get()
        finally:
            cancelled.set()

    return told()


def _train(asked: schemas.Train, limits: Limits, tell: Tell, cancelled: threading.Event) -> None:
    watcher = Watcher(asked, limits, tell, cancelled)
    settings: dict[str, Any] = asked.model_dump(include={"cell", "head", "hidden_size", "epochs", "lr", "seed"})
    pairs = [(pair.input, pair.target) for pair in asked.pairs]
    _building.acquire()
    try:
        model = fit.fit(pairs, reporter=watcher, device="cpu", **settings)
    except Ended as ended:
        tell("ended", {"detail": str(ended)})
        return
    except InputError as error:
        if watcher.trainer is None:
            raise
        tell("ended", {"detail": str(error)})  # the loss is no number any more
        return
    finally:
        if watcher.trainer is None:
            _building.release()
    tell(
        "done",
        {
            "loss": model.config.scores["loss"],
            "pairs": [said(model, pair.input) for pair in asked.pairs],
            "explain": watcher.explained(model),
        },
    )
