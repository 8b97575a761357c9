"""The naive forecasts: the last value and the last season, with missing values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ohlol.evaluation.forecast_baselines import seasonal_naive

NAN = float("nan")


def test_the_last_season_is_repeated() -> None:
    history = np.array([1.0, 2, 3, 4, 5, 6, 7])[:, None]
    assert seasonal_naive(history, 3, 5, (0.5,))[:, 0, 0].tolist() == [5, 6, 7, 5, 6]
    assert seasonal_naive(history, 1, 3, (0.5,))[:, 0, 0].tolist() == [7, 7, 7]
    assert seasonal_naive(history[:2], 3, 4, (0.5,))[:, 0, 0].tolist() == [2, 1, 2, 2]


def test_missing_values_are_those_of_the_season_before() -> None:
    history = np.array([[1.0, NAN], [2, NAN], [3, NAN], [NAN, NAN], [5, NAN], [NAN, NAN]])
    point = seasonal_naive(history, 2, 2, (0.5,))[:, :, 0]
    assert point == pytest.approx(np.array([[5, NAN], [2, NAN]]), nan_ok=True)
    assert seasonal_naive(np.array([[NAN], [4.0], [NAN], [NAN]]), 2, 2, (0.5,))[:, 0, 0].tolist() == [4, 4]


def test_the_interval_holds_its_share_of_the_differences_and_grows() -> None:
    history = np.cumsum(np.array([0.0, 1, -2, 3, -4]))[:, None]
    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    quantiles = seasonal_naive(history, 1, 4, levels)[:, 0]
    assert quantiles[0] == pytest.approx(-2 + np.array([-4, -2.5, 0, 2.5, 4]))
    assert quantiles[3] == pytest.approx(-2 + 2 * np.array([-4, -2.5, 0, 2.5, 4]))
    seasonal = seasonal_naive(history, 2, 3, levels)[:, 0]
    assert seasonal[2] - seasonal[2, 2] == pytest.approx(np.sqrt(2) * (seasonal[1] - seasonal[1, 2]))


@given(
    arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=st.floats(-1e6, 1e6) | st.just(NAN)),
    st.integers(1, 5),
    st.integers(1, 9),
)
def test_quantiles_increase_and_the_median_was_seen(history: np.ndarray, season: int, steps: int) -> None:
    quantiles = seasonal_naive(history, season, steps, (0.1, 0.5, 0.9))
    assert quantiles.shape == (steps, 2, 3)
    for values, column in zip(quantiles.transpose(1, 0, 2), history.T, strict=True):
        known = column[~np.isnan(column)]
        if not len(known):
            assert np.isnan(values).all()
            continue
        assert (np.diff(values) >= 0).all()
        assert np.isin(values[:, 1], known).all()
