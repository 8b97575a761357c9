"""The progress of a training on a console: a progress bar on a terminal, one line per epoch elsewhere."""

import sys
import time
from collections.abc import Callable

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ohlol import ops
from ohlol.data.batches import Dataset
from ohlol.data.codec import Codec
from ohlol.data.interpretation import READ_BY
from ohlol.display import texts
from ohlol.evaluation.baselines import Baselines, compute_baselines
from ohlol.models.heads import HEADS
from ohlol.tasks.metrics import MetricAccumulator, format_metrics, format_number
from ohlol.training.callbacks import Callback, Epoch, Training
from ohlol.utils import environment
from ohlol.utils.devices import describe_device
from ohlol.utils.terminal import escape_symbol, print_data, print_message
from ohlol.utils.translation import choose_language, join_phrases, message_id, translate


def make_progress_callback(
    console: Console, targets: list[str] | None = None, name_settings: Callable[[str], str] = str
) -> Callback:
    """Return the callback for a console: the tutorial's output for pairs, otherwise a bar or a log.

    Args:
        console: where to print.
        targets: the targets of the pairs, in order; None for data from files.
        name_settings: replaces the settings in backticks of a message, such as by the flags of a command line.
    """
    callback = Tutorial(console, targets) if targets is not None else (Bar if console.is_terminal else Log)(console)
    callback.name_settings = name_settings
    return callback


class Determinism(Callback):
    """Prints to standard error under which conditions the run gives equal bytes again, once it is known to start."""

    def on_train_begin(self, trainer: Training) -> None:
        """Print one line."""
        device, precision = trainer.processes.device, trainer.settings.precision
        kernels = ops.implementation(device, precision)
        promise = environment.describe_reproducibility(kernels=kernels, device=device, precision=precision)
        print_message(translate("deterministic: {promise}", promise=promise), sys.stderr)


class Summary(Callback):
    """Prints at the end why training ended, the metrics of the best weights, and their loss beside its baselines."""

    console: Console
    name_settings: Callable[[str], str] = str
    """Replaces the settings in backticks of a message."""

    def on_train_end(self, trainer: Training, accumulator: MetricAccumulator) -> None:
        """Print the end, the metrics, and the loss compared with its baselines, in the language of the environment."""
        end = end_line(trainer, choose_language())
        if end is not None:
            print(self.name_settings(end), file=self.console.file)
        print(
            translate("best weights: {metrics}", metrics=format_metrics(trainer.config.metrics)), file=self.console.file
        )
        if (start := trainer.progress.start) is not None:
            is_better = trainer.progress.best != start
            key = f"{'run' if trainer.config.keeps_head else 'forecast'}_start{'' if is_better else '_kept'}"
            metrics = format_metrics({name: start[name] for name in (trainer.main_metric, "loss")})
            print(texts.text(key, choose_language(), metrics=metrics), file=self.console.file)
        loss = compute_baselines(trainer.config, trainer.codec, accumulator)
        for line in baseline_lines(loss, choose_language()):
            print(self.name_settings(line), file=self.console.file, flush=True)


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
        return texts.text(key, lang, epochs=settings.epochs, **values)
    if trainer.dev is None or progress.epoch == 1:
        return None
    key = "end_best" if best < progress.epoch else "end_improving_time" if is_time_up else "end_improving"
    return texts.text(key, lang, **values)


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
    lines = [texts.text(title, lang, loss=format_number(loss.loss), count=f"{loss.count:,}")]
    lines += [f"{format_number(v):>8}  {texts.text(key, lang, labels=loss.labels)}" for v, key in rows if v is not None]
    return lines if loss.learned else [*lines, texts.text("baseline_not_beaten", lang)]


class Tutorial(Summary):
    """Prints the predicted string and the loss of each epoch, as the tutorial does."""

    def __init__(self, console: Console, targets: list[str]):
        self.console, self.targets = console, targets

    def on_train_begin(self, trainer: Training) -> None:
        """Print the header of the table, on a terminal."""
        if self.console.is_terminal:
            is_sum = trainer.settings.loss_reduction == "sum"
            heading, total = translate("predicted"), translate("loss (sum)" if is_sum else "loss (mean)")
            width = max(cell_len(heading), sum(map(len, self.targets)) + len(self.targets) - 1)
            heading += " " * (width - cell_len(heading))
            epoch = translate("epoch")
            self.console.print(f"{' ' * (9 - cell_len(epoch))}{epoch}  {heading}  {total}", style="bold")
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
    size = translate("embedding {size}", size=model.embedding_size) if model.embedding_size else "one-hot"
    data = trainer.config.data
    source = join_phrases([data.format or "", *([translate(READ_BY[data.level])] if data.level else [])])
    parts = [
        translate("{task} ({source})", task=trainer.config.task, source=source),
        f"{model.cell} {model.num_layers} x {model.hidden_size}",
    ]
    parts += [translate("bidirectional")] if model.bidirectional else []
    parts += [translate("pooling {pooling}", pooling=model.pooling)] if trainer.model.pooling is not None else []
    sizes = trainer.config.sizes
    parts += (
        [size] if not sizes.numeric and (model.embedding_size or not (sizes.vector_size or sizes.context_size)) else []
    )
    parts += (
        [
            translate(
                "vectors {vector_size} ({vectors_training})",
                vector_size=sizes.vector_size,
                vectors_training=model.vectors_training,
            )
        ]
        if sizes.vector_size
        else []
    )
    parts += (
        [translate("character RNN {char_rnn_size}", char_rnn_size=model.char_rnn_size)]
        if sizes.chars and model.char_rnn_size
        else []
    )
    parts += (
        [translate("language models {char_lms}", char_lms=" + ".join(str(lm.size) for lm in trainer.codec.char_lms))]
        if sizes.context_size
        else []
    )
    parts += [translate("bigrams {size}", size=model.bigram_size)] if trainer.config.sizes.bigrams else []
    parts += [translate("head {head}", head=model.head)] if HEADS[model.head].structured else []
    start = trainer.config.start
    head = translate("its head") if trainer.config.keeps_head else translate("a new head")
    started = (
        ""
        if start is None
        else translate(
            "starts from {run}, with {head}; new symbols: {count:,}", run=start.run, head=head, count=start.new_symbols
        )
        + "\n"
    )
    measured = (
        translate("measured on {dev}", dev=_size(dev)) if dev is not None else translate("measured on the same data")
    )
    epochs, minutes = trainer.settings.epochs, trainer.settings.minutes
    length = [translate("{count} epoch{plural}", count=epochs, plural="s" * (epochs != 1))] if epochs else []
    length += [translate("{count:g} minute{plural}", count=minutes, plural="s" * (minutes != 1))] if minutes else []
    where = (
        []
        if trainer.processes.device.type == "cpu"
        else [translate("on {device}", device=describe_device(trainer.processes.device))]
    )
    where += (
        []
        if trainer.settings.precision == "fp32"
        else [translate("in {precision}", precision=trainer.settings.precision)]
    )
    interpretation = "" if trainer.interpretation is None else f"{trainer.interpretation}\n"
    return (
        interpretation
        + translate("{parts}: {count:,} parameters", parts=join_phrases(parts), count=trainer.parameters)
        + f"\n{started}{_coverage(trainer.codec)}"
        + join_phrases([_size(train), measured, translate(" or ").join(length), *where])
    )


def _coverage(codec: Codec) -> str:
    """Return a line that says how many words have a pretrained vector; nothing for a model without them."""
    if codec.vectors is None or codec.symbols is None:
        return ""
    counts = np.array(codec.symbols.counts[1:])  # without <unk>
    found = codec.vector_rows[1 : len(codec.symbols)] > 0
    return (
        translate(
            "vectors: {share:.1%} of the {count:,} words of the training data have one ({text_share:.1%} of its text); "
            "{total:,} words in all",
            share=found.mean(),
            count=len(counts),
            text_share=counts[found].sum() / counts.sum(),
            total=len(codec.vectors.words),
        )
        + "\n"
    )


def _size(data: Dataset) -> str:
    return translate(
        "{count:,} sequence{plural} ({steps:,} steps)", count=len(data), plural="s" * (len(data) != 1), steps=data.steps
    )


def _line(epoch: Epoch) -> str:
    speed = epoch.symbols / epoch.seconds if epoch.seconds else 0.0
    metrics = {k: v for k, v in epoch.metrics.items() if k not in HIDDEN}
    best = "  " + translate("best") if epoch.best else ""
    number = f"{epoch.number:>{len(str(epoch.epochs))}}/{epoch.epochs}" if epoch.epochs else str(epoch.number)
    return translate(
        "epoch {number}  loss {loss}  {metrics}  {speed:,.0f} steps/s{best}{irregular}",
        number=number,
        loss=format_number(epoch.loss),
        metrics=format_metrics(metrics),
        speed=speed,
        best=best,
        irregular=_irregularities(epoch),
    )


def _irregularities(epoch: Epoch) -> str:
    """Return the number of skipped steps, loss spikes and overflows of an epoch, where there are any."""
    counts = [
        (epoch.skipped, message_id("{count} step{plural} skipped: not finite")),
        (epoch.spikes, message_id("{count} loss spike{plural}")),
        (epoch.overflows, message_id("{count} fp16 overflow{plural}")),
    ]
    return "".join("  " + translate(text, count=n, plural="s" * (n != 1)) for n, text in counts if n)


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
    """Shows a progress bar with loss, metric, time steps per second and time left, and one line per finished epoch."""

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
            description=translate("epoch {number}", number=f"{epoch}/{epochs}" if epochs else epoch),
            status=translate(
                "loss {loss:.4f}{metric}  {speed:,.0f} steps/s", loss=self.loss, metric=self.metric, speed=speed
            ),
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
