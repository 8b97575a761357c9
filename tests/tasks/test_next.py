"""Bits and perplexity computed by hand."""

import math

import numpy as np
import pytest
from counting import codec_of

from ohlol.tasks import TASKS


def test_bits_and_perplexity_are_those_of_the_mean_loss() -> None:
    accumulator = TASKS["next"].metrics(codec_of("next", "abcd"))
    accumulator.add_loss(3 * math.log(8), 3)
    accumulator.add(np.array([1, 2, 3]), np.array([1, 0, 3]), [np.arange(3)])
    metrics = accumulator.metrics()
    assert metrics["bits"] == pytest.approx(3)
    assert metrics["perplexity"] == pytest.approx(8)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert accumulator.main_metric == "bits"


def test_perplexity_is_finite_for_json() -> None:
    accumulator = TASKS["next"].metrics(codec_of("next", "abcd"))
    accumulator.add_loss(1e9, 1)
    assert math.isfinite(accumulator.metrics()["perplexity"])
