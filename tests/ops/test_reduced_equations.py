"""Products with weights of fewer bits, in plain PyTorch."""

import doctest

import pytest
import torch

from ohlol.ops import reduced_equations
from ohlol.ops.reduced_equations import quantize_rows, reduced_linear, run_equations


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


def test_docstrings() -> None:
    result = doctest.testmod(reduced_equations)
    assert result.attempted > 0
    assert result.failed == 0
