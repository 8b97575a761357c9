"""Which transforms of `torch.func` are active."""

import pytest
import torch

from ohlol.nn.transforms import are_all_vmap, current_level


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
def test_levels() -> None:
    seen: list[tuple[bool, bool]] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        seen.append((current_level() is None, are_all_vmap()))
        return x.sum()

    f(torch.ones(2))
    torch.vmap(f)(torch.ones(2, 2))
    torch.vmap(torch.vmap(f))(torch.ones(2, 2, 2))
    torch.vmap(torch.func.grad(f))(torch.ones(2, 2))
    torch.func.jvp(f, (torch.ones(2),), (torch.ones(2),))
    assert seen == [(True, True), (False, True), (False, True), (False, False), (False, False)]
