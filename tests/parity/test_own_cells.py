"""The cells that are modules, by the kernels and in a loop: outputs, final states and every gradient."""

from typing import Any

import pytest
import torch
from helpers import pairs_of

from ohlol import nn
from ohlol.cells import CELLS

from .recurrent_cases import RecurrentCase, check_layer

OWN = [name for name, spec in CELLS.items() if spec.module is not None]
F32, F64 = torch.float32, torch.float64


def check(name: str, **options: Any) -> None:
    case = RecurrentCase(name, **options)
    module = CELLS[name].module
    assert module is not None
    torch.manual_seed(3)
    layer = nn.Recurrent(
        lambda size: module(size, case.H), case.num_layers, case.bidirectional, batch_first=case.batch_first,
        input_size=case.inputs,
    ).to(case.dtype)  # fmt: skip
    if name == "layernorm_lstm":  # so that no rounding grows from step to step
        with torch.no_grad():
            for cell in layer.cells:
                cell.get_parameter("norm_hh.weight").fill_(0.25)
    tensors = case.tensors(layer)
    if name == "slstm":  # a sum of gates is positive
        tensors[3] = tensors[3].abs()
    check_layer(case, layer, tensors)


@pytest.mark.parametrize("dtype", [pytest.param(F32, marks=pytest.mark.slow), F64])
@pytest.mark.parametrize("name", OWN)
def test_ragged_both_directions_and_two_layers(name: str, dtype: torch.dtype) -> None:
    check(name, T=5, B=4, lengths=(5, 1, 3, 3), bidirectional=True, num_layers=2, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "H", "B", "dtype"), pairs_of(OWN, (1, 3, 17, 64, 100), (1, 2, 7), (F32, F64)))
def test_sizes(variant: str, name: str, H: int, B: int, dtype: torch.dtype) -> None:
    if name == "layernorm_lstm":
        H = max(H, 8)  # a few numbers that are nearly equal, normalized, magnify roundings
    check(name, T=4, B=B, H=H, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("T", [1, 2, 50])
@pytest.mark.parametrize("name", OWN)
def test_lengths(name: str, T: int) -> None:
    check(name, T=T, B=7, H=20)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_batch_first_and_three_layers(name: str) -> None:
    check(name, T=2, B=3, H=20, batch_first=True, bidirectional=True)
    check(name, T=7, B=3, H=20, num_layers=3)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("name", OWN)
def test_threads(threaded: None, name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    for B, H in ((1, 33), (2, 70), (7, 33)):
        check(name, T=4, B=B, inputs=9, H=H)
    check(name, T=6, B=6, lengths=(6, 1, 3, 3, 2, 1), bidirectional=True)
