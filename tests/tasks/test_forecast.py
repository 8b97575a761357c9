"""The scaled error of a forecast computed by hand."""

import numpy as np
import pytest
from untrained import untrained

from ohlol.tasks import TASKS


def test_the_error_is_the_mean_over_all_values_that_are_not_missing() -> None:
    accumulator = TASKS["forecast"].metrics(untrained("forecast").codec)
    targets = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    accumulator.add(targets, np.array([[2.0, 9.0, 1.0], [4.0, 5.0, 6.0]]), [np.arange(2)])
    accumulator.add_loss(1.0, 2)
    assert accumulator.metrics() == {"scaled_mae": pytest.approx((1 + 2) / 2), "loss": 0.5}
    assert accumulator.main_metric == "scaled_mae"
