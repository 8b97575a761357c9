"""Seasons by the autocorrelation: clear ones are found, and noise and trends have none."""

import numpy as np
import pytest

from ohlol.data.season import find_season

GENERATOR = np.random.default_rng


@pytest.mark.parametrize("season", [4, 7, 12, 24, 52, 168])
def test_a_clear_season_is_found(season: int) -> None:
    values = np.tile(GENERATOR(season).normal(size=season), 6) + 0.1 * GENERATOR(1).normal(size=6 * season)
    assert find_season([values + 0.5 * np.arange(6 * season)]) == season


@pytest.mark.parametrize("length", [10, 30, 100, 1000])
def test_noise_and_random_walks_have_none(length: int) -> None:
    for seed in range(30):
        noise = GENERATOR(seed).normal(size=length)
        assert find_season([np.cumsum(noise)]) == 1
        assert find_season([noise]) == 1


def test_trends_constants_and_few_values_have_none() -> None:
    for values in (np.arange(50.0), np.ones(50), np.arange(50.0) ** 2, np.zeros(3), np.full(9, np.nan)):
        assert find_season([values]) == 1
    assert find_season([]) == 1


def test_missing_values_and_short_series_do_not_hide_it() -> None:
    values = np.tile([0.0, 5, 5, 9], 20)
    values[11] = np.nan
    assert find_season([values, values[:60], np.zeros(4)]) == 4
