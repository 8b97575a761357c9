"""`quantize` changes how layers compute and nothing else, and a reduced precision is refused where it cannot be.

The numbers are compared in tests/parity/test_reduced.py.
"""

import copy
import doctest
import pickle
from typing import Any

import pytest
import torch
from all_kinds import AllKinds
from module_cells import Cumulative
from user_cells import ConcatenatedGRU, PlainGRU, PlainLSTM

import ohlol
from ohlol import nn
from ohlol.nn import quantization
from ohlol.ops import available
from ohlol.ops.reduced_equations import run_equations, run_step_equations

pytestmark = pytest.mark.skipif(not available(), reason="a reduced precision needs the compiled kernels")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _compute(layer: torch.nn.Module, x: Any, hx: Any = None) -> torch.Tensor:
    with torch.no_grad():
        return layer(x, hx)[0]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_parameters_and_state_dict_stay(precision: str) -> None:
    layer, x = nn.LSTM(3, 5, num_layers=2, bidirectional=True), torch.randn(7, 2, 3)
    before, parameters, exact = layer.state_dict(), list(layer.parameters()), _compute(layer, x)
    assert nn.quantize(layer, precision) is layer
    assert not layer.training
    assert repr(layer) == f"LSTM(3, 5, num_layers=2, bidirectional=True, precision={precision})"
    reduced = _compute(layer, x)
    assert not torch.equal(reduced, exact)
    assert all(a is b for a, b in zip(parameters, layer.parameters(), strict=True))
    assert layer.state_dict().keys() == before.keys()
    assert nn.explain_backend(layer, x) == f"kernel ({ohlol.ops.selected()}, {precision})"
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert "_reduced" not in vars(other) or other._reduced is not layer._reduced
        assert torch.equal(_compute(other, x), reduced)
    nn.quantize(layer, "fp32")
    assert torch.equal(_compute(layer, x), exact)
    assert vars(layer).keys() == vars(nn.LSTM(3, 5, num_layers=2, bidirectional=True)).keys()
    ohlol.restore(nn.quantize(layer, precision))
    assert type(layer) is torch.nn.LSTM
    torch.testing.assert_close(_compute(layer, x), exact)


def test_layers_inside_a_model_are_quantized_and_others_left_alone() -> None:
    model: Any = ohlol.accelerate(AllKinds())
    x = torch.randn(5, 2, 3)
    nn.quantize(model)
    assert (model.layer.precision, model.own.precision) == ("int8", "int8")
    assert not hasattr(model.cell, "precision")
    assert not model.training
    with torch.no_grad():
        model(x)


def test_weights_that_change_are_packed_again() -> None:
    layer: Any = nn.quantize(nn.GRU(3, 5))
    x = torch.randn(7, 2, 3)

    def expected() -> torch.Tensor:
        weights = [p.detach() for p in layer.parameters()]
        return run_equations("gru", x, (torch.zeros(2, 5),), weights, "int8", _compute(layer, x))[0]

    for change in (
        lambda: layer.weight_hh_l0.mul_(1.5),
        lambda: layer.load_state_dict(nn.GRU(3, 5).state_dict()),
        lambda: layer.load_state_dict(nn.GRU(3, 5).state_dict(), assign=True),
        lambda: setattr(layer, "bias_hh_l0", torch.nn.Parameter(torch.ones(15))),
    ):
        before = _compute(layer, x)
        with torch.no_grad():
            change()
        assert not torch.equal(_compute(layer, x), before)
        torch.testing.assert_close(_compute(layer, x), expected(), rtol=0, atol=1e-5)
    packed = layer._reduced
    _compute(layer, x)
    assert layer._reduced is packed


def test_the_instruction_set_may_change() -> None:
    layer, x, before = nn.quantize(nn.GRU(3, 5)), torch.randn(7, 2, 3), ohlol.ops.selected()
    first = _compute(layer, x)
    try:
        ohlol.ops.select("baseline")
        torch.testing.assert_close(_compute(layer, x), first, rtol=0, atol=1e-2)
    finally:
        ohlol.ops.select(before)


def test_training_is_refused() -> None:
    layer: Any = nn.quantize(nn.LSTM(3, 5))
    x = torch.randn(7, 2, 3)
    layer.train()
    with pytest.raises(RuntimeError, match=r"this LSTM with int8 weights .*training mode.*eval\(\)"):
        layer(x)
    assert nn.explain_backend(layer, x).startswith("error: it is in training mode")
    assert nn.over_symbols(layer, torch.zeros(9, 1, dtype=torch.int64), torch.randn(4, 3), None) is None


def check_that_gradients_are_refused(layer: Any, x: torch.Tensor, name: str) -> None:
    out, (h, c) = layer(x)
    for result in (out, h, c):
        with pytest.raises(RuntimeError, match=f"this {name} with int8 weights has no gradient"):
            result.sum().backward(retain_graph=True)
    packed, _ = layer(torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([7, 4])))
    with pytest.raises(RuntimeError, match="has no gradient"):
        packed.data.sum().backward()


def test_a_gradient_is_refused_where_it_is_asked_for() -> None:
    layer, x = nn.quantize(nn.LSTM(3, 5)), torch.randn(7, 2, 3)
    check_that_gradients_are_refused(layer, x, "LSTM")
    layer.requires_grad_(False)
    assert not layer(x)[0].requires_grad
    with pytest.raises(RuntimeError, match="has no gradient"):
        layer(x.requires_grad_())[0].sum().backward()
    with torch.inference_mode():
        layer(x.detach())


def test_calls_that_the_kernels_cannot_run_are_refused() -> None:
    layer, x = nn.quantize(nn.LSTM(3, 5)), torch.randn(7, 2, 3)
    with pytest.raises(RuntimeError, match="in the compiled kernels alone, in float32, and here the weights have"):
        nn.quantize(nn.LSTM(3, 5)).double()(x.double())
    with pytest.raises(RuntimeError, match=r"Expected 3|input_size"):  # torch's own message
        layer(torch.randn(7, 2, 4))
    with pytest.raises(RuntimeError, match="hidden"):
        layer(x, (torch.zeros(1, 3, 5), torch.zeros(1, 3, 5)))
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="and here autocast"):
        layer(x)
    assert layer(torch.randn(7, 0, 3))[0].shape == (7, 0, 5)
    assert nn.explain_backend(layer, x.double()).startswith("error: ")


def test_wrong_arguments_change_nothing() -> None:
    with pytest.raises(ValueError, match=r"'int4'; it must be one of fp32, bf16, int8"):
        nn.quantize(nn.GRU(3, 5), "int4")
    with pytest.raises(ValueError, match=r"no layer of ohlol.nn in this LSTM: call accelerate"):
        nn.quantize(torch.nn.LSTM(3, 5))
    for bad, message in (
        (nn.GRU(3, 5, dtype=torch.float64), "1: int8 is for weights of float32"),
        (nn.LSTM(3, 5, proj_size=2), "1 has zoneout or proj_size"),
        (nn.LSTM(3, 5, zoneout=0.1), "1 has zoneout or proj_size"),
        (nn.RNN(1 << 18, 1), "1: int8 is for weights of at most 131072 columns"),
    ):
        model = torch.nn.Sequential(nn.GRU(3, 5), bad)
        with pytest.raises(ValueError, match=message):
            nn.quantize(model)
        assert [layer.precision for layer in model] == ["fp32", "fp32"]
        assert model.training


# Cells in `Recurrent`


class Scaled(torch.nn.Module):
    """A matrix that is computed from weights, and a weight that is in no product."""

    def __init__(self) -> None:
        super().__init__()
        self.ih, self.hh = torch.nn.Linear(3, 5), torch.nn.Linear(5, 5)
        self.scale = torch.nn.Parameter(torch.rand(5, 1))
        self.peephole = torch.nn.Parameter(torch.rand(5))
        self.input_size, self.hidden_size = 3, 5

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        W = self.scale * self.hh.weight / self.hh.weight.norm()
        return torch.tanh(self.ih(x) + h @ W.t() + self.peephole * h)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_the_parameters_of_a_cell_stay(precision: str) -> None:
    layer, x = nn.Recurrent(lambda size: ConcatenatedGRU(size, 5), 2, True, input_size=3), torch.randn(7, 2, 3)
    before, exact = layer.state_dict(), _compute(layer, x)
    assert nn.quantize(layer, precision) is layer
    assert not layer.training
    assert f"precision={precision}" in repr(layer)
    reduced = _compute(layer, x)
    assert not torch.equal(reduced, exact)
    assert layer.state_dict().keys() == before.keys()
    assert nn.explain_backend(layer, x) == f"kernel ({ohlol.ops.selected()}, {precision})"
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not other._reduced or other._reduced[0] is not layer._reduced[0]
        assert torch.equal(_compute(other, x), reduced)
    nn.quantize(layer, "fp32")
    assert torch.equal(_compute(layer, x), exact)
    assert nn.explain_backend(layer, x) == f"kernel ({ohlol.ops.selected()})"


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_matrices_that_weights_give_have_the_precision_and_other_weights_none(precision: str) -> None:
    layer: Any = nn.quantize(nn.Recurrent(Scaled()), precision)
    cell, x = layer.cells[0], torch.randn(1, 2, 3)
    h = torch.rand(1, 2, 5)

    def expected() -> torch.Tensor:
        step, weights = layer.find_compiled(0, x)
        return run_step_equations(step, weights, x[0], (h[0],), precision)[0].detach()

    for change in (
        lambda: None,
        lambda: cell.scale.mul_(1.5),
        lambda: cell.peephole.add_(0.123),
        lambda: cell.ih.bias.add_(1.0),
        lambda: setattr(cell, "scale", torch.nn.Parameter(torch.rand(5, 1))),
        lambda: cell.load_state_dict(Scaled().state_dict()),
    ):
        with torch.no_grad():
            change()
        torch.testing.assert_close(_compute(layer, x, h)[0], expected(), rtol=0, atol=1e-6)
    packed = layer._reduced[0]
    _compute(layer, x, h)
    assert layer._reduced[0] is packed
    with torch.no_grad():
        cell.ih.weight.zero_()
        cell.ih.bias.zero_()
        cell.scale.zero_()
    torch.testing.assert_close(_compute(layer, x, h)[0], torch.tanh(cell.peephole * h[0]).detach(), rtol=0, atol=1e-6)


def test_a_cell_has_zoneout_in_evaluation_mode() -> None:
    layer, x = nn.Recurrent(PlainGRU(3, 5), state_sizes=5, zoneout=0.25), torch.randn(1, 2, 3)
    nn.quantize(layer)
    h = torch.rand(1, 2, 5)
    without = nn.quantize(nn.Recurrent(layer.cells[0], state_sizes=5))
    expected = 0.25 * h + 0.75 * _compute(without, x, h)
    torch.testing.assert_close(_compute(layer, x, h), expected, rtol=0, atol=1e-6)


def test_the_instruction_set_of_a_cell_may_change() -> None:
    layer, x, before = nn.quantize(nn.Recurrent(PlainGRU(3, 5))), torch.randn(7, 2, 3), ohlol.ops.selected()
    first = _compute(layer, x)
    try:
        ohlol.ops.select("baseline")
        torch.testing.assert_close(_compute(layer, x), first, rtol=0, atol=1e-2)
        assert nn.explain_backend(layer, x) == "kernel (baseline, int8)"
    finally:
        ohlol.ops.select(before)


def test_what_a_cell_with_fewer_bits_cannot_do_is_refused() -> None:
    layer: Any = nn.quantize(nn.Recurrent(PlainLSTM(3, 5), state_sizes=(5, 5)))
    x = torch.randn(7, 2, 3)
    check_that_gradients_are_refused(layer, x, "Recurrent")
    assert layer(torch.randn(7, 0, 3))[0].shape == (7, 0, 5)
    with torch.inference_mode():
        layer(x)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="and here autocast"):
        layer(x)
    with pytest.raises(RuntimeError, match=r"this Recurrent with int8 weights .* and here a torch.func transform"):
        torch.vmap(layer, in_dims=1)(x[:, :, None])
    with pytest.raises(RuntimeError, match="input_size"):
        layer(torch.randn(7, 2, 4))
    with pytest.raises(RuntimeError, match=r"in float32, and here the weights have dtype torch\.float64"):
        layer.double()(x.double())
    layer.float().train()
    with pytest.raises(RuntimeError, match=r"this Recurrent with int8 weights .*training mode.*eval\(\)"):
        layer(x)
    assert nn.explain_backend(layer, x).startswith("error: it is in training mode")


def test_cells_that_cannot_have_fewer_bits_change_nothing() -> None:
    for bad, message in (
        (Cumulative(3, 5), r"1 cannot run with int8, since .*aten.cumsum"),
        (PlainGRU(3, 5).double(), "1: int8 is for weights of float32"),
        (PlainGRU(1 << 18, 1), "1: int8 is for weights of at most 131072 columns"),
    ):
        model = torch.nn.Sequential(nn.GRU(3, 5), nn.Recurrent(bad))
        model[1].eval()
        with pytest.raises(ValueError, match=message):
            nn.quantize(model)
        assert [layer.precision for layer in model] == ["fp32", "fp32"]
        assert [layer.training for layer in model] == [True, False]
        assert bad.training is False


def test_docstrings() -> None:
    result = doctest.testmod(quantization)
    assert result.attempted > 0
    assert result.failed == 0
