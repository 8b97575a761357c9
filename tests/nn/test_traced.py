"""Layers in graphs, by the tests of `graph_cases.py`, and under `vmap`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from user_cells import PlainLSTM

from ohlol import nn

QUICK = "test_one_graph_runs_the_kernels"


@pytest.mark.parametrize("which", [QUICK, pytest.param(f"not {QUICK}", marks=pytest.mark.slow)])
def test_graphs(which: str) -> None:
    cases = Path(__file__).parents[1] / "graph_cases.py"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", which, cases],
        env={**os.environ, "OHLOL_UNCHECKED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_vmap_of_a_layer() -> None:
    layer, x = nn.LSTM(3, 4, 2, bidirectional=True), torch.randn(6, 5, 2, 3)
    explained: list[str] = []

    def run(v: Tensor) -> Tensor:
        explained.append(nn.explain_backend(layer, v))
        return layer(v)[1][0]

    expected = torch.stack([run(v) for v in x])
    torch.testing.assert_close(torch.vmap(run)(x), expected)
    assert explained[-1].startswith("kernel")


def test_vmap_of_recurrent() -> None:
    layer, x = nn.Recurrent(PlainLSTM(3, 4)), torch.randn(6, 5, 2, 3)
    explained: list[str] = []

    def run(v: Tensor) -> Tensor:
        explained.append(nn.explain_backend(layer, v))
        return layer(v)[0]

    torch.testing.assert_close(torch.vmap(run)(x), torch.stack([layer(v)[0] for v in x]))
    torch.testing.assert_close(torch.vmap(run)(x), torch.stack([layer(v)[0] for v in x]))
    assert "once the layer has been called without it" in explained[0]
    assert explained[1].startswith("kernel")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_vmap_of_an_ensemble(bidirectional: bool) -> None:
    """Cells with weights of their own for each entry."""
    layer = nn.Recurrent(lambda size: PlainLSTM(size, 4), 2, bidirectional, input_size=3)
    x = torch.randn(5, 2, 3)
    layer(x)
    weights = {name: torch.stack([w, 2 * w, -w]).requires_grad_() for name, w in layer.named_parameters()}

    def run(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, weights, (x,))[0]

    alone = torch.stack([run({name: w[n] for name, w in weights.items()}) for n in range(3)])
    together = torch.vmap(run)(weights)
    torch.testing.assert_close(together, alone)
    leaves = list(weights.values())
    grads = [torch.autograd.grad(out.square().sum(), leaves) for out in (together, alone)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)
