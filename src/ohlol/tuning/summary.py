"""A study as it stands, as plain data: its trials, which is best, what matters; and its directory.

Knows nothing of the storage that it is read from.

    studies/x/  study.json   the study's name, and where it is stored
                study.db     the study, unless it is stored elsewhere
                trials/0007  a run directory a trial
                best         a link to the best of them
                data/        the encoded data of all
                lock, workers/   who is at work here
"""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ohlol.tasks.metrics import LOWER_IS_BETTER, RATES, Metrics
from ohlol.utils.errors import InputError
from ohlol.utils.files import FORMAT, read_json

OUTLYING = 3
"""A score is left out of a drawing that is so many times as far from the median as the best, on the other side."""
FILE = "study.json"
"""By which a directory is known as that of a study."""


class Lost(Exception):  # noqa: N818 - it is no error
    """Another process took a trial for given up, and began it anew."""


@dataclass(frozen=True)
class Trial:
    """One trial as it stands."""

    number: int
    state: str
    """`complete`, `pruned`, `failed` or `running`."""
    settings: dict[str, Any]
    """What was searched, as it was trained."""
    score: float | None = None
    """The main score of the best epoch so far."""
    scores: Metrics = field(default_factory=dict[str, float])
    """All scores of the best weights, of a complete trial."""
    epochs: int = 0
    """That were measured."""
    is_default: bool = False
    """Whether it has the settings that `ohlol train` has by itself, or those nearest to them that are searched."""
    why: str = ""
    """It failed."""
    host: str = ""
    run: Path = Path()
    """Its run directory, which may be on another machine."""
    here: bool = False
    """Whether that is in this study's directory."""


@dataclass(frozen=True)
class Board:
    """A study as it stands: plain data."""

    name: str
    score: str
    """The name of the main score."""
    space: dict[str, str]
    """Each range as `search` takes it, by the setting's name."""
    trials: tuple[Trial, ...]
    importance: dict[str, float] = field(default_factory=dict[str, float])
    """How much of what differs between good and other trials each setting explains; of few trials nothing is known."""

    @property
    def low(self) -> bool:
        """Whether less is better."""
        return self.score in LOWER_IS_BETTER

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, best first; of equal ones the earlier first."""
        done = [t for t in self.trials if t.state == "complete" and t.scores]
        sign = 1 if self.low else -1
        return sorted(done, key=lambda t: (sign * t.scores[self.score], t.scores["loss"], t.number))

    @property
    def best(self) -> Trial | None:
        """The best complete trial, wherever it ran."""
        return next(iter(self.ranked), None)

    @property
    def scored(self) -> list[Trial]:
        """The complete and the pruned trials, by number: those that have a score to draw."""
        return [t for t in self.trials if t.state in ("complete", "pruned") and t.score is not None]

    @property
    def so_far(self) -> list[tuple[int, float]]:
        """The best score of a complete trial up to each, by its number."""
        found: list[tuple[int, float]] = []
        for t in self.trials:
            if t.state == "complete" and t.score is not None:
                before = found[-1][1] if found else t.score
                found.append((t.number, min(before, t.score) if self.low else max(before, t.score)))
        return found

    @property
    def limits(self) -> tuple[float, float]:
        """Between which scores are drawn: all complete ones, but those so bad that the others would look alike."""
        done = [t.score for t in self.trials if t.state == "complete" and t.score is not None]
        if not done:
            return 0.0, 1.0
        best, middle = (min if self.low else max)(done), median(done)
        worst = middle + OUTLYING * (middle - best)
        low, high = (best, min(max(done), worst)) if self.low else (max(min(done), worst), best)
        room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
        return (max(low, 0.0), min(high, 1.0)) if self.score in RATES else (low, high)


def is_study(folder: Path) -> bool:
    """Whether a directory is that of a study."""
    return (folder / FILE).is_file()


def read_file(folder: Path) -> dict[str, Any]:
    """What a study's directory says of it: name, and where it is stored.

    Raises:
        InputError: there is none, it is damaged or of another version.
    """
    if not is_study(folder):
        raise InputError(f"{folder}: there is no study; `ohlol tune` makes one")
    found = read_json(folder / FILE)
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("study"), str):
        raise InputError(f"{folder / FILE}: is not that of a study that this version of ohlol reads")
    if not isinstance(found.get("storage"), str | None):
        raise InputError(f"{folder / FILE}: does not say where the study is stored")
    return found


def run_of(out: Path, number: int) -> Path:
    """Where the run of a trial lies."""
    return out / "trials" / f"{number:04d}"
