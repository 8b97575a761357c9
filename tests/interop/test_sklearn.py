"""Estimators of scikit-learn: what `X` may be, scikit-learn's own checks, pipelines, grid searches and pickles."""

import pickle
import pickletools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TINY

import ohlol
from ohlol.utils.errors import InputError

pytest.importorskip("sklearn", reason="needs scikit-learn")
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from ohlol.sklearn import Forecaster, SequenceClassifier, SequenceRegressor, SequenceTagger

SEED = 7
SMALL = {"hidden_size": 8, "epochs": 6, "lr": 0.03}
WORDS = [f"{'ab'[n % 2]}c{'de'[n % 3 == 0]}" for n in range(48)]
KINDS = np.array(["first", "second"])[np.arange(48) % 2]
"""The class of a word is that of its first letter."""
SENTENCES = [["Anna", "saw", "Rome", "twice"][: 2 + n % 3] for n in range(36)]
TAGS = [["NOUN", "VERB", "NAME", "ADV"][: 2 + n % 3] for n in range(36)]
NUMBERS = np.random.default_rng(SEED).normal(size=(40, 5, 2))
SIGNS = np.where(NUMBERS[:, :, 0].mean(axis=1) > 0, 1, -1)

FORECASTS = "rows are time steps, and those after the training data are predicted"
EXPECTED_FAILURES: dict[type, dict[str, str]] = {
    SequenceClassifier: {},
    SequenceRegressor: {},
    Forecaster: {
        "check_fit2d_1sample": "one row is no series; the error is an `InputError`",
        "check_methods_sample_order_invariance": FORECASTS,
        "check_methods_subset_invariance": FORECASTS,
        "check_supervised_y_no_nan": "missing values of a series are read",
    },
}
"""The checks of scikit-learn that do not hold, with the reason, as docs/integrations.md lists them."""


@parametrize_with_checks(
    [
        SequenceClassifier(**SMALL),
        SequenceRegressor(**{**SMALL, "epochs": 15}),
        Forecaster(**{**SMALL, "epochs": 1}),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES[type(estimator)],
    xfail_strict=True,
)
@pytest.mark.filterwarnings("ignore::ohlol.utils.errors.InputWarning")
def test_the_checks_of_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
