"""The six modules of `ohlol.nn` behave as those of torch, and `accelerate` changes only their class."""

import copy
import doctest
import pickle
from typing import Any

import pytest
import torch
from parity.tolerances import assert_same
from torch import Tensor

from ohlol import nn
from ohlol.nn import layers

LAYERS = [(ours, getattr(torch.nn, ours.__name__)) for ours in nn.LAYER_CLASSES.values()]
CELLS = [(ours, getattr(torch.nn, ours.__name__)) for ours in nn.CELL_CLASSES.values()]
BOTH = [*LAYERS, *CELLS]


def by_name(pairs: list[tuple[Any, Any]]) -> Any:
    return pytest.mark.parametrize(("ours", "theirs"), pairs, ids=[theirs.__name__ for _, theirs in pairs])


def seeded(cls: Any, *args: Any, **options: Any) -> Any:
    torch.manual_seed(3)
    return cls(*args, **options)


def flat(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [t for part in result for t in flat(part)]


def assert_equal(a: Any, b: Any) -> None:
    """Equal bit for bit."""
    for left, right in zip(flat(a), flat(b), strict=True):
        assert torch.equal(left, right)


def assert_near(a: Any, b: Any) -> None:
    """Equal within the tolerances of tests/parity for the compiled kernels."""
    for left, right in zip(flat(a), flat(b), strict=True):
        assert_same("tensor", left, right, right.dtype)


class Custom(torch.nn.LSTM):
    """A user's own layer, whose forward may do anything."""


class Model(torch.nn.Module):
    """Every kind of layer, nested, one of them used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True)
        self.parts = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(10, 4)), torch.nn.GRU(4, 5)])
        self.named = torch.nn.ModuleDict({"rnn": torch.nn.RNN(5, 5), "cell": torch.nn.LSTMCell(5, 5)})
        self.again = self.named["rnn"]
        self.custom = Custom(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.parts[1](self.parts[0](self.lstm(x)[0]))[0]
        x = self.again(self.named["rnn"](x)[0])[0]
        return self.custom(x + self.named["cell"](x[0])[0])[0]


@by_name(BOTH)
def test_is_a_torch_module(ours: Any, theirs: Any) -> None:
    assert issubclass(ours, theirs)
    assert ours.__name__ == theirs.__name__
    assert isinstance(ours(3, 5), theirs)


@pytest.mark.parametrize("bias", [True, False])
@by_name(BOTH)
def test_same_initial_values_from_the_same_seed(ours: Any, theirs: Any, bias: bool) -> None:
    a, b = seeded(ours, 3, 5, bias=bias).state_dict(), seeded(theirs, 3, 5, bias=bias).state_dict()
    assert list(a) == list(b)
    assert_equal(a.values(), b.values())


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}])
@by_name(LAYERS)
def test_layer_equals_that_of_torch(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    x = torch.randn(4, 2, 3)
    assert_near(seeded(ours, 3, 5, **options)(x), seeded(theirs, 3, 5, **options)(x))


@by_name(CELLS)
def test_cell_equals_that_of_torch(ours: Any, theirs: Any) -> None:
    x = torch.randn(2, 3)
    assert_equal(seeded(ours, 3, 5)(x), seeded(theirs, 3, 5)(x))


@by_name(LAYERS)
def test_packed_sequence(ours: Any, theirs: Any) -> None:
    x = torch.nn.utils.rnn.pack_sequence([torch.randn(n, 3) for n in (2, 5, 1)], enforce_sorted=False)
    (a, a_n), (b, b_n) = seeded(ours, 3, 5)(x), seeded(theirs, 3, 5)(x)
    assert_near((a.data, a_n), (b.data, b_n))


@by_name(BOTH)
def test_state_dict_is_loaded_in_both_directions(ours: Any, theirs: Any) -> None:
    a, b = ours(3, 5), theirs(3, 5)
    a.load_state_dict(b.state_dict())
    assert_equal(a.state_dict().values(), b.state_dict().values())
    b = theirs(3, 5)
    b.load_state_dict(a.state_dict())
    assert_equal(a.state_dict().values(), b.state_dict().values())


@by_name(BOTH)
def test_same_error_message(ours: Any, theirs: Any) -> None:
    messages = []
    for cls in (ours, theirs):
        with pytest.raises(RuntimeError) as caught:
            cls(3, 5)(torch.zeros(2, 2, 4)[0] if cls.__name__.endswith("Cell") else torch.zeros(2, 2, 4))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@by_name(BOTH)
def test_pickle_and_deepcopy(ours: Any, theirs: Any) -> None:
    module = ours(3, 5)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert type(twin) is ours
        assert_equal(twin.state_dict().values(), module.state_dict().values())
        assert all(p is not q for p, q in zip(twin.parameters(), module.parameters(), strict=True))


@by_name(BOTH)
def test_accelerate_a_single_layer(ours: Any, theirs: Any) -> None:
    layer = theirs(3, 5)
    assert nn.accelerate(layer) is layer
    assert type(layer) is ours
    assert nn.accelerate(layer) is layer  # a second call changes nothing
    assert type(layer) is ours


def test_accelerate_a_nested_model() -> None:
    model = seeded(Model)
    x = torch.randn(6, 2, 3)
    before, weights, names = model(x), list(model.parameters()), list(model.state_dict())
    model.eval()

    assert nn.accelerate(model) is model
    assert type(model.lstm) is nn.LSTM
    assert type(model.parts[1]) is nn.GRU
    assert type(model.named["rnn"]) is nn.RNN
    assert type(model.named["cell"]) is nn.LSTMCell
    assert model.again is model.named["rnn"]
    assert not any(module.training for module in model.modules())
    assert all(p is q for p, q in zip(model.parameters(), weights, strict=True))
    assert list(model.state_dict()) == names
    assert_near(model(x), before)


def test_accelerate_keeps_subclasses_of_users() -> None:
    model = nn.accelerate(Model())
    assert type(model.custom) is Custom
    assert type(nn.accelerate(Custom(3, 5))) is Custom


def test_accelerate_keeps_gradients_and_hooks() -> None:
    layer, seen = seeded(torch.nn.GRU, 3, 5), []
    layer.register_forward_hook(lambda *_: seen.append(True))
    x = torch.randn(4, 2, 3)
    layer(x)[0].sum().backward()
    before = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    nn.accelerate(layer)(x)[0].sum().backward()
    assert_near([p.grad for p in layer.parameters()], before)
    assert seen == [True, True]


def test_accelerated_model_can_be_pickled() -> None:
    model = nn.accelerate(Model())
    twin = pickle.loads(pickle.dumps(model))
    assert type(twin.lstm) is nn.LSTM
    assert twin.again is twin.named["rnn"]


def test_docstrings() -> None:
    result = doctest.testmod(layers)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("layer_class", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_replaced_bias_is_broadcast_as_torch_does(layer_class: type[torch.nn.RNNBase]) -> None:
    torch.manual_seed(0)
    layer: Any = layer_class(5, 8)
    x = torch.randn(4, 2, 5)
    layer.bias_hh_l0.data = torch.zeros(len(layer.bias_hh_l0))
    expected = layer(x)[0]
    layer.bias_hh_l0.data = torch.zeros(1)
    assert "the weights do not fit" in nn.explain_backend(layer, x)
    torch.testing.assert_close(layer(x)[0], expected)
    layer.weight_hh_l0.data = torch.zeros(1)
    with pytest.raises(RuntimeError):
        layer(x)
