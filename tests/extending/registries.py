"""Registries that are restored after a test module, so that no other test sees its members."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ohlol.utils.registry import Registry


@contextmanager
def restore(*registries: Registry[Any]) -> Iterator[None]:
    """Restore the members of registries at the end of the block."""
    members = [dict(registry) for registry in registries]
    yield
    for registry, before in zip(registries, members, strict=True):
        registry._members.clear()
        registry._members.update(before)
