"""The models of a server: loaded, batched, and swapped without dropping a request; knows nothing of HTTP."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ohlol.data import sequences
from ohlol.inference.trained_model import Prediction, TrainedModel, load
from ohlol.serve.batching import Batcher
from ohlol.serve.limits import Limits
from ohlol.serve.streams import ModelStreams, work_of
from ohlol.utils.errors import InputError

NAME = re.compile(r"\w[\w.-]{0,63}")
"""Of a model, in a path: it is looked up in a table, and never used as a file's name."""
Symbols = Sequence[str]
Watch = Callable[[str, int, float], None]
"""Is told a model's name, the size of a batch and the seconds it took."""


def named(runs: Sequence[str]) -> dict[str, Path]:
    """Names and directories of models, given as RUN or NAME=RUN.

    Raises:
        InputError: a name stands twice, or cannot stand in a path.

    >>> named(["runs/hello-1", "b=runs/words"])
    {'hello-1': PosixPath('runs/hello-1'), 'b': PosixPath('runs/words')}
    """
    found: dict[str, Path] = {}
    for given in runs:
        name, glued, path = given.partition("=")
        run = Path(path if glued else given)
        name = name if glued else run.resolve().name
        if not NAME.fullmatch(name):
            raise InputError(
                f"{given}: {name!r} cannot be a model's name; give NAME=RUN with a name of letters, digits, . _ and -"
            )
        if name in found:
            raise InputError(f"{given}: there is a model {name!r} already, {found[name]}; give NAME=RUN")
        found[name] = run
    return found


def loaded(run: Path) -> TrainedModel:
    """A run's model, fit to be served.

    Raises:
        InputError: it cannot be read, or a weight is no number.
    """
    model = load(run)
    for name, weight in model.network.named_parameters():
        if not torch.isfinite(weight).all():
            raise InputError(f"{run}: {name} holds values that are no numbers; train it again")
    _ = model.identity  # worked out here, where nobody waits for it
    return model


@dataclass(eq=False)
class Served:
    """One model at work."""

    name: str
    run: Path
    model: TrainedModel
    batcher: Batcher[tuple[Symbols, int], Prediction]
    streams: ModelStreams | None
    """None for a model that reads from both ends."""

    def describe(self) -> dict[str, Any]:
        """What a client may know of it."""
        settings, codec = self.model.config.model, self.model.codec
        example = next((given for given, _ in self.model.config.pairs), None)
        labels = codec.labels if self.model.task in ("label", "classify") else None
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
            "labels": list(labels.symbols[:LABELS_TOLD]) if labels is not None else None,
            "columns": list(codec.columns) or None,
            "example": example if example is None or isinstance(example, str) else " ".join(example),
            "identity": self.model.identity,
            "streams": self.streams is not None,
        }

    async def close(self) -> None:
        """Work off what waits, let streams end, and stop."""
        await self.batcher.close()
        if self.streams is not None:
            await self.streams.close()

    async def predict(self, sequences: Sequence[Symbols], n_best: int) -> list[Prediction]:
        """Predictions of some sequences, worked out together with those of other requests.

        Raises:
            Busy: the queue is full.
            InputError: a sequence does not fit the model.
        """
        work = [self.work(symbols, n_best) for symbols in sequences]
        return await self.batcher.submit([(symbols, n_best) for symbols in sequences], work)

    def work(self, symbols: Symbols, n_best: int) -> int:
        """How much it is to predict a sequence: labels of each symbol, or of the whole."""
        each = n_best if self.model.task == "label" else 1
        return max(work_of(self.model, symbols, each), n_best)


LABELS_TOLD = 200
"""Labels named when a model is described."""


def predicted(model: TrainedModel, asked: Sequence[tuple[Symbols, int]]) -> list[Prediction | Exception]:
    """The predictions of a batch; where one sequence does not fit, each by itself."""
    try:
        return list(model.predict_many([symbols for symbols, _ in asked], n_best=[n_best for _, n_best in asked]))
    except InputError:
        return [_alone(model, symbols, n_best) for symbols, n_best in asked]


def _alone(model: TrainedModel, symbols: Symbols, n_best: int) -> Prediction | InputError:
    try:
        return model.predict(symbols, n_best=n_best)
    except InputError as error:
        return InputError(str(error).removeprefix("argument:1: "))


def symbols_of(model: TrainedModel, text: str | Sequence[str], limits: Limits) -> list[str]:
    """A text as the symbols a model reads, as many as one sequence may have.

    Raises:
        InputError: empty, too long, or not text.
    """
    if model.task == "forecast":
        raise InputError('this model\'s task is forecast and reads numbers: give "rows"')
    length, most = len(text), limits.symbols
    if length <= most * (1 if model.config.data.level == "char" or not isinstance(text, str) else 64):
        found = list(sequences.symbols_of(text, model.config.data)) if isinstance(text, str) else list(text)
        if not found:
            raise InputError("it is empty; give one symbol at least")
        length = len(found)
        if length <= most:
            letters = work_of(model, found, 1)
            if letters > limits.work:
                raise InputError(f"its words have {letters:,} letters; at most {limits.work:,} are read")
            return [str(symbol) for symbol in found]
    raise InputError(f"it has {length:,} symbols; at most {most:,} are read")


class Models:
    """A table of models by name, whose entries are replaced whole.

    A request holds the entry it found: one that is replaced meanwhile still answers, and stops when nothing waits.

    Raises:
        InputError: a run cannot be read.
    """

    def __init__(self, runs: Mapping[str, Path], limits: Limits, watch: Watch = lambda name, size, seconds: None):
        self.runs, self.limits, self.watch = dict(runs), limits, watch
        self._read = {name: loaded(run) for name, run in runs.items()}
        self.served: dict[str, Served] = {}
        self._loading = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to serve what was read."""
        self.served = {name: self._serve(name, model) for name, model in self._read.items()}

    async def reload(self) -> list[dict[str, Any]]:
        """Read every run again; a model that changed takes the old one's place, one that cannot be read does not."""
        told: list[dict[str, Any]] = []
        async with self._loading:
            for name, run in self.runs.items():
                before = self.served[name]
                try:
                    model = await asyncio.to_thread(loaded, run)
                except InputError as error:
                    told.append(
                        {"name": name, "changed": False, "identity": before.model.identity, "error": str(error)}
                    )
                    continue
                if model.identity != before.model.identity:
                    self.served[name] = self._serve(name, model)
                    retired = asyncio.create_task(before.close())
                    self._retired.add(retired)
                    retired.add_done_callback(self._retired.discard)
                changed = model.identity != before.model.identity
                told.append({"name": name, "changed": changed, "identity": model.identity, "error": None})
        return told

    async def close(self) -> None:
        """Work off what waits, and stop."""
        await asyncio.gather(*self._retired, *(one.close() for one in self.served.values()))

    def _serve(self, name: str, model: TrainedModel) -> Served:
        limits = self.limits
        batcher: Batcher[tuple[Symbols, int], Prediction] = Batcher(
            lambda asked: predicted(model, asked),
            size=limits.batch,
            weight=limits.work,
            wait=limits.batch_wait,
            queue=limits.queue,
            patience=limits.wait,
            watch=lambda size, seconds: self.watch(name, size, seconds),
        )
        streams = None if model.network.settings.bidirectional else ModelStreams(model, limits)
        return Served(name, self.runs[name], model, batcher, streams)
