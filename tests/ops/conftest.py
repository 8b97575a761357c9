"""Each instruction set of the kernels, and uninitialized memory filled with NaN, for the tests that ask for them."""

from collections.abc import Iterator

import pytest
from kernel_variants import KERNEL_VARIANTS

from ohlol import ops
from ohlol.ops import backend


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fill uninitialized memory with NaN."""
    backend.fill_with_nan(True)
    yield
    backend.fill_with_nan(False)


@pytest.fixture(params=KERNEL_VARIANTS)
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that this machine supports, or "off" without the compiled module."""
    before = ops.selected()
    if request.param != "off":
        ops.select(request.param)
    yield request.param
    if request.param != "off":
        ops.select(before)
