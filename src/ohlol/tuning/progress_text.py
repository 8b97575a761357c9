"""The output of `ohlol tune`: the progress of a study, and its result."""

import textwrap
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ohlol.training.callbacks import Epoch, Training
from ohlol.tuning.search import BEST, StudyPlan, TuneCallback
from ohlol.tuning.space import format_value
from ohlol.tuning.summary import StudySummary, Trial
from ohlol.tuning.summary_text import best_to_text, format_metric
from ohlol.utils.terminal import print_message
from ohlol.utils.translation import message_id, translate

WIDTH = 80
"""Columns of the output."""


class StudyLog(TuneCallback):
    """Prints the settings and the result of each trial; on a terminal with a progress bar while it trains."""

    def __init__(self, console: Console):
        self.console = console
        self.bar: Progress | None = None
        self.metric, self.trials, self.started = "", 0, 0.0
        self.number, self.latest = 0, ""

    def start_study(self, plan: StudyPlan, summary: StudySummary) -> None:
        """Print what is searched."""
        self.metric, self.trials = summary.metric, plan.trials
        base = plan.base
        pruning = translate("pruner {pruner}", pruner=plan.pruner) if plan.pruner != "none" else translate("no pruner")
        message = message_id(
            "{trials} trials of {epochs} epochs, task {task}, {pruning}; metric: {metric} (lower is better)"
            if summary.lower_is_better
            else "{trials} trials of {epochs} epochs, task {task}, {pruning}; metric: {metric} (higher is better)"
        )
        epochs = base.training.epochs
        values: dict[str, Any] = {
            "trials": plan.trials,
            "epochs": epochs,
            "task": base.task,
            "pruning": pruning,
            "metric": self._name,
        }
        self._print(translate(message, **values))
        self._print("\n".join(f"  {one.text}" for one in plan.space.ranges))
        if summary.trials:
            count = len(summary.trials)
            self._print(translate("continuing after {count} trial{plural}", count=count, plural="s" * (count != 1)))

    @property
    def _name(self) -> str:
        return self.metric.replace("_", " ")

    def start_trial(self, number: int, settings: dict[str, Any], *, is_continued: bool) -> None:
        """Print the settings of a trial."""
        self.started, self.number, self.latest = time.monotonic(), number, ""
        text = ", ".join(f"{name}={format_value(value)}" for name, value in settings.items())
        heading = translate("trial {number}: ", number=number) + (translate("continued: ") if is_continued else "")
        self._print(textwrap.fill(text, WIDTH, initial_indent=heading, subsequent_indent="  ", break_on_hyphens=False))

    def on_train_begin(self, trainer: Training) -> None:
        """Show the progress bar."""
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TextColumn("{task.fields[status]}", markup=False),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
                expand=True,
            )
            self.epochs = trainer.settings.epochs
            self.task = self.bar.add_task(translate("trial {number}", number=self.number), total=None, status="")
            self.bar.start()

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Advance the progress bar."""
        if self.bar is not None:
            status = translate("epoch {epoch}/{epochs}{latest}", epoch=epoch, epochs=self.epochs, latest=self.latest)
            self.bar.update(self.task, total=total * self.epochs, completed=total * (epoch - 1) + done, status=status)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Show the metric beside the progress bar."""
        self.latest = f"  {self._name} {format_metric(epoch.metrics[self.metric], self.metric)}"

    def finish_trial(self, trial: Trial, summary: StudySummary) -> None:
        """Print the result of a trial."""
        self.stop()
        seconds = f"{time.monotonic() - self.started:.1f} s"
        if trial.state == "failed" or trial.value is None:
            self._print(
                textwrap.fill(
                    translate("failed: {reason}", reason=trial.reason),
                    WIDTH,
                    initial_indent="  ",
                    subsequent_indent="  ",
                )
            )
            return
        value = f"{self._name} {format_metric(trial.value, self.metric)}"
        if trial.state == "pruned":
            self._print(
                translate(
                    "  {value}, pruned after epoch {epochs}, {seconds}",
                    value=value,
                    epochs=trial.epochs,
                    seconds=seconds,
                )
            )
            return
        is_best = summary.best is not None and summary.best.number == trial.number
        self._print(f"  {value}, {seconds}" + translate(", best so far") * is_best)

    def stop(self) -> None:
        """Remove the progress bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _print(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


def result_to_text(summary: StudySummary, out: Path, command: str, console: Console) -> None:
    """Print the best trials, the run directory of the best one, and the command that trains it again.

    Args:
        summary: the state of the study.
        out: its directory, as the user gave it.
        command: the command that trains the best trial again.
        console: where to print.
    """
    best, link = summary.best, out / BEST
    running = ", ".join(
        translate("trial {number} on {host}", number=t.number, host=t.host)
        for t in summary.trials
        if t.state == "running"
    )
    console.print()
    if best is not None:
        best_to_text(summary, console)
    lines = [translate("still running, or interrupted: {running}", running=running)] if running else []
    if best is None:
        lines.append(translate("no trial is complete"))
    elif best.is_local:
        lines.append(
            translate("best: trial {number}, {link}", number=best.number, link=link if link.is_symlink() else best.run)
        )
    else:
        local = translate("; {link} is the best one of this machine", link=link) if link.is_symlink() else ""
        lines.append(
            translate(
                "best: trial {number}, on {host} in {run}{local}",
                number=best.number,
                host=best.host,
                run=best.run,
                local=local,
            )
        )
    if best is not None:
        lines.append(translate("train it again: {command}", command=command))
    print_message("\n".join(lines), console.file, flush=True)
