"""The training loop: from encoded data to the best weights.

The order of an epoch, the symbols read as <unk> and the learning rate are pure functions of the seed and the step; with
`minutes` the learning rate is one of the time that was used, too. Everything else that changes during training is in
the saved state, so that a resumed run ends in the same bytes as one that was never stopped.
"""

import math
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ohlol import ops
from ohlol.checkpoint import resume_state, run_directory, snapshots
from ohlol.checkpoint.metrics_log import MetricsLog
from ohlol.checkpoint.resume_state import Progress
from ohlol.checkpoint.run_config import RunConfig
from ohlol.checkpoint.weights import get_weights, load_weights
from ohlol.config import parse_interval
from ohlol.data.batches import Batch, Buckets, ContiguousBatches, Dataset, bptt_windows
from ohlol.data.prepared_data import PreparedData
from ohlol.evaluation.evaluate import carry_state, evaluate, measure_saturation, prediction_indices
from ohlol.models.sequence_model import LayerStates
from ohlol.ops.optimizer import KernelOptimizer
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import Metrics, is_better
from ohlol.training import interrupts, resume
from ohlol.training.averaging import WeightAverage
from ohlol.training.callbacks import Callback, Epoch
from ohlol.training.contexts import compute_contexts
from ohlol.training.loader import BatchLoader, DeviceBatch
from ohlol.training.loss import BatchLoss, Loss, keep_probabilities, sample_forecasts
from ohlol.training.optimizer import (
    PLATEAU_FACTOR,
    PLATEAU_PATIENCE,
    frozen_parts,
    learning_rate,
    make_optimizer,
    resting_parts,
)
from ohlol.training.penalties import ActivationPenalties
from ohlol.training.precision import Precision
from ohlol.training.start import Start
from ohlol.utils.devices import disable_tf32, to_numpy
from ohlol.utils.distributed import SINGLE_PROCESS, Processes, rank_seed
from ohlol.utils.environment import record_environment
from ohlol.utils.errors import InputError
from ohlol.utils.files import write_json
from ohlol.utils.translation import message_id, translate

MAX_PREDICTIONS = 8
"""The largest batch whose predictions are reported after each epoch, where it is all the data, as in the tutorial."""
MAX_SKIPPED = 10
"""`on_nan="skip"`: steps skipped in a row after which the run stops, since the weights themselves must be damaged."""
SPIKE_AFTER = 50
"""Steps of a run before losses are checked for spikes."""
SPIKE_RATIO = 3.0
"""A loss is a spike where it is more than this many times the loss average ..."""
SPIKE_RISE = 1.0
"""... and more than this much above it."""
FEW_ROWS = 1000
"""Training rows from which a head that corrects a forecast keeps half of what it has learned."""
LOSS_AVERAGE_DECAY = 0.98
"""Decay per step of the loss average, an exponential moving average of the losses of batches."""


class Interrupted(Exception):  # noqa: N818 - an interruption is not an error
    """The run was stopped by a signal or a callback, and its state was saved."""


class Diverged(InputError):  # noqa: N818 - named for what happened
    """The loss or the gradient is not finite any more."""


class Trainer:
    """One run: its data, model, optimizer and progress.

    Args:
        config: the complete settings of the run.
        data: encoded training data, data to evaluate on (None: the training data) and their codec.
        run: the run directory to write; None keeps everything in memory.
        callbacks: called as the run trains, in this order.
        processes: the processes that train together, each with its share of every batch.
        start: the run that the model starts from; a run that is resumed does not need it.
    """

    def __init__(
        self,
        config: RunConfig,
        data: PreparedData,
        run: Path | None = None,
        callbacks: Sequence[Callback] = (),
        processes: Processes = SINGLE_PROCESS,
        start: Start | None = None,
    ):
        self.config, self.data, self.run, self.processes = config, data, run, processes
        self.codec = data.codec
        self.settings = config.training
        self.callbacks = tuple(callbacks) if processes.is_main else ()
        torch.manual_seed(self.settings.seed)
        self.model = run_directory.build_model(config, data.codec)
        if self.codec.labels is not None:
            self.model.head.learn_labels(self.codec.labels.symbols)
        self._corrects_smoothing = bool(config.sizes.base) and not config.keeps_head
        if self._corrects_smoothing:
            self.model.head.start_from(*sample_forecasts(data.train, config.sizes.base))
        if start is not None:
            start.transfer(self.model, config, self.codec)
        self.parts = self.model.parts
        for part in frozen_parts(self.settings.freeze, list(self.parts)):
            for parameter in self.parts[part]:
                parameter.requires_grad_(False)
        self.model.to(processes.device)
        self.data = compute_contexts(self.model, data)
        self._head_start = [parameter.detach().clone() for parameter in self.model.head.parameters()]
        self.network = processes.wrap_model(self.model)
        if not processes.is_main:  # equal weights everywhere, but different dropout
            torch.manual_seed(rank_seed(self.settings.seed, processes.rank))
        self.optimizer = make_optimizer(self.settings, self.model)
        self.average = WeightAverage(self.settings, list(self.model.parameters()))
        self.penalties = ActivationPenalties(self.settings)
        self.precision = Precision(self.settings.precision, processes.device)
        self.progress = Progress()
        self.state: LayerStates | None = None
        self.task = TASKS[config.task]
        self.main_metric = self.task.metrics(self.codec).main_metric
        self.loss = BatchLoss(self.model, self.settings, self.codec, processes.device)
        self.keep_probabilities = keep_probabilities(self.settings, self.codec)
        self.best_weights: dict[str, Tensor] | None = None
        self._stop_requested = self._stop_agreed = self._save_due = False
        self._started = 0.0
        self.metrics_log: MetricsLog | None = None
        if run is not None:
            self.progress.data_sha256 = data.data_sha256
            self.metrics_log = MetricsLog(run / "metrics.jsonl")

    @property
    def train(self) -> Dataset:
        """The data that are trained on."""
        return self.data.train

    @property
    def dev(self) -> Dataset | None:
        """The data that are evaluated; None where these are the training data."""
        return self.data.dev

    @property
    def interpretation(self) -> str | None:
        """How the first file was read, and why; None where the run was resumed or there is no file."""
        return None if self.data.interpretation is None else str(self.data.interpretation)

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(p.numel() for p in self.model.parameters())

    def batches(self, epoch: int) -> Buckets | ContiguousBatches:
        """The batches of an epoch, in order."""
        settings, seed = self.settings, (self.settings.seed, epoch)
        if self.task.targets.continues_text:
            share, outputs = self.processes.share, self.config.sizes.outputs
            return ContiguousBatches(self.train, settings.batch_size, settings.bptt, share, outputs)
        data = self.train
        if self.task.trains_in_windows:
            data = bptt_windows(data, settings.bptt, int(np.random.default_rng(seed).integers(settings.bptt)))
        return Buckets(data, settings.batch_size, seed, self.processes.share, horizon=self.codec.horizon)

    def fit(self) -> None:
        """Train to the end, or until stopped.

        Raises:
            Interrupted: on SIGINT or SIGTERM; the state is saved.
            Diverged: the loss is not finite; the best weights so far are kept.
        """
        for callback in self.callbacks:
            callback.on_train_begin(self)
        self._save_snapshot()
        has_start = self.config.keeps_head or self._corrects_smoothing
        if has_start and self.progress.best is None and not self.progress.step:
            self._keep_start()
        self.model.train()
        device, settings = self.processes.device, self.settings
        signals = interrupts.stop_on_signals(self.stop) if self.run is not None else nullcontext()
        deterministic = interrupts.deterministic_algorithms(settings.deterministic, device)
        with signals, interrupts.explain_out_of_memory(), deterministic, disable_tf32(device):
            self._started = time.monotonic() - self.progress.seconds
            while self.progress.batch or not self._is_over:  # an epoch that has begun ends with its evaluation
                self._train_epoch()

    def _keep_start(self) -> None:
        """Keep the initial weights as the best so far, where they predict: those of a forecast or of another run."""
        metrics = evaluate(self.model, self.codec, self._evaluated, self.processes, history=self.data.history).metrics()
        self.progress.best = self.progress.start = metrics
        self._keep_best()

    @contextmanager
    def _shrunk_head(self) -> Generator[None, None, None]:
        """The model as it is evaluated and kept: after little data its head stays near what it began with.

        Where a head corrects a forecast, little data show little of what it should correct. It is moved from its start
        by n / (n + `FEW_ROWS`) of what it has learned, for n training rows. Training goes on with all of it.
        """
        if not self._corrects_smoothing:
            yield
            return
        learned = [parameter.detach().clone() for parameter in self.model.head.parameters()]
        share = self.train.steps / (self.train.steps + FEW_ROWS)
        with torch.no_grad():
            for parameter, start in zip(self.model.head.parameters(), self._head_start, strict=True):
                parameter.copy_(torch.lerp(start, parameter, share))
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.model.head.parameters(), learned, strict=True):
                    parameter.copy_(value)

    def _keep_best(self) -> None:
        self.best_weights = {k: v.clone() for k, v in get_weights(self.model).items()}
        if self.run is not None and self.processes.is_main:
            run_directory.save_model(self.run, self.model)

    def stop(self) -> None:
        """End the run after its step, as a signal does: `fit` saves and raises Interrupted."""
        self._stop_requested = True

    @property
    def _is_over(self) -> bool:
        settings, progress = self.settings, self.progress
        is_out_of_patience = bool(settings.patience) and progress.epochs_without_improvement >= settings.patience
        return is_out_of_patience or self._is_time_up or 0 < settings.epochs <= progress.epoch

    @property
    def _is_time_up(self) -> bool:
        return bool(self.settings.minutes) and self.progress.seconds >= 60 * self.settings.minutes

    @property
    def _seconds(self) -> float:
        """The time used so far, by the clock of the main process; 0 in the others, and without `minutes`."""
        return time.monotonic() - self._started if self.settings.minutes and self.processes.is_main else 0.0

    def _train_epoch(self) -> None:
        progress, start, last_save = self.progress, time.perf_counter(), time.monotonic()
        seed, device = (self.settings.seed, progress.epoch), self.processes.device
        loader = BatchLoader(self.batches(progress.epoch), self.codec, self.keep_probabilities, seed, device)
        steps, seconds = parse_interval(self.settings.checkpoint_every)
        count = len(loader)
        total = count * self.settings.epochs
        symbols = 0
        predictions: tuple[list[str], ...] = ()
        while progress.batch < count and not (progress.batch and self._is_time_up):
            current = loader[progress.batch]
            batch = current.batch
            self._save_due = time.monotonic() - last_save > seconds if seconds is not None else False
            progress.lr = progress.lr_factor * learning_rate(self.settings, progress.step, total, progress.seconds)
            loss, logits = self._train_step(current, loader)
            progress.batch += 1
            progress.step += 1
            symbols += batch.total
            for callback in self.callbacks:
                callback.on_batch_end(progress.epoch + 1, progress.batch, count, loss, batch.total)
            if logits is not None and self._reports_predictions(batch, loader):
                predictions = self._decode(batch, logits)
            if self._stop_requested if self.processes.size == 1 else self._stop_agreed:
                self.save_state()
                raise Interrupted
            if progress.step % steps == 0 if steps else self._save_due:
                self.save_state()
                last_save = time.monotonic()
        self._end_epoch(symbols, time.perf_counter() - start, predictions)

    def _train_step(self, current: DeviceBatch, loader: BatchLoader) -> tuple[float, Tensor | None]:
        """Take one step; the loss of the whole batch, and the logits of this process's part of it, if there are any."""
        progress, batch = self.progress, current.batch
        for group in self.optimizer.param_groups:
            group["lr"] = progress.lr * group["lr_factor"]
        self.optimizer.zero_grad()
        state = carry_state(self.state, len(batch.rows)) if batch.continues_previous and not batch.is_filler else None
        observed = (self.penalties.observe,) if self.penalties else ()
        if self._reports_predictions(batch, loader) or not self._has_loss_of_inputs:
            with self.precision.autocast():
                logits, after = self.network(current.packed, state, *observed)
            logits, after = self.precision.to_default_dtype(logits, after)
            own = self.loss(batch, logits, current.targets)
        else:
            inputs, after = self.model.predicted_inputs(current.packed, state, *observed)
            logits, own = None, self.loss.of_inputs(batch, inputs, current.targets)
        penalty = self.penalties.compute(current.packed.batch_sizes) if self.penalties else None
        loss, value, weight = self._combine_losses(batch, own, penalty)
        self.precision.backward(loss)
        if self.model.encoder.tunes_vectors and self._vectors_are_frozen:
            self.model.encoder.tuned_vectors.grad = None  # the optimizer leaves it out, and so does the norm
        for part in resting_parts(self.settings, list(self.parts), progress.epoch):
            for parameter in self.parts[part]:
                parameter.grad = None
        value, norm = self._step_optimizer(value, loader)
        is_finite = math.isfinite(value) and math.isfinite(norm)
        if not is_finite and not (self.precision.reduce_scale() and math.isfinite(value)):
            self._skip_step(*((message_id("gradient"), norm) if math.isfinite(value) else (message_id("loss"), value)))
            return value, logits
        if is_finite:
            progress.skipped_in_a_row = 0
            progress.steps_taken += 1
            progress.grad_norm_sum += norm
        else:
            progress.overflows += 1
        self.state = carry_state(after, 0) if batch.is_filler else after
        progress.loss += value * weight
        progress.loss_weight += weight
        if (
            progress.step >= SPIKE_AFTER
            and value > SPIKE_RATIO * progress.loss_average
            and value > progress.loss_average + SPIKE_RISE
        ):
            progress.spikes += 1
        progress.loss_average = (
            LOSS_AVERAGE_DECAY * progress.loss_average + (1 - LOSS_AVERAGE_DECAY) * value
            if progress.loss_average
            else value
        )
        return value, logits

    def _step_optimizer(self, loss: Tensor | float, loader: BatchLoader) -> tuple[float, float]:
        """Clip the gradients and change the weights and their mean, unless a number is not finite.

        Returns:
            The loss, and the norm of the gradients before clipping.
        """
        max_norm = self.settings.max_grad_norm or math.inf
        if isinstance(self.optimizer, KernelOptimizer):
            value = loss.item() if isinstance(loss, Tensor) else loss
            if not math.isfinite(value):
                return value, math.nan
            means, weight = self.average.prepare()
            norm = self.optimizer.step(max_norm, means, weight)
            self.average.steps += bool(means) and math.isfinite(norm)
            return value, norm
        total = self.precision.clip_gradients(self.optimizer, self.model.parameters(), max_norm)
        loader.prepare(self.progress.batch + 1)  # while a GPU computes; the next line waits for it
        value, norm = loss.item() if isinstance(loss, Tensor) else loss, total.item()
        if math.isfinite(value) and math.isfinite(norm):
            self.precision.step(self.optimizer)
            self.average.update()
        return value, norm

    def _combine_losses(self, batch: Batch, own: Loss, penalty: Tensor | None) -> tuple[Tensor, Tensor | float, float]:
        """What to differentiate, with the penalty, and the loss and the weight of the whole batch over all processes.

        Gradients are averaged over the processes, so each loss is scaled by its part of the whole times the number of
        processes: the result is the gradient of the mean over the whole batch.
        """
        total = own.mean if penalty is None else own.mean + penalty
        if self.processes.size == 1:
            self.progress.seconds = self._seconds
            return total, own.mean, own.weight
        divisor, weight = (0.0, 0.0) if batch.is_filler else (own.divisor, own.weight)
        total_loss = 0.0 if batch.is_filler else own.mean.item() * divisor
        save_due = float(self._save_due and self.processes.is_main)
        values = [total_loss, divisor, weight, float(self._stop_requested), save_due, self._seconds]
        loss, whole, weight, stop, due, self.progress.seconds = self.processes.sum_values(values)
        self._stop_agreed, self._save_due = stop > 0, due > 0
        whole = whole or 1.0  # no process has a target in this step
        return total * (divisor * self.processes.size / whole), loss / whole, weight

    def _skip_step(self, what: str, value: float) -> None:
        """Skip a step whose loss or gradient is not finite, or end the run, as `on_nan` says."""
        progress = self.progress
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        if self.settings.on_nan == "stop" or progress.skipped_in_a_row > MAX_SKIPPED:
            raise Diverged(self._explain_divergence(what, value, progress.step + 1))
        self.optimizer.zero_grad()

    def _explain_divergence(self, what: str, value: float, step: int) -> str:
        kept = (
            translate("the best weights so far are kept")
            if self.progress.best is not None
            else translate("no weights were saved")
        )
        remedy = translate("a lower `lr` than {lr:g}", lr=self.settings.lr) + (
            "" if self.settings.max_grad_norm else translate(" or `max_grad_norm=1`")
        )
        remedy += (
            translate(" or `precision=bf16`, which has the range of fp32") if self.settings.precision == "fp16" else ""
        )
        where = translate("epoch {epoch}, step {step}", epoch=self.progress.epoch + 1, step=step)
        return translate(
            "{where}: the {what} is {value}; training stopped and {kept}; try {remedy}",
            where=where,
            what=what,
            value=value,
            kept=kept,
            remedy=remedy,
        )

    def _reports_predictions(self, batch: Batch, loader: BatchLoader) -> bool:
        """Whether the predictions of a batch in training are reported."""
        is_all = len(loader) == self.processes.size == 1 and len(batch.rows) <= MAX_PREDICTIONS
        return is_all and self._labels_steps

    @property
    def _has_loss_of_inputs(self) -> bool:
        """Whether the loss may be computed without all logits: nothing is added to them, and no wrapper reads them."""
        return self.network is self.model and self.model.has_head_inputs and self.precision.dtype is None

    @property
    def _vectors_are_frozen(self) -> bool:
        """Whether the word vectors are not trained now: in the first half of the epochs, or the time, if tuned late."""
        settings, progress = self.settings, self.progress
        is_late = 0 < -(-settings.epochs // 2) <= progress.epoch or progress.seconds > 30 * settings.minutes > 0
        return self.config.model.vectors_training == "late" and not is_late

    @property
    def _labels_steps(self) -> bool:
        """Whether each step has a label."""
        return self.task.targets.has_labels and not self.task.targets.per_sequence

    def _decode(self, batch: Batch, logits: Tensor) -> tuple[list[str], ...]:
        """The labels of each sequence of a batch, in the order of the data."""
        assert self.codec.labels is not None
        labels = to_numpy(self.model.head.decode(logits, torch.from_numpy(batch.batch_sizes)))
        steps = prediction_indices(batch, per_sequence=False)
        return tuple(self.codec.labels.decode(labels[steps[i]]) for i in np.argsort(batch.rows))

    @property
    def _evaluated(self) -> Dataset:
        return self.dev if self.dev is not None else self.train

    def _end_epoch(self, symbols: int, seconds: float, predictions: tuple[list[str], ...]) -> None:
        """Evaluate, keep the weights if they are the best, write what is to be written, and call the callbacks."""
        progress = self.progress
        if not progress.loss_weight:
            raise Diverged(self._explain_divergence(message_id("loss of every step"), math.nan, progress.step))
        with self.average.applied(), self._shrunk_head():
            metrics = evaluate(
                self.model, self.codec, self._evaluated, self.processes, history=self.data.history
            ).metrics()
            if not math.isfinite(metrics["loss"]):
                what = message_id(
                    "loss on the validation data" if self.dev is not None else "loss on the training data"
                )
                raise Diverged(self._explain_divergence(what, metrics["loss"], progress.step))
            saturation = measure_saturation(self.model, self.codec, self._evaluated, self.processes.device)
            best = is_better(metrics, progress.best, self.main_metric)
            if best:
                self._keep_best()
        (progress.seconds,) = self.processes.sum_values([self._seconds])
        if self.settings.weight_averaging == "nt_asgd":
            progress.losses.append(metrics["loss"])
            self.average.observe_losses(progress.losses)
        progress.epochs_without_improvement = 0 if best else progress.epochs_without_improvement + 1
        if self.settings.lr_schedule == "plateau" and progress.epochs_without_improvement > PLATEAU_PATIENCE:
            progress.lr_factor *= PLATEAU_FACTOR
        loss = progress.loss / progress.loss_weight
        line: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            "train_loss": loss,
            "lr": progress.lr,
            **({"grad_norm": progress.grad_norm_sum / progress.steps_taken} if progress.steps_taken else {}),
            "saturation": saturation,
            "best": best,
            **metrics,
        }
        line |= {k: v for k in ("skipped", "spikes", "overflows") if (v := getattr(progress, k))}
        environment = self._record_environment()
        if environment != progress.machine:
            line["machine"] = progress.machine = environment
        epoch = Epoch(
            number=progress.epoch + 1,
            epochs=self.settings.epochs,
            step=progress.step,
            loss=loss,
            metrics=metrics,
            best=best,
            lr=progress.lr,
            symbols=symbols,
            seconds=seconds,
            predictions=predictions,
            skipped=progress.skipped,
            spikes=progress.spikes,
            overflows=progress.overflows,
        )
        progress.epoch += 1
        progress.batch, progress.loss, progress.loss_weight, progress.grad_norm_sum = 0, 0.0, 0.0, 0.0
        progress.steps_taken, progress.skipped, progress.spikes, progress.overflows = 0, 0, 0, 0
        self.state = None
        if best:
            progress.best = metrics
        self._save_snapshot()
        if self.metrics_log is not None:
            if self.processes.is_main:
                progress.metrics_bytes, progress.metrics_sha256 = self.metrics_log.append(line)
            self.save_state()
        for callback in self.callbacks:
            callback.on_epoch_end(epoch)

    def _record_environment(self) -> dict[str, Any]:
        """What equal bytes depend on."""
        settings, device = self.settings, self.processes.device
        record = record_environment(
            kernels=ops.implementation(device, settings.precision),
            deterministic=settings.deterministic,
            device=device,
            precision=settings.precision,
        )
        return record | ({"processes": self.processes.size} if self.processes.size > 1 else {})

    def _save_snapshot(self) -> None:
        """Write the weights between two epochs, with the setting `snapshots`."""
        if self.settings.snapshots and self.run is not None and self.progress.batch == 0 and self.processes.is_main:
            with self.average.applied():
                snapshots.save(self.run, self.progress.epoch, self.model)

    def save_state(self) -> None:
        """Write the saved state, from which the run can resume; all processes must call it at the same step."""
        if self.run is not None:
            self.progress.averaged_steps = self.average.steps
            tensors = resume.collect_state(
                self.model, self.optimizer, self.average, self.precision, self.state, self.processes
            )
            if self.processes.is_main:
                resume_state.save_state(self.run, tensors, vars(self.progress))

    def restore(self) -> None:
        """Go back to the saved state; lines of the metrics log that were written after it are removed.

        Raises:
            InputError: there is no saved state, or it does not fit the settings.
        """
        assert self.run is not None
        assert self.metrics_log is not None
        data_sha256, environment = self.progress.data_sha256, self._record_environment()
        tensors, position = resume_state.load_state(
            self.run, resume_state.max_state_bytes(self.model, self.settings.batch_size)
        )
        where = str(self.run / "resume")
        progress, self.state = resume.restore_state(
            tensors, position, self.model, self.optimizer, self.average, self.precision, where, self.processes
        )
        resume_state.check_same_data(progress.data_sha256, data_sha256, self.run, self.config.files)
        progress.data_sha256 = data_sha256
        if self.processes.is_main:
            resume_state.warn_if_environment_changed(progress.machine, environment)
            self.metrics_log.truncate(progress.metrics_bytes, progress.metrics_sha256)
        if progress.best is not None:
            self.best_weights = run_directory.read_weights(self.run, self.model)
        self.progress = progress

    def finish(self) -> Metrics:
        """Take the best weights, evaluate them once more, and write their metrics."""
        if self.best_weights is not None:
            load_weights(self.model, self.best_weights, translate("the best weights"))
        self.network = self.model.requires_grad_()  # the wrapper that averages gradients is not needed any more
        self.model.eval()
        accumulator = evaluate(self.model, self.codec, self._evaluated, self.processes, history=self.data.history)
        metrics = accumulator.metrics()
        self.config = replace(self.config, metrics=metrics)
        if self.run is not None and self.processes.is_main:
            write_json(self.run / "config.json", self.config.to_json())
        for callback in self.callbacks:
            callback.on_train_end(self, accumulator)
        return metrics
