"""What `find_tracing` recognizes."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ohlol.nn.tracing import find_tracing


class FunctionMode(TorchFunctionMode):
    """Any mode."""


class DispatchMode(TorchDispatchMode):
    """Any mode."""


def test_a_plain_call_is_not_traced() -> None:
    assert find_tracing() == ""
    with torch.autocast("cuda", enabled=False), torch.no_grad():
        assert find_tracing() == ""


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (lambda: torch.autocast("cpu", torch.bfloat16), "autocast chooses the dtypes"),
        (forward_ad.dual_level, "forward-mode differentiation is active"),
        (FunctionMode, "a torch dispatch or function mode is active"),
        (DispatchMode, "a torch dispatch or function mode is active"),
    ],
)
def test_modes(mode: Callable[[], AbstractContextManager[object]], reason: str) -> None:
    with mode():
        assert find_tracing() == reason
    assert find_tracing() == ""


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
def test_transforms_and_traces() -> None:
    reasons: list[str] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        reasons.append(find_tracing())
        return x.sum()

    torch.func.grad(f)(torch.ones(2))
    assert reasons == ["a torch.func transform is active"]
    torch.jit.trace(f, torch.ones(2), check_trace=False)
    assert reasons[1:] == ["torch.jit is tracing"]
