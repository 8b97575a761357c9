"""The training loop: from a corpus to a run directory with the best weights; knows nothing of flags or terminals.

The loop is exact: the order of an epoch, the symbols read as <unk> and the learning rate are pure functions of the seed
and the step, and everything else that moves is in the saved state, so a run that goes on from it ends in the same bytes
as one that was never stopped.
"""

import math
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ohlol import ops
from ohlol.checkpoint import resume_state, run_directory, snapshots
from ohlol.checkpoint.metrics_log import MetricsLog as MetricsLog
from ohlol.checkpoint.resume_state import Progress
from ohlol.checkpoint.run_config import RunConfig
from ohlol.checkpoint.weights import get_weights, load_weights
from ohlol.config import every
from ohlol.data.batches import Batch, Buckets, Dataset, Streams, windows
from ohlol.data.loading import Arrays
from ohlol.evaluation.evaluate import answer_indices, carry_state, evaluate, measure_saturation
from ohlol.models.sequence_model import SequenceModel, State
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import Metrics, is_better
from ohlol.training import interrupts, resume
from ohlol.training.callbacks import Epoch, Reporter, Silent
from ohlol.training.loader import Feed, Ready
from ohlol.training.loss import BatchLoss, Loss, keep_probabilities
from ohlol.training.optimizer import PLATEAU_FACTOR, PLATEAU_PATIENCE, learning_rate, make_optimizer
from ohlol.training.precision import Precision
from ohlol.utils import environment
from ohlol.utils.devices import disable_tf32, to_numpy
from ohlol.utils.distributed import Processes, rank_seed
from ohlol.utils.errors import InputError
from ohlol.utils.files import write_json

SHOWN = 8
"""Sequences whose predictions an epoch reports, where the whole data are one batch: the tutorial's view."""
SKIPPED_AT_MOST = 10
"""`on_nan="skip"`: steps skipped in a row after which the run stops, as its weights themselves must be broken."""
SPIKE_AFTER, SPIKE_RATIO, SPIKE_RISE, SPIKE_MEMORY = 50, 3.0, 1.0, 0.98
"""A loss is a spike that is this many times the running mean and this much above it, after so many steps."""


ALONE = Processes()


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop, and its state was saved."""


class Diverged(InputError):  # noqa: N818 - the loss did
    """The loss or the gradient is no number any more."""


class Trainer:
    """One run: its data, model, optimizer and position.

    Args:
        config: the run's settings, complete.
        data: encoded training data, data to measure on (without them the training data are measured), and their codec.
        run: where to write; None keeps everything in memory.
        reporter: what is told of the progress.
        team: the processes that train together, each with its share of every batch.
    """

    def __init__(
        self,
        config: RunConfig,
        data: Arrays,
        run: Path | None = None,
        reporter: Reporter | None = None,
        processes: Processes = ALONE,
    ):
        self.config, self.data, self.run, self.processes = config, data, run, processes
        self.codec = data.codec
        self.settings = config.training
        self.reporter: Reporter = reporter or Silent() if processes.is_main else Silent()
        torch.manual_seed(self.settings.seed)
        self.model = SequenceModel(config.model, config.sizes).to(processes.device)
        self.network = processes.wrap_model(self.model)
        if not processes.is_main:  # the same weights, and dropout of its own
            torch.manual_seed(rank_seed(self.settings.seed, processes.rank))
        self.optimizer = make_optimizer(self.settings, self.model)
        self.precision = Precision(self.settings.precision, processes.device)
        self.progress = Progress()
        self.state: State | None = None
        self.task = TASKS[config.task]
        self.main_metric = self.task.metrics(self.codec).main
        self.loss = BatchLoss(self.model, self.settings, self.codec, processes.device)
        self.keep = keep_probabilities(self.settings, self.codec)
        self.best_weights: dict[str, Tensor] | None = None
        self._stop = self._stopping = self._due = False
        self.metrics_log: MetricsLog | None = None
        if run is not None:
            self.progress.data_sha256 = data.data_sha256
            self.metrics_log = MetricsLog(run / "metrics.jsonl")

    @property
    def train(self) -> Dataset:
        """What is trained on."""
        return self.data.train

    @property
    def dev(self) -> Dataset | None:
        """What is measured; None where that is what is trained on."""
        return self.data.dev

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.model.parameters())

    def batches(self, epoch: int) -> Buckets | Streams:
        """The batches of an epoch, in order."""
        settings, seed = self.settings, (self.settings.seed, epoch)
        if self.task.targets.continue_text:
            return Streams(self.train, settings.batch_size, settings.bptt, self.processes.share)
        data = self.train
        if self.task.trains_in_windows:
            data = windows(data, settings.bptt, int(np.random.default_rng(seed).integers(settings.bptt)))
        return Buckets(data, settings.batch_size, seed, self.processes.share)

    def fit(self) -> None:
        """Train to the end, or until asked to stop.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            InputError: the loss is not a number any more; the last good weights stay.
        """
        self.reporter.start(self)
        self._snapshot()
        self.model.train()
        signals = interrupts.signals(self.stop) if self.run is not None else nullcontext()
        exact = interrupts.deterministic(self.settings.deterministic, self.processes.device)
        with signals, interrupts.enough_memory(), exact, disable_tf32(self.processes.device):
            while self.progress.epoch < self.settings.epochs and not self._out_of_patience():
                self._epoch()

    def stop(self) -> None:
        """Ask the run to end after its step, as a signal does: `fit` saves and raises Interrupted."""
        self._stop = True

    def _out_of_patience(self) -> bool:
        return bool(self.settings.patience) and self.progress.stale >= self.settings.patience

    def _epoch(self) -> None:
        at, started, saved = self.progress, time.perf_counter(), time.monotonic()
        seed, device = (self.settings.seed, at.epoch), self.processes.device
        feed = Feed(self.batches(at.epoch), self.codec, self.keep, seed, device)
        steps, seconds = every(self.settings.checkpoint_every)
        count = len(feed)
        total = count * self.settings.epochs
        # of the step before, in case the run goes on from the last step of an epoch
        symbols, lr = 0, at.plateau * learning_rate(self.settings, max(at.step - 1, 0), total)
        shown: tuple[list[str], ...] = ()
        while at.batch < count:
            ready = feed[at.batch]
            batch = ready.batch
            self._due = time.monotonic() - saved > seconds if seconds is not None else False
            lr = at.plateau * learning_rate(self.settings, at.step, total)
            loss, logits = self._step(ready, lr, feed)
            at.batch += 1
            at.step += 1
            symbols += batch.total
            self.reporter.step(at.epoch, at.batch, count, loss, batch.total)
            if count == self.processes.size == 1 and len(batch.rows) <= SHOWN and self._labels_steps:
                shown = self._decode(batch, logits)
            if self._stop if self.processes.size == 1 else self._stopping:
                self.save_state()
                raise Interrupted
            if at.step % steps == 0 if steps else self._due:
                self.save_state()
                saved = time.monotonic()
        self._measure(symbols, time.perf_counter() - started, lr, shown)

    def _step(self, ready: Ready, lr: float, feed: Feed) -> tuple[float, Tensor]:
        at, batch = self.progress, ready.batch
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        state = carry_state(self.state, len(batch.rows)) if batch.carried and not batch.empty else None
        with self.precision.lowered():
            logits, after = self.network(ready.steps, state)
        logits, after = self.precision.raised(logits, after)
        loss, value, weight = self._told(batch, self.loss(batch, logits, ready.wanted))
        self.precision.backward(loss)
        norm = self.precision.clipped(self.optimizer, self.model.parameters(), self.settings.max_grad_norm or math.inf)
        feed.prepare(at.batch + 1)  # a GPU is at work now, until somebody asks for a number
        value, norm = value.item() if isinstance(value, Tensor) else value, norm.item()
        good = math.isfinite(value) and math.isfinite(norm)
        if not good and not (self.precision.backed_off() and math.isfinite(value)):
            self._broken(*(("gradient", norm) if math.isfinite(value) else ("loss", value)))
            return value, logits
        if good:
            self.precision.step(self.optimizer)
            at.skipped_in_a_row = 0
            at.taken += 1
            at.norms += norm
        else:
            at.overflows += 1
        self.state = carry_state(after, 0) if batch.empty else after
        at.loss += value * weight
        at.counted += weight
        if at.step >= SPIKE_AFTER and value > SPIKE_RATIO * at.running and value > at.running + SPIKE_RISE:
            at.spikes += 1
        at.running = SPIKE_MEMORY * at.running + (1 - SPIKE_MEMORY) * value if at.running else value
        return value, logits

    def _told(self, batch: Batch, own: Loss) -> tuple[Tensor, Tensor | float, float]:
        """What to go back from, and the loss and the weight of the whole batch; alone they are one's own.

        With others the gradients are averaged over all, so each loss counts as much as its part of the whole times how
        many there are: what comes out is the gradient of the mean over the whole batch.
        """
        if self.processes.size == 1:
            return own.mean, own.mean, own.weight
        divisor, weight = (0.0, 0.0) if batch.empty else (own.divisor, own.weight)
        mine = [0.0 if batch.empty else own.mean.item() * divisor, divisor, weight, float(self._stop)]
        loss, whole, weight, stop, due = self.processes.sum_values([*mine, float(self._due and self.processes.is_main)])
        self._stopping, self._due = stop > 0, due > 0
        return own.mean * (divisor * self.processes.size / whole), loss / whole, weight

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
        remedy = f"a lower `lr` than {self.settings.lr:g}" + (
            "" if self.settings.max_grad_norm else " or `max_grad_norm=1`"
        )
        remedy += " or `precision=bf16`, which has the range of fp32" if self.settings.precision == "fp16" else ""
        where = f"epoch {self.progress.epoch + 1}, step {step}"
        return f"{where}: the {what} is {value}; training stopped and {kept}; try {remedy}"

    @property
    def _labels_steps(self) -> bool:
        """Whether each step has a label."""
        return self.task.targets.are_labels and not self.task.targets.per_sequence

    def _decode(self, batch: Batch, logits: Tensor) -> tuple[list[str], ...]:
        """The labels of each sequence of a batch, in the order of the data."""
        assert self.codec.labels is not None
        labels = to_numpy(self.model.head.decode(logits, torch.from_numpy(batch.batch_sizes)))
        steps = answer_indices(batch, per_sequence=False)
        return tuple(self.codec.labels.decode(labels[steps[i]]) for i in np.argsort(batch.rows))

    def _measure(self, symbols: int, seconds: float, lr: float, shown: tuple[list[str], ...]) -> None:
        at = self.progress
        measured = self.dev if self.dev is not None else self.train
        metrics = evaluate(self.model, self.codec, measured, self.processes).metrics()
        if not math.isfinite(metrics["loss"]):
            raise Diverged(self._diverged("measured loss", metrics["loss"], at.step))
        if not at.counted:
            raise Diverged(self._diverged("loss of every step", math.nan, at.step))
        best = is_better(metrics, at.best, self.main_metric)
        at.stale = 0 if best else at.stale + 1
        if self.settings.lr_schedule == "plateau" and at.stale > PLATEAU_PATIENCE:
            at.plateau *= PLATEAU_FACTOR
        loss = at.loss / at.counted
        line: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "step": at.step,
            "train_loss": loss,
            "lr": lr,
            **({"grad_norm": at.norms / at.taken} if at.taken else {}),
            "saturation": measure_saturation(self.model, self.codec, measured, self.processes.device),
            "best": best,
            **metrics,
        }
        line |= {k: v for k in ("skipped", "spikes", "overflows") if (v := getattr(at, k))}
        now = self._machine()
        if now != at.machine:
            line["machine"] = at.machine = now
        skipped, spikes, overflows = at.skipped, at.spikes, at.overflows
        at.epoch, at.batch, at.loss, at.counted, at.skipped, at.spikes = at.epoch + 1, 0, 0.0, 0.0, 0, 0
        at.norms, at.taken, at.overflows = 0.0, 0, 0
        self.state = None
        if best:
            at.best = metrics
            self.best_weights = {k: v.clone() for k, v in get_weights(self.model).items()}
            if self.run is not None and self.processes.is_main:
                run_directory.save_model(self.run, self.model)
        self._snapshot()
        if self.metrics_log is not None:
            if self.processes.is_main:
                at.metrics_bytes, at.metrics_sha256 = self.metrics_log.append(line)
            self.save_state()
        self.reporter.epoch(
            Epoch(
                at.epoch,
                self.settings.epochs,
                at.step,
                loss,
                metrics,
                best,
                lr,
                symbols,
                seconds,
                shown,
                skipped,
                spikes,
                overflows,
            )
        )

    def _machine(self) -> dict[str, Any]:
        """What equal bytes depend on."""
        settings, device = self.settings, self.processes.device
        found = environment.record_environment(
            kernels=ops.implementation(device, settings.precision),
            deterministic=settings.deterministic,
            device=device,
            precision=settings.precision,
        )
        return found | ({"processes": self.processes.size} if self.processes.size > 1 else {})

    def _snapshot(self) -> None:
        """Keep the weights between two epochs, where that is wanted."""
        if self.settings.snapshots and self.run is not None and self.progress.batch == 0 and self.processes.is_main:
            snapshots.save(self.run, self.progress.epoch, self.model)

    def save_state(self) -> None:
        """Write everything that a run needs to go on, into `resume/`; all processes must call it at the same step."""
        if self.run is not None:
            tensors = resume.collect_state(self.model, self.optimizer, self.precision, self.state, self.processes)
            if self.processes.is_main:
                resume_state.save_state(self.run, tensors, vars(self.progress))

    def restore(self) -> None:
        """Go back to where `save_state` was; lines of metrics written after it are taken away.

        Raises:
            InputError: there is no such state, or it does not fit the settings.
        """
        assert self.run is not None
        assert self.metrics_log is not None
        mine, now = self.progress.data_sha256, self._machine()
        tensors, position = resume_state.load_state(
            self.run, resume_state.max_state_bytes(self.model, self.settings.batch_size)
        )
        where = str(self.run / "resume")
        at, self.state = resume.restore_state(
            tensors, position, self.model, self.optimizer, self.precision, where, self.processes
        )
        resume_state.check_same_data(at.data_sha256, mine, self.run, self.config.files)
        at.data_sha256 = mine
        if self.processes.is_main:
            resume_state.warn_if_environment_changed(at.machine, now)
            self.metrics_log.truncate(at.metrics_bytes, at.metrics_sha256)
        if at.best is not None:
            self.best_weights = run_directory.read_weights(self.run, self.model)
        self.progress = at

    def finish(self) -> Metrics:
        """Take the best weights, evaluate them once more, and write their metrics."""
        if self.best_weights is not None:
            load_weights(self.model, self.best_weights, "the best weights")
        self.network = self.model  # what joins it to those of the other processes is done with
        self.model.eval()
        measured = self.dev if self.dev is not None else self.train
        accumulator = evaluate(self.model, self.codec, measured, self.processes)
        metrics = accumulator.metrics()
        self.config = replace(self.config, metrics=metrics)
        if self.run is not None and self.processes.is_main:
            write_json(self.run / "config.json", self.config.to_json())
        self.reporter.finish(self, accumulator)
        return metrics
