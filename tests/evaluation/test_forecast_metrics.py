"""The errors of forecasts by hand, and the published figures of M4."""

from collections.abc import Sequence

import numpy as np
import pytest
from data.reading import DATA, needs_data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ohlol.evaluation.forecast import Forecast
from ohlol.evaluation.forecast_baselines import seasonal_naive
from ohlol.evaluation.forecast_metrics import (
    ErrorSums,
    Scores,
    absolute_errors,
    inside,
    interval_scores,
    percentage_errors,
    pinball_losses,
    scaled_errors,
    seasonal_scale,
    squared_errors,
)

NAN = float("nan")


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def measured(y: np.ndarray, quantiles: np.ndarray, levels: Sequence[float], scale: float = 1.0) -> Scores:
    """The scores of one forecast of one column: y (H,), quantiles (H, Q)."""
    sums = ErrorSums((50.0,) if len(levels) > 1 else ())
    forecast = Forecast("", ("y",), 1, None, tuple(levels), quantiles[:, None])
    sums.add(y[:, None], forecast, np.array([scale]))
    return sums.scores(0)


def test_the_scale_is_the_mean_seasonal_difference() -> None:
    assert seasonal_scale(column(1, 2, 4, 7), 1) == pytest.approx([2])
    assert seasonal_scale(column(1, 2, 4, 7), 2) == pytest.approx([4])
    assert seasonal_scale(column(1, NAN, 4, 7), 1) == pytest.approx([3])
    both = np.concatenate([column(1, 2, 1, 2), column(1, 2, 3, 4)], axis=1)
    assert seasonal_scale(both, 2) == pytest.approx([NAN, 2], nan_ok=True)
    assert np.isnan(seasonal_scale(column(1, 2), 2)).all()


def test_errors_of_single_values() -> None:
    y, point = np.array([1.0, 0.0, NAN, -3.0]), np.array([3.0, 0.0, 1.0, 1.0])
    assert absolute_errors(y, point) == pytest.approx([2, 0, NAN, 4], nan_ok=True)
    assert squared_errors(y, point) == pytest.approx([4, 0, NAN, 16], nan_ok=True)
    assert percentage_errors(y, point) == pytest.approx([100, 0, NAN, 200], nan_ok=True)
    assert scaled_errors(y, point, np.array(2.0)) == pytest.approx([1, 0, NAN, 2], nan_ok=True)


def test_errors_of_intervals_and_quantiles() -> None:
    y, lower, upper = np.array([1.0, 3.0, 7.0, NAN]), np.full(4, 2.0), np.full(4, 5.0)
    assert inside(y, lower, upper) == pytest.approx([0, 1, 0, NAN], nan_ok=True)
    assert inside(np.array([2.0, 5.0]), lower[:2], upper[:2]) == pytest.approx([1, 1])
    # the width 3, and 2 / 0.2 for each unit outside, over 2
    assert interval_scores(y, lower, upper, 80, np.array(2.0)) == pytest.approx([6.5, 1.5, 11.5, NAN], nan_ok=True)
    losses = pinball_losses(np.array([5.0]), np.array([[4.0, 7.0]]), (0.1, 0.9))
    assert losses == pytest.approx(np.array([[0.1, 0.2]]))


def test_scores_are_means_over_the_values_that_are_known() -> None:
    y = np.array([1.0, NAN, 4.0])
    quantiles = np.array([[0.0, 1.0, 2.0], [0, 0, 0], [1, 2, 3]])
    scores = measured(y, quantiles, (0.25, 0.5, 0.75), scale=2.0)
    assert scores.rmse == pytest.approx(2**0.5)
    assert scores.mae == pytest.approx(1)
    assert scores.smape == pytest.approx(200 * 2 / 6 / 2)
    assert scores.mase == pytest.approx(0.5)
    assert scores.coverage == {50: pytest.approx(0.5)}
    assert scores.msis == {50: pytest.approx((2 + 2 + 4 * 1) / 2 / 2)}
    # pinball losses at 1: 0.25, 0, 0.25; at 4: 0.75, 1, 0.75; over |y| = 5
    assert scores.wql == pytest.approx(2 * (0.25 + 0.25 + 0.75 + 1 + 0.75) / 3 / 5)
    assert scores.to_json()["coverage"] == {"50": pytest.approx(0.5)}


def test_nothing_to_measure_is_none() -> None:
    scores = measured(np.array([NAN]), np.zeros((1, 3)), (0.25, 0.5, 0.75))
    assert scores == Scores(None, None, None, None, None, {50: None}, {50: None})
    unscaled = measured(np.array([1.0]), np.zeros((1, 3)), (0.25, 0.5, 0.75), scale=NAN)
    assert (unscaled.mase, unscaled.msis, unscaled.mae) == (None, {50: None}, 1)


@given(arrays(float, (4, 3), elements=st.floats(-1e3, 1e3)), arrays(float, 4, elements=st.floats(-1e3, 1e3)))
def test_the_weighted_quantile_loss_of_the_median_is_the_relative_absolute_error(q: np.ndarray, y: np.ndarray) -> None:
    scores = measured(y, q[:, :1], (0.5,))
    if np.abs(y).sum() > 1e-6:
        assert scores.wql == pytest.approx(np.abs(y - q[:, 0]).sum() / np.abs(y).sum())
    assert scores.smape is not None
    assert 0 <= scores.smape <= 200 + 1e-9


@given(st.integers(0, 3), arrays(float, (3, 4), elements=st.floats(-10, 10)))
def test_sums_add_up_to_the_mean_of_all(missing: int, y: np.ndarray) -> None:
    y[0, :missing] = NAN
    sums = ErrorSums(())
    for values in y:
        sums.add(values[:, None], Forecast("", ("y",), 1, None, (0.5,), np.zeros((4, 1, 1))), np.ones(1))
    known = y[~np.isnan(y)]
    assert sums.scores(0).mae == pytest.approx(np.abs(known).mean())
    assert sums.scores(0, 3).mae == pytest.approx(np.abs(y[:, 3]).mean())
    assert sums.steps == 4


@needs_data
def test_the_seasonal_naive_has_the_figures_that_m4_published() -> None:
    training, test = (_rows(DATA / "m4hourly" / f"Hourly-{part}.csv") for part in ("train", "test"))
    assert len(training) == len(test) == 414
    sums = ErrorSums((95.0,))
    for history, y in zip(training, test, strict=True):
        levels = (0.025, 0.5, 0.975)
        forecast = Forecast("", ("y",), 1, None, levels, seasonal_naive(history, 24, 48, levels))
        sums.add(y, forecast, seasonal_scale(history, 24))
    scores = sums.scores(0)
    assert scores.smape == pytest.approx(13.912, abs=5e-4)
    assert scores.mase == pytest.approx(1.193, abs=5e-4)


def _rows(path: object) -> list[np.ndarray]:
    with open(str(path), encoding="utf-8") as file:
        lines = file.read().splitlines()[1:]
    rows = [[cell.strip('"') for cell in line.split(",")[1:]] for line in lines]
    return [np.array([float(cell) for cell in row if cell not in ("", "NA")])[:, None] for row in rows]
