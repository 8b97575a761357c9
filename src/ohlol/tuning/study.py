"""A study in its storage, by optuna: trials asked for, told, taken over and read; knows nothing of how one trains.

Several processes, on one machine or many, work on one study. Each says of a trial that it is its own, and gives a sign
from time to time. What a process on this machine left when it was killed is taken over at once, since the system let go
of its lock; what one on another machine left, when there was no sign for `GRACE`.
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
from ohlol.tuning.samplers import PRUNERS, Proposer, pruner_of
from ohlol.tuning.space import Range, Space, parse
from ohlol.tuning.storage import Storage, quiet
from ohlol.tuning.summary import FILE, Board, Lost, Trial, read_file, run_of
from ohlol.utils import locks
from ohlol.utils.errors import InputError, cut
from ohlol.utils.files import FORMAT, write_json

try:
    import optuna
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise InputError("a sweep needs optuna: pip install 'ohlol[tune]'") from None

SIGN, GRACE = 60.0, 1800.0
"""Seconds between two signs of a process that trains, and without one after which it counts as gone."""
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass
class Taken:
    """A trial that this process works on."""

    number: int
    settings: dict[str, Any]
    run: Path
    again: bool
    """Whether another process began it."""
    is_default: bool
    reported: dict[int, float]
    """Metrics that the study knows already, by epoch."""
    handle: optuna.Trial
    signed: float = 0.0


class Study:
    """A study that is open, and this process's part in it.

    Args:
        out: its directory here.
        storage: where it is kept.
        name: its name there.
        space: what is searched.
        seed: of what is proposed.
        first: the settings to begin with.
        made_for: what all who work on it must have alike, as JSON: a name, and a value that a message can show.

    Raises:
        InputError: the storage cannot be used, or the study was made for something else.
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
        made_for: dict[str, Any],
    ):
        self.out, self.storage, self.name, self.space, self.first = out, storage, name, space, first
        self.made_for = made_for
        self.worker = f"{os.getpid()}-{random.SystemRandom().getrandbits(32):08x}"
        self._held = ExitStack()
        direction = "minimize" if made_for["score"] in LOWER_IS_BETTER else "maximize"
        with self._working():
            self._study = optuna.create_study(
                storage=storage.open(),
                study_name=name,
                direction=direction,
                load_if_exists=True,
                sampler=Proposer(space, seed),
            )
            agree(self._study, made_for, storage)
        write_json(out / FILE, {"format": FORMAT, "study": name, "storage": storage.lasting})
        self._held.enter_context(locks.wait_for_lock(out / "workers" / self.worker))
        self.pruner = "none"

    @property
    def score(self) -> str:
        """The name of the main score."""
        return self.made_for["score"]

    def prune_by(self, kind: str, trials: int, epochs: int) -> None:
        """Choose what ends trials that do badly, of `PRUNERS`; `auto` is what the study has, or what fits `trials`.

        Raises:
            InputError: there is no such pruner, or the study has another.
        """
        if kind not in PRUNERS:
            raise InputError(f"`pruner` is {cut(repr(kind))}; it must be one of {', '.join(PRUNERS)}")
        with self._working():
            has = self._study.user_attrs.get(PRUNED_BY)
            if has and kind not in ("auto", has):
                raise InputError(f"the study {self.name} was made with `pruner` {has}, not {kind}")
            self.pruner, self._study.pruner = pruner_of(has or kind, trials, epochs)
            if not has:
                self._study.set_user_attr(PRUNED_BY, self.pruner)

    def close(self) -> None:
        """Let go of what this process holds; a trial that it was at can be taken over."""
        (self.out / "workers" / self.worker).unlink(missing_ok=True)
        self._held.close()

    def take(self, trials: int) -> Taken | None:
        """The next trial to work on: one that a process left, or a new one; None where there are `trials` in all."""
        with self._working():
            known = self._study.get_trials(deepcopy=False)
            running = [t for t in known if t.state == TrialState.RUNNING]
            for trial in running:
                if self._is_alive(trial) is False:
                    return self._taken(optuna.Trial(self._study, trial._trial_id), trial, again=True)
            for trial in running:
                if self._is_lost(trial):
                    self._give_up(trial)
            known = [t for t in self._study.get_trials(deepcopy=False) if "dropped" not in t.user_attrs]
            if not any(t.user_attrs.get("defaults") for t in known):
                self._study.enqueue_trial(self.first, user_attrs={"defaults": True})
            counted = [t for t in known if _is_counted(t)]
            if len(counted) >= trials or self._is_all(known):
                return None
            handle = self._study.ask()
            taken = self._taken(handle, None, again=False)
            before = [t for t in self._study.get_trials(deepcopy=False) if _is_counted(t) and t.number < taken.number]
            if len(before) >= trials:  # another machine was quicker
                self._drop(handle, "enough trials")
                return None
            return taken

    def _is_all(self, known: Sequence[FrozenTrial]) -> bool:
        """Whether all settings there are were tried."""
        size = self.space.size
        tried = {tuple(self.space.settings(t.params).items()) for t in known if t.params}
        return size is not None and len(tried) >= size and all(t.state != TrialState.WAITING for t in known)

    def _taken(self, handle: optuna.Trial, before: FrozenTrial | None, *, again: bool) -> Taken:
        owner = {"host": socket.gethostname(), "out": str(self.out.resolve()), "worker": self.worker}
        handle.set_user_attr("owner", owner)
        handle.set_user_attr("seen", time.time())
        values = {r.name: _suggested(handle, r) for r in self.space.ranges}
        return Taken(
            number=handle.number,
            settings=self.space.settings(values),
            run=run_of(self.out, handle.number),
            again=again,
            is_default=bool(handle.user_attrs.get("defaults")),
            reported=dict(before.intermediate_values) if before is not None else {},
            handle=handle,
            signed=time.monotonic(),
        )

    def _is_alive(self, trial: FrozenTrial) -> bool | None:
        """Whether the process that works on a trial is there; None where nobody can know, as of another machine."""
        owner: dict[str, str] = trial.user_attrs.get("owner", {})
        mine = owner.get("out") == str(self.out.resolve()) or run_of(self.out, trial.number).exists()
        if owner.get("host") != socket.gethostname() or not mine:
            return None
        return locks.is_locked(self.out / "workers" / Path(owner["worker"]).name)

    def _is_lost(self, trial: FrozenTrial) -> bool:
        started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        quiet_for = time.time() - max(trial.user_attrs.get("seen", 0.0), started)
        return quiet_for > GRACE and self._is_alive(trial) is None

    def _give_up(self, trial: FrozenTrial) -> None:
        """Begin what another machine left anew, under another number."""
        handle = optuna.Trial(self._study, trial._trial_id)
        self._drop(handle, "no sign of it")
        if trial.params and not trial.user_attrs.get("defaults"):  # the defaults come again by themselves
            self._study.enqueue_trial(trial.params)

    def _drop(self, handle: optuna.Trial, why: str) -> None:
        handle.set_user_attr("dropped", why)
        self._study.tell(handle, state=TrialState.FAIL)

    def sign(self, taken: Taken) -> None:
        """Say that this process is there, if it is time to; raises Lost."""
        if time.monotonic() - taken.signed > SIGN:
            with self._told():
                taken.handle.set_user_attr("seen", time.time())
            taken.signed = time.monotonic()

    def report(self, taken: Taken, epoch: int, score: float) -> bool:
        """Tell the score of an epoch; whether the trial is better ended. Raises Lost."""
        if epoch not in taken.reported:
            with self._told():
                taken.handle.report(score, epoch)
            taken.reported[epoch] = score
        with self._told():
            return not taken.is_default and taken.handle.should_prune()

    def tell(self, taken: Taken, state: str, *, scores: Metrics | None = None, why: str = "") -> None:
        """Say how a trial ended; raises Lost."""
        with self._told():
            if scores is not None:
                taken.handle.set_user_attr("scores", scores)
            if why:
                taken.handle.set_user_attr("why", why)
            value = scores[self.score] if scores is not None else None
            ended = next(s for s, name in STATES.items() if name == state)
            if self._study.tell(taken.handle, value, state=ended, skip_if_finished=True).state != ended:
                raise Lost

    def board(self) -> Board:
        """The study as it stands."""
        with self.storage.asked():
            return board_of(self._study, self.out, self.space)

    @contextmanager
    def alone(self) -> Generator[None]:
        """Nobody else changes the directory of this study."""
        with locks.wait_for_lock(self.out / "lock"):
            yield

    @contextmanager
    def _working(self) -> Generator[None]:
        with self.alone(), self.storage.asked(), quiet():
            yield

    @contextmanager
    def _told(self) -> Generator[None]:
        """What is told of a trial; raises Lost where it is over for others."""
        try:
            with self.storage.asked(), quiet():
                yield
        except optuna.exceptions.UpdateFinishedTrialError:
            raise Lost from None


def _is_counted(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those asked for: it is over, or somebody is at it."""
    over = trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return "dropped" not in trial.user_attrs and (
        over or (trial.state == TrialState.RUNNING and "owner" in trial.user_attrs)
    )


def _suggested(handle: optuna.Trial, one: Range) -> Any:
    if one.choices:
        return handle.suggest_categorical(one.name, one.choices)
    if one.whole:
        return handle.suggest_int(one.name, int(one.low), int(one.high), log=one.log, step=int(one.step or 1))
    return handle.suggest_float(one.name, one.low, one.high, log=one.log, step=one.step)


PRUNED_BY = "pruner"
MADE_FOR = "ohlol"
"""The attribute of a study that says what it was made for."""


def agree(study: optuna.Study, made_for: dict[str, Any], storage: Storage) -> None:
    """See that a study was made for what it is used for now; one that is new is, from now on. Raises InputError."""
    if MADE_FOR not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise InputError(
                f"the study {study.study_name} in {storage.shown} is none of ohlol's: give another `study`"
            )
        study.set_user_attr(MADE_FOR, made_for)
    theirs = study.user_attrs[MADE_FOR]  # not what was just set, where another process set it too
    for what, mine in made_for.items():
        other = theirs.get(what)
        if other == mine:
            continue
        said = (
            f"made for other {what}" if what == "data" else f"made with {what} {_told_of(other)}, not {_told_of(mine)}"
        )
        raise InputError(f"the study {study.study_name} in {storage.shown} was {said}: give another `out`, or `study`")


def _told_of(value: Any) -> str:
    if isinstance(value, dict):
        return cut(", ".join(f"{k} {v}" for k, v in value.items()) or "none")
    return cut(" ".join(value) if isinstance(value, list) else str(value))


def load_board(folder: Path, storage: str | None = None) -> Board:
    """The study of a directory as it stands.

    Args:
        folder: as `ohlol tune` made it.
        storage: the URL, where it was not the default and could not be written down.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    about = read_file(folder)
    kept = Storage.of(storage, folder, about)
    if kept.given is None and not (folder / "study.db").is_file():
        raise InputError(f"{folder}: has no study.db, in which its study was kept")
    with kept.asked(), quiet():
        try:
            study = optuna.load_study(study_name=about["study"], storage=kept.open())
        except KeyError:
            raise InputError(f"{kept.shown} holds no study {cut(about['study'])}") from None
        made_for = study.user_attrs.get(MADE_FOR)
        if not isinstance(made_for, dict):
            raise InputError(f"the study {cut(about['study'])} in {kept.shown} is none of ohlol's")
        space = Space(tuple(parse(text) for text in made_for["search"]))
        return board_of(study, folder, space, importance=True)


def board_of(study: optuna.Study, out: Path, space: Space, *, importance: bool = False) -> Board:
    """The study as it stands, seen from a directory; `importance` takes a moment."""
    score = study.user_attrs[MADE_FOR]["score"]
    best = min if score in LOWER_IS_BETTER else max
    trials: list[Trial] = []
    for t in study.get_trials(deepcopy=False):
        owner: dict[str, str] = t.user_attrs.get("owner", {})
        if "dropped" in t.user_attrs or not owner:
            continue
        run = run_of(out, t.number)
        trials.append(
            Trial(
                number=t.number,
                state=STATES[t.state],
                settings=space.settings(t.params),
                score=best([*t.intermediate_values.values()], default=None) if t.value is None else t.value,
                scores=t.user_attrs.get("scores", {}),
                epochs=max(t.intermediate_values, default=0),
                is_default=bool(t.user_attrs.get("defaults")),
                why=cut(t.user_attrs.get("why", "")),
                host=cut(owner["host"]),
                run=run if run.is_dir() else run_of(Path(owner["out"]), t.number),
                here=run.is_dir(),
            )
        )
    known = _importance(study) if importance else {}
    return Board(study.study_name, score, space.texts, tuple(trials), known)


def _importance(study: optuna.Study) -> dict[str, float]:
    """By optuna's own evaluator, PED-ANOVA (Watanabe et al., 2023); of few trials nothing."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < FEW:
        return {}
    varied = [name for name in done[0].params if len({t.params[name] for t in done}) > 1]
    return optuna.importance.get_param_importances(study, params=varied) if varied else {}


FEW = 5
"""Complete trials below which nothing is said of what matters."""
