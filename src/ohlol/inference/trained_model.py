"""A trained model at work: predict, evaluate, generate; knows nothing of training or of the command line."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol.checkpoint import run_config, run_directory
from ohlol.data import sequences
from ohlol.data.batches import Dataset, gather
from ohlol.data.codec import Codec
from ohlol.data.corpus import encoded
from ohlol.data.lines import Place
from ohlol.data.loading import corpus_folder
from ohlol.data.sequences import Corpus
from ohlol.data.targets import Targets
from ohlol.data.vocab import UnknownSymbol
from ohlol.evaluation.evaluate import EVAL_BATCH, answer_indices, evaluate
from ohlol.inference.streaming import Stream, Streams
from ohlol.models.inputs import Steps
from ohlol.models.sequence_model import SequenceModel
from ohlol.ops import SequenceStepper
from ohlol.ops.stepping import sample, skip, uniform
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import MetricAccumulator
from ohlol.utils import devices
from ohlol.utils.devices import disable_tf32, to_device, to_numpy
from ohlol.utils.errors import InputError

GENERATE_CHUNK = 32
"""Symbols the kernel draws in a call: enough to leave Python out of the time, few enough to see the text come."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one sequence."""

    symbols: Sequence[str]
    """What it read."""
    labels: list[str]
    """The best label of each step; for `classify` one."""
    probability: list[float]
    """Of each of them, 0..1."""
    best: list[list[tuple[str, float]]] = field(default_factory=list[list[tuple[str, float]]])
    """The n best labels of each step with their probabilities, best first."""
    unknown: list[str] = field(default_factory=list[str])
    """Symbols that were read as <unk>."""


@dataclass(frozen=True)
class TrainedModel:
    """A run, loaded: `model = ohlol.load("runs/hello-1")`."""

    config: run_config.RunConfig
    codec: Codec
    network: SequenceModel
    run: Path | None = None

    @property
    def task(self) -> str:
        """label, next, classify or forecast."""
        return self.config.task

    @property
    def targets(self) -> Targets:
        """The kind of answers it gives."""
        return TASKS[self.config.task].targets

    @property
    def device(self) -> torch.device:
        """Where it predicts, evaluates, generates and forecasts."""
        return self.network.device

    @cached_property
    def on_cpu(self) -> "TrainedModel":
        """The same model on the CPU, where streams, traces and exports are made; itself if it is there."""
        return self if self.device.type == "cpu" else replace(self, network=deepcopy(self.network).cpu())

    def corpus(self, texts: Iterable[str | Sequence[str]]) -> Corpus:
        """Sequences given as strings, or as lists of words, in the form the model reads."""
        inputs = [sequences.symbols_of(t, self.config.data) if isinstance(t, str) else list(t) for t in texts]
        places = [Place("argument", i + 1) for i in range(len(inputs))]
        for (name, number), sequence in zip(places, inputs, strict=True):
            if not len(sequence):
                raise InputError(f"{name} {number} is empty; give at least one symbol")
        return Corpus(self.task, self.config.data, inputs, None, places)

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of the weights, of the vocabulary and of what says how they are used, in hexadecimal.

        Two models with one identity give the same answers; a saved state of a stream names the one it belongs to.
        """
        return run_directory.compute_identity(self.config, self.codec, self.network)

    def stream(self) -> Stream:
        """Read one sequence as it comes: `step(symbol)` gives scores and label at once, and the state is kept.

        What is read in pieces gets the answers of the whole, whatever the pieces.

        Raises:
            InputError: the model reads from both ends.
        """
        streams = self.streams(1)
        return streams[0]

    def streams(self, n: int = 0) -> Streams:
        """Read many sequences as they come, n to begin with: `step({0: "h", 3: "e"})` advances some in one call.

        Raises:
            InputError: the model reads from both ends.
        """
        return Streams(self.on_cpu.network, self.codec, self.config.data, lambda: self.identity, n)

    def evaluate(self, data: str | Path | Sequence[str | Path] | Corpus) -> MetricAccumulator:
        """Evaluate on a file of the kind the model was trained on, or on an encoded corpus.

        Of a corpus it is what was set apart for measuring, or all where nothing was.

        Returns:
            The counts: `.metrics()`, `.confusion`.

        Raises:
            InputError: the file cannot be read, or holds a label that was not seen in training; an encoded corpus has
                another vocabulary or no targets.
        """
        folder = None if isinstance(data, Corpus) else corpus_folder(data)
        if folder is not None:
            return evaluate(self.network, self.codec, self._encoded(folder))
        corpus = data if isinstance(data, Corpus) else sequences.read(data, self.config.data)
        return evaluate(self.network, self.codec, self.codec.encode(corpus))

    def _encoded(self, folder: Path) -> Dataset:
        found = encoded.read(folder)
        if found.codec != self.codec:
            raise InputError(f"{folder} was encoded with another vocabulary; encode it again with `vocab` {self.run}")
        data = found.dev or found.train
        if data.targets is None and not self.targets.continue_text:
            raise InputError(f"{folder} was encoded without targets; encode it again with its targets")
        return data

    def predict(self, text: str | Sequence[str], *, n_best: int = 1) -> Prediction:
        """Label the steps of one sequence, or the sequence as a whole.

        Args:
            text: a string, or a list of symbols.
            n_best: how many labels `Prediction.best` holds at each step.

        Raises:
            InputError: empty, or a symbol that was not seen by a model without <unk>; the task is not label or
            classify.
        """
        return next(iter(self.predict_many([text], n_best=n_best)))

    def predict_many(
        self, texts: Iterable[str | Sequence[str]] | Corpus, *, n_best: int | Sequence[int] = 1
    ) -> Iterator[Prediction]:
        """Predict many sequences, in batches, in the order given, without holding more than a batch.

        Args:
            texts: strings, or lists of symbols.
            n_best: how many labels `Prediction.best` holds at each step, of all or of each sequence.
        """
        if not self.targets.are_labels:
            method = "generate" if self.targets.continue_text else "forecast"
            raise InputError(f"this model's task is {self.task} and it predicts no labels: {method} is what it does")
        sequences = texts.inputs if isinstance(texts, Corpus) else texts
        chunk: list[tuple[Any, int]] = []
        for one in zip(sequences, repeat(n_best) if isinstance(n_best, int) else n_best):  # noqa: B905 - one is endless
            chunk.append(one)
            if len(chunk) == EVAL_BATCH:
                yield from self._predict(chunk)
                chunk = []
        if chunk:
            yield from self._predict(chunk)

    @torch.no_grad()
    def _predict(self, asked: Sequence[tuple[Any, int]]) -> list[Prediction]:
        corpus, n_best = self.corpus([text for text, _ in asked]), [n for _, n in asked]
        return self.predict_rows(self.codec.encode(corpus), np.arange(len(asked)), corpus.inputs, n_best=n_best)  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def predict_rows(
        self,
        data: Dataset,
        rows: NDArray[np.int64],
        read: Sequence[Sequence[str]] | None = None,
        *,
        n_best: int | Sequence[int] = 1,
    ) -> list[Prediction]:
        """Predict some sequences of encoded data, as one batch, in the order given.

        Args:
            data: encoded with the model's codec.
            rows: which sequences, (B,), none twice.
            read: the symbols of each; without them those that the ids stand for.
            n_best: how many labels `Prediction.best` holds at each step, of all or of each sequence.
        """
        batch = gather(data, rows)
        with disable_tf32(self.device):
            logits, _ = self.network(Steps.of(batch, self.device))
        assert self.codec.labels is not None
        vocab = self.codec.symbols
        assert vocab is not None
        places = answer_indices(batch, per_sequence=False)
        if read is None:
            texts = {row: vocab.decode(batch.inputs[at]) for row, at in zip(batch.rows.tolist(), places, strict=True)}
        else:
            texts = dict(zip(rows.tolist(), read, strict=True))
        wanted = dict(zip(rows.tolist(), repeat(n_best) if isinstance(n_best, int) else n_best))  # noqa: B905
        most = max(1, *wanted.values())
        batch_sizes = self.network.answer_sizes(torch.from_numpy(batch.batch_sizes))
        values, ids = (to_numpy(best) for best in self.network.head.n_best(logits, most, batch_sizes))
        names = self.codec.labels.symbols
        steps = answer_indices(batch, per_sequence=True) if self.targets.per_sequence else places
        made: dict[int, Prediction] = {}
        for row, where in zip(batch.rows.tolist(), steps, strict=True):
            few = slice(max(1, wanted[row]))
            found = zip(ids[where, few].tolist(), values[where, few].tolist(), strict=True)
            best = [[(names[i], p) for i, p in zip(*step, strict=True)] for step in found]
            made[row] = Prediction(
                texts[row],
                [b[0][0] for b in best],
                [b[0][1] for b in best],
                best,
                vocab.unknown(texts[row]),
            )
        return [made[row] for row in rows.tolist()]

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        *,
        length: int = 500,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Continue a text, one symbol at a time; the prompt itself is not repeated.

        Args:
            prompt: what comes before; without it the model starts after a line end, if it knows one.
            length: how many symbols to make.
            temperature: divides the logits; 0 takes the likeliest symbol always.
            top_k: choose among the k likeliest only; 0 means all.
            top_p: choose among the likeliest that together have this probability, in (0, 1].
            seed: makes the choice repeatable.

        Raises:
            InputError: the task is not `next`, or an argument is out of its range.
        """
        if not self.targets.continue_text:
            raise InputError(f"this model's task is {self.task}; only a model of task next generates")
        if not 0 <= temperature < float("inf") or top_k < 0 or not 0 < top_p <= 1 or length < 0:
            raise InputError(
                f"`temperature` {temperature} and `top_k` {top_k} must be at least 0, `top_p` {top_p} in (0, 1], "
                f"`length` {length} at least 0"
            )
        if seed is not None and not 0 <= seed < 1 << 63:
            raise InputError(f"`seed` is {seed}; it must be from 0 to {(1 << 63) - 1}")
        return self._generate(prompt, length, temperature, top_k, top_p, seed)

    @torch.no_grad()
    def _generate(
        self, prompt: str | Sequence[str], length: int, temperature: float, top_k: int, top_p: float, seed: int | None
    ) -> Iterator[str]:
        vocab = self.codec.symbols
        assert vocab is not None
        seed = secrets.randbits(63) if seed is None else seed
        if not prompt:
            prompt = ["\n"] if "\n" in vocab else [vocab.symbols[-1]]
        symbols = sequences.symbols_of(prompt, self.config.data) if isinstance(prompt, str) else list(prompt)
        try:
            ids = vocab.encode(symbols).astype(np.int64)
        except UnknownSymbol as unknown:
            raise InputError(f"`prompt`: symbol {unknown.symbol!r} was not seen in training") from None
        writer = self.network.make_sequence_stepper(vocab.unk)
        if writer is None:
            drawn = self._written(ids, length, seed, temperature, top_k, top_p)
        else:
            drawn = _written_by_kernel(writer, ids.tolist(), length, seed, temperature, top_k, top_p)
        for symbol in drawn:
            yield vocab.symbols[symbol]

    def _written(
        self, ids: NDArray[np.int64], length: int, seed: int, temperature: float, top_k: int, top_p: float
    ) -> Iterator[int]:
        """The loop in Python: embed, layers, head, draw."""
        unk = self.codec.symbols.unk if self.codec.symbols is not None else None
        state = None
        for number in range(length):
            steps = Steps(to_device(ids, self.device), torch.ones(len(ids), dtype=torch.int64))
            with disable_tf32(self.device):
                output, state = self.network(steps, state)
            logits = output[-1].cpu()  # the symbol is drawn where it is drawn without a GPU
            if unk is not None:
                logits[unk] = -torch.inf
            chosen = sample(logits, uniform(seed, number), temperature, top_k, top_p)
            ids = np.array([chosen], np.int64)
            yield chosen

    @torch.no_grad()
    def forecast(self, data: str | Path | Corpus, steps: int = 10) -> NDArray[np.float64]:
        """The next rows of a series, each forecast fed back as the next input.

        Args:
            data: a file, or a corpus of one series, with the columns of training.
            steps: how many rows, at least 1; more than one needs targets that are the inputs.

        Returns:
            (steps, F) rows of the target columns in their own units.

        Raises:
            InputError: not a forecast model, other columns, or more than one step with targets that are not the inputs.
        """
        if not self.targets.numeric:
            raise InputError(f"this model's task is {self.task}, not forecast")
        if steps < 1 or (steps > 1 and self.codec.columns != self.codec.target_columns):
            raise InputError(
                f"{steps} steps: at least 1, and more than 1 only where the targets are the inputs, not "
                f"{', '.join(self.codec.target_columns)} from {', '.join(self.codec.columns)}"
            )
        corpus = data if isinstance(data, Corpus) else sequences.read(data, self.config.data, targets=False)
        scale, target_scale = self.codec.scale, self.codec.target_scale
        assert scale is not None
        assert target_scale is not None
        if corpus.columns != self.codec.columns:
            raise InputError(
                f"{corpus.places[0][0]}: the input columns are {', '.join(corpus.columns)}; "
                f"the model was trained on {', '.join(self.codec.columns)}"
            )
        x = to_device(scale.apply(np.asarray(corpus.inputs[0], np.float64)), self.device)
        rows: list[NDArray[np.float64]] = []
        state = None
        for _ in range(steps):
            with disable_tf32(self.device):
                logits, state = self.network(Steps(x, torch.ones(len(x), dtype=torch.int64)), state)
            x = self.network.head.decode(logits[-1:])
            rows.append(target_scale.undo(to_numpy(x[0])))
        return np.stack(rows)


def _written_by_kernel(
    writer: SequenceStepper, ids: list[int], length: int, seed: int, temperature: float, top_k: int, top_p: float
) -> Iterator[int]:
    """The same text as the loop in Python writes, `GENERATE_CHUNK` symbols a call."""
    for symbol in ids[:-1]:
        writer.step(symbol)
    last, drawn = ids[-1], 0
    while drawn < length:
        count = min(GENERATE_CHUNK, length - drawn)
        chunk = writer.generate(last, count, temperature, top_k, top_p, skip(seed, drawn))
        yield from chunk
        last, drawn = chunk[-1], drawn + count


def load(run: str | Path, device: str = "cpu") -> TrainedModel:
    """Load a run directory: its best weights, ready to predict, evaluate or generate.

    Args:
        run: the directory.
        device: where it is to compute: cpu, cuda, cuda:1 and so on, or auto for a GPU where there is one.

    Raises:
        InputError: no such directory, damaged, or of another version; no such device.
    """
    where = devices.select_device(device)
    config, codec, network = run_directory.load_model(Path(run))
    return TrainedModel(config, codec, network.to(where), Path(run))
