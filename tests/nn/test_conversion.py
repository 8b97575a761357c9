"""`restore` undoes `accelerate`, whose own tests are those of the layers, and drops nothing."""

import copy
import doctest
from typing import Any

import pytest
import torch
from all_kinds import AllKinds

import ohlol
from ohlol import nn
from ohlol.nn import conversion


def test_restore_undoes_accelerate() -> None:
    plain, x = AllKinds(), torch.randn(5, 2, 3)
    parameters = list(plain.parameters())
    expected, before = plain(x), copy.deepcopy(vars(plain.layer))
    model = ohlol.accelerate(plain)
    model(x)
    assert ohlol.restore(model) is plain
    assert (type(plain.layer), type(plain.cell), type(plain.own)) == (torch.nn.LSTM, torch.nn.GRUCell, nn.Recurrent)
    assert all(a is b for a, b in zip(parameters, plain.parameters(), strict=True))
    assert vars(plain.layer).keys() == before.keys()
    torch.testing.assert_close(plain(x), expected)
    assert ohlol.restore(plain) is plain


def test_restore_of_a_layer_that_was_made_here() -> None:
    layer, x = nn.GRU(3, 4), torch.randn(5, 2, 3)
    expected = layer(x)[0]
    assert type(ohlol.restore(layer)) is torch.nn.GRU
    assert vars(layer).keys() == vars(torch.nn.GRU(3, 4)).keys()
    torch.testing.assert_close(layer(x)[0], expected)


def test_regularization_is_not_dropped() -> None:
    for option in ("zoneout", "recurrent_dropout", "weight_dropout", "locked_dropout"):
        options: Any = {option: option == "locked_dropout" or 0.1}
        model = torch.nn.Sequential(nn.GRUCell(3, 4), nn.LSTM(3, 4, **options))
        with pytest.raises(ValueError, match=f"1 has .*{option}"):
            ohlol.restore(model)
        assert type(model[0]) is nn.GRUCell


def test_docstrings() -> None:
    result = doctest.testmod(conversion)
    assert result.attempted > 0
    assert result.failed == 0
