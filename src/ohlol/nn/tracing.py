"""Whether torch traces or transforms a call, so that it must see every operation."""

# pyright: reportPrivateUsage=false
from typing import Any

import torch
from torch._C import (
    _get_tracing_state,
    _is_any_autocast_enabled,
    _len_torch_dispatch_stack,
    _len_torch_function_stack,
)
from torch.autograd import forward_ad
from torch.fx import Proxy

from ohlol.nn.autocast import runs_in_onednn
from ohlol.nn.transforms import are_all_vmap, current_level


def takes_operators(is_compiling: bool) -> bool:
    """Whether this call runs as a registered operator: in a graph or under `vmap`, and under no other transform.

    Args:
        is_compiling: `torch.compiler.is_compiling()` in the caller. Where torch's compiler passes over a layer, it may
            still compile the functions that the layer calls, and this one would take its own compilation for a graph.
    """
    if is_compiling:
        from ohlol.nn.traced import has_only_vmap  # imports torch's compiler, which takes a second

        return has_only_vmap()
    return current_level() is not None and are_all_vmap() and forward_ad._current_level < 0


def find_autocast_dtype(before: torch.dtype | None, dense: torch.dtype | None, is_compiling: bool) -> torch.dtype:
    """The dtype of the results of torch's layers on the CPU under autocast.

    Args:
        before: the dtype of the state that is a term of the sum that is the next one; None if there is no such sum.
        dense: the dtype of the input, if it is dense and torch may run the layer in oneDNN; otherwise None.
        is_compiling: `torch.compiler.is_compiling()` in the caller.
    """
    dtype = torch.get_autocast_dtype("cpu")
    if before is None:
        return dtype
    if dense is not None:
        if is_compiling:
            from ohlol.nn.traced import traces_onednn

            is_cast = traces_onednn(dense)
        else:
            is_cast = runs_in_onednn(dense)
        if is_cast:
            return dtype
    return torch.promote_types(before, dtype)


def make_node(module: torch.nn.Module, input: Proxy, hx: Any) -> Any:
    """What `torch.fx.symbolic_trace` gets for a call: the module as one node, as torch's own layers are."""
    tracer: Any = input.tracer
    arguments = (input,) if hx is None else (input, hx)
    return tracer.create_proxy("call_module", tracer.path_of_module(module), arguments, {})


def find_tracing() -> str:
    """Why torch must see every operation of this call, or an empty string."""
    if _get_tracing_state() is not None:  # pyright: ignore[reportUnnecessaryComparison]
        return "torch.jit is tracing"
    if _is_any_autocast_enabled() and torch.is_autocast_enabled("cpu"):
        return "autocast chooses the dtypes"
    if current_level() is not None:
        return "a torch.func transform is active"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation is active"
    if _len_torch_dispatch_stack() or _len_torch_function_stack():
        return "a torch dispatch or function mode is active"
    return ""
