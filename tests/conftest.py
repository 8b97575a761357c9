"""Shared setup: shape annotations are checked while tests run, and all page tests use one browser."""

import os

# Before torch is imported, which reads it. A thread that waits for others sleeps. By default it repeats a loop for a
# while, and where other tests use the processor, this takes most of the time of the tests with several threads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import shutil
import signal
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import browser as browsers
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

PACKAGE = Path(find_spec("ohlol").origin).parent
CHECKED = [
    ".".join(("ohlol", *path.relative_to(PACKAGE).with_suffix("").parts))
    for part in ("cells", "nn", "models")
    for path in sorted((PACKAGE / part).rglob("*.py"))
    if "from jaxtyping import" in path.read_text(encoding="utf-8")
]
"""The modules with shape annotations; of the others, pyright checks the types, and in the tests every call of a
checked function takes several times as long."""

# pytest imports this file before any test, so the hook is in place when ohlol is first imported; it stays for the
# whole run, since some modules are imported only inside the functions that need them.
if "OHLOL_UNCHECKED" not in os.environ:  # as tests of graphs need it, which cannot hold the checks
    install_import_hook(CHECKED, "beartype.beartype")

os.environ.setdefault("OHLOL_DEVICE", "cpu")  # what `auto` is in the tests, where there is a GPU, too
os.environ["LC_ALL"] = "C.UTF-8"  # messages are in English
os.environ.pop("OHLOL_LANG", None)

# A shell ignores SIGINT in what it starts in the background, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)  # the tests' tensors are small, and pytest-xdist runs several of them at once

# how long an example takes says more of the machine than of the code
settings.register_profile("untimed", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=25)  # of `make test`
settings.load_profile("untimed")


MEMORY = Path("/dev/shm")
"""A file system in memory, where the system has one."""
ENOUGH = 8 << 30
"""Free bytes of it with which the tests use it."""


@pytest.hookimpl(tryfirst=True)  # before pytest reads the option
def pytest_configure(config: pytest.Config) -> None:
    """Put the directories of the tests in memory: every file of a run is flushed, which waits for a disk.

    They are removed at the end. To keep those of tests that fail, give pytest another place with `--basetemp`.
    """
    if hasattr(config, "workerinput") or config.option.basetemp is not None or not os.access(MEMORY, os.W_OK):
        return
    if shutil.disk_usage(MEMORY).free >= ENOUGH:
        folder = tempfile.mkdtemp(prefix="ohlol-tests-", dir=MEMORY)
        config.option.basetemp = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """A test's random numbers do not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; the test skips where there is none."""
    yield from browsers.opened()
