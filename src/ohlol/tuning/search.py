"""tune: train one trial after another, each an ordinary run, until the study has as many as asked for.

A study survives the end of its process at any moment: a trial is finished in the study only when its run is complete,
and files of a run are removed only when its trial is finished. An unfinished trial is continued from the saved state of
its run, under its own number.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohlol.cells import import_cell
from ohlol.checkpoint import metrics_log, resume_state, run_directory
from ohlol.checkpoint.run_config import RunConfig
from ohlol.data.cache import CachedLoader
from ohlol.data.prepared_data import PreparedData
from ohlol.data.source import Data, Source
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import MetricAccumulator, Metrics
from ohlol.training import fit, interrupts
from ohlol.training.callbacks import Callback, Epoch, Training
from ohlol.training.fit import ChosenSettings
from ohlol.training.trainer import Diverged, Interrupted
from ohlol.tuning.space import Space, build_space, parse_range
from ohlol.tuning.summary import STUDY_FILE, StudySummary, Trial, TrialLost, is_study, read_study_file
from ohlol.utils import devices
from ohlol.utils.distributed import Processes
from ohlol.utils.errors import InputError, TooLarge, describe_error
from ohlol.utils.files import replace_link
from ohlol.utils.locks import lock_run, wait_for_lock
from ohlol.utils.torchrun import read_launch

if TYPE_CHECKING:
    from ohlol.tuning.study import ClaimedTrial, Study

BEST = "best"
"""The link to the best run, in the directory of a study."""
UNFINISHED = {"lock", "data", "study.db", "study.db-journal", f"{STUDY_FILE}.tmp"}
"""What the directory of a study may contain before its own file is written."""


@dataclass(frozen=True)
class StudyPlan:
    """What a study searches."""

    out: Path
    storage: str
    """The URL of the storage, without a password."""
    space: Space
    base: RunConfig
    """The configuration of the first trial: the default settings, or the nearest in the space."""
    trials: int
    pruner: str


class TuneCallback(Callback):
    """Observes a study and, as a callback of `fit`, each of its trials; this one does nothing."""

    def start_study(self, plan: StudyPlan, summary: StudySummary) -> None:
        """Before the first trial of this process."""

    def start_trial(self, number: int, settings: dict[str, Any], *, is_continued: bool) -> None:
        """Before a trial is trained."""

    def finish_trial(self, trial: Trial, summary: StudySummary) -> None:
        """After a trial."""


class TrialPruned(Exception):  # noqa: N818 - it is not an error
    """A trial was stopped early; its state is saved."""


class _InvalidSettings(InputError):  # noqa: N818 - the settings are
    """The settings that were proposed do not fit together."""


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
    callback: TuneCallback | None = None,
    **settings: Any,
) -> StudySummary:
    """Search for the settings that train the best model, and return the state of the study.

    Every trial is a run directory, `out/trials/0007`; `out/best` is a link to the best one. An existing study is
    continued until it has `trials` in all; several processes may work on one study at the same time.

    Args:
        data: files, an encoded corpus or pairs, as `fit` takes them.
        trials: the number of trials of the study, failed and pruned ones included.
        out: the directory of the study.
        search: ranges, such as "lr=1e-4:1e-2:log" and "cell=gru,lstm", or names of settings; by default those of the
            task.
        dev: a file to evaluate on; otherwise a share of the data.
        storage: the URL of a database; by default a file in `out`.
        study: the name of the study in the database; by default that of `out`.
        timeout: seconds after which no further trial is started.
        pruner: "median", "hyperband", "none", or "auto", which fits the number of trials.
        keep: the number of best runs that keep their weights.
        device: the device of this process, as for `fit`.
        callback: observes the study and the training of each trial.
        settings: any field of `DataSettings`, `ModelSettings` and `TrainSettings`, with one value in all trials. A cell
            named as package.module:Class, here or in `search`, is imported.

    Raises:
        InputError: an argument is invalid, the study was created for another purpose, or no trial succeeded.
        Interrupted: a signal arrived; the state of the running trial is saved.
        TypeError: there is no such setting.
    """
    if read_launch().world_size > 1:
        raise InputError("tune does not run under torchrun: start several processes with the same command instead")
    for name, value, low in (("trials", trials, 1), ("keep", keep, 1), ("timeout", timeout, 0)):
        if value is not None and value < low:
            raise InputError("`{name}` is {value}; it must be at least {low}", name=name, value=value, low=low)
    cells: list[Any] = [settings["cell"]] if isinstance(settings.get("cell"), str) else []
    for text in search:
        if "=" in text:  # before any data are read
            searched = parse_range(text)
            cells += searched.choices if searched.name == "cell" else ()
    for cell in cells:
        import_cell(str(cell))
    processes = Processes(device=devices.select_device(device))
    worker = Worker(Path(out), data, dev, settings, keep=keep, processes=processes, callback=callback or TuneCallback())
    return worker.run(trials, search, storage=storage, name=study, timeout=timeout, pruner=pruner)


class Worker:
    """A process that works on a study."""

    def __init__(
        self,
        out: Path,
        data: Data,
        dev: str | Path | None,
        settings: dict[str, Any],
        *,
        keep: int,
        processes: Processes,
        callback: TuneCallback,
    ):
        self.out, self.dev, self.settings, self.keep = out, dev, settings, keep
        self.processes, self.callback = processes, callback
        self.given = ChosenSettings.parse(settings)
        if self.given.training.get("minutes"):
            raise InputError("`minutes` makes the result depend on the clock, and trials are compared: give `epochs`")
        self.source = Source.parse(data, dev)
        char_lms = run_directory.open_char_lms(self.given.model.get("char_lm"))
        self.loader = CachedLoader(out / "data", self.source, self.given.data, char_lms)
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
    ) -> StudySummary:
        """Train trials until the study has `trials`, and return its state."""
        study = self._open_study(trials, search, storage=storage, name=name, pruner=pruner)
        started = time.monotonic()
        try:
            while timeout is None or time.monotonic() - started < timeout:
                with interrupts.stop_on_signals(self._request_stop):
                    claimed = study.claim_trial(trials)
                if self._stop:
                    raise Interrupted
                if claimed is None:
                    break
                self._run_trial(study, claimed)
            summary = self._tidy_up(study)
        finally:
            study.close()
        if summary.trials and all(t.state == "failed" for t in summary.trials):
            raise InputError("no trial succeeded; the last one: {reason}", reason=summary.trials[-1].reason)
        return summary

    def _request_stop(self) -> None:
        self._stop = True

    def _open_study(
        self, trials: int, search: Sequence[str], *, storage: str | None, name: str | None, pruner: str
    ) -> "Study":
        """Create or open the study, which must be of these data and settings."""
        from ohlol.tuning.study import Storage, Study  # needs optuna

        if self.out.exists() and not is_study(self.out) and not _is_unfinished(self.out):
            raise InputError("{out} exists and is not the directory of a study: give another `out`", out=self.out)
        study_file = read_study_file(self.out) if is_study(self.out) else {}
        name = name or str(study_file.get("study") or self.out.resolve().name)
        if study_file and study_file["study"] != name:
            raise InputError(
                "{out} is the directory of the study {study}: give another `out`",
                out=self.out,
                study=study_file["study"],
            )
        selected = Storage.select(storage, self.out, study_file)
        data, fixed = self.loader.settings, self.given.model | self.given.training
        space = build_space(search, fixed, data.task or "", data.level or "")
        model, training = fit.resolve_settings(data, self.source.pairs, self.given)
        first = space.nearest(vars(model) | vars(training))
        with wait_for_lock(self.out / "lock"):
            base, prepared = self._prepare(space.round(first))
        purpose = {
            "data": prepared.data_sha256,
            "metric": TASKS[base.task].metrics(prepared.codec).main_metric,
            "search": list(space.texts.values()),
            "settings": dict(sorted(fixed.items())),
        }
        study = Study(self.out, selected, name, space=space, seed=base.training.seed, first=first, purpose=purpose)
        study.select_pruner(pruner, trials, base.training.epochs)
        plan = StudyPlan(self.out, selected.shown, space, base, trials, study.pruner)
        self.callback.start_study(plan, study.summarize())
        return study

    def _prepare(self, searched: dict[str, Any]) -> tuple[RunConfig, PreparedData]:
        """The configuration and the data of a trial; raises InputError where settings do not fit together."""
        given = ChosenSettings.parse(self.settings | searched)
        self.source.check_split(given.training)
        model, training = fit.resolve_settings(self.loader.settings, self.source.pairs, given)
        prepared = self.loader.load(model, training)
        return fit.configure(prepared, model, training, given, self.dev, self.source.pairs, self.processes.device)

    def _run_trial(self, study: "Study", claimed: "ClaimedTrial") -> None:
        """Train a trial and finish it in the study."""
        state, metrics, reason = "complete", None, ""
        self.callback.start_trial(claimed.number, claimed.settings, is_continued=claimed.is_continued)
        try:
            try:
                metrics = self._train(study, claimed)
            except TrialPruned:
                state = "pruned"
            except (Diverged, TooLarge, _InvalidSettings) as error:
                state, reason = "failed", describe_error(error)
            study.finish_trial(claimed, state, metrics=metrics, reason=reason)
        except TrialLost:  # the trial that replaces it is another process's
            run_directory.remove_training_files(claimed.run, keep_weights=False)
            return
        summary = self._tidy_up(study)
        self.callback.finish_trial(next(t for t in summary.trials if t.number == claimed.number), summary)

    def _train(self, study: "Study", claimed: "ClaimedTrial") -> Metrics:
        """Train a trial and return the metrics of its best weights."""
        try:
            with study.lock_directory():
                config, prepared = self._prepare(claimed.settings)
        except TooLarge:
            raise
        except InputError as error:
            raise _InvalidSettings(str(error)) from None
        run, resume = claimed.run, claimed.is_continued and _can_resume(claimed.run, config)
        with ExitStack() as resources:
            if resume:
                resources.enter_context(lock_run(run))
            else:
                prepared = fit.create_run(run, config, prepared, overwrite=True, resources=resources)
            callback = _TrialCallback(study, claimed, config.training.epochs, self.callback)
            trained = fit.train_prepared(config, prepared, run, [callback], resume=resume, processes=self.processes)
            return trained.config.metrics

    def _tidy_up(self, study: "Study") -> StudySummary:
        """Link the best run, remove the weights of all but the best runs, and return the state of the study."""
        with study.lock_directory():
            summary = study.summarize()
            ranked = [t for t in summary.ranked if t.is_local]
            if ranked:
                replace_link(self.out / BEST, ranked[0].run)
            kept = {t.number for t in ranked[: self.keep]}
            for trial in summary.trials:
                if trial.is_local and trial.state != "running":
                    run_directory.remove_training_files(trial.run, keep_weights=trial.number in kept)
        return summary


class _TrialCallback(Callback):
    """Reports each epoch of a trial to the study, and stops the trial where the study prunes it."""

    def __init__(self, study: "Study", claimed: "ClaimedTrial", epochs: int, callback: TuneCallback):
        self.study, self.claimed, self.epochs, self.callback = study, claimed, epochs, callback

    def on_train_begin(self, trainer: Training) -> None:
        """Report the epochs that a killed process did not report."""
        self.callback.on_train_begin(trainer)
        done = trainer.progress.epoch
        for line in metrics_log.read_metrics(self.claimed.run)[:done] if done else ():
            self._report(line["epoch"], line, is_last=line["epoch"] == done)

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Update the heartbeat."""
        self.study.send_heartbeat(self.claimed)
        self.callback.on_batch_end(epoch, done, total, loss, symbols)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Report the epoch."""
        self.callback.on_epoch_end(epoch)
        self._report(epoch.number, epoch.metrics)

    def on_train_end(self, trainer: Training, accumulator: MetricAccumulator) -> None:
        """Pass it on."""
        self.callback.on_train_end(trainer, accumulator)

    def _report(self, epoch: int, metrics: Metrics, *, is_last: bool = True) -> None:
        should_prune = self.study.report_epoch(self.claimed, epoch, metrics[self.study.metric])
        if should_prune and is_last and epoch < self.epochs:
            raise TrialPruned


def _can_resume(run: Path, config: RunConfig) -> bool:
    """Whether a run has a saved state and this configuration."""
    if not resume_state.has_state(run):
        return False
    try:
        saved = run_directory.read_config(run)
    except InputError:  # the run is started again
        return False
    return replace(saved, metrics={}, train_files=config.train_files, dev_file=config.dev_file) == config


def _is_unfinished(out: Path) -> bool:
    """Whether a directory is empty, or that of a study whose creation was interrupted."""
    return out.is_dir() and {path.name for path in out.iterdir()} <= UNFINISHED
