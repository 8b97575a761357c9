"""Exponential smoothing: its recursion by hand, and its forecasts of series whose rule is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohlol.data.smoothing import Models, list_models, mean_of_two_seasons, run, seasonal_naive, smooth

RNG = np.random.default_rng(0)


def test_recursion_is_that_of_the_textbook():
    """Hyndman et al. (2008), ETS(A, Ad, A), one value at a time."""
    y, m, h = RNG.normal(10, 2, 30), 4, 6
    alpha, beta, phi, gamma = 0.3, 0.1, 0.9, 0.2
    model = Models(*(np.array([value]) for value in (alpha, beta, phi, gamma, 1.0, 7.0)))
    forecasts = run(y, m, model, h)[1]
    squared = [run(y, m, model, first=t)[0][0] for t in range(len(y) + 1)]
    # the initial states follow from the first error and forecasts, since they are the same in both
    half = m // 2
    trend = np.convolve(y[: 4 * m], np.array([0.5, 1, 1, 1, 0.5]) / m, mode="valid")
    detrended = y[half : half + len(trend)] - trend
    pattern = np.array([detrended[(np.arange(len(trend)) + half) % m == i].mean() for i in range(m)])
    pattern -= pattern.mean()
    slope, level = np.polyfit(np.arange(1, 11), y[:10] - pattern[np.arange(10) % m], 1)
    season = pattern.tolist()
    for t, value in enumerate(y):
        error = value - (level + phi * slope + season[t % m])
        assert squared[t] - squared[t + 1] == pytest.approx(error**2, abs=1e-9)
        level, slope = level + phi * slope + alpha * error, phi * slope + beta * error
        season[t % m] += gamma * error
        damped = np.cumsum(phi ** np.arange(1, h + 1))
        expected = [level + damped[j] * slope + season[(t + 1 + j) % m] for j in range(h)]
        assert forecasts[t, :, 0] == pytest.approx(expected, abs=1e-9)


def test_missing_values_leave_the_states_as_forecast():
    y = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0, 8.0])
    model = Models(*(np.array([value]) for value in (0.5, 0.1, 1.0, 0.0, 0.0, 3.0)))
    squared = [run(y, 1, model, first=t)[0][0] for t in (2, 3)]
    assert squared[0] == squared[1] > 0
    forecasts = run(y, 1, model, 2)[1]
    assert forecasts[2, 0, 0] == pytest.approx(forecasts[1, 1, 0])


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("line", 3.0 + 0.5 * np.arange(48)),
        ("season", np.tile([5.0, 9.0, 2.0, 4.0], 12)),
        ("growth", 100 * 1.03 ** np.arange(48)),
        ("season of a growing level", np.tile([0.8, 1.3, 0.9, 1.0], 12) * 1.02 ** np.arange(48)),
        ("constant", np.full(48, 7.0)),
    ],
)
def test_a_series_without_noise_goes_on(name: str, series: np.ndarray):
    later = {
        "line": 3.0 + 0.5 * np.arange(48, 54),
        "season": np.tile([5.0, 9.0, 2.0, 4.0], 2)[:6],
        "growth": 100 * 1.03 ** np.arange(48, 54),
        "season of a growing level": (np.tile([0.8, 1.3, 0.9, 1.0], 2)[:6]) * 1.02 ** np.arange(48, 54),
        "constant": np.full(6, 7.0),
    }[name]
    forecast = smooth(series, (4,), 6)[-1]
    assert forecast == pytest.approx(later, rel=0.02)


def test_a_second_season_is_followed():
    t = np.arange(24 * 7 * 5)
    series = 10 + np.sin(2 * np.pi * t / 24) * np.where(t // 24 % 7 < 5, 3.0, 0.5)
    future = np.arange(len(t), len(t) + 48)
    expected = 10 + np.sin(2 * np.pi * future / 24) * np.where(future // 24 % 7 < 5, 3.0, 0.5)
    errors = {seasons: np.abs(smooth(series, seasons, 48)[-1] - expected).mean() for seasons in ((24,), (24, 168))}
    assert errors[24, 168] < 0.05 < errors[(24,)]


def test_forecasts_do_not_depend_on_what_follows():
    series = RNG.normal(50, 5, 60).cumsum()
    whole = smooth(series, (12,), 5, fit_rows=40)
    changed = smooth(np.concatenate([series[:40], RNG.normal(0, 1000, 20)]), (12,), 5, fit_rows=40)
    assert np.array_equal(whole[:40], changed[:40])


def test_seasonal_naive_repeats_the_last_season():
    y = np.arange(10.0)
    rows = seasonal_naive(y, 4, 6)
    assert rows[-1].tolist() == [6.0, 7.0, 8.0, 9.0, 6.0, 7.0]
    assert rows[0].tolist() == [0.0] * 6  # before the first season the last value


def test_seasonal_naive_skips_missing_values():
    y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan, 7.0, 8.0])
    assert seasonal_naive(y, 4, 4)[-1].tolist() == [5.0, 2.0, 7.0, 8.0]


def test_the_mean_of_two_seasons_has_each_phase_of_both():
    y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 8.0])
    means = mean_of_two_seasons(seasonal_naive(y, 2, 3), 2)
    assert means[-1].tolist() == [4.0, 6.0, 4.0]
    assert means[1].tolist() == [1.0, 2.0, 1.0]  # one season only


def test_the_mean_of_two_seasons_helps_where_seasons_differ_by_noise():
    errors = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = np.tile([5.0, 9.0, 2.0, 4.0], 16) + rng.normal(0, 1, 64)
        future = np.array([5.0, 9.0, 2.0, 4.0])
        naive = seasonal_naive(y, 4, 4)
        forecasts = naive[-1], mean_of_two_seasons(naive, 4)[-1], smooth(y, (4,), 4)[-1]
        errors.append([((forecast - future) ** 2).mean() for forecast in forecasts])
    last, mean, combined = np.mean(errors, axis=0)
    assert mean == pytest.approx(last / 2, rel=0.25)
    assert combined < mean


def test_models_differ_and_need_no_season_without_one():
    for season in (1, 12):
        models = list_models(season)
        rows = np.stack(models, axis=1)
        assert len(np.unique(rows, axis=0)) == len(rows)
    assert not list_models(1).seasonal.any()


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")), st.integers(0, 9).map(float)), min_size=1, max_size=60
    ),
    season=st.integers(1, 14),
    horizon=st.integers(1, 20),
)
def test_any_series_has_finite_forecasts_within_reach(values: list[float], season: int, horizon: int):
    y = np.array(values)
    forecasts = smooth(y, (season,), horizon)
    assert forecasts.shape == (len(y), horizon)
    assert np.isfinite(forecasts).all()
    known = y[np.isfinite(y)]
    if len(known) and (known > 0).all():
        assert (forecasts > 0).all()
