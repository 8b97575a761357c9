"""Small trainings that the page shows epoch by epoch: bounded, and cancelled at any step."""

import asyncio
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
from ohlol.serve.encoding import format_event
from ohlol.serve.limits import Limits
from ohlol.serve.service import Service
from ohlol.training import fit
from ohlol.training.callbacks import Callback, Epoch, Training
from ohlol.utils.errors import InputError

FRAMES = 60
"""Most epochs in the explanation of a training."""
DIGITS = 4
SendEvent = Callable[[str, dict[str, Any]], None]
"""Called with the name and the data of an event."""

_build_lock = threading.Lock()
"""Initial weights come from torch's global generator, which two trainings that start at once would share."""


class TrainingEndedError(Exception):
    """The training was cancelled, or its time is over."""


class EventCallback(Callback):
    """Sends an event after each epoch, and ends a training that is cancelled or takes too long.

    Args:
        body: the request.
        limits: of the training.
        send: called with each event.
        cancelled: ends the training when it is set.
    """

    def __init__(self, body: schemas.Train, limits: Limits, send: SendEvent, cancelled: threading.Event):
        self.body, self.send, self.cancelled = body, send, cancelled
        self.seconds = limits.train_seconds
        self.deadline = time.monotonic() + limits.train_seconds + body.epochs * body.pace
        self.frame_interval = -(-body.epochs // FRAMES)
        self.frames: dict[int, Frame] = {}
        self.best_epoch = 0
        self.trainer: Training | None = None

    def on_train_begin(self, trainer: Training) -> None:
        """Send the description of the model before the first epoch."""
        _build_lock.release()
        self.trainer = trainer
        self.model = TrainedModel(trainer.config, trainer.codec, trainer.model)
        assert trainer.codec.labels is not None
        config = trainer.config
        self.send(
            "start",
            {
                "epochs": config.training.epochs,
                "parameters": trainer.parameters,
                "hidden_size": config.model.hidden_size,
                "labels": list(trainer.codec.labels.symbols),
                "reduction": config.training.loss_reduction,
                "pairs": [list(p) for p in config.pairs],
            },
        )
        self.outputs = self._compute_outputs()
        self._add_frame(0)

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """End the training where it was cancelled or its time is over."""
        if self.cancelled.is_set():
            raise TrainingEndedError("cancelled")
        if time.monotonic() > self.deadline:
            raise TrainingEndedError(f"stopped after {self.seconds:g} s, the most a training may take")

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Send the loss of an epoch and the outputs of its weights, and pause."""
        self.send("epoch", {"epoch": epoch.number, "loss": epoch.loss, "pairs": self.outputs})
        self.outputs = self._compute_outputs()
        self.best_epoch = epoch.number if epoch.best else self.best_epoch
        if epoch.number % self.frame_interval == 0 or epoch.number == epoch.epochs:
            self._add_frame(epoch.number)
        self.cancelled.wait(self.body.pace)

    def explain(self, model: TrainedModel) -> dict[str, Any]:
        """The explanation of all frames, opened at the best epoch, whose weights the trained model has."""
        best = Frame(self.best_epoch, self._trace(model), is_best=True)
        frames = {**self.frames, self.best_epoch: best}
        return page.page_data(best.trace, frames=[frames[epoch] for epoch in sorted(frames)])

    def _add_frame(self, epoch: int) -> None:
        """Add the trace of the first pair, with the weights after an epoch."""
        self.frames[epoch] = Frame(epoch, self._trace(self.model))

    def _trace(self, model: TrainedModel) -> Trace:
        first = self.body.pairs[0]
        return trace(model, first.input, target=first.target)

    def _compute_outputs(self) -> list[dict[str, Any]]:
        return [compute_output(self.model, pair.input) for pair in self.body.pairs]


@torch.no_grad()
def compute_output(model: TrainedModel, text: str) -> dict[str, Any]:
    """The decoded labels, their probabilities and the last layer's hidden states (T, H) over one sequence."""
    _, packed = encode_sequence(model, text)
    network, labels = model.network, model.codec.labels
    assert labels is not None
    was_training = network.training
    network.eval()
    hidden, _ = network.hidden(network.encoder(packed), packed.batch_sizes, None)
    logits = network.head(hidden)
    predicted = network.head.decode(logits, packed.batch_sizes)
    probabilities = network.head.probabilities(logits, packed.batch_sizes).gather(1, predicted[:, None])[:, 0]
    network.train(was_training)
    return {
        "labels": labels.decode(predicted.tolist()),
        "probabilities": [round(p, DIGITS) for p in probabilities.tolist()],
        "hidden": [[round(v, DIGITS) for v in row] for row in hidden.tolist()],
    }


def check_limits(body: schemas.Train, limits: Limits) -> None:
    """Check a request.

    Raises:
        HTTPException: with status 422; it is above a limit, which the message names.
    """
    sides = [len(side) for pair in body.pairs for side in (pair.input, pair.target)]
    for value, most, name in (
        (len(body.pairs), limits.train_pairs, "pairs"),
        (max(sides), limits.train_symbols, "characters in a side of a pair"),
        (body.epochs, limits.train_epochs, "epochs"),
        (body.hidden_size or 1, limits.train_hidden, "hidden units"),
    ):
        if value > most:
            raise HTTPException(422, f"{value:,} {name}; at most {most}")
    if body.hidden_size is not None and not body.head:
        raise HTTPException(422, "hidden_size: without a head the hidden units are the labels; give head too")


async def start_training(body: schemas.Train, service: Service) -> AsyncGenerator[str]:
    """Start a training and return its events once it has started. Closing them cancels it.

    Raises:
        HTTPException: the request is above the limits, or pairs do not fit each other.
        BusyError: too many trainings run.
    """
    check_limits(body, service.limits)
    service.trainings.__enter__()  # until the thread ends, which may be after the client has left
    loop, queue, cancelled = asyncio.get_running_loop(), asyncio.Queue[str | None](), threading.Event()

    def send(name: str, content: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, format_event(content, name))

    service.cancellations.add(cancelled)
    work = service.run_training(lambda: _train(body, service.limits, send, cancelled))

    def end(_: object) -> None:
        service.trainings.__exit__()
        service.cancellations.discard(cancelled)
        queue.put_nowait(None)

    work.add_done_callback(end)
    try:
        first = await queue.get()
        if first is None:
            await work  # it ended before its first event, and raises the reason
            raise AssertionError("a training ended without an event")
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    except BaseException:
        cancelled.set()
        raise

    async def events() -> AsyncGenerator[str]:
        try:
            text: str | None = first
            while text is not None:
                yield text
                text = await queue.get()
        finally:
            cancelled.set()

    return events()


def _train(body: schemas.Train, limits: Limits, send: SendEvent, cancelled: threading.Event) -> None:
    callback = EventCallback(body, limits, send, cancelled)
    settings: dict[str, Any] = body.model_dump(include={"cell", "hidden_size", "epochs", "lr", "seed"})
    settings["head"] = "softmax" if body.head else "identity"
    pairs = [(pair.input, pair.target) for pair in body.pairs]
    _build_lock.acquire()
    try:
        model = fit.fit(pairs, callbacks=[callback], device="cpu", **settings)
    except TrainingEndedError as error:
        send("ended", {"detail": str(error)})
        return
    except InputError as error:
        if callback.trainer is None:
            raise
        send("ended", {"detail": str(error)})  # the loss is not finite
        return
    finally:
        if callback.trainer is None:
            _build_lock.release()
    send(
        "done",
        {
            "loss": model.config.metrics["loss"],
            "pairs": [compute_output(model, pair.input) for pair in body.pairs],
            "explain": callback.explain(model),
        },
    )
