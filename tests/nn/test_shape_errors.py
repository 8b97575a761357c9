"""The most common shape mistakes are identified, and the suggested fix makes the call valid."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import zeros
from torch.nn.utils.rnn import pack_padded_sequence

import ohlol
from ohlol import nn
from ohlol.nn.shape_errors import MISTAKEN, check_shapes

T, B, I, H = 5, 3, 4, 6


@dataclass(frozen=True)
class Case:
    """An invalid call, and the mistake, argument and axis that `check_shapes` must report."""

    what: str
    layer: Callable[[], Any]
    x: torch.Tensor
    hx: Any
    mistake: str
    argument: str
    axis: int | None
    fix: str


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return zeros(*shape), zeros(*shape)


one_hot = torch.nn.functional.one_hot
MISTAKES = [
    Case(
        "1 input is (B, T, I), layer is time first",
        lambda: nn.GRU(I, H),
        zeros(B, T, I),
        zeros(1, B, H),
        "batch_first",
        "input",
        0,
        "batch_first=True",
    ),
    Case(
        "2 input is (T, B, I), layer is batch first",
        lambda: nn.LSTM(I, H, batch_first=True),
        zeros(T, B, I),
        pair(1, B, H),
        "batch_first",
        "input",
        0,
        "x.transpose(0, 1)",
    ),
    Case(
        "3 h_0 made to follow batch_first",
        lambda: nn.RNN(I, H, batch_first=True),
        zeros(B, T, I),
        zeros(B, 1, H),
        "state_batch_first",
        "h_0",
        0,
        "h_0.transpose(0, 1)",
    ),
    Case(
        "4 directions forgotten in h_0",
        lambda: nn.GRU(I, H, 2, bidirectional=True),
        zeros(T, B, I),
        zeros(2, B, H),
        "directions",
        "h_0",
        0,
        "torch.zeros(4, 3, 6)",
    ),
    Case(
        "5 layers forgotten in h_0",
        lambda: nn.LSTM(I, H, 2),
        zeros(T, B, I),
        pair(1, B, H),
        "layers",
        "h_0",
        0,
        "torch.zeros(2, 3, 6)",
    ),
    Case(
        "6 h_0 without the axis of layers",
        lambda: nn.RNN(I, H),
        zeros(T, B, I),
        zeros(B, H),
        "two_axes",
        "h_0",
        None,
        "h_0[None]",
    ),
    Case(
        "7 two axes meant as a batch of one",
        lambda: nn.GRU(I, H),
        zeros(T, I),
        zeros(1, 1, H),
        "unbatched",
        "input",
        None,
        "x.unsqueeze(1)",
    ),
    Case(
        "8 one tensor for an LSTM",
        lambda: nn.LSTM(I, H),
        zeros(T, B, I),
        zeros(1, B, H),
        "not_a_pair",
        "hx",
        None,
        "(h_0, torch.zeros_like(h_0))",
    ),
    Case("9 a pair for a GRU", lambda: nn.GRU(I, H), zeros(T, B, I), pair(1, B, H), "a_pair", "hx", None, "hx[0]"),
    Case(
        "10 ids instead of vectors",
        lambda: nn.RNN(I, H),
        torch.ones(T, B, dtype=torch.int64),
        None,
        "ids",
        "input",
        None,
        "one_hot(x, 4)",
    ),
    Case(
        "11 one-hot of the wrong size",
        lambda: nn.RNN(I, H),
        one_hot(torch.arange(5)[:, None], 7).float(),
        None,
        "one_hot_size",
        "input",
        2,
        "one_hot(ids, 4)",
    ),
    Case(
        "12 state of a larger batch",
        lambda: nn.LSTM(I, H),
        zeros(T, 2, I),
        pair(1, B, H),
        "batch",
        "h_0",
        1,
        "h_0[:, :2]",
    ),
    Case("13 input size", lambda: nn.GRU(I, H), zeros(T, B, 9), None, "input_size", "input", 2, "input_size=9"),
    Case(
        "14 channels first, as in a convolution",
        lambda: nn.GRU(I, H, batch_first=True),
        zeros(B, I, 9),
        None,
        "channels_first",
        "input",
        1,
        "x.transpose(1, 2)",
    ),
    Case(
        "15 hidden size",
        lambda: nn.GRU(I, H),
        zeros(T, B, I),
        zeros(1, B, 7),
        "hidden_size",
        "h_0",
        2,
        "torch.zeros(1, 3, 6)",
    ),
    Case(
        "16 four axes", lambda: nn.LSTM(I, H), zeros(T, B, 2, 2), None, "too_many_axes", "input", None, "x.flatten(2)"
    ),
    Case(
        "17 c_0 of another shape",
        lambda: nn.LSTM(I, H),
        zeros(T, B, I),
        (zeros(1, B, H), zeros(1, B, 7)),
        "hidden_size",
        "c_0",
        2,
        "c_0 = torch.zeros(1, 3, 6)",
    ),
    Case(
        "18 a sequence for a cell",
        lambda: nn.LSTMCell(I, H),
        zeros(T, B, I),
        None,
        "sequence_to_cell",
        "input",
        0,
        "for x_t in x",
    ),
    Case(
        "19 a layer's state for a cell",
        lambda: nn.GRUCell(I, H),
        zeros(B, I),
        zeros(1, B, H),
        "layer_state_to_cell",
        "h_0",
        0,
        "h_0[0]",
    ),
    Case("20 one axis", lambda: nn.RNN(1, H), zeros(T), None, "one_axis", "input", None, "x[:, None]"),
    Case(
        "21 one-hot as integers",
        lambda: nn.RNN(I, H),
        one_hot(torch.tensor([[0], [3]]), I),
        None,
        "integers",
        "input",
        None,
        "x.float()",
    ),
    Case(
        "22 a cell's state of another batch",
        lambda: nn.RNNCell(I, H),
        zeros(B, I),
        zeros(2, H),
        "cell_state",
        "h_0",
        0,
        "torch.zeros(3, 6)",
    ),
]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.what)
def test_each_mistake_gets_its_advice(case: Case) -> None:
    found = check_shapes(case.layer(), case.x, case.hx)
    assert found, "no advice"
    assert (found[0].mistake, found[0].argument, found[0].axis) == (case.mistake, case.argument, case.axis)
    assert case.fix in found[0].fix
    assert "\n" not in str(found[0])


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.what)
def test_the_error_of_torch_gets_the_advice_as_a_note(case: Case) -> None:
    layer = case.layer()
    plain = getattr(torch.nn, type(layer).__name__)
    with pytest.raises(MISTAKEN) as ours:
        layer(case.x, case.hx)
    layer.__class__ = plain
    with pytest.raises(MISTAKEN) as theirs:
        layer(case.x, case.hx)
    assert type(ours.value) is type(theirs.value)
    assert str(ours.value) == str(theirs.value)
    assert ours.value.__notes__ == [str(advice) for advice in check_shapes(layer, case.x, case.hx)]
    assert not hasattr(theirs.value, "__notes__")


ASSIGNED = [
    case
    for case in MISTAKES
    if re.match(r"(x|h_0|c_0|hx) = [^;]*$", check_shapes(case.layer(), case.x, case.hx)[0].fix)
]


@pytest.mark.parametrize("case", ASSIGNED, ids=lambda case: case.what)
def test_applying_the_fix_makes_the_call_valid(case: Case) -> None:
    """Apply the advice repeatedly until the call is valid."""
    layer, x, hx = case.layer(), case.x, case.hx
    for _ in range(4):
        found = check_shapes(layer, x, hx)
        if not found:
            break
        scope: dict[str, Any] = {"torch": torch, "x": x, "hx": hx, "ids": x.argmax(-1) % I if x.dim() else x}
        scope["h_0"], scope["c_0"] = hx if isinstance(hx, tuple) else (hx, None)
        exec(
            found[0]
            .fix.split(", or ")[0]
            .split(", with")[0]
            .split(", which")[0]
            .split(", forward")[0]
            .split(", one number")[0],
            scope,
        )
        x, hx = scope["x"], scope["hx"]
        if not found[0].fix.startswith("hx"):
            hx = (scope["h_0"], scope["c_0"]) if isinstance(hx, tuple) else scope["h_0"]
    assert layer(x, hx) is not None


@pytest.mark.parametrize("kind", [*nn.LAYER_CLASSES.values()])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}])
def test_a_valid_call_gets_no_advice(kind: Any, options: dict[str, Any]) -> None:
    layer = kind(I, H, **options)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    for x, state in (
        (torch.randn(T, B, I), (rows, T if layer.batch_first else B, H)),
        (torch.randn(T, I), (rows, H)),
    ):
        hx = pair(*state) if kind is nn.LSTM else zeros(*state)
        assert check_shapes(layer, x) == check_shapes(layer, x, hx) == ()
        layer(x, hx)
    packed = pack_padded_sequence(torch.randn(T, B, I), [5, 3, 2])
    assert check_shapes(layer, packed) == ()
    layer(packed)


def test_other_errors_get_no_advice() -> None:
    layer = nn.GRU(I, H)
    layer.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(ValueError("mine")))
    with pytest.raises(ValueError, match="mine") as caught:
        layer(zeros(T, B, I))
    assert not hasattr(caught.value, "__notes__")
    assert check_shapes(layer, [1.0])[0].mistake == "not_a_tensor"
    assert ohlol.check_shapes is check_shapes


@pytest.mark.filterwarnings("ignore:The tensor attributes")  # torch says so of its own layers too
def test_a_wrapped_layer_still_compiles_and_exports() -> None:
    layer = nn.GRU(I, H)
    exported = torch.export.export(layer, (zeros(T, B, I),))
    x = torch.randn(T, B, I)
    torch.testing.assert_close(exported.module()(x)[0], layer(x)[0])
