"""The training loop: from a corpus to a run directory with the best weights; knows nothing of flags or terminals.

The loop is exact: the order of an epoch, the symbols read as <unk> and the learning rate are pure functions of the seed
and the step, and everything else that moves is in the saved state, so a run that goes on from it ends in the same bytes
as one that was never stopped.
"""

import hashlib
import json
import math
import signal
import threading
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from ohlol import checkpoint, machine
from ohlol.checkpoint import Config
from ohlol.data.batches import Batch, Buckets, Dataset, Streams, windows, with_unknowns
from ohlol.data.codec import Codec
from ohlol.errors import InputError, InputWarning
from ohlol.infer import by_sequence, evaluate, resized
from ohlol.model import SequenceModel, State, Steps
from ohlol.scores import Scores, better, main_score
from ohlol.settings import TrainSettings, every

SHOWN = 8
"""Sequences whose predictions an epoch reports, where the whole data are one batch: the tutorial's view."""
PLATEAU_PATIENCE, PLATEAU_FACTOR = 1, 0.5
"""Schedule `plateau`: evaluations without a better score that are borne, and the factor after them."""
ONECYCLE_RISE, ONECYCLE_START, ONECYCLE_END = 0.3, 1 / 25, 1e-4
"""Schedule `onecycle`: share of the steps that rise, and the first and last share of the learning rate."""
SKIPPED_AT_MOST = 10
"""`--on-nan skip`: steps skipped in a row after which the run stops, as its weights themselves must be broken."""
SPIKE_AFTER, SPIKE_RATIO, SPIKE_RISE, SPIKE_MEMORY = 50, 3.0, 1.0, 0.98
"""A loss is a spike that is this many times the running mean and this much above it, after so many steps."""
STATE_TENSORS = 4
"""A saved state is at most so many times as large as the weights: they themselves and an optimizer's moments."""
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")
"""How torch says, in a RuntimeError, that memory is used up."""


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop, and its state was saved."""


class Diverged(InputError):  # noqa: N818 - the loss did
    """The loss or the gradient is no number any more."""


@dataclass(frozen=True)
class Epoch:
    """What there is to say after an epoch."""

    number: int
    epochs: int
    step: int
    loss: float
    """Mean training loss over the epoch's steps, in nats, or as `--loss sum` counts it."""
    scores: Scores
    best: bool
    lr: float
    symbols: int
    seconds: float
    predictions: tuple[list[str], ...] = ()
    """The labels chosen in training, where the whole data are one small batch."""
    skipped: int = 0
    """Steps skipped since their loss or gradient was no number."""
    spikes: int = 0
    """Steps whose loss stood far above the mean."""


class Reporter(Protocol):
    """What a caller may watch."""

    def start(self, trainer: "Trainer") -> None:
        """Before the first step."""
        ...

    def step(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """After step `done` of the `total` of an epoch (from 0)."""
        ...

    def epoch(self, epoch: Epoch) -> None:
        """After an epoch and its evaluation."""
        ...


class Silent:
    """A reporter that says nothing."""

    def start(self, trainer: "Trainer") -> None:
        """Say nothing."""

    def step(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Say nothing."""

    def epoch(self, epoch: Epoch) -> None:
        """Say nothing."""


def learning_rate(settings: TrainSettings, step: int, total: int) -> float:
    """The learning rate of a step (from 0) out of `total`; what `plateau` has learned comes on top.

    Sources: for cosine Loshchilov and Hutter, "SGDR" (2017); for onecycle Smith and Topin, "Super-convergence" (2018).

    >>> learning_rate(TrainSettings(lr=1.0, schedule="cosine"), 50, 100)
    0.5
    """
    done = step / max(total, 1)
    share = 1.0
    if settings.schedule == "cosine":
        share = (1 + math.cos(math.pi * done)) / 2
    elif settings.schedule == "onecycle":
        if done < ONECYCLE_RISE:
            share = ONECYCLE_START + (1 - ONECYCLE_START) * (1 - math.cos(math.pi * done / ONECYCLE_RISE)) / 2
        else:
            fall = (done - ONECYCLE_RISE) / (1 - ONECYCLE_RISE)
            share = ONECYCLE_END + (1 - ONECYCLE_END) * (1 + math.cos(math.pi * fall)) / 2
    if settings.warmup:
        share *= min(1.0, (step + 1) / settings.warmup)
    return settings.lr * share


def make_optimizer(settings: TrainSettings, model: SequenceModel) -> torch.optim.Optimizer:
    """The optimizer of the settings, in torch's fused form where there is one."""
    lr, decay, parameters = settings.lr, settings.weight_decay, model.parameters()
    match settings.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr, weight_decay=decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr, weight_decay=decay)
        case _:
            return torch.optim.SGD(parameters, lr, momentum=0.9, weight_decay=decay, fused=True)


@dataclass
class Progress:
    """Where a run stands; with the tensors beside it, all that resuming needs."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: Scores | None = None
    stale: int = 0
    plateau: float = 1.0
    loss: float = 0.0
    counted: float = 0.0
    symbols: int = 0
    metrics_bytes: int = 0
    metrics_sha256: str = ""
    """Of those bytes."""
    data_sha256: str = ""
    """Of the encoded data."""
    machine: dict[str, Any] = field(default_factory=dict[str, Any])
    """What `metrics.jsonl` last said of it."""
    skipped: int = 0
    """Steps of the epoch that were skipped."""
    skipped_in_a_row: int = 0
    spikes: int = 0
    """Steps of the epoch whose loss was a spike."""
    running: float = 0.0
    """Running mean of the loss, against which a spike is told."""

    @staticmethod
    def of(position: dict[str, Any]) -> "Progress":
        """From a saved state.

        Raises:
            TypeError: a name or a type is wrong.
            ValueError: a number is out of its range.
        """
        made = Progress(**position)
        for f in fields(Progress):
            value, default = getattr(made, f.name), getattr(Progress(), f.name)
            if f.name == "best":
                scores = value if isinstance(value, dict) else {"": 0.0} if value is None else None
                if scores is None or not all(isinstance(v, int | float) and math.isfinite(v) for v in scores.values()):
                    raise TypeError("best holds no scores")
            elif type(value) is not type(default):
                raise TypeError(f"{f.name} is {type(value).__name__}, not {type(default).__name__}")
            elif isinstance(value, int | float) and not 0 <= value < math.inf and f.name not in ("loss", "running"):
                raise ValueError(f"{f.name} is {value}")
        return made


class Trainer:
    """One run: its data, model, optimizer and position.

    Args:
        config: the run's settings, complete.
        codec: learned from the training data.
        train: encoded training data.
        dev: encoded data to measure on; without it the training data are measured.
        run: where to write; None keeps everything in memory.
        reporter: what is told of the progress.
    """

    def __init__(
        self,
        config: Config,
        codec: Codec,
        train: Dataset,
        dev: Dataset | None,
        run: Path | None = None,
        reporter: Reporter | None = None,
    ):
        self.config, self.codec, self.train, self.dev, self.run = config, codec, train, dev, run
        self.settings = config.training
        self.reporter: Reporter = reporter or Silent()
        torch.manual_seed(self.settings.seed)
        self.model = SequenceModel(config.model, config.sizes)
        self.optimizer = make_optimizer(self.settings, self.model)
        self.progress = Progress()
        self.state: State | None = None
        labels = codec.labels.symbols if codec.labels is not None else ()
        self.score = main_score(config.task, labels)
        self.weights = self._class_weights()
        self.keep = _keep(self.settings, codec)
        self.best_weights: dict[str, Tensor] | None = None
        self._stop = False
        if run is not None:
            self.progress.data_sha256 = _fingerprint(train, dev)
        self._metrics = hashlib.sha256()

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.model.parameters())

    def batches(self, epoch: int) -> Buckets | Streams:
        """The batches of an epoch, in order."""
        settings, seed = self.settings, (self.settings.seed, epoch)
        if self.config.task == "next":
            return Streams(self.train, settings.batch_size, settings.bptt)
        data = self.train
        if self.config.task == "forecast":
            data = windows(data, settings.bptt, int(np.random.default_rng(seed).integers(settings.bptt)))
        return Buckets(data, settings.batch_size, seed)

    def fit(self) -> None:
        """Train to the end, or until asked to stop.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            InputError: the loss is not a number any more; the last good weights stay.
        """
        self.reporter.start(self)
        self.model.train()
        with self._signals(), _enough_memory(), _deterministic(self.settings.deterministic):
            while self.progress.epoch < self.settings.epochs and not self._out_of_patience():
                self._epoch()

    def stop(self) -> None:
        """Ask the run to end after its step, as a signal does: `fit` saves and raises Interrupted."""
        self._stop = True

    def _out_of_patience(self) -> bool:
        return bool(self.settings.patience) and self.progress.stale >= self.settings.patience

    def _epoch(self) -> None:
        at, started, saved = self.progress, time.perf_counter(), time.monotonic()
        batches = self.batches(at.epoch)
        steps, seconds = every(self.settings.checkpoint_every)
        total = len(batches) * self.settings.epochs
        # of the step before, in case the run goes on from the last step of an epoch
        symbols, lr = 0, at.plateau * learning_rate(self.settings, max(at.step - 1, 0), total)
        shown: tuple[list[str], ...] = ()
        while at.batch < len(batches):
            batch = batches[at.batch]
            lr = at.plateau * learning_rate(self.settings, at.step, total)
            loss, scores = self._step(batch, lr)
            at.batch += 1
            at.step += 1
            symbols += len(batch.inputs)
            self.reporter.step(at.epoch, at.batch, len(batches), loss, len(batch.inputs))
            if len(batches) == 1 and len(batch.rows) <= SHOWN and self.config.task == "label":
                shown = self._chosen(batch, scores)
            if self._stop:
                self.save_state()
                raise Interrupted
            if at.step % steps == 0 if steps else time.monotonic() - saved > (seconds or 0):
                self.save_state()
                saved = time.monotonic()
        self._measure(symbols, time.perf_counter() - started, lr, shown)

    def _step(self, batch: Batch, lr: float) -> tuple[float, Tensor]:
        at = self.progress
        if self.keep is not None:
            random = np.random.default_rng((self.settings.seed, at.epoch, at.batch, 1))
            symbols = self.codec.symbols
            assert symbols is not None
            assert symbols.unk is not None
            batch = replace(batch, inputs=with_unknowns(batch.inputs, self.keep, symbols.unk, random))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        state = resized(self.state, len(batch.rows)) if batch.carried else None
        scores, after = self.model(Steps.of(batch), state)
        loss, weight = self._loss(batch, scores)
        value = loss.item()
        if not math.isfinite(value):
            self._broken("loss", value)
            return value, scores
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip or math.inf))
        if not math.isfinite(norm):
            self._broken("gradient", norm)
            return value, scores
        self.optimizer.step()
        self.state = after
        at.skipped_in_a_row = 0
        at.loss += value * weight
        at.counted += weight
        if at.step >= SPIKE_AFTER and value > SPIKE_RATIO * at.running and value > at.running + SPIKE_RISE:
            at.spikes += 1
        at.running = SPIKE_MEMORY * at.running + (1 - SPIKE_MEMORY) * value if at.running else value
        return value, scores

    def _broken(self, what: str, value: float) -> None:
        """A step that must not be taken: stop, or count it as skipped."""
        at = self.progress
        at.skipped += 1
        at.skipped_in_a_row += 1
        if self.settings.on_nan == "stop" or at.skipped_in_a_row > SKIPPED_AT_MOST:
            raise Diverged(self._diverged(what, value, at.step + 1))
        self.optimizer.zero_grad()

    def _diverged(self, what: str, value: float, step: int) -> str:
        kept = "the best weights so far are kept" if self.progress.best is not None else "no weights were saved"
        remedy = f"a lower --lr than {self.settings.lr:g}" + ("" if self.settings.clip else " or --clip 1")
        where = f"epoch {self.progress.epoch + 1}, step {step}"
        return f"{where}: the {what} is {value}; training stopped and {kept}; try {remedy}"

    def _loss(self, batch: Batch, scores: Tensor) -> tuple[Tensor, float]:
        """The loss, and how much it weighs in the epoch's mean."""
        assert batch.targets is not None
        wanted = torch.from_numpy(batch.targets)
        if self.config.task == "forecast":
            return mse_loss(scores, wanted), len(wanted)
        settings = self.settings
        loss = cross_entropy(
            scores,
            wanted,
            weight=self.weights,
            label_smoothing=settings.label_smoothing,
            reduction="mean" if settings.loss == "mean" else "sum",
        )
        if settings.loss == "sum":
            return loss / len(batch.rows), len(batch.rows)
        return loss, len(wanted)

    def _class_weights(self) -> Tensor | None:
        if self.settings.class_weights == "none" or self.config.task not in ("label", "classify"):
            return None
        assert self.codec.labels is not None
        counts = np.maximum(np.array(self.codec.labels.counts, np.float64), 1)
        return torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32)

    def _chosen(self, batch: Batch, scores: Tensor) -> tuple[list[str], ...]:
        assert self.codec.labels is not None
        chosen = scores.detach().argmax(dim=1).numpy()
        steps = by_sequence(batch)
        order = np.argsort(batch.rows)
        return tuple(self.codec.labels.decode(chosen[steps[i]]) for i in order)

    def _measure(self, symbols: int, seconds: float, lr: float, shown: tuple[list[str], ...]) -> None:
        at = self.progress
        scores = evaluate(self.model, self.codec, self.dev if self.dev is not None else self.train).scores()
        if not math.isfinite(scores["loss"]):
            raise Diverged(self._diverged("measured loss", scores["loss"], at.step))
        if not at.counted:
            raise Diverged(self._diverged("loss of every step", math.nan, at.step))
        best = better(scores, at.best, self.score)
        at.stale = 0 if best else at.stale + 1
        if self.settings.schedule == "plateau" and at.stale > PLATEAU_PATIENCE:
            at.plateau *= PLATEAU_FACTOR
        loss = at.loss / at.counted
        line: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "step": at.step,
            "train_loss": loss,
            "lr": lr,
            "best": best,
            **scores,
        }
        line |= {k: v for k, v in (("skipped", at.skipped), ("spikes", at.spikes)) if v}
        now = machine.record(deterministic=self.settings.deterministic)
        if now != at.machine:
            line["machine"] = at.machine = now
        skipped, spikes = at.skipped, at.spikes
        at.epoch, at.batch, at.loss, at.counted, at.skipped, at.spikes = at.epoch + 1, 0, 0.0, 0.0, 0, 0
        self.state = None
        if best:
            at.best = scores
            self.best_weights = {k: v.clone() for k, v in checkpoint.weights_of(self.model).items()}
            if self.run is not None:
                checkpoint.save_model(self.run, self.model)
        if self.run is not None:
            written = json.dumps(line).encode() + b"\n"
            at.metrics_bytes = checkpoint.append_line(self.run / "metrics.jsonl", written)
            self._metrics.update(written)
            at.metrics_sha256 = self._metrics.hexdigest()
            self.save_state()
        self.reporter.epoch(
            Epoch(
                at.epoch,
                self.settings.epochs,
                at.step,
                loss,
                scores,
                best,
                lr,
                symbols,
                seconds,
                shown,
                skipped,
                spikes,
            )
        )

    def save_state(self) -> None:
        """Write everything that a run needs to go on, into `resume/`."""
        if self.run is None:
            return
        tensors = {f"model.{k}": v for k, v in checkpoint.weights_of(self.model).items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items() if v is not None}
        tensors |= {f"state.{i}": s.detach().contiguous() for i, s in enumerate(self.state or ())}
        tensors["rng"] = checkpoint.rng_state()
        checkpoint.save_resume(self.run, tensors, vars(self.progress))

    def restore(self) -> None:
        """Go back to where `save_state` was; lines of metrics written after it are taken away.

        Raises:
            InputError: there is no such state, or it does not fit the settings.
        """
        assert self.run is not None
        mine = self.progress.data_sha256
        own = sum(p.nbytes for p in self.model.parameters())
        carried = 8 * self.parameters_of_state()
        tensors, position = checkpoint.load_resume(self.run, STATE_TENSORS * own + carried + EXTRA_BYTES)
        where = str(self.run / "resume")
        weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        checkpoint.put_weights(self.model, weights, where)
        try:
            self.progress = Progress.of(position)
            self._restore_optimizer(tensors)
            torch.set_rng_state(tensors["rng"])
            self.state = self._restored_state(tensors)
        except (TypeError, ValueError, RuntimeError, KeyError, IndexError) as error:
            raise InputError(f"{where}: the saved state does not fit: {' '.join(str(error).split())}") from None
        if self.progress.data_sha256 not in ("", mine):
            names = ", ".join([*self.config.train_files, *filter(None, [self.config.dev_file])]) or "the pairs"
            raise InputError(
                f"{self.run} was started with other data: {names} changed since; --resume needs the same data"
            )
        self.progress.data_sha256 = mine
        was, now = self.progress.machine, machine.record(deterministic=self.settings.deterministic)
        if was and (changed := [f"{k} {was.get(k)} -> {v}" for k, v in now.items() if was.get(k) != v]):
            warnings.warn(
                f"this is not as it was when the run was stopped: {', '.join(changed)}; the end may differ in the "
                "last bits from that of a run that was not stopped",
                InputWarning,
                2,
            )
        self._restore_metrics()
        if self.progress.best is not None:
            self.best_weights = checkpoint.read_tensors(self.run / "model.safetensors", own)[0]
            checkpoint.check_weights(
                self.best_weights, checkpoint.weights_of(self.model), str(self.run / "model.safetensors")
            )

    def parameters_of_state(self) -> int:
        """Numbers in the hidden state of a batch, counted for an LSTM in both directions."""
        model = self.config.model
        return 4 * model.layers * model.hidden_size * self.settings.batch_size

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = list(self.model.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                if not index.isdecimal() or value.shape not in ((), parameters[int(index)].shape):
                    raise ValueError(f"{name} is {tuple(value.shape)}")
                moments.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})

    def _restored_state(self, tensors: dict[str, Tensor]) -> State | None:
        names = sorted(k for k in tensors if k.startswith("state."))
        state = tuple(tensors[k] for k in names)
        model = self.config.model
        layers = model.layers * (2 if model.bidirectional else 1)
        for name, value in zip(names, state, strict=True):
            if value.dim() != 3 or (value.shape[0], value.shape[2]) != (layers, model.hidden_size):
                raise ValueError(f"{name} is {tuple(value.shape)}")
        return state or None

    def _restore_metrics(self) -> None:
        """Take away the lines written after the state was saved; the others must be there, as they were."""
        assert self.run is not None
        metrics, at = self.run / "metrics.jsonl", self.progress
        lines = metrics.read_bytes()[: at.metrics_bytes] if metrics.is_file() else b""
        self._metrics = hashlib.sha256(lines)
        if len(lines) < at.metrics_bytes or at.metrics_sha256 not in ("", self._metrics.hexdigest()):
            raise InputError(
                f"{metrics}: its first {at.metrics_bytes} bytes are not those that were written: it was changed or "
                "damaged; --overwrite starts anew"
            )
        if metrics.exists() and metrics.stat().st_size > at.metrics_bytes:
            checkpoint.write_bytes(metrics, lines)

    @contextmanager
    def _signals(self) -> Generator[None]:
        """The first SIGINT or SIGTERM ends the run after its step; a second one acts as it always does."""
        if threading.current_thread() is not threading.main_thread() or self.run is None:
            yield
            return
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

        def stop(number: int, frame: Any) -> None:
            self._stop = True
            for s, handler in before.items():
                signal.signal(s, handler)

        for s in before:
            signal.signal(s, stop)
        try:
            yield
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)

    def finish(self) -> Scores:
        """Take the best weights, measure them once more, and write scores and model card."""
        if self.best_weights is not None:
            checkpoint.put_weights(self.model, self.best_weights, "the best weights")
        self.model.eval()
        scores = evaluate(self.model, self.codec, self.dev if self.dev is not None else self.train).scores()
        self.config = replace(self.config, scores=scores)
        if self.run is not None:
            checkpoint.write_json(self.run / "config.json", self.config.to_json())
        return scores


EXTRA_BYTES = 1 << 16
"""Beside weights, moments and hidden state: the generator, step counters and alignment."""


def _fingerprint(*parts: Dataset | None) -> str:
    """The SHA-256 of encoded data: what was trained on and what is measured."""
    digest = hashlib.sha256()
    for part in parts:
        arrays: list[NDArray[Any] | None] = []
        if part is not None:
            for ragged in (part.inputs, part.spellings):
                arrays += [ragged.values, ragged.offsets] if ragged is not None else []
            arrays += [part.targets, part.forms, part.bigrams]
        for values in arrays:
            digest.update(b"," if values is None else np.ascontiguousarray(values).data)
        digest.update(b"|")
    return digest.hexdigest()


@contextmanager
def _enough_memory() -> Generator[None]:
    """Say which flag helps where memory is used up."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        raise InputError(
            "out of memory in training; a smaller --batch-size helps most, then --bptt (next, forecast) and "
            "--hidden-size; the last saved state is as it was"
        ) from None


@contextmanager
def _deterministic(wanted: bool) -> Generator[None]:
    """Hold torch to deterministic algorithms."""
    if not wanted:
        yield
        return
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # nothing here reads it, and filling takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]


def _keep(settings: TrainSettings, codec: Codec) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """For each symbol the probability that it is read as itself in training; None where all are."""
    vocab = codec.symbols
    if vocab is None or vocab.unk is None or not settings.unknown:
        return None
    counts = np.array(vocab.counts, np.float64)
    keep = counts / (counts + settings.unknown)
    keep[vocab.unk] = 1.0
    return keep
