"""Every test of parity runs with uninitialized memory filled with NaN, on one thread unless it sets more."""

from collections.abc import Iterator

import pytest
import torch

from ohlol import ops
from ohlol.ops import backend

VARIANTS = ops.available()
"""Fastest first: the first one is that which every user of this machine gets."""


@pytest.fixture(autouse=True)
def _careful() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backend.fill_with_nan(True)
    yield
    backend.fill_with_nan(False)
    torch.set_num_threads(threads)


def _select(variant: str) -> Iterator[str]:
    before = ops.selected()
    ops.select(variant)
    yield variant
    ops.select(before)


@pytest.fixture(params=[*VARIANTS[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS[1:])])
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that this machine supports; `make test` has the fastest one."""
    yield from _select(request.param)


@pytest.fixture(params=VARIANTS)
def every_variant(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that this machine supports, in `make test`, too."""
    yield from _select(request.param)


@pytest.fixture
def threaded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Split even the smallest problem among the threads, and check that calls ran on several if the test sets more."""
    assert backend.KERNEL is not None
    threads = request.node.callspec.params.get("threads", 2) if hasattr(request.node, "callspec") else 2
    before = backend.KERNEL.threaded_calls()[0]
    backend.force_threads(True)
    try:
        yield
    finally:
        backend.force_threads(False)
    assert threads == 1 or backend.KERNEL.threaded_calls()[0] > before


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests without the compiled module."""
    if VARIANTS:
        return
    skip = pytest.mark.skip(reason=backend.ABSENT)
    for item in items:
        if "parity" in item.path.parts:
            item.add_marker(skip)
