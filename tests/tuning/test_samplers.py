"""The sampler proposes settings reproducibly and without repetition, and the pruner fits the number of trials."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from ohlol.tasks import TASKS
from ohlol.tuning.samplers import SettingsSampler, build_pruner, to_distribution
from ohlol.tuning.space import OTHER_RANGES, build_space, parse_range

SPACE = build_space(["cell=gru,lstm", "lr=1e-4:1e-2:log"], {}, "label", "char")


def test_every_range_becomes_a_distribution_of_optuna() -> None:
    for text in {
        text for task in TASKS.values() for level in ("char", "word") for text in task.search_space(level)
    } | set(OTHER_RANGES):
        one = parse_range(text)
        distribution = to_distribution(one)  # a warning would fail this test
        for value in one.values or (one.low, one.high):
            assert distribution._contains(distribution.to_internal_repr(value))


def test_proposals_depend_on_seed_number_and_history_only(tmp_path: Path) -> None:
    def proposals(seed: int, stop: int = 0) -> list[dict[str, Any]]:
        study = optuna.create_study(direction="maximize", sampler=SettingsSampler(SPACE, seed))
        for n in range(16):
            if n == stop:  # another process continues
                study.sampler = SettingsSampler(SPACE, seed)
            trial = study.ask(SettingsSampler(SPACE, 0).distributions)
            study.tell(trial, -abs(trial.params["lr"] - 0.003))
        return [trial.params for trial in study.trials]

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    assert proposals(1) == proposals(1, stop=13)
    assert proposals(1) != proposals(2)


def test_no_settings_are_proposed_twice() -> None:
    space = build_space(["cell=rnn,gru,lstm", "num_layers=1:4"], {}, "label", "char")
    study = optuna.create_study(direction="maximize", sampler=SettingsSampler(space, 0))
    for _ in range(12):
        study.tell(study.ask(SettingsSampler(space, 0).distributions), 1.0)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == space.size == 12


@pytest.mark.parametrize(
    ("kind", "trials", "epochs", "name"),
    [
        ("auto", 20, 15, "median"),
        ("auto", 59, 15, "median"),
        ("auto", 60, 15, "hyperband"),
        ("auto", 1000, 2, "median"),
        ("median", 1000, 15, "median"),
        ("hyperband", 5, 15, "hyperband"),
        ("none", 20, 15, "none"),
    ],
)
def test_the_pruner_depends_on_the_number_of_trials(kind: str, trials: int, epochs: int, name: str) -> None:
    assert build_pruner(kind, trials, epochs)[0] == name
