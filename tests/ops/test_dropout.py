"""Dropout by bits: how many numbers are dropped, and which; its gradient; what torch computes."""

import math

import pytest
import torch

from ohlol.ops import dropout as module
from ohlol.ops.dropout import STEPS, dropout

N = 1 << 18
STANDARD_ERRORS = 5


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [0.001, 0.1, 0.3, 0.5, 0.9])
def test_a_number_is_dropped_with_this_probability_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    y = dropout(torch.ones(N // 4, 4, dtype=dtype), p)
    assert y.dtype is dtype
    dropped = round(p * STEPS) / STEPS
    assert abs(dropped - p) <= 0.5 / STEPS
    share = float((y == 0).double().mean())
    assert abs(share - dropped) < STANDARD_ERRORS * math.sqrt(dropped * (1 - dropped) / N)
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - dropped)))


def test_numbers_are_dropped_independently_of_their_neighbours_and_of_earlier_calls() -> None:
    first, second = ((dropout(torch.ones(N), 0.5) / 2 - 0.5).double() for _ in range(2))
    bound = STANDARD_ERRORS / 4 / math.sqrt(N)  # of the mean of products of numbers that are -1/2 or 1/2
    assert abs(float((first * second).mean())) < bound
    for shift in (1, 2, 3, 4, 8, 64):
        assert abs(float((first * first.roll(shift)).mean())) < bound


def test_the_gradient_is_that_of_the_numbers_that_are_kept() -> None:
    x, gradient = torch.randn(400, 200, requires_grad=True), torch.randn(400, 200)
    y = dropout(x, 0.3)
    y.backward(gradient)
    factor = STEPS / (STEPS - round(0.3 * STEPS))
    kept = (y != 0) * factor
    torch.testing.assert_close(y, x * kept)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, gradient * kept)


def test_the_same_seed_drops_the_same_numbers_with_any_number_of_threads() -> None:
    before, masks = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(7)
            masks.append(dropout(torch.ones(1001, 73), 0.2))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("p", [0.0, 1e-6, 0.5, 1 - 1e-6, 1.0])
def test_small_tensors_and_extreme_probabilities_are_those_of_torch(p: float) -> None:
    size = module.LEAST_NUMBERS - (p == 0.5)
    ours = dropout(torch.ones(size), p)
    torch.manual_seed(0)
    assert torch.equal(ours, torch.nn.functional.dropout(torch.ones(size), p))
