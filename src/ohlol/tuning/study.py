"""A study in its storage, managed by optuna: trials are claimed, reported, finished, taken over and summarized.

Several processes, on one machine or many, work on one study. Each marks a trial as its own, and updates a heartbeat.
A trial whose process was killed on this machine is taken over at once, since the operating system released its lock; a
trial of another machine is started again when its heartbeat is older than `GRACE_PERIOD`.
"""

import os
import random
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohlol.tasks.metrics import LOWER_IS_BETTER, Metrics
from ohlol.tuning.samplers import PRUNERS, SettingsSampler, build_pruner
from ohlol.tuning.space import Range, Space, parse_range
from ohlol.tuning.storage import Storage, silence_optuna
from ohlol.tuning.summary import (
    OPTUNA_IS_MISSING,
    STUDY_FILE,
    StudySummary,
    Trial,
    TrialLost,
    read_study_file,
    run_of_trial,
)
from ohlol.utils import locks
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.files import FORMAT, write_json
from ohlol.utils.translation import join_list, translate

try:
    import optuna
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise InputError(OPTUNA_IS_MISSING) from None

HEARTBEAT_INTERVAL, GRACE_PERIOD = 60.0, 1800.0
"""Seconds between two heartbeats of a process, and after the last one until its trial counts as abandoned."""
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
MIN_TRIALS_FOR_IMPORTANCE = 5
"""Complete trials below which the importance of settings is not computed."""

PURPOSE, PRUNER = "ohlol", "pruner"
"""Attributes of a study: what it was created for, and the name of its pruner."""
OWNER, HEARTBEAT, IS_DEFAULT, DROPPED, METRICS, REASON = (
    "owner",
    "heartbeat",
    "is_default",
    "dropped",
    "metrics",
    "reason",
)
"""Attributes of a trial."""


@dataclass
class ClaimedTrial:
    """A trial that this process works on."""

    number: int
    settings: dict[str, Any]
    run: Path
    is_continued: bool
    """Whether another process started it."""
    is_default: bool
    reported: dict[int, float]
    """The values that the study has, by epoch."""
    handle: optuna.Trial
    last_heartbeat: float = 0.0


class Study:
    """An open study, and the part of this process in it.

    Args:
        out: its directory on this machine.
        storage: its storage.
        name: its name in the storage.
        space: the settings that are searched.
        seed: the seed of the sampler.
        first: the settings of the first trial.
        purpose: what must be equal for all processes that work on the study, as JSON: its main metric is
            `purpose["metric"]`.

    Raises:
        InputError: the storage cannot be used, or the study was created for another purpose.
    """

    def __init__(
        self,
        out: Path,
        storage: Storage,
        name: str,
        *,
        space: Space,
        seed: int,
        first: dict[str, Any],
        purpose: dict[str, Any],
    ):
        self.out, self.storage, self.name, self.space, self.first = out, storage, name, space, first
        self.purpose = purpose
        self.worker = f"{os.getpid()}-{random.SystemRandom().getrandbits(32):08x}"
        self._locks = ExitStack()
        direction = "minimize" if self.metric in LOWER_IS_BETTER else "maximize"
        with self._exclusive():
            self._study = optuna.create_study(
                storage=storage.open(),
                study_name=name,
                direction=direction,
                load_if_exists=True,
                sampler=SettingsSampler(space, seed),
            )
            check_purpose(self._study, purpose, storage)
        write_json(out / STUDY_FILE, {"format": FORMAT, "study": name, "storage": storage.written})
        self._locks.enter_context(locks.wait_for_lock(out / "workers" / self.worker))
        self.pruner = "none"

    @property
    def metric(self) -> str:
        """The name of the main metric."""
        return self.purpose["metric"]

    def select_pruner(self, kind: str, trials: int, epochs: int) -> None:
        """Select what stops bad trials early.

        Args:
            kind: one of `PRUNERS`; "auto" is the pruner of the study, or for a new study what fits `trials`.
            trials: the number of trials of the study.
            epochs: the number of epochs of a trial.

        Raises:
            InputError: there is no such pruner, or the study has another one.
        """
        if kind not in PRUNERS:
            raise InputError(
                "`pruner` is {kind}; it must be one of {pruners}", kind=shorten(repr(kind)), pruners=join_list(PRUNERS)
            )
        with self._exclusive():
            current = self._study.user_attrs.get(PRUNER)
            if current and kind not in ("auto", current):
                raise InputError(
                    "the study {name} was created with `pruner` {current}, not {kind}",
                    name=self.name,
                    current=current,
                    kind=kind,
                )
            self.pruner, self._study.pruner = build_pruner(current or kind, trials, epochs)
            if not current:
                self._study.set_user_attr(PRUNER, self.pruner)

    def close(self) -> None:
        """Release the locks of this process; another process can take over its unfinished trial."""
        (self.out / "workers" / self.worker).unlink(missing_ok=True)
        self._locks.close()

    def claim_trial(self, trials: int) -> ClaimedTrial | None:
        """The next trial to work on: an abandoned one, or a new one; None where there are `trials` in all."""
        with self._exclusive():
            known = self._study.get_trials(deepcopy=False)
            running = [t for t in known if t.state == TrialState.RUNNING]
            for trial in running:
                if self._is_alive(trial) is False:
                    return self._claim(optuna.Trial(self._study, trial._trial_id), trial, is_continued=True)
            for trial in running:
                if self._is_abandoned(trial):
                    self._restart(trial)
            known = [t for t in self._study.get_trials(deepcopy=False) if DROPPED not in t.user_attrs]
            if not any(t.user_attrs.get(IS_DEFAULT) for t in known):
                self._study.enqueue_trial(self.first, user_attrs={IS_DEFAULT: True})
            counted = [t for t in known if _is_counted(t)]
            if len(counted) >= trials or self._is_exhausted(known):
                return None
            handle = self._study.ask()
            claimed = self._claim(handle, None, is_continued=False)
            earlier = [
                t for t in self._study.get_trials(deepcopy=False) if _is_counted(t) and t.number < claimed.number
            ]
            if len(earlier) >= trials:  # another machine was faster
                self._drop(handle, "enough trials")
                return None
            return claimed

    def _is_exhausted(self, known: Sequence[FrozenTrial]) -> bool:
        """Whether all settings of the space were tried."""
        size = self.space.size
        tried = {tuple(self.space.round(t.params).items()) for t in known if t.params}
        return size is not None and len(tried) >= size and all(t.state != TrialState.WAITING for t in known)

    def _claim(self, handle: optuna.Trial, previous: FrozenTrial | None, *, is_continued: bool) -> ClaimedTrial:
        owner = {"host": socket.gethostname(), "out": str(self.out.resolve()), "worker": self.worker}
        handle.set_user_attr(OWNER, owner)
        handle.set_user_attr(HEARTBEAT, time.time())
        values = {r.name: _suggest(handle, r) for r in self.space.ranges}
        return ClaimedTrial(
            number=handle.number,
            settings=self.space.round(values),
            run=run_of_trial(self.out, handle.number),
            is_continued=is_continued,
            is_default=bool(handle.user_attrs.get(IS_DEFAULT)),
            reported=dict(previous.intermediate_values) if previous is not None else {},
            handle=handle,
            last_heartbeat=time.monotonic(),
        )

    def _is_alive(self, trial: FrozenTrial) -> bool | None:
        """Whether the process that works on a trial is running; None where that is unknown, as on another machine."""
        owner: dict[str, str] = trial.user_attrs.get(OWNER, {})
        is_local = owner.get("out") == str(self.out.resolve()) or run_of_trial(self.out, trial.number).exists()
        if owner.get("host") != socket.gethostname() or not is_local:
            return None
        return locks.is_locked(self.out / "workers" / Path(owner["worker"]).name)

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        silence = time.time() - max(trial.user_attrs.get(HEARTBEAT, 0.0), started)
        return silence > GRACE_PERIOD and self._is_alive(trial) is None

    def _restart(self, trial: FrozenTrial) -> None:
        """Queue the settings of an abandoned trial again, under another number."""
        handle = optuna.Trial(self._study, trial._trial_id)
        self._drop(handle, "no heartbeat")
        if trial.params and not trial.user_attrs.get(IS_DEFAULT):  # the defaults are queued by `claim_trial`
            self._study.enqueue_trial(trial.params)

    def _drop(self, handle: optuna.Trial, reason: str) -> None:
        handle.set_user_attr(DROPPED, reason)
        self._study.tell(handle, state=TrialState.FAIL)

    def send_heartbeat(self, claimed: ClaimedTrial) -> None:
        """Update the heartbeat of a trial if it is due; raises TrialLost."""
        if time.monotonic() - claimed.last_heartbeat > HEARTBEAT_INTERVAL:
            with self._updating():
                claimed.handle.set_user_attr(HEARTBEAT, time.time())
            claimed.last_heartbeat = time.monotonic()

    def report_epoch(self, claimed: ClaimedTrial, epoch: int, value: float) -> bool:
        """Report the value of an epoch, and return whether the trial should be pruned; raises TrialLost."""
        if epoch not in claimed.reported:
            with self._updating():
                claimed.handle.report(value, epoch)
            claimed.reported[epoch] = value
        with self._updating():
            return not claimed.is_default and claimed.handle.should_prune()

    def finish_trial(
        self, claimed: ClaimedTrial, state: str, *, metrics: Metrics | None = None, reason: str = ""
    ) -> None:
        """Record how a trial ended.

        Args:
            claimed: the trial.
            state: "complete", "pruned" or "failed".
            metrics: those of the best weights, of a complete trial.
            reason: why it failed.

        Raises:
            TrialLost: it was finished or started again by another process.
        """
        with self._updating():
            if metrics is not None:
                claimed.handle.set_user_attr(METRICS, metrics)
            if reason:
                claimed.handle.set_user_attr(REASON, reason)
            value = metrics[self.metric] if metrics is not None else None
            final = next(s for s, name in STATES.items() if name == state)
            if self._study.tell(claimed.handle, value, state=final, skip_if_finished=True).state != final:
                raise TrialLost

    def summarize(self) -> StudySummary:
        """The state of the study."""
        with self.storage.report_errors():
            return summarize_study(self._study, self.out, self.space)

    @contextmanager
    def lock_directory(self) -> Generator[None]:
        """Keep other processes from changing the directory of this study."""
        with locks.wait_for_lock(self.out / "lock"):
            yield

    @contextmanager
    def _exclusive(self) -> Generator[None]:
        with self.lock_directory(), self.storage.report_errors(), silence_optuna():
            yield

    @contextmanager
    def _updating(self) -> Generator[None]:
        """Update a trial; raises TrialLost where another process finished it."""
        try:
            with self.storage.report_errors(), silence_optuna():
                yield
        except optuna.exceptions.UpdateFinishedTrialError:
            raise TrialLost from None


def _is_counted(trial: FrozenTrial) -> bool:
    """Whether a trial counts as one of those asked for: it is finished, or a process works on it."""
    is_finished = trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return DROPPED not in trial.user_attrs and (
        is_finished or (trial.state == TrialState.RUNNING and OWNER in trial.user_attrs)
    )


def _suggest(handle: optuna.Trial, one: Range) -> Any:
    if one.choices:
        return handle.suggest_categorical(one.name, one.choices)
    if one.is_integer:
        return handle.suggest_int(one.name, int(one.low), int(one.high), log=one.log, step=int(one.step or 1))
    return handle.suggest_float(one.name, one.low, one.high, log=one.log, step=one.step)


def check_purpose(study: optuna.Study, purpose: dict[str, Any], storage: Storage) -> None:
    """Check that a study was created for the same purpose; a new study is created for this one.

    Raises:
        InputError: it was created for another purpose, or not by ohlol.
    """
    if PURPOSE not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise InputError(
                "the study {study_name} in {shown} was not created by ohlol: give another `study`",
                study_name=study.study_name,
                shown=storage.shown,
            )
        study.set_user_attr(PURPOSE, purpose)
    stored = study.user_attrs[PURPOSE]  # perhaps what another process has just set
    for key, value in purpose.items():
        other = stored.get(key)
        if other == value:
            continue
        difference = (
            translate("for other data")
            if key == "data"
            else translate("with {key} {other}, not {value}", key=key, other=_describe(other), value=_describe(value))
        )
        raise InputError(
            "the study {study_name} in {shown} was created {difference}: give another `out`, or `study`",
            study_name=study.study_name,
            shown=storage.shown,
            difference=difference,
        )


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return shorten(", ".join(f"{k} {v}" for k, v in value.items()) or "none")
    return shorten(" ".join(value) if isinstance(value, list) else str(value))


def load_summary(folder: Path, storage: str | None = None) -> StudySummary:
    """The state of the study in a directory, with the importance of its settings.

    Args:
        folder: a directory that `tune` created.
        storage: the URL of the database, where it was not written to the directory.

    Raises:
        InputError: there is no study, or it cannot be read.
    """
    study_file = read_study_file(folder)
    selected = Storage.select(storage, folder, study_file)
    if selected.stated is None and not (folder / "study.db").is_file():
        raise InputError("{folder}: study.db, the storage of its study, is missing", folder=folder)
    with selected.report_errors(), silence_optuna():
        try:
            study = optuna.load_study(study_name=study_file["study"], storage=selected.open())
        except KeyError:
            raise InputError(
                "{shown} contains no study {study}", shown=selected.shown, study=shorten(study_file["study"])
            ) from None
        purpose = study.user_attrs.get(PURPOSE)
        if not isinstance(purpose, dict):
            raise InputError(
                "the study {study} in {shown} was not created by ohlol",
                study=shorten(study_file["study"]),
                shown=selected.shown,
            )
        space = Space(tuple(parse_range(text) for text in purpose["search"]))
        return summarize_study(study, folder, space, importance=True)


def summarize_study(study: optuna.Study, out: Path, space: Space, *, importance: bool = False) -> StudySummary:
    """The state of a study.

    Args:
        study: the study.
        out: its directory on this machine.
        space: the settings that are searched.
        importance: whether the importance of the settings is computed, which takes a moment.
    """
    metric = study.user_attrs[PURPOSE]["metric"]
    best = min if metric in LOWER_IS_BETTER else max
    trials: list[Trial] = []
    for t in study.get_trials(deepcopy=False):
        owner: dict[str, str] = t.user_attrs.get(OWNER, {})
        if DROPPED in t.user_attrs or not owner:
            continue
        run = run_of_trial(out, t.number)
        trials.append(
            Trial(
                number=t.number,
                state=STATES[t.state],
                settings=space.round(t.params),
                value=best([*t.intermediate_values.values()], default=None) if t.value is None else t.value,
                metrics=t.user_attrs.get(METRICS, {}),
                epochs=max(t.intermediate_values, default=0),
                is_default=bool(t.user_attrs.get(IS_DEFAULT)),
                reason=shorten(t.user_attrs.get(REASON, "")),
                host=shorten(owner["host"]),
                run=run if run.is_dir() else run_of_trial(Path(owner["out"]), t.number),
                is_local=run.is_dir(),
            )
        )
    values = _compute_importance(study) if importance else {}
    return StudySummary(study.study_name, metric, space.texts, tuple(trials), values)


def _compute_importance(study: optuna.Study) -> dict[str, float]:
    """The importance of each setting by optuna's PED-ANOVA (Watanabe et al., 2023); empty for few trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE:
        return {}
    varied = [name for name in complete[0].params if len({t.params[name] for t in complete}) > 1]
    return optuna.importance.get_param_importances(study, params=varied) if varied else {}
