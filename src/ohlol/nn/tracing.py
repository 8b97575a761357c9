"""Whether torch traces or transforms a call, so that it must see every operation."""

# pyright: reportPrivateUsage=false
from collections.abc import Callable

import torch
from torch._C import (
    _get_tracing_state,
    _is_any_autocast_enabled,
    _len_torch_dispatch_stack,
    _len_torch_function_stack,
)
from torch.autograd import forward_ad

# Bound once: looking these up in torch at each call takes as long as calling them.
_is_compiling = torch.compiler.is_compiling
_current_functorch_level: Callable[[], int | None] = torch._C._functorch.maybe_current_level  # pyright: ignore[reportAttributeAccessIssue]
_VMAP = torch._C._functorch.TransformType.Vmap  # pyright: ignore[reportAttributeAccessIssue]


def takes_operators() -> bool:
    """Whether this call runs as a registered operator: in a graph, or under `vmap` alone."""
    if _is_compiling():
        return True
    if _current_functorch_level() is None:
        return False
    levels = torch._C._functorch.get_interpreter_stack()  # pyright: ignore[reportAttributeAccessIssue]
    return all(level.key() == _VMAP for level in levels)


def find_tracing() -> str:
    """Why torch must see every operation of this call, or an empty string."""
    if _is_compiling():
        return "torch.compile or torch.export is tracing"
    if _get_tracing_state() is not None:  # pyright: ignore[reportUnnecessaryComparison]
        return "torch.jit is tracing"
    if _is_any_autocast_enabled() and torch.is_autocast_enabled("cpu"):
        return "autocast chooses the dtypes"
    if _current_functorch_level() is not None:
        return "a torch.func transform is active"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation is active"
    if _len_torch_dispatch_stack() or _len_torch_function_stack():
        return "a torch dispatch or function mode is active"
    return ""
