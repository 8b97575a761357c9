"""What a person sees of a run while it trains: a bar on a terminal, lines elsewhere; knows nothing of learning."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ohlol.data.batches import Dataset
from ohlol.display import translations
from ohlol.evaluation.baselines import Baselines, compute_baselines
from ohlol.tasks.metrics import MetricAccumulator, format_metrics, format_number
from ohlol.training.callbacks import Callback, Epoch, Training
from ohlol.utils.devices import describe_device


def progress_callback(console: Console, targets: list[str] | None = None) -> Callback:
    """The callback that shows the progress: the tutorial's view for pairs, otherwise a bar or a log.

    Args:
        console: where to write.
        targets: what should come out of the pairs, in order; None for data from files.
    """
    if targets is not None:
        return Tutorial(console, targets)
    return Bar(console) if console.is_terminal else Log(console)


class Last(Callback):
    """Ends with the scores of the best weights, and what their loss is worth."""

    console: Console

    def on_train_end(self, trainer: Training, accumulator: MetricAccumulator) -> None:
        """Scores, then the loss beside its baselines, in the language of the environment."""
        print(f"best weights: {format_metrics(trainer.config.metrics)}", file=self.console.file)
        for line in worth(compute_baselines(trainer.config, trainer.codec, accumulator), translations.language(None)):
            print(line, file=self.console.file, flush=True)


def worth(found: Baselines, lang: str) -> list[str]:
    """What a loss is worth, as lines for a terminal."""
    rows = [(found.summed, "worth_summed"), (found.uniform, "worth_uniform" if found.answers else "worth_mean")]
    rows += [(found.frequencies, "worth_frequencies"), (found.floor, "worth_floor")]
    unit = "worth" if found.answers else "worth_forecast"
    lines = [translations.text(unit, lang, loss=format_number(found.loss), count=f"{found.count:,}")]
    lines += [
        f"{format_number(v):>8}  {translations.text(key, lang, answers=found.answers)}"
        for v, key in rows
        if v is not None
    ]
    return lines if found.learned else [*lines, translations.text("worth_nothing", lang)]


class Tutorial(Last):
    """Each epoch's predicted string and loss, as the tutorial prints them."""

    def __init__(self, console: Console, targets: list[str]):
        self.console, self.targets = console, targets

    def on_train_begin(self, trainer: Training) -> None:
        """The table's head, on a terminal."""
        if self.console.is_terminal:
            total = "sum" if trainer.settings.loss_reduction == "sum" else "mean"
            width = max(len("predicted"), sum(map(len, self.targets)) + len(self.targets) - 1)
            self.console.print(f"{'epoch':>9}  {'predicted':<{width}}  loss ({total})", style="bold")
            self.width = width

    def on_epoch_end(self, epoch: Epoch) -> None:
        """A row, right letters green and wrong ones red; or the tutorial's own line."""
        strings = ["".join(labels) for labels in epoch.predictions]
        if not self.console.is_terminal:
            said = " ".join(strings) if strings else f"({format_metrics(epoch.metrics)})"
            print(
                f"Predicted string: {said}, Epoch [{epoch.number}/{epoch.epochs}] loss = {epoch.loss:.4f}",
                file=self.console.file,
                flush=True,
            )
            return
        shown = Text()
        for labels, target in zip(strings, self.targets, strict=False):
            shown.append(" " if shown else "")
            for label, wanted in zip(labels, target, strict=False):
                shown.append(label, style="green" if label == wanted else "red")
        pad = " " * max(0, getattr(self, "width", 9) - shown.cell_len)
        row = Text.assemble(f"{epoch.number:>4}/{epoch.epochs:<4}  ", shown, pad, f"  {epoch.loss:.4f}")
        self.console.print(row)


def opening(trainer: Training) -> str:
    """What is about to be trained, in two lines."""
    model, train, dev = trainer.config.model, trainer.train, trainer.dev
    size = "one-hot" if not model.embedding_size else f"embedding {model.embedding_size}"
    data = trainer.config.data
    read = f"{data.format}, by {'word' if data.level == 'word' else 'character'}" if data.level else f"{data.format}"
    parts = [f"{trainer.config.task} ({read})", f"{model.cell} {model.num_layers} x {model.hidden_size}"]
    parts += ["both directions"] if model.bidirectional else []
    parts += [size] if not trainer.config.sizes.numeric else []
    parts += [f"spelling {model.char_rnn_size}"] if trainer.config.sizes.chars else []
    parts += [f"bigrams {model.bigram_size}"] if trainer.config.sizes.bigrams else []
    measured = f"measured on {_counted(dev)}" if dev is not None else "measured on the same data"
    epochs = trainer.settings.epochs
    where = [] if trainer.processes.device.type == "cpu" else [f"on {describe_device(trainer.processes.device)}"]
    where += [] if trainer.settings.precision == "fp32" else [f"in {trainer.settings.precision}"]
    return (
        f"{', '.join(parts)}: {trainer.parameters:,} parameters\n"
        f"{_counted(train)}, {measured}, {epochs} epoch{'s' * (epochs != 1)}{''.join(f', {w}' for w in where)}"
    )


def _counted(data: Dataset) -> str:
    return f"{len(data):,} sequence{'s' * (len(data) != 1)} ({data.steps:,} steps)"


def _line(epoch: Epoch) -> str:
    speed = epoch.symbols / epoch.seconds if epoch.seconds else 0.0
    scores = {k: v for k, v in epoch.metrics.items() if k not in NOT_SHOWN}
    best = "  best" if epoch.best else ""
    width = len(str(epoch.epochs))
    return (
        f"epoch {epoch.number:>{width}}/{epoch.epochs}  loss {format_number(epoch.loss)}  {format_metrics(scores)}  "
        f"{speed:,.0f} symbols/s{best}{_trouble(epoch)}"
    )


def _trouble(epoch: Epoch) -> str:
    """Steps of an epoch that were not as they should be."""
    said = [
        (epoch.skipped, "step{s} skipped: no number"),
        (epoch.spikes, "loss spike{s}"),
        (epoch.overflows, "fp16 overflow{s}"),
    ]
    return "".join(f"  {n} {what.format(s='s' * (n != 1))}" for n, what in said if n)


NOT_SHOWN = ("loss", "sequence_accuracy", "perplexity", "span_precision", "span_recall")
"""Scores left out of an epoch's line, which is to fit in 80 columns; `metrics.jsonl` has them."""


class Log(Last):
    """A line an epoch."""

    def __init__(self, console: Console):
        self.console = console

    def on_train_begin(self, trainer: Training) -> None:
        """What is trained."""
        self._print(opening(trainer))

    def on_epoch_end(self, epoch: Epoch) -> None:
        """The epoch's line."""
        self._print(_line(epoch))

    def _print(self, text: str) -> None:
        print(text, file=self.console.file, flush=True)


class Bar(Last):
    """A bar over the whole run, with loss, score, symbols a second and time left; a line for each epoch past."""

    def __init__(self, console: Console):
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            expand=True,
        )
        self.loss, self.seen, self.started, self.score = 0.0, 0, 0.0, ""

    def on_train_begin(self, trainer: Training) -> None:
        """What is trained, and the bar."""
        self.console.print(opening(trainer), highlight=False)
        self.epochs, self.name = trainer.settings.epochs, trainer.main_metric
        self.task = self.progress.add_task("", total=None, said="")
        self.progress.start()
        self.started = time.perf_counter()

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Move the bar; the loss shown is a running mean over about 50 steps of an epoch."""
        self.seen += symbols
        self.loss += (loss - self.loss) / min(done, 50)
        speed = self.seen / (time.perf_counter() - self.started)
        self.progress.update(
            self.task,
            total=total * self.epochs,
            completed=total * (epoch - 1) + done,
            description=f"epoch {epoch}/{self.epochs}",
            said=f"loss {self.loss:.4f}{self.score}  {speed:,.0f} symbols/s",
        )

    def on_epoch_end(self, epoch: Epoch) -> None:
        """The epoch's line, above the bar."""
        self.score = "  " + format_metrics({self.name: epoch.metrics[self.name]})
        self.progress.console.print(Text(_line(epoch), style="green" if epoch.best else ""))

    def on_train_end(self, trainer: Training, accumulator: MetricAccumulator) -> None:
        """Take the bar away, and say how good it is."""
        self.stop()
        super().on_train_end(trainer, accumulator)

    def stop(self) -> None:
        """Take the bar away."""
        self.progress.stop()
