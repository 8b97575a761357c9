"""What a study tries next and what it ends early, by optuna's samplers and pruners; knows no storage, no training."""

import random
from typing import Any

from ohlol.tuning.space import Range, Space
from ohlol.utils.errors import InputError

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers import BaseSampler, RandomSampler, TPESampler
    from optuna.trial import FrozenTrial
except ImportError:
    raise InputError("a sweep needs optuna: pip install 'ohlol[tune]'") from None

PRUNERS = ("auto", "median", "hyperband", "none")
STARTUP = 5
"""Trials that must be complete before the median of others ends one."""
REDUCTION = 3
"""Of Hyperband: of so many trials one goes on, for so many times as long."""
ENOUGH = 20
"""Trials for each bracket from which on Hyperband is taken: what to try next is learned in each bracket alone."""
TRIES = 20
"""Proposals that may repeat settings before the first that were not tried are taken."""


class Proposer(BaseSampler):
    """TPE whose chance depends on the seed and the number of the trial alone, and that repeats no settings.

    So a study that was stopped goes on as if it had not been, and processes that share one do not propose the same.

    Source: Watanabe, "Tree-Structured Parzen Estimator: Understanding Its Algorithm Components and Their Roles for
    Better Empirical Performance" (2023), as optuna has it.
    """

    def __init__(self, space: Space, seed: int):
        self.space, self.seed = space, seed
        self.distributions = {r.name: distribution_of(r) for r in space.ranges}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space, always."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A value for each setting."""
        known = study.get_trials(deepcopy=False)
        tried = [self.space.settings(t.params) for t in known if t.number != trial.number]
        values: dict[str, Any] = {}
        for attempt in range(TRIES):
            seed = random.Random(f"{self.seed}-{trial.number}-{attempt}").getrandbits(32)
            values = TPESampler(seed=seed).sample_relative(study, trial, search_space) if not attempt else {}
            if len(values) < len(search_space):  # too few trials yet, or what it proposed was tried
                chance = RandomSampler(seed=seed)
                values = {n: chance.sample_independent(study, trial, n, d) for n, d in search_space.items()}
            if self.space.settings(values) not in tried:
                return values
        if self.space.size is None:
            return values
        return next((one for one in self.space.all() if self.space.settings(one) not in tried), values)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value for a setting by itself, which does not happen."""
        return RandomSampler(seed=self.seed).sample_independent(study, trial, param_name, param_distribution)


def distribution_of(one: Range) -> BaseDistribution:
    """A range as optuna has it."""
    if one.choices:
        return CategoricalDistribution(one.choices)
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log, step=int(one.step or 1))
    return FloatDistribution(one.low, one.high, log=one.log, step=one.step)


def pruner_of(kind: str, trials: int, epochs: int) -> tuple[str, optuna.pruners.BasePruner]:
    """The pruner asked for, and its name.

    `auto` is Hyperband where there are trials enough for each of its brackets to learn from, and the median otherwise.

    Source: Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization" (2018).
    """
    brackets = 1
    while REDUCTION**brackets <= epochs:
        brackets += 1
    if kind == "auto":
        kind = "hyperband" if brackets > 1 and trials >= ENOUGH * brackets else "median"
    if kind == "none":
        return kind, optuna.pruners.NopPruner()
    if kind == "hyperband":
        return kind, optuna.pruners.HyperbandPruner(max_resource=epochs, reduction_factor=REDUCTION)
    return kind, optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=max(1, epochs // 5))
