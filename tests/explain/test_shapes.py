"""Every shape of a report equals that of a module of torch."""

import itertools
import json
import math
from typing import Any

import pytest
import torch

from ohlol.explain.shapes import KINDS, CellShapes, LayerShapes, Parameter, TensorShape, shapes
from ohlol.utils.errors import InputError

CELLS = ("rnncell", "grucell", "lstmcell")
LAYERS = ("rnn", "gru", "lstm")
CLASSES = {name.lower(): getattr(torch.nn, name) for name in ("RNNCell", "GRUCell", "LSTMCell", "RNN", "GRU", "LSTM")}
SIZES = [(4, 2, 3, 1), (1, 1, 1, 1), (7, 5, 4, 3), (2, 9, 11, 6)]  # I, H, T, B


def cell(kind: str, **options: Any) -> CellShapes:
    report = shapes(kind, **options)
    assert isinstance(report, CellShapes)
    return report


def layer(kind: str, **options: Any) -> LayerShapes:
    report = shapes(kind, **options)
    assert isinstance(report, LayerShapes)
    return report


def spelled(tensor: TensorShape, sizes: dict[str, int]) -> tuple[int, ...]:
    """The shape its letters stand for."""
    found = eval(tensor.letters, {}, {"L": 1, "D": 1, **sizes})
    return found if isinstance(found, tuple) else (found,)


def assert_parameters(found: tuple[Parameter, ...], count: int, sizes: dict[str, int], module: torch.nn.Module) -> None:
    assert {p.name: p.shape for p in found} == {name: tuple(p.shape) for name, p in module.named_parameters()}
    assert count == sum(p.numel() for p in module.parameters())
    for parameter in found:
        assert spelled(parameter, sizes) == parameter.shape


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", CELLS)
def test_cell_shapes_equal_those_of_torch(kind: str, sizes: tuple[int, int, int, int], bias: bool) -> None:
    I, H, T, B = sizes
    report = cell(kind, input_size=I, hidden_size=H, seq_len=T, batch_size=B, bias=bias)
    module = CLASSES[kind](I, H, bias=bias)
    result = module(torch.zeros(B, I))
    states = tuple(tuple(s.shape) for s in (result if isinstance(result, tuple) else (result,)))
    assert report.module == type(module).__name__
    assert report.sequence.shape == spelled(report.sequence, report.sizes) == (T, B, I)
    assert [step.t for step in report.steps] == list(range(T))
    assert {(step.input, step.before, step.after) for step in report.steps} == {((B, I), states, states)}
    assert_parameters(report.parameters, report.parameter_count, report.sizes, module)
    assert spelled(report.joined_weight, report.sizes) == report.joined_weight.shape
    assert list(report.gate_rows.values()) == [(k * H, k * H + H) for k in range(report.sizes["G"])]
    assert all(equality.holds for equality in report.equalities)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_equation_with_shapes(kind: str, bias: bool) -> None:
    B, I, H = 3, 4, 2
    report = cell(kind, input_size=I, hidden_size=H, batch_size=B, bias=bias)
    for line, terms in zip(report.equation, report.equation_with_shapes, strict=True):
        assert ("b_" in line) == (bias and "W_" in line)
        assert "".join(text for text, _ in terms).replace(" ", "").count("W_") == line.count("W_")
        for text, shape in terms:
            if text == "x":
                expected = (B, I)
            elif text.startswith("W_"):
                expected = (I if text[2] == "i" else H, H)
            elif text.startswith("b_"):
                expected = (H,)
            else:  # states, gates; signs and functions have none
                expected = (B, H) if text.strip("'") in {*report.states, *report.gate_rows} else None
            assert shape == expected, text


@pytest.mark.parametrize(("bidirectional", "batch_first", "bias"), list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("kind", LAYERS)
def test_layer_shapes_equal_those_of_torch(
    kind: str, num_layers: int, bidirectional: bool, batch_first: bool, bias: bool
) -> None:
    for I, H, T, B in SIZES:
        options = {"num_layers": num_layers, "bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
        report = layer(kind, input_size=I, hidden_size=H, seq_len=T, batch_size=B, **options)
        module = CLASSES[kind](I, H, **options)
        output, last = module(torch.zeros((B, T, I) if batch_first else (T, B, I)))
        last = last if isinstance(last, tuple) else (last,)
        assert report.inputs[0].shape == ((B, T, I) if batch_first else (T, B, I))
        assert [t.shape for t in report.inputs[1:]] == [tuple(t.shape) for t in last]
        assert [t.shape for t in report.outputs] == [tuple(t.shape) for t in (output, *last)]
        assert all(spelled(t, report.sizes) == t.shape for t in (*report.inputs, *report.outputs))
        assert_parameters(report.parameters, report.parameter_count, report.sizes, module)
        assert all(equality.holds for equality in report.equalities)
        assert (report.pitfall is not None) == (bidirectional and T > 1)
        assert report.pitfall is None or not report.pitfall.holds
        assert report.batch_first["output"][batch_first] == report.outputs[0].shape
        assert report.batch_first["output"][not batch_first] == tuple(output.transpose(0, 1).shape)


@pytest.mark.parametrize(
    ("options", "claims"),
    [
        ({}, ["output[-1] == h_n[-1]"]),
        ({"batch_first": True}, ["output[:, -1] == h_n[-1]"]),
        ({"bidirectional": True}, ["output[-1, :, :2] == h_n[-2]", "output[0, :, 2:] == h_n[-1]"]),
        (
            {"bidirectional": True, "batch_first": True},
            ["output[:, -1, :2] == h_n[-2]", "output[:, 0, 2:] == h_n[-1]"],
        ),
    ],
)
@pytest.mark.parametrize("kind", LAYERS)
def test_documented_shapes_hold_for_a_custom_module(kind: str, options: dict[str, Any], claims: list[str]) -> None:
    report = layer(kind, num_layers=2, **options)
    assert [e.claim for e in report.equalities if "h_n" in e.claim] == claims
    output, last = CLASSES[kind](4, 2, num_layers=2, **options)(torch.randn(3, 3, 4))
    for claim in claims:
        left, right = (
            eval(side, {}, {"output": output, "h_n": last[0] if kind == "lstm" else last}) for side in claim.split("==")
        )
        assert torch.equal(left, right)


@pytest.mark.parametrize("kind", ["rnn", "rnncell"])
def test_shapes_of_a_relu_rnn_hold(kind: str) -> None:
    report = shapes(kind, nonlinearity="relu")
    assert all(equality.holds for equality in report.equalities)
    if isinstance(report, CellShapes):
        assert report.equation[0].startswith("h' = relu(")


@pytest.mark.parametrize("kind", CELLS)
def test_wrong_shapes_of_a_cell_raise_the_error_of_torch(kind: str) -> None:
    report = cell(kind)
    with pytest.raises(RuntimeError) as caught:
        CLASSES[kind](4, 2)(torch.zeros(1, 5))
    assert report.mistakes[0].error == f"RuntimeError: {caught.value}"
    assert all(m.error for m in report.mistakes)
    assert len(report.mistakes) == (5 if kind == "lstmcell" else 4)


@pytest.mark.parametrize("kind", LAYERS)
def test_wrong_shapes_of_a_layer_raise_the_error_of_torch(kind: str) -> None:
    size, silent, mixed, start, *rest = layer(kind, batch_size=2).mistakes
    with pytest.raises(RuntimeError) as caught:
        CLASSES[kind](4, 2)(torch.zeros(3, 2, 5))
    assert size.error == f"RuntimeError: {caught.value}"
    assert silent.error is None  # torch reads B as T without an error
    assert silent.result == (2, 3, 2)
    assert "Expected hidden" in (mixed.error or "")
    assert "got [2, 1, 2]" in (start.error or "")
    assert len(rest) == (kind == "lstm")
    assert all(m.error for m in rest)


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trip(kind: str) -> None:
    data = shapes(kind).to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["kind"] == kind
    assert data["parameter_count"] == sum(math.prod(p["shape"]) for p in data["parameters"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_determines_the_result_and_not_the_global_generator(kind: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert shapes(kind, seed=1) == shapes(kind, seed=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["input_size", "hidden_size", "seq_len", "batch_size", "num_layers"])
def test_invalid_sizes_name_the_argument(kind: str, name: str) -> None:
    for size in (0, -3):
        if name == "num_layers" and kind in CELLS:
            continue
        with pytest.raises(InputError, match=f"^`{name}` is {size}; it must be at least 1$"):
            shapes(kind, **{name: size})
    with pytest.raises(InputError, match=f"`{name}`"):
        shapes(kind, **{name: 10**12})


def test_sizes_too_large_in_total() -> None:
    with pytest.raises(InputError, match="lower one of them"):
        shapes("lstm", input_size=4096, hidden_size=4096, seq_len=4096, batch_size=4096)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("elman", {}, "`kind` is 'elman'; it must be one of rnncell, "),
        ("rnn", {"nonlinearity": "sigmoid"}, "`nonlinearity` is 'sigmoid'; it must be tanh or relu"),
        ("gru", {"nonlinearity": "relu"}, "`nonlinearity` is 'relu', which is for rnncell and rnn"),
        ("grucell", {"num_layers": 2}, "`num_layers` is for layers"),
        ("rnncell", {"bidirectional": True}, "`bidirectional` is for layers"),
        ("lstmcell", {"batch_first": True}, "use lstm instead"),
    ],
)
def test_incompatible_options_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        shapes(kind, **options)
    assert message in str(caught.value)
