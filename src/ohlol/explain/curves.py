"""How runs went, as series against steps, from their `metrics.jsonl`; knows nothing of how they are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ohlol.checkpoint import metrics_log, run_directory
from ohlol.tasks import TASKS
from ohlol.utils.errors import InputError

RATES = ("accuracy", "macro_f1", "span_f1")
"""Scores between 0 and 1."""


@dataclass(frozen=True)
class Line:
    """One line of a panel."""

    run: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    training: bool = False
    """Whether it was counted while the weights moved, not measured after the epoch."""
    best: int | None = None
    """The index of the epoch whose weights were kept."""


@dataclass(frozen=True)
class Panel:
    """What is drawn in one picture: the same number of every run."""

    key: str
    """`loss`, `summed`, `score`, `grad_norm` or `saturation`: a text of the catalogue is `curve_` and this."""
    name: str = ""
    """Of the score."""
    lines: list[Line] = field(default_factory=list[Line])

    @property
    def is_mixed(self) -> bool:
        """Whether it shows both what was counted in training and what was measured."""
        return len({line.training for line in self.lines}) > 1

    @property
    def is_rate(self) -> bool:
        """Whether its values lie between 0 and 1."""
        return self.key == "saturation" or self.name in RATES


def curves(runs: Sequence[Path]) -> list[Panel]:
    """The panels of some runs: loss, main score, norm of the gradient, saturation of the hidden state.

    A loss that was summed in training has a panel of its own. What an older run did not record is left out.

    Raises:
        InputError: one is no run directory, or has no finished epoch.
    """
    made: dict[tuple[str, str], Panel] = {}
    for label, run in zip(_labels(runs), runs, strict=True):
        config, codec = run_directory.read_config(run), run_directory.read_codec(run)
        lines = metrics_log.read_metrics(run) if (run / "metrics.jsonl").exists() else []
        if not lines:
            raise InputError(f"{run}: no epoch is over yet, so there is nothing to draw")
        best = ([k for k, line in enumerate(lines) if line.get("best")] or [None])[-1]
        score = TASKS[config.task].metrics(codec).main
        summed = config.training.loss_reduction == "sum"
        for key, name, column, training in (
            ("loss", "", "loss", False),
            ("summed" if summed else "loss", "", "train_loss", True),
            ("score", score, score, False),
            ("grad_norm", "", "grad_norm", True),
            ("saturation", "", "saturation", False),
        ):
            there = [(k, line) for k, line in enumerate(lines) if column in line]
            if not there:
                continue
            steps, values = (tuple(line[c] for _, line in there) for c in ("step", column))
            kept = next((i for i, (k, _) in enumerate(there) if k == best), None) if not training else None
            made.setdefault((key, name), Panel(key, name)).lines.append(Line(label, steps, values, training, kept))
    order = ("loss", "summed", "score", "grad_norm", "saturation")
    return sorted(made.values(), key=lambda panel: order.index(panel.key))


def _labels(runs: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell the runs apart."""
    parts = [run.resolve().parts for run in runs]
    for length in range(1, max(map(len, parts), default=1) + 1):
        labels = ["/".join(p[-length:]) for p in parts]
        if len(set(labels)) == len(labels):
            return labels
    raise InputError("a run is given twice")
