"""The models of a server: loaded, batched, and replaced while requests are answered."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ohlol.config import FULL_PRECISION
from ohlol.data.lines import SERIES_ARGUMENT, TEXT_ARGUMENT, Argument
from ohlol.data.statics import StaticText
from ohlol.data.symbols import split_text
from ohlol.inference.prediction import Prediction
from ohlol.inference.trained_model import TrainedModel, load
from ohlol.serve.batching import Batcher
from ohlol.serve.limits import Limits
from ohlol.serve.streams import ModelStreams, count_work
from ohlol.utils.errors import InputError

MODEL_NAME = re.compile(r"\w[\w.-]{0,63}")
"""A model's name in a path. It is looked up in a table, and never used as a file name."""
MAX_LABELS = 200
"""Most labels in the description of a model."""
Symbols = Sequence[Any]
"""Symbols, with the columns beside them as a `StaticText`, or rows of numbers."""
BatchCallback = Callable[[str, int, float], None]
"""Called with a model's name, the size of a batch and the seconds it took."""


def parse_runs(runs: Sequence[str]) -> dict[str, Path]:
    """Names and directories of models that are written as RUN or NAME=RUN.

    Raises:
        InputError: a name occurs twice, or cannot be part of a path.

    >>> parse_runs(["runs/hello-1", "b=runs/words"])
    {'hello-1': PosixPath('runs/hello-1'), 'b': PosixPath('runs/words')}
    """
    directories: dict[str, Path] = {}
    for text in runs:
        name, separator, path = text.partition("=")
        run = Path(path if separator else text)
        name = name if separator else run.resolve().name
        if not MODEL_NAME.fullmatch(name):
            raise InputError(
                "{text}: {name!r} cannot be a model's name; give NAME=RUN with a name of letters, digits, . _ and -",
                text=text,
                name=name,
            )
        if name in directories:
            raise InputError(
                "{text}: there is a model {name!r} already, {directories}; give NAME=RUN",
                text=text,
                name=name,
                directories=directories[name],
            )
        directories[name] = run
    return directories


def load_model(run: Path, precision: str = FULL_PRECISION) -> TrainedModel:
    """Load a run's model, and check its weights.

    Raises:
        InputError: it cannot be read, or a weight is not finite.
    """
    model = load(run, precision=precision)
    for name, weight in model.network.named_parameters():
        if not torch.isfinite(weight).all():
            raise InputError("{run}: {name} holds NaN or infinity; train it again", run=run, name=name)
    _ = model.identity  # a hash of the weights, computed before the first request needs it
    return model


@dataclass(eq=False)
class ServedModel:
    """One model with its batcher and its streams."""

    name: str
    run: Path
    model: TrainedModel
    batcher: Batcher[tuple[Symbols, int], Prediction]
    streams: ModelStreams | None
    """None for a model that reads a whole sequence before it predicts."""

    def describe(self) -> dict[str, Any]:
        """The description of the model that clients get."""
        settings, codec = self.model.config.model, self.model.codec
        example = next((source for source, _ in self.model.config.pairs), None)
        labels = codec.labels if self.model.targets.has_labels else None
        return {
            "name": self.name,
            "task": self.model.task,
            "level": self.model.config.data.level,
            "cell": settings.cell,
            "layers": settings.num_layers,
            "hidden_size": settings.hidden_size,
            "bidirectional": settings.bidirectional,
            "parameters": sum(p.numel() for p in self.model.network.parameters()),
            "symbols": len(codec.symbols) if codec.symbols is not None else None,
            "labels": list(labels.symbols[:MAX_LABELS]) if labels is not None else None,
            "columns": list(codec.columns) or None,
            "static": list(codec.statics.names) or None,
            "example": example if example is None or isinstance(example, str) else " ".join(example),
            "identity": self.model.identity,
            "streams": self.streams is not None,
        }

    async def close(self) -> None:
        """Compute what waits, wait for the streams to end, and stop."""
        await self.batcher.close()
        if self.streams is not None:
            await self.streams.close()

    async def predict(self, inputs: Sequence[Symbols], n_best: int) -> list[Prediction]:
        """Predictions of some sequences, in batches with those of other requests.

        Raises:
            BusyError: the queue is full.
            InputError: a sequence does not fit the model.
        """
        work = [self.count_work(symbols, n_best) for symbols in inputs]
        return await self.batcher.submit([(symbols, n_best) for symbols in inputs], work)

    def count_work(self, symbols: Symbols, n_best: int) -> int:
        """The work to predict a sequence: labels of each symbol, or of the whole sequence."""
        targets, symbols = self.model.targets, symbols.symbols if isinstance(symbols, StaticText) else symbols
        labels_per_step = n_best if targets.has_labels and not targets.per_sequence else 1
        return max(count_work(self.model, symbols, labels_per_step), n_best)


def predict_batch(model: TrainedModel, batch: Sequence[tuple[Symbols, int]]) -> list[Prediction | Exception]:
    """The predictions of a batch; one by one where a sequence does not fit the model."""
    try:
        return list(model.predict_many([symbols for symbols, _ in batch], n_best=[n_best for _, n_best in batch]))
    except InputError:
        return [_predict_one(model, symbols, n_best) for symbols, n_best in batch]


def _predict_one(model: TrainedModel, symbols: Symbols, n_best: int) -> Prediction | InputError:
    try:
        return model.predict(symbols, n_best=n_best)
    except InputError as error:
        message = str(error)
        for kind in (TEXT_ARGUMENT, SERIES_ARGUMENT):
            message = message.removeprefix(f"{Argument(kind, 1)}: ")
        return InputError(message)


def parse_sequence(model: TrainedModel, sequence: str | Sequence[Any], limits: Limits) -> list[Any]:
    """The symbols of a text or of a list of symbols, or the rows of a series, as a model reads them.

    Raises:
        InputError: there are none or too many, or the model reads others.
    """
    length, most, targets = len(sequence), limits.max_length, model.targets
    is_series = bool(sequence) and isinstance(sequence[0], list)
    if targets.numeric or (length and is_series != targets.rows):
        raise InputError(
            'this model\'s task is {task} and reads numbers: give "rows"'
            if targets.reads_numbers
            else 'this model\'s task is {task} and reads no numbers: give "inputs"',
            task=model.task,
        )
    if length <= most * (1 if model.config.data.level == "char" or not isinstance(sequence, str) else 64):
        symbols = split_text(sequence, model.config.data) if isinstance(sequence, str) else sequence
        if not len(symbols):
            raise InputError(
                "it is empty; give one row at least" if targets.rows else "it is empty; give one symbol at least"
            )
        length = len(symbols)
        if length <= most:
            letters = count_work(model, symbols, 1)
            if letters > limits.max_work:
                raise InputError(
                    "its words have {letters:,} letters; at most {max_work:,} are read",
                    letters=letters,
                    max_work=limits.max_work,
                )
            return list(symbols) if is_series else [str(symbol) for symbol in symbols]
    raise InputError(
        "it has {length:,} rows; at most {most:,} are read"
        if is_series
        else "it has {length:,} symbols; at most {most:,} are read",
        length=length,
        most=most,
    )


class Models:
    """A table of models by name, whose entries are replaced as a whole.

    A request keeps the entry that it looked up. A replaced entry answers the requests that wait for it, and stops.

    Args:
        runs: directories by name.
        limits: of batches and streams.
        on_batch: called after each batch.
        precision: of the recurrent weights of all models, as `ohlol.load` takes it.

    Raises:
        InputError: a run cannot be read, or a model cannot have the precision.
    """

    def __init__(
        self,
        runs: Mapping[str, Path],
        limits: Limits,
        on_batch: BatchCallback = lambda name, size, seconds: None,
        precision: str = FULL_PRECISION,
    ):
        self.runs, self.limits, self.on_batch, self.precision = dict(runs), limits, on_batch, precision
        self._loaded = {name: load_model(run, precision) for name, run in runs.items()}
        self.cells = {model.config.model.cell for model in self._loaded.values()}
        self.served: dict[str, ServedModel] = {}
        self._loading = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start to serve the models that were loaded."""
        self.served = {name: self._serve(name, model) for name, model in self._loaded.items()}

    async def reload(self) -> list[dict[str, Any]]:
        """Read every run again, and replace the models that changed; one that cannot be read stays as it was.

        Returns:
            For each model its name, whether it changed, its identity, and an error or None.
        """
        reports: list[dict[str, Any]] = []
        async with self._loading:
            for name, run in self.runs.items():
                before = self.served[name]
                identity = before.model.identity
                try:
                    model = await asyncio.to_thread(load_model, run, self.precision)
                except InputError as error:
                    reports.append({"name": name, "changed": False, "identity": identity, "error": str(error)})
                    continue
                changed = model.identity != identity
                if changed:
                    self.served[name] = self._serve(name, model)
                    closing = asyncio.create_task(before.close())
                    self._closing.add(closing)
                    closing.add_done_callback(self._closing.discard)
                reports.append({"name": name, "changed": changed, "identity": model.identity, "error": None})
        return reports

    async def close(self) -> None:
        """Compute what waits, and stop."""
        await asyncio.gather(*self._closing, *(one.close() for one in self.served.values()))

    def _serve(self, name: str, model: TrainedModel) -> ServedModel:
        limits = self.limits
        batcher: Batcher[tuple[Symbols, int], Prediction] = Batcher(
            lambda batch: predict_batch(model, batch),
            size=limits.batch_size,
            weight=limits.max_work,
            wait=limits.batch_wait,
            queue=limits.max_queue,
            timeout=limits.timeout,
            on_batch=lambda size, seconds: self.on_batch(name, size, seconds),
        )
        try:
            streams = ModelStreams(model, limits)
        except InputError:  # it reads whole sequences
            streams = None
        return ServedModel(name, self.runs[name], model, batcher, streams)
