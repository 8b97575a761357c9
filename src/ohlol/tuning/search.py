"""tune: trials in turn, each an ordinary run, until there are enough; knows nothing of flags, terminals or databases.

What makes it safe to be killed: a trial is told only when its run is complete, and a run is made smaller only when it
was told. What a killed process was at goes on from its run's saved state, under its own number.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohlol.checkpoint import metrics_log, resume_state, run_directory
from ohlol.checkpoint.run_config import RunConfig
from ohlol.data.cache import CachedLoader
from ohlol.data.loading import Data, PreparedData, Source
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import MetricAccumulator, Metrics
from ohlol.training import fit, interrupts
from ohlol.training.callbacks import Callback, Epoch, Training
from ohlol.training.fit import Given
from ohlol.training.trainer import Diverged, Interrupted
from ohlol.tuning import space
from ohlol.tuning.space import Space
from ohlol.tuning.summary import FILE, Board, Lost, Trial, is_study, read_file
from ohlol.utils import devices
from ohlol.utils.distributed import Processes
from ohlol.utils.errors import InputError, TooLarge, short
from ohlol.utils.files import replace_link
from ohlol.utils.locks import lock_run, wait_for_lock
from ohlol.utils.torchrun import read_launch

if TYPE_CHECKING:
    from ohlol.tuning.study import Study, Taken

BEST = "best"
"""In a study's directory, the link to its best run."""

BEGUN = {"lock", "data", "study.db", "study.db-journal", f"{FILE}.tmp"}
"""What lies in its directory before it has its own file."""


@dataclass(frozen=True)
class Plan:
    """What is about to be searched."""

    out: Path
    storage: str
    """Where the study is kept, without a password."""
    space: Space
    base: RunConfig
    """The first trial's settings, complete: those of `ohlol train`, or the nearest that are searched."""
    trials: int
    pruner: str


class View(Callback):
    """Watches a sweep, and each of its trials as it trains; says nothing."""

    def opened(self, plan: Plan, board: Board) -> None:
        """Before the first trial."""

    def began(self, number: int, settings: dict[str, Any], *, again: bool) -> None:
        """Before a trial, or before it goes on."""

    def ended(self, trial: Trial, board: Board) -> None:
        """After a trial."""


class Pruned(Exception):  # noqa: N818 - it is no error
    """A trial that does badly was ended; its state is saved."""


def tune(
    data: Data,
    *,
    trials: int = 20,
    out: str | Path,
    search: Sequence[str] = (),
    dev: str | Path | None = None,
    storage: str | None = None,
    study: str | None = None,
    timeout: float | None = None,
    pruner: str = "auto",
    keep: int = 5,
    device: str = "auto",
    view: View | None = None,
    **settings: Any,
) -> Board:
    """Search for the settings that train the best model, and return the study as it stands then.

    Every trial is a run directory, `out/trials/0007`; `out/best` leads to the best of them. Given again, with the same
    settings, it goes on to `trials` in all; several processes may work on one study at once.

    Args:
        data: files, an encoded corpus or pairs, as `fit` takes them.
        trials: how many there are to be in all, failed and pruned ones among them.
        out: the study's directory.
        search: ranges, such as "lr=1e-4:1e-2:log", "cell=gru,lstm", or a name alone; by default the task's own.
        dev: a file to measure on; otherwise a share of the data.
        storage: the URL of a database, where it is not to be a file in `out`.
        study: its name there; by default that of `out`.
        timeout: seconds after which no further trial begins.
        pruner: "median", "hyperband", "none", or "auto" for what fits so many trials.
        keep: how many runs keep their weights, the best ones.
        device: where this process trains, as for `fit`; others may train elsewhere.
        view: is told of the progress.
        settings: any field of `DataSettings`, `ModelSettings` and `TrainSettings`, the same for all trials.

    Raises:
        InputError: something given is wrong, the study was made for something else, or no trial succeeded.
        Interrupted: a signal came; the running trial is saved.
        TypeError: there is no such setting.
    """
    if read_launch().world_size > 1:
        raise InputError("a sweep is not started by torchrun: start several processes with the same command instead")
    for name, value, low in (("trials", trials, 1), ("keep", keep, 1), ("timeout", timeout, 0)):
        if value is not None and value < low:
            raise InputError(f"`{name}` is {value}; it must be at least {low}")
    for text in search:
        if "=" in text:
            space.parse(text)  # before anything is read
    processes = Processes(device=devices.select_device(device))
    sweep = Sweep(Path(out), data, dev, settings, keep=keep, processes=processes, view=view or View())
    return sweep.run(trials, search, storage=storage, name=study, timeout=timeout, pruner=pruner)


class Sweep:
    """One process's part in a study."""

    def __init__(
        self,
        out: Path,
        data: Data,
        dev: str | Path | None,
        settings: dict[str, Any],
        *,
        keep: int,
        processes: Processes,
        view: View,
    ):
        self.out, self.dev, self.settings, self.keep = out, dev, settings, keep
        self.processes, self.view = processes, view
        self.given = Given.of(settings)
        self.source = Source.parse(data, dev)
        self.loader = CachedLoader(out / "data", self.source, self.given.data)
        self._stop = False

    def run(
        self,
        trials: int,
        search: Sequence[str],
        *,
        storage: str | None,
        name: str | None,
        timeout: float | None,
        pruner: str,
    ) -> Board:
        """Trials, until there are so many."""
        study = self._opened(trials, search, storage=storage, name=name, pruner=pruner)
        began = time.monotonic()
        try:
            while timeout is None or time.monotonic() - began < timeout:
                with interrupts.stop_on_signals(self._asked_to_stop):
                    taken = study.take(trials)
                if self._stop:
                    raise Interrupted
                if taken is None:
                    break
                self._trial(study, taken)
            board = self._tidied(study)
        finally:
            study.close()
        if board.trials and all(t.state == "failed" for t in board.trials):
            raise InputError(f"no trial succeeded; the last one: {board.trials[-1].why}")
        return board

    def _asked_to_stop(self) -> None:
        self._stop = True

    def _opened(
        self, trials: int, search: Sequence[str], *, storage: str | None, name: str | None, pruner: str
    ) -> "Study":
        """The study, made or found, and seen to be of these data and settings."""
        from ohlol.tuning import study as room  # needs optuna

        if self.out.exists() and not is_study(self.out) and not _is_begun(self.out):
            raise InputError(f"{self.out} is there and is no study: give another `out`")
        about = read_file(self.out) if is_study(self.out) else {}
        name = name or str(about.get("study") or self.out.resolve().name)
        if about and about["study"] != name:
            raise InputError(f"{self.out} is the directory of the study {about['study']}: give another `out`")
        kept = room.Storage.of(storage, self.out, about)
        data, given = self.loader.settings, self.given.model | self.given.training
        found = space.chosen(search, given, data.task or "", data.level or "")
        first = found.nearest(*fit.settle(data, self.source.pairs, self.given))
        with wait_for_lock(self.out / "lock"):
            base, prepared = self._prepared(found.settings(first))
        made_for = {
            "data": prepared.data_sha256,
            "score": TASKS[base.task].metrics(prepared.codec).main,
            "search": list(found.texts.values()),
            "settings": dict(sorted(given.items())),
        }
        study = room.Study(self.out, kept, name, space=found, seed=base.training.seed, first=first, made_for=made_for)
        study.prune_by(pruner, trials, base.training.epochs)
        self.view.opened(Plan(self.out, kept.shown, found, base, trials, study.pruner), study.board())
        return study

    def _prepared(self, searched: dict[str, Any]) -> tuple[RunConfig, PreparedData]:
        """The configuration and the data of a trial; raises InputError where settings do not fit together."""
        given = Given.of(self.settings | searched)
        self.source.check_split(given.training)
        model, training = fit.settle(self.loader.settings, self.source.pairs, given)
        prepared = self.loader.load(model, training)
        config = fit.configure(prepared, model, training, given, self.dev, self.source.pairs, self.processes.device)
        return config, prepared

    def _trial(self, study: "Study", taken: "Taken") -> None:
        """One trial, to its end."""
        state, scores, why = "complete", None, ""
        self.view.began(taken.number, taken.settings, again=taken.again)
        try:
            try:
                scores = self._trained(study, taken)
            except Pruned:
                state = "pruned"
            except (Diverged, TooLarge, _Unfit) as error:
                state, why = "failed", short(error)
            study.tell(taken, state, scores=scores, why=why)
        except Lost:  # it counts no more, here or elsewhere
            run_directory.remove_training_files(taken.run, keep_weights=False)
            return
        board = self._tidied(study)
        self.view.ended(next(t for t in board.trials if t.number == taken.number), board)

    def _trained(self, study: "Study", taken: "Taken") -> Metrics:
        """The scores of a trial's best weights, its run complete."""
        try:
            with study.alone():
                config, prepared = self._prepared(taken.settings)
        except TooLarge:
            raise
        except InputError as error:
            raise _Unfit(str(error)) from None
        run, resume = taken.run, taken.again and _goes_on(taken.run, config)
        with ExitStack() as held:
            if resume:
                held.enter_context(lock_run(run))
            else:
                prepared = fit.begin(run, config, prepared, overwrite=True, held=held)
            watch = _Watch(study, taken, config.training.epochs, self.view)
            return fit.carry_out(config, prepared, run, [watch], resume=resume, processes=self.processes).config.metrics

    def _tidied(self, study: "Study") -> Board:
        """The study as it stands; the best run is linked, and only the best keep their weights."""
        with study.alone():
            board = study.board()
            ranked = [t for t in board.ranked if t.here]
            if ranked:
                replace_link(self.out / BEST, ranked[0].run)
            kept = {t.number for t in ranked[: self.keep]}
            for trial in board.trials:
                if trial.here and trial.state != "running":
                    run_directory.remove_training_files(trial.run, keep_weights=trial.number in kept)
        return board


class _Unfit(InputError):  # noqa: N818 - they do not fit
    """Settings that were proposed do not fit together."""


class _Watch(Callback):
    """Tells the study of each epoch of a trial, and ends the trial where it should."""

    def __init__(self, study: "Study", taken: "Taken", epochs: int, view: View):
        self.study, self.taken, self.epochs, self.view = study, taken, epochs, view

    def on_train_begin(self, trainer: Training) -> None:
        """Tell what a killed process could not."""
        self.view.on_train_begin(trainer)
        done = trainer.progress.epoch
        for line in metrics_log.read_metrics(self.taken.run)[:done] if done else ():
            self._report(line["epoch"], line, last=line["epoch"] == done)

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Give a sign."""
        self.study.sign(self.taken)
        self.view.on_batch_end(epoch, done, total, loss, symbols)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Tell the score."""
        self.view.on_epoch_end(epoch)
        self._report(epoch.number, epoch.metrics)

    def on_train_end(self, trainer: Training, accumulator: MetricAccumulator) -> None:
        """Nothing more."""
        self.view.on_train_end(trainer, accumulator)

    def _report(self, epoch: int, scores: Metrics, *, last: bool = True) -> None:
        if self.study.report(self.taken, epoch, scores[self.study.score]) and last and epoch < self.epochs:
            raise Pruned


def _goes_on(run: Path, config: RunConfig) -> bool:
    """Whether a run has a state to go on from, and is the one that is wanted."""
    if not resume_state.has_state(run):
        return False
    try:
        there = run_directory.read_config(run)
    except InputError:  # it is begun anew
        return False
    return replace(there, metrics={}, train_files=config.train_files, dev_file=config.dev_file) == config


def _is_begun(out: Path) -> bool:
    """Whether a directory is empty, or one that was stopped before it had a study."""
    return out.is_dir() and {path.name for path in out.iterdir()} <= BEGUN
