"""`Recurrent` against the cell in a loop of torch: outputs, final states and every gradient."""

import importlib
from typing import Any

import pytest
import torch
from helpers import pairs_of
from peer_cells import PEER_CELLS, peer_layer
from user_cells import KERNEL_CELLS, PlainGRU, PlainLSTM

from ohlol import nn

from .recurrent_cases import RecurrentCase, check, check_layer
from .tolerances import assert_same

pytestmark = pytest.mark.slow  # hundreds of cells; tests/nn and tests/ops have the short form

F32, F64 = torch.float32, torch.float64
SIZES = (1, 3, 17, 64, 100, 257)
CELLS = tuple(KERNEL_CELLS)
"""The cells of the package torchrecurrent 0.2.5."""


@pytest.mark.parametrize(("cell", "H", "dtype"), pairs_of(CELLS, SIZES, (F32, F64)))
def test_sizes(variant: str, cell: str, H: int, dtype: torch.dtype) -> None:
    check(RecurrentCase(cell, T=3, B=3, inputs=SIZES[-1 - SIZES.index(H)], H=H, dtype=dtype))


@pytest.mark.parametrize(("cell", "T", "B"), pairs_of(CELLS, (1, 2, 50), (1, 2, 7, 32)))
def test_batches_and_lengths(cell: str, T: int, B: int) -> None:
    check(RecurrentCase(cell, T=T, B=B, inputs=6, H=20))


@pytest.mark.parametrize(("cell", "layers", "bidirectional"), pairs_of(CELLS, (1, 2, 3), (False, True)))
def test_stacks(cell: str, layers: int, bidirectional: bool) -> None:
    check(RecurrentCase(cell, num_layers=layers, bidirectional=bidirectional))


@pytest.mark.parametrize(
    ("cell", "bidirectional", "lengths"),
    pairs_of(CELLS, (False, True), ((5, 3, 3, 1), (1, 5, 2, 5, 4), (4,), (1, 1, 1))),
)
def test_packed(cell: str, bidirectional: bool, lengths: tuple[int, ...]) -> None:
    check(RecurrentCase(cell, T=max(lengths), B=len(lengths), lengths=lengths, bidirectional=bidirectional))


@pytest.mark.parametrize("cell", CELLS)
def test_other_calls(cell: str) -> None:
    """Without an initial state, batch first, and with parameters that need no gradient."""
    check(RecurrentCase(cell, state=False))
    check(RecurrentCase(cell, batch_first=True, bidirectional=True))
    check(RecurrentCase(cell, frozen=True, num_layers=2))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_no_bias(cell: str) -> None:
    check(RecurrentCase(cell, options=(("bias", False),)))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_threads(threaded: None, cell: str, threads: int) -> None:
    torch.set_num_threads(threads)
    for B, H in ((1, 33), (2, 70), (7, 33)):
        check(RecurrentCase(cell, T=4, B=B, inputs=9, H=H))
    check(RecurrentCase(cell, T=6, B=6, lengths=(6, 1, 3, 3, 2, 1), bidirectional=True))


@pytest.mark.parametrize("cell", CELLS)
def test_many_rows(cell: str) -> None:
    """More rows than a block of the machine."""
    check(RecurrentCase(cell, T=2, B=101, inputs=4, H=19))


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(("plain", "layer_class"), [(PlainLSTM, nn.LSTM), (PlainGRU, nn.GRU)])
def test_the_equations_of_torch_equal_the_built_in_layers(
    variant: str, plain: Any, layer_class: Any, dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    cell = plain(6, 20)
    ours = nn.Recurrent(cell, state_sizes=(20, 20) if plain is PlainLSTM else 20).to(dtype)
    built_in = layer_class(6, 20, dtype=dtype)
    names = {"weight_ih_l0": "ih.weight", "weight_hh_l0": "hh.weight", "bias_ih_l0": "ih.bias", "bias_hh_l0": "hh.bias"}
    built_in.load_state_dict({name: cell.state_dict()[other] for name, other in names.items()})
    x = torch.randn(9, 4, 6, dtype=dtype)
    for layer in (ours, built_in):
        layer(x)[0].square().sum().backward()
    assert_same("output", ours(x)[0], built_in(x)[0], dtype)
    for name, other in names.items():
        assert_same(name, cell.get_parameter(other).grad, built_in.get_parameter(name).grad, dtype)


@pytest.mark.parametrize("name", PEER_CELLS)
def test_peer_cells(name: str) -> None:
    torch.manual_seed(2)
    # Not 50 steps: some of these cells magnify roundings from step to step, beyond the table on some processors.
    for dtype, H, T, B, lengths in ((F32, 17, 12, 3, ()), (F64, 20, 6, 7, (6, 4, 4, 2, 5, 1, 3))):
        layer = peer_layer(name, H, dtype)
        case = RecurrentCase("lstm", T=T, B=B, inputs=H, H=H, dtype=dtype, lengths=lengths)
        check_layer(case, layer, case.tensors(layer))


def test_all_peer_cells_are_tested() -> None:
    package = pytest.importorskip("torchrecurrent", reason="torchrecurrent 0.2.5 is not installed")
    found = {n for n in dir(importlib.import_module(package.__name__)) if n.endswith("Cell")}
    assert found == set(PEER_CELLS)
