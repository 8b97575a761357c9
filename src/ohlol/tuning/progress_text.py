"""What a person sees of a sweep while it goes on, and at its end; knows nothing of how it is done."""

import textwrap
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ohlol.training.callbacks import Epoch, Training
from ohlol.tuning.search import BEST, Plan, View
from ohlol.tuning.space import said
from ohlol.tuning.summary import Board, Trial
from ohlol.tuning.summary_text import best_to_text, shown

WIDTH = 80


class Log(View):
    """Two lines a trial, what it tries and what came out; on a terminal a bar below them while it trains."""

    def __init__(self, console: Console):
        self.console = console
        self.bar: Progress | None = None
        self.name, self.trials, self.began_at = "", 0, 0.0
        self.number, self.score = 0, ""

    def opened(self, plan: Plan, board: Board) -> None:
        """What is searched."""
        self.name, self.trials = board.score, plan.trials
        base = plan.base
        ends = f"ended early by {plan.pruner}" if plan.pruner != "none" else "none is ended early"
        epochs = base.training.epochs
        way = "less" if board.low else "more"
        self._print(f"{plan.trials} trials of {epochs} epochs, {base.task}, by {self._score} ({way} is better); {ends}")
        self._print("\n".join(f"  {one.text}" for one in plan.space.ranges))
        if board.trials:
            self._print(f"going on after {len(board.trials)} trial{'s' * (len(board.trials) != 1)}")

    @property
    def _score(self) -> str:
        return self.name.replace("_", " ")

    def began(self, number: int, settings: dict[str, Any], *, again: bool) -> None:
        """What it tries."""
        self.began_at, self.number, self.score = time.monotonic(), number, ""
        told = ", ".join(f"{name.replace('_', '-')} {said(value)}" for name, value in settings.items())
        head = f"trial {number}: " + ("goes on: " if again else "")
        self._print(textwrap.fill(told, WIDTH, initial_indent=head, subsequent_indent="  ", break_on_hyphens=False))

    def on_train_begin(self, trainer: Training) -> None:
        """The bar."""
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TextColumn("{task.fields[said]}"),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
                expand=True,
            )
            self.epochs = trainer.settings.epochs
            self.task = self.bar.add_task(f"trial {self.number}", total=None, said="")
            self.bar.start()

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Move the bar."""
        if self.bar is not None:
            text = f"epoch {epoch}/{self.epochs}{self.score}"
            self.bar.update(self.task, total=total * self.epochs, completed=total * (epoch - 1) + done, said=text)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """The score, beside the bar."""
        self.score = f"  {self._score} {shown(epoch.metrics[self.name], self.name)}"

    def ended(self, trial: Trial, board: Board) -> None:
        """What came out."""
        self.stop()
        seconds = f"{time.monotonic() - self.began_at:.1f} s"
        if trial.state == "failed" or trial.score is None:
            self._print(textwrap.fill(f"failed: {trial.why}", WIDTH, initial_indent="  ", subsequent_indent="  "))
            return
        score = f"{self._score} {shown(trial.score, self.name)}"
        if trial.state == "pruned":
            self._print(f"  {score}, ended after epoch {trial.epochs}, {seconds}")
            return
        best = board.best is not None and board.best.number == trial.number
        self._print(f"  {score}, {seconds}{', the best so far' * best}")

    def stop(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def result_to_text(board: Board, out: Path, command: str, console: Console) -> None:
    """The best trials, where the best one lies, and the command that trains it again.

    Args:
        board: the study at its end.
        out: its directory, as it was given.
        command: trains the best again.
        console: where to.
    """
    best, link = board.best, out / BEST
    running = ", ".join(f"trial {t.number} on {t.host}" for t in board.trials if t.state == "running")
    console.print()
    if best is not None:
        best_to_text(board, console)
    told = [f"still running, or stopped and not gone on yet: {running}"] if running else []
    if best is None:
        told.append("no trial is complete yet")
    elif best.here:
        told.append(f"best: trial {best.number}, {link if link.is_symlink() else best.run}")
    else:
        there = f"; {link} is the best that ran here" if link.is_symlink() else ""
        told.append(f"best: trial {best.number}, on {best.host} in {best.run}{there}")
    if best is not None:
        told.append(f"train it again: {command}")
    print("\n".join(told), file=console.file, flush=True)
