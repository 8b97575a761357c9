"""The errors of the next rows computed by hand."""

import math

import numpy as np
import pytest

from ohlol.data.codec import Codec
from ohlol.data.scale import Scale
from ohlol.tasks import TASKS


def test_errors_are_in_the_units_of_the_data() -> None:
    scale = Scale((0.0, 10.0), (1.0, 2.0))
    codec = Codec("next_row", columns=("a", "b"), target_columns=("a", "b"), scale=scale, target_scale=scale)
    accumulator = TASKS["next_row"].metrics(codec)
    rows = np.array([[0.0, 10.0], [0.0, 10.0]]), np.array([[3.0, 10.0], [4.0, 12.0]])
    targets, predictions = (scale.apply(side) for side in rows)
    accumulator.add(targets, predictions, [np.arange(2)])
    accumulator.add_loss(1.0, 2)
    metrics = accumulator.metrics()
    assert metrics["rmse"] == pytest.approx((math.sqrt(12.5) + math.sqrt(2)) / 2)
    assert metrics["mae"] == pytest.approx((3.5 + 1) / 2)
    assert accumulator.main_metric == "rmse"
