"""The cells that are modules: against their equations with plain matrix products, initial values, large numbers."""

import ast
import doctest
import importlib
import inspect
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ohlol.cells import CELLS, CellSpec
from ohlol.nn import Recurrent, explain_backend

Array = NDArray[np.float64]
Arrays = dict[str, Array]
TOLERANCE = 1e-12
OWN = {
    name: spec
    for name, spec in CELLS.items()
    if spec.module is not None and spec.module.__module__.startswith("ohlol.")
}
MAX_LINES = 30

SYMBOLS = {
    "peephole_lstm": {
        "ih.weight": "W_ii W_if W_ig W_io", "ih.bias": "b_i b_f b_g b_o", "hh.weight": "W_hi W_hf W_hg W_ho",
        "p": "p_i p_f p_o",
    },
    "coupled_lstm": {"ih.weight": "W_if W_ig W_io", "ih.bias": "b_f b_g b_o", "hh.weight": "W_hf W_hg W_ho"},
    "layernorm_lstm": {
        "ih.weight": "W_i", "hh.weight": "W_h", "norm_ih.weight": "gain_i", "norm_ih.bias": "b",
        "norm_hh.weight": "gain_h", "norm_c.weight": "gain_c", "norm_c.bias": "b_c",
    },
    "mogrifier_lstm": {
        "q1.weight": "W_q1", "q3.weight": "W_q3", "q5.weight": "W_q5", "r2.weight": "W_r2", "r4.weight": "W_r4",
        "ih.weight": "W_ii W_if W_ig W_io", "ih.bias": "b_i b_f b_g b_o", "hh.weight": "W_hi W_hf W_hg W_ho",
    },
    "reset_gru": {
        "ih.weight": "W_ir W_iz W_in", "ih.bias": "b_r b_z b_n", "hh.weight": "W_hr W_hz", "hn.weight": "W_hn",
    },
    "mgu": {"ih.weight": "W_if W_in", "ih.bias": "b_f b_n", "hf.weight": "W_hf", "hn.weight": "W_hn"},
    "ugrnn": {"ih.weight": "W_ig W_in", "ih.bias": "b_g b_n", "hh.weight": "W_hg W_hn"},
    "indrnn": {"ih.weight": "W", "ih.bias": "b", "u": "u"},
    "slstm": {"ih.weight": "W_ii W_if W_iz W_io", "ih.bias": "b_i b_f b_z b_o", "hh.weight": "W_hi W_hf W_hz W_ho"},
    "mingru": {"ih.weight": "W_z W_n", "ih.bias": "b_z b_n"},
    "minlstm": {"ih.weight": "W_f W_i W_n", "ih.bias": "b_f b_i b_n"},
    "sru": {"ih.weight": "W_n W_f W_r W_s", "v": "v_f v_r", "b": "b_f b_r"},
    "rglru": {
        "linear.weight": "W", "linear.bias": "b", "gates.weight": "W_r W_i", "gates.bias": "b_r b_i",
        "Lambda": "Lambda",
    },
}  # fmt: skip
"""The symbols of the equations in the order in which the parameters stack them."""


def arrays_of(name: str, cell: torch.nn.Module) -> Arrays:
    """The parameters under the symbols of the equation."""
    found: Arrays = {}
    parameters = dict(cell.named_parameters())
    assert parameters.keys() == SYMBOLS[name].keys()
    for key, symbols in SYMBOLS[name].items():
        parts = np.split(parameters[key].detach().numpy(), len(symbols.split()))
        found |= {
            symbol: part[0] if key in ("p", "v", "b") else part
            for symbol, part in zip(symbols.split(), parts, strict=True)
        }
    return found


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def normalize(a: Array) -> Array:
    return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)


# One step of each cell: the parameters, x (B, I) and the states (B, H) to the output and the next states.


def peephole_lstm(w: Any, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    i = sigmoid(x @ w.W_ii.T + h @ w.W_hi.T + w.p_i * c + w.b_i)
    f = sigmoid(x @ w.W_if.T + h @ w.W_hf.T + w.p_f * c + w.b_f)
    c = f * c + i * np.tanh(x @ w.W_ig.T + h @ w.W_hg.T + w.b_g)
    h = sigmoid(x @ w.W_io.T + h @ w.W_ho.T + w.p_o * c + w.b_o) * np.tanh(c)
    return h, h, c


def coupled_lstm(w: Any, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    f = sigmoid(x @ w.W_if.T + h @ w.W_hf.T + w.b_f)
    c = f * c + (1 - f) * np.tanh(x @ w.W_ig.T + h @ w.W_hg.T + w.b_g)
    h = sigmoid(x @ w.W_io.T + h @ w.W_ho.T + w.b_o) * np.tanh(c)
    return h, h, c


def layernorm_lstm(w: Any, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    gates = normalize(x @ w.W_i.T) * w.gain_i + normalize(h @ w.W_h.T) * w.gain_h + w.b
    i, f, g, o = np.split(gates, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(normalize(c) * w.gain_c + w.b_c)
    return h, h, c


def mogrifier_lstm(w: Any, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    for q, r in ((w.W_q1, w.W_r2), (w.W_q3, w.W_r4)):
        x = 2 * sigmoid(h @ q.T) * x
        h = 2 * sigmoid(x @ r.T) * h
    x = 2 * sigmoid(h @ w.W_q5.T) * x
    i = sigmoid(x @ w.W_ii.T + h @ w.W_hi.T + w.b_i)
    f = sigmoid(x @ w.W_if.T + h @ w.W_hf.T + w.b_f)
    c = f * c + i * np.tanh(x @ w.W_ig.T + h @ w.W_hg.T + w.b_g)
    h = sigmoid(x @ w.W_io.T + h @ w.W_ho.T + w.b_o) * np.tanh(c)
    return h, h, c


def reset_gru(w: Any, x: Array, h: Array) -> tuple[Array, ...]:
    r = sigmoid(x @ w.W_ir.T + h @ w.W_hr.T + w.b_r)
    z = sigmoid(x @ w.W_iz.T + h @ w.W_hz.T + w.b_z)
    h = z * h + (1 - z) * np.tanh(x @ w.W_in.T + (r * h) @ w.W_hn.T + w.b_n)
    return h, h


def mgu(w: Any, x: Array, h: Array) -> tuple[Array, ...]:
    f = sigmoid(x @ w.W_if.T + h @ w.W_hf.T + w.b_f)
    h = (1 - f) * h + f * np.tanh(x @ w.W_in.T + (f * h) @ w.W_hn.T + w.b_n)
    return h, h


def ugrnn(w: Any, x: Array, h: Array) -> tuple[Array, ...]:
    g = sigmoid(x @ w.W_ig.T + h @ w.W_hg.T + w.b_g)
    h = g * h + (1 - g) * np.tanh(x @ w.W_in.T + h @ w.W_hn.T + w.b_n)
    return h, h


def indrnn(w: Any, x: Array, h: Array) -> tuple[Array, ...]:
    h = np.maximum(x @ w.W.T + w.u * h + w.b, 0)
    return h, h


def slstm(w: Any, x: Array, h: Array, c: Array, n: Array, m: Array) -> tuple[Array, ...]:
    """With the sums themselves, not divided by exp(m), which small numbers allow."""
    before = np.where(n > 0, np.exp(m), 0)
    i = np.exp(x @ w.W_ii.T + h @ w.W_hi.T + w.b_i)
    f = sigmoid(x @ w.W_if.T + h @ w.W_hf.T + w.b_f)
    c = f * c * before + i * np.tanh(x @ w.W_iz.T + h @ w.W_hz.T + w.b_z)
    n = f * n * before + i
    h = sigmoid(x @ w.W_io.T + h @ w.W_ho.T + w.b_o) * c / n
    scale = np.maximum(f * before, i)
    return h, h, c / scale, n / scale, np.log(scale)


def mingru(w: Any, x: Array, h: Array) -> tuple[Array, ...]:
    z = sigmoid(x @ w.W_z.T + w.b_z)
    h = h + z * (x @ w.W_n.T + w.b_n - h)
    return h, h


def minlstm(w: Any, x: Array, h: Array) -> tuple[Array, ...]:
    f, i = sigmoid(x @ w.W_f.T + w.b_f), sigmoid(x @ w.W_i.T + w.b_i)
    h = (f * h + i * (x @ w.W_n.T + w.b_n)) / (f + i)
    return h, h


def sru(w: Any, x: Array, c: Array) -> tuple[Array, ...]:
    f = sigmoid(x @ w.W_f.T + w.v_f * c + w.b_f)
    r = sigmoid(x @ w.W_r.T + w.v_r * c + w.b_r)
    c = f * c + (1 - f) * (x @ w.W_n.T)
    return r * c + (1 - r) * (x @ w.W_s.T), c


def rglru(w: Any, x: Array, h: Array) -> tuple[Array, ...]:
    u = x @ w.W.T + w.b
    r, i = sigmoid(u @ w.W_r.T + w.b_r), sigmoid(u @ w.W_i.T + w.b_i)
    a = sigmoid(-w.Lambda) ** (8 * r)  # 1 / (1 + exp(Lambda)) = exp(-softplus(Lambda))
    h = a * h + np.sqrt(1 - a**2) * i * u
    return h, h


STEPS: dict[str, Callable[..., tuple[Array, ...]]] = {
    step.__name__: step
    for step in (
        peephole_lstm, coupled_lstm, layernorm_lstm, mogrifier_lstm, reset_gru, mgu, ugrnn, indrnn, slstm, mingru,
        minlstm, sru, rglru,
    )
}  # fmt: skip


def make_layer(name: str, inputs: int, H: int, seed: int = 3) -> Recurrent:
    torch.manual_seed(seed)
    module = OWN[name].module
    assert module is not None
    layer = Recurrent(module(inputs, H)).double()
    with torch.no_grad():
        for key, parameter in layer.named_parameters():
            if "norm" in key:
                parameter += 0.3 * torch.randn_like(parameter)
    return layer


def states_of(final: Any) -> tuple[torch.Tensor, ...]:
    return final if isinstance(final, tuple) else (final,)


def test_every_cell_has_an_equation() -> None:
    assert OWN.keys() == STEPS.keys() == SYMBOLS.keys()
    assert len(OWN) == 13


@pytest.mark.parametrize("H", [1, 3, 17, 64])
@pytest.mark.parametrize("name", OWN)
def test_cell_equals_its_equation(name: str, H: int) -> None:
    layer = make_layer(name, 5, H)
    w = SimpleNamespace(**arrays_of(name, layer.cells[0]))
    for B in (1, 2, 7):
        x = torch.randn(6, B, 5, dtype=torch.float64)
        assert explain_backend(layer, x).startswith("kernel")
        output, final = layer(x)
        states: tuple[Array, ...] = tuple(np.zeros((B, H)) for _ in OWN[name].states)
        for t in range(len(x)):
            out, *rest = STEPS[name](w, x[t].numpy(), *states)
            states = tuple(rest)
            np.testing.assert_allclose(output[t].detach().numpy(), out, rtol=TOLERANCE, atol=TOLERANCE)
        for ours, expected in zip(states_of(final), states, strict=True):
            np.testing.assert_allclose(ours[0].detach().numpy(), expected, rtol=TOLERANCE, atol=TOLERANCE)


FUNCTIONS = {
    "sigmoid": sigmoid, "tanh": np.tanh, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "max": np.maximum,
    "relu": lambda a: np.maximum(a, 0), "softplus": lambda a: np.log1p(np.exp(a)),
}  # fmt: skip


def evaluate(spec: CellSpec, values: dict[str, Any]) -> dict[str, Any]:
    """The values of the lines of an equation, in order."""

    def named(text: str) -> str:
        return text.replace("'", "_next").replace("~", "_raw")

    for line in spec.equation:
        symbol, text = (part.strip() for part in line.split(" = ", 1))
        text = re.sub(r"\b(W_?\w*) (\w+\b|\([^()]*\))", r"(\2 @ \1.T)", text)  # a product with each row
        text = text.replace("-8 softplus", "-8 * softplus").replace("^", "**")
        values[named(symbol)] = eval(named(text), {**FUNCTIONS}, values)
    return values


@pytest.mark.parametrize("name", [name for name in OWN if name != "layernorm_lstm"])  # LN is not a product of terms
def test_the_text_of_the_equation_is_the_cell(name: str) -> None:
    layer, spec, H = make_layer(name, 5, 4), OWN[name], 4
    x = torch.randn(3, 2, 5, dtype=torch.float64)
    output, final = layer(x)
    weights = arrays_of(name, layer.cells[0])
    states = {s: np.full((2, H), -np.inf if s == "m" else 0.0) for s in spec.states}
    values: dict[str, Any] = {}
    for t in range(len(x)):
        values = evaluate(spec, {**weights, **states, "x": x[t].numpy()})
        states = {s: values[f"{s}_next"] for s in spec.states}
        out = states.get("h", values.get("h"))
        np.testing.assert_allclose(output[t].detach().numpy(), out, rtol=TOLERANCE, atol=TOLERANCE)
    for symbol, ours in zip(spec.states, states_of(final), strict=True):
        np.testing.assert_allclose(ours[0].detach().numpy(), states[symbol], rtol=TOLERANCE, atol=TOLERANCE)


# Initial values


@pytest.mark.parametrize("name", OWN)
def test_initial_values(name: str) -> None:
    module, H = OWN[name].module, 25
    assert module is not None
    one, two, other = (module(3, H) for _ in map(torch.manual_seed, (4, 4, 5)))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    for key, parameter in one.named_parameters():
        assert parameter.requires_grad
        value = parameter.detach().clone()
        if key.startswith("norm"):
            assert torch.equal(value, torch.full_like(value, float("weight" in key)))
            continue
        if name == "indrnn" and key == "u":
            assert 0 <= value.min() < 0.1
            assert 0.9 < value.max() < 1
            continue
        if name == "rglru" and key == "Lambda":
            a = torch.exp(-8 * torch.nn.functional.softplus(value))
            assert 0.9 - 1e-6 <= a.min() < 0.95 < a.max() <= 0.999 + 1e-6
            continue
        if name == "slstm" and key == "ih.bias":
            assert torch.equal(value[H : 2 * H], torch.linspace(3, 6, H))
            value[H : 2 * H] = 0.1
        if name == "ugrnn" and key == "ih.bias":
            value[:H] -= 1
        assert value.abs().max() <= H**-0.5 + 1e-6
        assert value.abs().max() > 0.5 * H**-0.5


# Large numbers


def gradients(layer: Recurrent, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    output, final = layer(x)
    total = output.square().sum() + sum(s.clamp(-10, 10).sum() for s in states_of(final))
    return [output, *torch.autograd.grad(total, [x, *layer.parameters()])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [100.0, 1000.0])
@pytest.mark.parametrize("name", ["slstm", "minlstm", "rglru"])
def test_large_gates_stay_finite(name: str, size: float, dtype: torch.dtype) -> None:
    """Every combination of signs of the gates, in changing order."""
    layer = make_layer(name, 4, 16).to(dtype)
    x = torch.randn(20, 3, 4, dtype=dtype).sign()
    assert explain_backend(layer, x).startswith("kernel")  # the cell is read before its weights are large
    with torch.no_grad():
        for parameter in (p for key, p in layer.named_parameters() if key.endswith("weight")):
            parameter.copy_(size * parameter.sign())
    assert explain_backend(layer, x).startswith("kernel")
    for tensor in gradients(layer, x):
        assert tensor.isfinite().all()


def test_gates_of_slstm_that_were_never_open() -> None:
    """The first step takes in its candidate wholly, however small its input gate."""
    layer = make_layer("slstm", 4, 3)
    with torch.no_grad():
        layer.get_parameter("cells.0.ih.bias")[:3] = -1000.0
    output, (h, _, n, _) = layer(torch.randn(1, 2, 4, dtype=torch.float64))
    assert output.abs().min() > 0
    assert torch.equal(n, torch.ones_like(n))
    assert torch.equal(h[0], output[0])


@pytest.mark.parametrize("Lambda", [-1e3, -50.0, 50.0, 1e3])
def test_rglru_without_decay(Lambda: float) -> None:
    """The derivative of sqrt(1 - a^2) stays finite as a tends to 1."""
    for dtype in (torch.float32, torch.float64):
        layer = make_layer("rglru", 4, 5).to(dtype)
        with torch.no_grad():
            layer.get_parameter("cells.0.Lambda").fill_(Lambda)
        for tensor in gradients(layer, torch.randn(9, 2, 4, dtype=dtype)):
            assert tensor.isfinite().all()


@pytest.mark.parametrize("name", OWN)
def test_a_bounded_state_stays_within_its_bounds(name: str) -> None:
    layer, H = make_layer(name, 4, 4), 4
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(5 * torch.randn_like(parameter) if name != "indrnn" else torch.rand_like(parameter))
    x = 5 * torch.randn(30, 2, H, dtype=torch.float64)
    output, final = layer(x)
    if OWN[name].bounded:
        assert output.abs().max() <= 1
        assert all(s.abs().max() <= len(x) for s in states_of(final))
    elif name != "slstm":  # whose m alone has no bounds
        assert output.abs().max() > 1


# Other implementations

PEERS: dict[str, tuple[str, dict[str, str]]] = {
    "peephole_lstm": (
        "PeepholeLSTMCell",
        {"weight_ih": "ih.weight", "weight_hh": "hh.weight", "bias_ih": "ih.bias", "weight_ph": "p"},
    ),
    "ugrnn": ("UGRNNCell", {"weight_ih": "ih.weight", "weight_hh": "hh.weight", "bias_ih": "ih.bias"}),
    "mgu": ("MGUCell", {"weight_ih": "ih.weight", "weight_hh": "hf.weight hn.weight", "bias_ih": "ih.bias"}),
    "indrnn": ("IndRNNCell", {"weight_ih": "ih.weight", "vector_u": "u", "bias_ih": "ih.bias"}),
}
"""Classes of torchrecurrent with the same equations, and which of our parameters each of theirs is."""
SWAPPED = {"ugrnn"}
"""Those that stack the candidate before the gate."""


@pytest.mark.parametrize("name", PEERS)
def test_torchrecurrent_has_the_same_numbers(name: str) -> None:
    package = pytest.importorskip("torchrecurrent", reason="torchrecurrent 0.2.5 is not installed")
    class_name, parameters = PEERS[name]
    options = {"nonlinearity": torch.relu} if name == "indrnn" else {}
    H, layer = 6, make_layer(name, 5, 6)
    ours = dict(layer.cells[0].named_parameters())
    peer = getattr(package, class_name)(5, H, **options).double()
    with torch.no_grad():
        for key, parameter in peer.named_parameters():
            value = torch.cat([ours[k] for k in parameters[key].split()]) if key in parameters else torch.zeros(1)
            if name in SWAPPED and key in parameters:
                value = torch.cat(value.chunk(2)[::-1])
            parameter.copy_(value.reshape(parameter.shape) if key in parameters else value.expand_as(parameter))
    x = torch.randn(7, 2, 5, dtype=torch.float64)
    expected, _ = Recurrent(peer)(x)
    torch.testing.assert_close(layer(x)[0], expected, rtol=TOLERANCE, atol=TOLERANCE)


# The source


@pytest.mark.parametrize("name", OWN)
def test_a_cell_is_short_and_names_its_source(name: str) -> None:
    module: Any = OWN[name].module
    lines, _ = inspect.getsourcelines(module)
    assert len(lines) <= MAX_LINES
    assert re.search(r"Source: .+(19|20)\d\d", inspect.getdoc(module) or "", re.DOTALL)
    assert issubclass(module, torch.nn.Module)
    path = inspect.getsourcefile(module)
    assert path is not None
    assert path.endswith(f"cells/{name}.py")
    functions = [n for n in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(n, ast.FunctionDef)]
    assert [f.name for f in functions] == ["__init__", "forward"]
    assert not any(isinstance(n, (ast.If, ast.IfExp)) for f in functions for n in ast.walk(f))


def test_docstrings() -> None:
    result = doctest.testmod(importlib.import_module("ohlol.cells.initial_values"))
    assert result.attempted > 0
    assert result.failed == 0
