"""Shared setup: shape annotations are checked while tests run, and all page tests use one browser."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import browser as browsers
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Only the modules whose functions take tensors: beartype would refuse an int where a setting says float.
CHECKED = ["ohlol.cells", "ohlol.nn", "ohlol.models", "ohlol.explain.shapes"]

# pytest imports this file before any test, so the hook is in place when ohlol is first imported; it stays for the
# whole run, since some modules are imported only inside the functions that need them.
if "OHLOL_UNCHECKED" not in os.environ:  # as tests of graphs need it, which cannot hold the checks
    install_import_hook(CHECKED, "beartype.beartype")

os.environ.setdefault("OHLOL_DEVICE", "cpu")  # what `auto` is in the tests, where there is a GPU, too
os.environ["LC_ALL"] = "C.UTF-8"  # messages are in English

# A shell ignores SIGINT in what it starts in the background, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)  # the tests' tensors are small, and pytest-xdist runs several of them at once

settings.register_profile(
    "untimed", deadline=None
)  # how long an example takes says more of the machine than of the code
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """A test's random numbers do not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; the test skips where there is none."""
    yield from browsers.opened()
