"""Every test of parity runs with uninitialised memory full of NaN, on one thread unless it asks for more."""

from collections.abc import Iterator

import pytest
import torch

from ohlol import ops
from ohlol.ops import backend

VARIANTS = ops.available()


@pytest.fixture(autouse=True)
def _careful() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backend.poison(True)
    yield
    backend.poison(False)
    torch.set_num_threads(threads)


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    """One after the other, every instruction set that this machine runs."""
    before = ops.selected()
    ops.select(request.param)
    yield request.param
    ops.select(before)


@pytest.fixture
def threaded() -> Iterator[None]:
    """Share even the smallest problem among the threads."""
    backend.share_all_work(True)
    yield
    backend.share_all_work(False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the compiled module there is nothing to hold against the equations."""
    if VARIANTS:
        return
    skip = pytest.mark.skip(reason=backend.ABSENT)
    for item in items:
        if "parity" in item.path.parts:
            item.add_marker(skip)
