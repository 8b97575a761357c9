"""The transforms of `torch.func` that are active."""

# pyright: reportAttributeAccessIssue=false
from collections.abc import Callable
from typing import Any

import torch

# Bound once: looking it up in torch at each call takes as long as calling it.
current_level: Callable[[], int | None] = torch._C._functorch.maybe_current_level
"""The number of the innermost transform, or None without any."""
_get_levels: Callable[[], list[Any] | None] = torch._C._functorch.get_interpreter_stack
_VMAP = torch._C._functorch.TransformType.Vmap


def are_all_vmap() -> bool:
    """Whether no transform but `vmap` is active."""
    return all(level.key() == _VMAP for level in _get_levels() or ())
