"""Studies for tests: one to open, and the summary of another."""

from pathlib import Path
from typing import Any

from ohlol.tuning.space import Space, build_space
from ohlol.tuning.storage import Storage
from ohlol.tuning.study import Study
from ohlol.tuning.summary import StudySummary, Trial, is_study, read_study_file

SPACE = build_space(["cell=gru,lstm", "lr=1e-4:1e-2:log"], {}, "label", "char")
FIRST = {"cell": "lstm", "lr": 0.002}
PURPOSE = {"data": "0" * 64, "metric": "accuracy", "search": list(SPACE.texts.values()), "settings": {"epochs": 3}}


def open_study(out: Path, space: Space = SPACE, storage: str | None = None, **purpose: Any) -> Study:
    out.mkdir(exist_ok=True)
    study_file = read_study_file(out) if is_study(out) else {}
    study = Study(
        out, Storage.select(storage, out, study_file), "study", space=space, seed=1, first=space.nearest(FIRST),
        purpose=PURPOSE | {"search": list(space.texts.values())} | purpose,
    )  # fmt: skip
    study.select_pruner("auto", 20, 3)
    return study


RANGES = {"cell": "cell=gru,lstm", "hidden_size": "hidden_size=32:256:8", "lr": "lr=1e-4:1e-2:log"}


def trial(number: int, value: float | None, state: str = "complete", cell: str = "gru", **more: Any) -> Trial:
    metrics = {"accuracy": value, "loss": 1.0} if state == "complete" and value is not None else {}
    settings = {"cell": cell, "hidden_size": 32 + 8 * number, "lr": float(f"{1e-4 * 10 ** (number / 4):.3g}")}
    return Trial(number, state, settings, value, metrics, **more)


SUMMARY = StudySummary(
    "names",
    "accuracy",
    RANGES,
    (
        trial(0, 0.5, is_default=True),
        trial(1, 0.4),
        trial(2, 0.6, cell="lstm"),
        trial(3, 0.45, "pruned"),
        trial(4, None, "failed", reason="too large"),
        trial(5, 0.6),
        trial(6, 0.01, cell="lstm"),
        trial(7, 0.2, "running"),
    ),
    {"lr": 0.7, "cell": 0.3},
)
