"""The learning curves of runs, as series against training steps, from their `metrics.jsonl`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ohlol.checkpoint import metrics_log, run_directory
from ohlol.models.heads import HEADS
from ohlol.tasks import TASKS
from ohlol.tasks.metrics import RATES
from ohlol.utils.errors import InputError

ORDER = (
    "loss", "squared_error", "absolute_error", "quantile_loss", "summed_loss", "metric", "grad_norm", "saturation",
)  # fmt: skip
"""The keys of the panels, in the order in which they are shown."""


@dataclass(frozen=True)
class Line:
    """One line of a panel."""

    run: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    is_training: bool = False
    """Whether it was recorded while the weights changed, not measured after the epoch."""
    best: int | None = None
    """The index of the epoch whose weights were kept."""


@dataclass(frozen=True)
class Panel:
    """One plot: the same quantity of every run."""

    key: str
    """One of `ORDER`; its title is the text `curve_` + key."""
    name: str = ""
    """The name of the metric."""
    lines: list[Line] = field(default_factory=list[Line])

    @property
    def is_mixed(self) -> bool:
        """Whether it shows both values recorded in training and measured values."""
        return len({line.is_training for line in self.lines}) > 1

    @property
    def is_rate(self) -> bool:
        """Whether its values lie between 0 and 1."""
        return self.key == "saturation" or self.name in RATES


def load_curves(runs: Sequence[Path]) -> list[Panel]:
    """Load the panels of some runs: loss, main metric, gradient norm, saturation of the hidden state.

    A training loss that is summed over a sequence has a panel of its own, and so has the squared error of a forecast. A
    quantity that an older run did not record is left out.

    Raises:
        InputError: a path is no run directory, or a run has no finished epoch.
    """
    panels: dict[tuple[str, str], Panel] = {}
    for label, run in zip(_labels(runs), runs, strict=True):
        config, codec = run_directory.read_config(run), run_directory.read_codec(run)
        lines = metrics_log.read_metrics(run) if (run / "metrics.jsonl").exists() else []
        if not lines:
            raise InputError("{run}: no epoch is finished yet, so there is nothing to draw", run=run)
        best = ([k for k, line in enumerate(lines) if line.get("best")] or [None])[-1]
        task = TASKS[config.task]
        metric, loss = task.metrics(codec).main_metric, HEADS[config.model.head].loss_unit
        for key, name, column, is_training in (
            (loss, "", "loss", False),
            ("summed_loss" if config.training.loss_reduction == "sum" else loss, "", "train_loss", True),
            ("metric", metric, metric, False),
            ("grad_norm", "", "grad_norm", True),
            ("saturation", "", "saturation", False),
        ):
            rows = [(k, line) for k, line in enumerate(lines) if column in line]
            if not rows:
                continue
            steps, values = (tuple(line[c] for _, line in rows) for c in ("step", column))
            kept = next((i for i, (k, _) in enumerate(rows) if k == best), None) if not is_training else None
            panels.setdefault((key, name), Panel(key, name)).lines.append(Line(label, steps, values, is_training, kept))
    return sorted(panels.values(), key=lambda panel: ORDER.index(panel.key))


def _labels(runs: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that distinguish the runs."""
    parts = [run.resolve().parts for run in runs]
    for length in range(1, max(map(len, parts), default=1) + 1):
        labels = ["/".join(p[-length:]) for p in parts]
        if len(set(labels)) == len(labels):
            return labels
    raise InputError("the same run was given twice")
