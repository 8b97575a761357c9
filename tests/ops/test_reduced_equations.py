"""Products with weights of fewer bits, in plain PyTorch."""

import doctest
from typing import Any

import pytest
import torch
from user_cells import ConcatenatedGRU

from ohlol import nn, ops
from ohlol.ops import reduced_equations
from ohlol.ops.reduced_equations import quantize_rows, reduced_linear, run_equations, run_step_equations


@pytest.mark.parametrize("K", [1, 3, 1024, 1025, 5000])
def test_products_of_integers_are_exact(K: int) -> None:
    torch.manual_seed(0)
    x, W = torch.randn(4, K), torch.randn(6, K)
    (q_x, scale_x), (q_W, scale_W) = quantize_rows(x), quantize_rows(W)
    sums = q_x.long() @ q_W.long().T
    expected = sums.double() * scale_x.double() * scale_W.double().T
    torch.testing.assert_close(reduced_linear(x, W, "int8").double(), expected, rtol=1e-6, atol=0)
    assert (expected - (x.double() @ W.double().T)).abs().max() < 0.03 * K**0.5


def test_weights_are_rounded_to_bfloat16() -> None:
    x, W = torch.ones(1, 2), torch.tensor([[1.001, 2**-8 + 1.0]])
    assert reduced_linear(x, W, "bf16").item() == 2.0
    assert reduced_linear(x, W, "fp32").item() == W.sum()


def test_layers_of_full_precision_are_those_of_torch() -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.GRU(3, 5), torch.randn(6, 2, 3)
    outputs, (h,) = run_equations("gru", x, (torch.zeros(2, 5),), [p.detach() for p in layer.parameters()], "fp32")
    torch.testing.assert_close(outputs, layer(x)[0].detach())
    assert torch.equal(h, outputs[-1])


@pytest.mark.skipif(not ops.available(), reason="a cell is read for the kernels")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_step_of_a_cell_has_the_products_of_its_parts(precision: str) -> None:
    torch.manual_seed(0)
    layer, x, h = nn.Recurrent(ConcatenatedGRU(3, 5)).eval(), torch.randn(1, 2, 3), torch.randn(2, 5)
    nn.quantize(layer, "int8")  # the plain statement itself takes any precision
    cell: Any = layer.cells[0]

    def multiply(rows: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
        return reduced_linear(x[0], W[:, :3], precision) + reduced_linear(rows, W[:, 3:], precision)

    with torch.no_grad():
        r, z = (multiply(h, cell.gates.weight) + cell.gates.bias).sigmoid().chunk(2, 1)
        expected = torch.lerp(multiply(r * h, cell.candidate.weight).tanh(), h, z)
        out, (after,) = run_step_equations(*layer.find_compiled(0, x), x[0], (h,), precision)
    torch.testing.assert_close(out, expected)
    assert torch.equal(out, after)


def test_docstrings() -> None:
    result = doctest.testmod(reduced_equations)
    assert result.attempted > 0
    assert result.failed == 0
