"""Toy modules, registered for the time of a test module only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import ohlol.cli.app  # noqa: F401 - its help lists the members of registries that there are when it is imported
from ohlol.utils.registry import Registry

MAX_LINES = 60


@contextmanager
def registered(name: str, *registries: Registry[Any]) -> Iterator[ModuleType]:
    """Import a toy module, and remove at the end of the block what it has added to the registries."""
    members = [dict(registry) for registry in registries]
    sys.modules.pop(name, None)
    module = import_module(name)
    assert len(Path(str(module.__file__)).read_text().splitlines()) <= MAX_LINES
    yield module
    for registry, before in zip(registries, members, strict=True):
        registry._members.clear()
        registry._members.update(before)
