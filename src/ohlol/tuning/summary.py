"""The state of a study as plain data: its trials, the best of them, and the importance of settings; and its directory.

studies/x/  study.json   the name of the study, and its storage
            study.db     the study, unless another storage was given
            trials/0007  the run directory of a trial
            best         a link to the run directory of the best trial
            data/        the encoded data of all trials
            lock, workers/   locks of the processes that work on the study
"""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ohlol.tasks.metrics import LOWER_IS_BETTER, RATES, Metrics
from ohlol.utils.errors import InputError
from ohlol.utils.files import FORMAT, read_json
from ohlol.utils.translation import message_id

OUTLIER_FACTOR = 3
"""A value is not drawn where it is so many times as far from the median as the best, on the other side."""
STUDY_FILE = "study.json"
"""The file that marks the directory of a study."""
OPTUNA_IS_MISSING = message_id("tuning needs optuna: pip install 'ohlol[tune]'")


class TrialLost(Exception):  # noqa: N818 - it is not an error
    """Another process considered a trial abandoned and started it again under another number."""


@dataclass(frozen=True)
class Trial:
    """The state of one trial."""

    number: int
    state: str
    """`complete`, `pruned`, `failed` or `running`."""
    settings: dict[str, Any]
    """The settings that are searched, as they were trained."""
    value: float | None = None
    """The main metric of the best epoch so far."""
    metrics: Metrics = field(default_factory=dict[str, float])
    """All metrics of the best weights, of a complete trial."""
    epochs: int = 0
    """The number of epochs that were evaluated."""
    is_default: bool = False
    """Whether it has the default settings, or the nearest to them in the search space."""
    reason: str = ""
    """Why it failed."""
    host: str = ""
    run: Path = Path()
    """Its run directory, which may be on another machine."""
    is_local: bool = False
    """Whether its run directory is in the directory of this study."""


@dataclass(frozen=True)
class StudySummary:
    """The state of a study."""

    name: str
    metric: str
    """The name of the main metric."""
    space: dict[str, str]
    """The text of each range, by the name of its setting."""
    trials: tuple[Trial, ...]
    importance: dict[str, float] = field(default_factory=dict[str, float])
    """The share of the difference between good and other trials that each setting explains; empty for few trials."""

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower value of the main metric is better."""
        return self.metric in LOWER_IS_BETTER

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, best first; of equal ones the earlier first."""
        complete = [t for t in self.trials if t.state == "complete" and t.metrics]
        sign = 1 if self.lower_is_better else -1
        return sorted(complete, key=lambda t: (sign * t.metrics[self.metric], t.metrics["loss"], t.number))

    @property
    def best(self) -> Trial | None:
        """The best complete trial, on whichever machine it ran."""
        return next(iter(self.ranked), None)

    @property
    def evaluated(self) -> list[Trial]:
        """The complete and the pruned trials that have a value, by number."""
        return [t for t in self.trials if t.state in ("complete", "pruned") and t.value is not None]

    @property
    def best_so_far(self) -> list[tuple[int, float]]:
        """The number of each complete trial, and the best value up to it."""
        best = min if self.lower_is_better else max
        steps: list[tuple[int, float]] = []
        for t in self.trials:
            if t.state == "complete" and t.value is not None:
                steps.append((t.number, best(steps[-1][1], t.value) if steps else t.value))
        return steps

    @property
    def axis_limits(self) -> tuple[float, float]:
        """The range of values to draw: those of all complete trials, without outliers at the bad end."""
        values = [t.value for t in self.trials if t.state == "complete" and t.value is not None]
        if not values:
            return 0.0, 1.0
        best, middle = (min if self.lower_is_better else max)(values), median(values)
        worst = middle + OUTLIER_FACTOR * (middle - best)
        low, high = (best, min(max(values), worst)) if self.lower_is_better else (max(min(values), worst), best)
        margin = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
        low, high = low - margin, high + margin
        return (max(low, 0.0), min(high, 1.0)) if self.metric in RATES else (low, high)


def is_study(folder: Path) -> bool:
    """Whether a directory is that of a study."""
    return (folder / STUDY_FILE).is_file()


def read_study_file(folder: Path) -> dict[str, Any]:
    """The name and the storage of the study in a directory.

    Raises:
        InputError: there is no study, its file is damaged, or it has another version.
    """
    if not is_study(folder):
        raise InputError("{folder}: there is no study; `ohlol tune` creates one", folder=folder)
    content = read_json(folder / STUDY_FILE)
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("study"), str):
        raise InputError(
            "{folder}: is not the file of a study that this version of ohlol reads", folder=folder / STUDY_FILE
        )
    if not isinstance(content.get("storage"), str | None):
        raise InputError("{folder}: does not name the storage of the study", folder=folder / STUDY_FILE)
    return content


def run_of_trial(out: Path, number: int) -> Path:
    """The run directory of a trial."""
    return out / "trials" / f"{number:04d}"
