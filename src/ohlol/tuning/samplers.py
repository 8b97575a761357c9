"""The sampler that proposes settings, and the pruners that stop bad trials early."""

import random
from typing import Any

from ohlol.tuning.space import Range, Space
from ohlol.tuning.summary import OPTUNA_IS_MISSING
from ohlol.utils.errors import InputError

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers import BaseSampler, RandomSampler, TPESampler
    from optuna.trial import FrozenTrial
except ImportError:
    raise InputError(OPTUNA_IS_MISSING) from None

PRUNERS = ("auto", "median", "hyperband", "none")
MEDIAN_STARTUP_TRIALS = 5
"""Complete trials that the median pruner needs before it stops one."""
REDUCTION_FACTOR = 3
"""Of Hyperband: one of so many trials continues, for so many times as many epochs."""
TRIALS_PER_BRACKET = 20
"""Trials per bracket from which on `auto` selects Hyperband, since the sampler learns from each bracket separately."""
ATTEMPTS = 20
"""Proposals that may repeat earlier settings, before the first settings that were not tried are taken."""


class SettingsSampler(BaseSampler):
    """TPE whose random numbers depend only on the seed and the number of the trial, and that repeats no settings.

    A study that was stopped therefore continues as if it had not been, and processes that share one propose different
    settings.

    Source: Watanabe, "Tree-Structured Parzen Estimator: Understanding Its Algorithm Components and Their Roles for
    Better Empirical Performance" (2023), as implemented by optuna.
    """

    def __init__(self, space: Space, seed: int):
        self.space, self.seed = space, seed
        self.distributions = {r.name: to_distribution(r) for r in space.ranges}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A value for each setting."""
        trials = study.get_trials(deepcopy=False)
        tried = [self.space.round(t.params) for t in trials if t.number != trial.number]
        values: dict[str, Any] = {}
        for attempt in range(ATTEMPTS):
            seed = random.Random(f"{self.seed}-{trial.number}-{attempt}").getrandbits(32)
            values = TPESampler(seed=seed).sample_relative(study, trial, search_space) if not attempt else {}
            if len(values) < len(search_space):  # too few trials for TPE, or its proposal was tried
                sampler = RandomSampler(seed=seed)
                values = {n: sampler.sample_independent(study, trial, n, d) for n, d in search_space.items()}
            if self.space.round(values) not in tried:
                return values
        if self.space.size is None:
            return values
        return next(
            (settings for settings in self.space.enumerate() if self.space.round(settings) not in tried), values
        )

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value for one setting; optuna calls it only for settings outside of the space."""
        return RandomSampler(seed=self.seed).sample_independent(study, trial, param_name, param_distribution)


def to_distribution(one: Range) -> BaseDistribution:
    """A range as a distribution of optuna."""
    if one.choices:
        return CategoricalDistribution(one.choices)
    if one.is_integer:
        return IntDistribution(int(one.low), int(one.high), log=one.log, step=int(one.step or 1))
    return FloatDistribution(one.low, one.high, log=one.log, step=one.step)


def build_pruner(kind: str, trials: int, epochs: int) -> tuple[str, optuna.pruners.BasePruner]:
    """The name of a pruner, and the pruner.

    Args:
        kind: one of `PRUNERS`; "auto" is Hyperband where there are enough trials for each of its brackets, and the
            median pruner otherwise.
        trials: the number of trials of the study.
        epochs: the number of epochs of a trial.

    Source: Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization" (2018).
    """
    brackets = 1
    while REDUCTION_FACTOR**brackets <= epochs:
        brackets += 1
    if kind == "auto":
        kind = "hyperband" if brackets > 1 and trials >= TRIALS_PER_BRACKET * brackets else "median"
    if kind == "none":
        return kind, optuna.pruners.NopPruner()
    if kind == "hyperband":
        return kind, optuna.pruners.HyperbandPruner(max_resource=epochs, reduction_factor=REDUCTION_FACTOR)
    warmup = max(1, epochs // 5)
    return kind, optuna.pruners.MedianPruner(n_startup_trials=MEDIAN_STARTUP_TRIALS, n_warmup_steps=warmup)
