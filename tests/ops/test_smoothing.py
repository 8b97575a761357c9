"""Exponential smoothing in the kernels, against numpy; what it refuses."""

import numpy as np
import pytest
import torch

from ohlol.ops import backend, smoothing
from ohlol.ops.smoothing import Rates, States

pytestmark = pytest.mark.usefixtures("poisoned")


def draw(T: int, M: int, m: int, missing: float = 0.0) -> tuple[np.ndarray, Rates, States]:
    """A series and models whose errors do not grow."""
    rng = np.random.default_rng((T, M, m))
    values = rng.normal(5, 2, T)
    values[rng.random(T) < missing] = np.nan
    alpha, phi = rng.random(M), rng.choice([0.0, 0.8, 1.0], M)
    rates = Rates(alpha, 0.3 * alpha * rng.random(M) * (phi > 0), phi, (1 - alpha) * rng.random(M) * (m > 1))
    return values, rates, States(rng.normal(5, 1, M), 0.1 * rng.normal(size=M) * (phi > 0), rng.normal(size=(m, M)))


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("horizon", [0, 1, 7])
@pytest.mark.parametrize(("T", "M", "m"), [(1, 1, 1), (2, 3, 1), (30, 8, 4), (50, 17, 7), (100, 33, 24), (9, 70, 12)])
def test_kernels_equal_numpy(T: int, M: int, m: int, horizon: int, missing: float, variant: str) -> None:
    values, rates, states = draw(T, M, m, missing)
    before = states.seasons.copy()
    for first in (0, T // 2, T):
        ours = smoothing.run_models(values, rates, states, first=first, horizon=horizon)
        exact = smoothing.run_equations(values, rates, states, first=first, horizon=horizon)
        assert ours[1].shape == (T, horizon, M)
        for result, expected in zip(ours, exact, strict=True):
            np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-11)
    assert np.array_equal(states.seasons, before)


def test_results_do_not_depend_on_the_threads() -> None:
    values, rates, states = draw(60, 101, 12)
    threads = torch.get_num_threads()
    backend.force_threads(True)
    try:
        results: list[tuple[np.ndarray, np.ndarray]] = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(smoothing.run_models(values, rates, states, horizon=3))
            assert backend.KERNEL is None or count == 1 or backend.KERNEL.threaded_calls()[1] > 1
    finally:
        torch.set_num_threads(threads)
        backend.force_threads(False)
    for squared, forecasts in results[1:]:
        assert np.array_equal(squared, results[0][0])
        assert np.array_equal(forecasts, results[0][1])


def test_views_are_read() -> None:
    values, rates, states = draw(20, 6, 3)
    expected = smoothing.run_models(values, rates, states, horizon=2)
    spread = States(states.level, states.slope, np.asfortranarray(states.seasons))
    strided = np.repeat(values, 2)[::2]
    for ours, exact in zip(smoothing.run_models(strided, rates, spread, horizon=2), expected, strict=True):
        assert np.array_equal(ours, exact)


def test_shapes_that_do_not_fit_are_refused() -> None:
    values, rates, states = draw(20, 6, 3)
    for arguments in (
        (values[None], rates, states),
        (values, rates._replace(phi=rates.phi[:5]), states),
        (values, rates, states._replace(level=states.level[None])),
        (values, rates, states._replace(seasons=states.seasons[0])),
        (values, rates, states._replace(seasons=states.seasons[:0])),
    ):
        with pytest.raises(ValueError, match=r"the shape does not fit"):
            smoothing.run_models(*arguments)
