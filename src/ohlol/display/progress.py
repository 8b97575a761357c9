"""The progress of a training on a console: a progress bar on a terminal, one line per epoch elsewhere."""

import sys
import time

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ohlol import ops
from ohlol.data.batches import Dataset
from ohlol.data.codec import Codec
from ohlol.display import translations
from ohlol.evaluation.baselines import Baselines, compute_baselines
from ohlol.models.heads import HEADS
from ohlol.tasks.metrics import MetricAccumulator, format_metrics, format_number
from ohlol.training.callbacks import Callback, Epoch, Training
from ohlol.utils import environment
from ohlol.utils.devices import describe_device
from ohlol.utils.terminal import escape_symbol, print_data, print_message


def make_progress_callback(console: Console, targets: list[str] | None = None) -> Callback:
    """Return the callback for a console: the tutorial's output for pairs, otherwise a bar or a log.

    Args:
        console: where to print.
        targets: the targets of the pairs, in order; None for data from files.
    """
    if targets is not None:
        return Tutorial(console, targets)
    return Bar(console) if console.is_terminal else Log(console)


class Determinism(Callback):
    """Prints to standard error under which conditions the run gives equal bytes again, once it is known to start."""

    def on_train_begin(self, trainer: Training) -> None:
        """Print one line."""
        device, precision = trainer.processes.device, trainer.settings.precision
        kernels = ops.implementation(device, precision)
        promise = environment.describe_reproducibility(kernels=kernels, device=device, precision=precision)
        print_message(f"deterministic: {promise}", sys.stderr)


class Summary(Callback):
    """Prints at the end why training ended, the metrics of the best weights, and their loss beside its baselines."""

    console: Console

    def on_train_end(self, trainer: Training, accumulator: MetricAccumulator) -> None:
        """Print the end, the metrics, and the loss compared with its baselines, in the language of the environment."""
        end = end_line(trainer, translations.language(None))
        if end is not None:
            print(end, file=self.console.file)
        print(f"best weights: {format_metrics(trainer.config.metrics)}", file=self.console.file)
        if (start := trainer.progress.start) is not None:
            is_better = trainer.progress.best != start
            key = "forecast_start" if is_better else "forecast_start_kept"
            metrics = format_metrics({name: start[name] for name in (trainer.main_metric, "loss")})
            print(translations.text(key, translations.language(None), metrics=metrics), file=self.console.file)
        loss = compute_baselines(trainer.config, trainer.codec, accumulator)
        for line in baseline_lines(loss, translations.language(None)):
            print(line, file=self.console.file, flush=True)


def end_line(trainer: Training, lang: str) -> str | None:
    """Return why training ended, which weights are kept and what to do; None where nothing was set apart to see it."""
    progress, settings = trainer.progress, trainer.settings
    best = progress.epoch - progress.epochs_without_improvement
    values = {"epoch": progress.epoch, "best": best, "metric": trainer.main_metric.replace("_", " ")}
    if best < 1:
        return None
    is_time_up = settings.minutes and progress.seconds >= 60 * settings.minutes
    if progress.epoch != settings.epochs and not is_time_up:
        key = "end_stopped" if settings.epochs else "end_stopped_early"
        return translations.text(key, lang, epochs=settings.epochs, **values)
    if trainer.dev is None or progress.epoch == 1:
        return None
    key = "end_best" if best < progress.epoch else "end_improving_time" if is_time_up else "end_improving"
    return translations.text(key, lang, **values)


def baseline_lines(loss: Baselines, lang: str) -> list[str]:
    """Return a loss and its baselines as lines for a terminal; none where there is no baseline."""
    if loss.uniform is None:
        return []
    rows = [
        (loss.summed, "baseline_summed"),
        (loss.uniform, "baseline_even" if loss.multiple else "baseline_uniform" if loss.labels else "baseline_mean"),
        (loss.frequencies, "baseline_shares" if loss.multiple else "baseline_frequencies"),
        (loss.lower_bound, "baseline_lower_bound"),
    ]
    title = "baseline" if loss.labels else "baseline_forecast"
    lines = [translations.text(title, lang, loss=format_number(loss.loss), count=f"{loss.count:,}")]
    lines += [
        f"{format_number(v):>8}  {translations.text(key, lang, labels=loss.labels)}" for v, key in rows if v is not None
    ]
    return lines if loss.learned else [*lines, translations.text("baseline_not_beaten", lang)]


class Tutorial(Summary):
    """Prints the predicted string and the loss of each epoch, as the tutorial does."""

    def __init__(self, console: Console, targets: list[str]):
        self.console, self.targets = console, targets

    def on_train_begin(self, trainer: Training) -> None:
        """Print the header of the table, on a terminal."""
        if self.console.is_terminal:
            total = "sum" if trainer.settings.loss_reduction == "sum" else "mean"
            width = max(len("predicted"), sum(map(len, self.targets)) + len(self.targets) - 1)
            self.console.print(f"{'epoch':>9}  {'predicted':<{width}}  loss ({total})", style="bold")
            self.width = width

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Print a row, correct letters in green and wrong ones in red; not on a terminal, the tutorial's own line."""
        strings = ["".join(labels) for labels in epoch.predictions]
        if not self.console.is_terminal:
            predicted = " ".join(strings) if strings else f"({format_metrics(epoch.metrics)})"
            print_data(
                f"Predicted string: {predicted}, Epoch [{epoch.number}/{epoch.epochs}] loss = {epoch.loss:.4f}",
                self.console.file,
                flush=True,
            )
            return
        predicted = Text()
        for labels, targets in zip(strings, self.targets, strict=False):
            predicted.append(" " if predicted else "")
            for label, target in zip(labels, targets, strict=False):
                predicted.append(escape_symbol(label), style="green" if label == target else "red")
        pad = " " * max(0, getattr(self, "width", 9) - predicted.cell_len)
        row = Text.assemble(f"{epoch.number:>4}/{epoch.epochs:<4}  ", predicted, pad, f"  {epoch.loss:.4f}")
        self.console.print(row)


def describe_training(trainer: Training) -> str:
    """Return how the data were read, the model and the data of a training, in a line each."""
    model, train, dev = trainer.config.model, trainer.train, trainer.dev
    size = "one-hot" if not model.embedding_size else f"embedding {model.embedding_size}"
    data = trainer.config.data
    source = f"{data.format}, by {'word' if data.level == 'word' else 'character'}" if data.level else f"{data.format}"
    parts = [f"{trainer.config.task} ({source})", f"{model.cell} {model.num_layers} x {model.hidden_size}"]
    parts += ["bidirectional"] if model.bidirectional else []
    parts += [f"pooling {model.pooling}"] if trainer.model.pooling is not None else []
    sizes = trainer.config.sizes
    parts += [size] if not sizes.numeric and (model.embedding_size or not sizes.vector_size) else []
    parts += [f"vectors {sizes.vector_size} ({model.vectors_training})"] if sizes.vector_size else []
    parts += [f"character RNN {model.char_rnn_size}"] if trainer.config.sizes.chars else []
    parts += [f"bigrams {model.bigram_size}"] if trainer.config.sizes.bigrams else []
    parts += [f"head {model.head}"] if HEADS[model.head].structured else []
    measured = f"measured on {_size(dev)}" if dev is not None else "measured on the same data"
    epochs, minutes = trainer.settings.epochs, trainer.settings.minutes
    length = [f"{epochs} epoch{'s' * (epochs != 1)}"] if epochs else []
    length += [f"{minutes:g} minute{'s' * (minutes != 1)}"] if minutes else []
    where = [] if trainer.processes.device.type == "cpu" else [f"on {describe_device(trainer.processes.device)}"]
    where += [] if trainer.settings.precision == "fp32" else [f"in {trainer.settings.precision}"]
    interpretation = "" if trainer.interpretation is None else f"{trainer.interpretation}\n"
    return (
        f"{interpretation}{', '.join(parts)}: {trainer.parameters:,} parameters\n{_coverage(trainer.codec)}"
        f"{_size(train)}, {measured}, {' or '.join(length)}{''.join(f', {w}' for w in where)}"
    )


def _coverage(codec: Codec) -> str:
    """Return a line that says how many words have a pretrained vector; nothing for a model without them."""
    if codec.vectors is None or codec.symbols is None:
        return ""
    counts = np.array(codec.symbols.counts[1:])  # without <unk>
    found = codec.vector_rows[1 : len(codec.symbols)] > 0
    return (
        f"vectors: {found.mean():.1%} of the {len(counts):,} words of the training data have one "
        f"({counts[found].sum() / counts.sum():.1%} of its text); {len(codec.vectors.words):,} words in all\n"
    )


def _size(data: Dataset) -> str:
    return f"{len(data):,} sequence{'s' * (len(data) != 1)} ({data.steps:,} steps)"


def _line(epoch: Epoch) -> str:
    speed = epoch.symbols / epoch.seconds if epoch.seconds else 0.0
    metrics = {k: v for k, v in epoch.metrics.items() if k not in HIDDEN}
    best = "  best" if epoch.best else ""
    number = f"{epoch.number:>{len(str(epoch.epochs))}}/{epoch.epochs}" if epoch.epochs else str(epoch.number)
    return (
        f"epoch {number}  loss {format_number(epoch.loss)}  {format_metrics(metrics)}  "
        f"{speed:,.0f} symbols/s{best}{_irregularities(epoch)}"
    )


def _irregularities(epoch: Epoch) -> str:
    """Return the number of skipped steps, loss spikes and overflows of an epoch, where there are any."""
    counts = [
        (epoch.skipped, "step{s} skipped: not finite"),
        (epoch.spikes, "loss spike{s}"),
        (epoch.overflows, "fp16 overflow{s}"),
    ]
    return "".join(f"  {n} {name.format(s='s' * (n != 1))}" for n, name in counts if n)


HIDDEN = ("loss", "sequence_accuracy", "perplexity", "span_precision", "span_recall")
"""Metrics left out of the line of an epoch, so that it fits in 80 columns; `metrics.jsonl` has them."""


class Log(Summary):
    """Prints one line per epoch."""

    def __init__(self, console: Console):
        self.console = console

    def on_train_begin(self, trainer: Training) -> None:
        """Print the model and the data."""
        self._print(describe_training(trainer))

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Print the line of the epoch."""
        self._print(_line(epoch))

    def _print(self, text: str) -> None:
        print_message(text, self.console.file, flush=True)


class Bar(Summary):
    """Shows a progress bar with loss, metric, symbols per second and time left, and one line per finished epoch."""

    def __init__(self, console: Console):
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            expand=True,
        )
        self.loss, self.symbols, self.started, self.metric = 0.0, 0, 0.0, ""

    def on_train_begin(self, trainer: Training) -> None:
        """Print the model and the data, and start the bar."""
        self.console.print(Text(describe_training(trainer)))
        self.trainer, self.name = trainer, trainer.main_metric
        self.task = self.progress.add_task("", total=None, status="")
        self.progress.start()
        self.started = time.perf_counter()

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Advance the bar; the loss shown is a running mean over about 50 steps of an epoch."""
        self.symbols += symbols
        self.loss += (loss - self.loss) / min(done, 50)
        speed = self.symbols / (time.perf_counter() - self.started)
        epochs, minutes = self.trainer.settings.epochs, self.trainer.settings.minutes
        shares = [(total * (epoch - 1) + done) / (total * epochs)] if epochs else []
        shares += [self.trainer.progress.seconds / (60 * minutes)] if minutes else []
        self.progress.update(
            self.task,
            total=1.0,
            completed=max(shares),
            description=f"epoch {epoch}/{epochs}" if epochs else f"epoch {epoch}",
            status=f"loss {self.loss:.4f}{self.metric}  {speed:,.0f} symbols/s",
        )

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Print the line of the epoch above the bar."""
        self.metric = "  " + format_metrics({self.name: epoch.metrics[self.name]})
        self.progress.console.print(Text(_line(epoch), style="green" if epoch.best else ""))

    def on_train_end(self, trainer: Training, accumulator: MetricAccumulator) -> None:
        """Remove the bar and print the summary."""
        self.stop()
        super().on_train_end(trainer, accumulator)

    def stop(self) -> None:
        """Remove the bar."""
        self.progress.stop()
