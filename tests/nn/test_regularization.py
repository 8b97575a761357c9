"""Zoneout, recurrent dropout and weight drop, against loops with the same masks."""

import copy
import doctest
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import dropout
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ohlol import nn
from ohlol.nn import regularization
from ohlol.nn.regularization import SequenceDropout

T, B, I, H = 6, 3, 4, 5
F64 = torch.float64


@pytest.fixture(autouse=True)
def _doubles() -> Any:
    torch.set_default_dtype(F64)
    yield
    torch.set_default_dtype(torch.float32)


def gradients(out: Tensor, module: torch.nn.Module) -> list[Tensor]:
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(7))
    return list(torch.autograd.grad((out * weight).sum(), list(module.parameters())))


def loop(cell: torch.nn.Module, x: Tensor, step: Callable[[int, Any, Any], Any], read: Callable[[Any], Any]) -> Tensor:
    """The hidden states (T, B, H) of an LSTM cell; `read` changes the state before a step, `step` after it."""
    state = (x.new_zeros(B, H), x.new_zeros(B, H))
    hidden: list[Tensor] = []
    for t in range(T):
        state = step(t, state, cell(x[t], read(state)))
        hidden.append(state[0])
    return torch.stack(hidden)


def test_zoneout_keeps_numbers_of_each_state() -> None:
    cell = torch.nn.LSTMCell(I, H)
    layer = nn.Recurrent(cell, zoneout=(0.3, 0.6))
    x = torch.randn(T, B, I)
    torch.manual_seed(3)
    out, _ = layer(x)
    torch.manual_seed(3)
    masks = [(torch.rand(T * B, H) < p).view(T, B, H) for p in (0.3, 0.6)]
    assert 0.1 < masks[0].float().mean() < 0.5

    def keep(t: int, old: Any, new: Any) -> Any:
        return tuple(torch.where(m[t], o, n) for m, o, n in zip(masks, old, new, strict=True))

    expected = loop(cell, x, keep, lambda state: state)
    torch.testing.assert_close(out, expected)
    for a, b in zip(gradients(out, cell), gradients(expected, cell), strict=True):
        torch.testing.assert_close(a, b)
    assert nn.explain_backend(layer, x).startswith("kernel")


def test_zoneout_takes_the_mean_in_evaluation() -> None:
    cell = torch.nn.LSTMCell(I, H)
    layer = nn.Recurrent(cell, zoneout=0.3).eval()
    x = torch.randn(T, B, I)
    expected = loop(
        cell,
        x,
        lambda t, old, new: tuple(0.3 * o + 0.7 * n for o, n in zip(old, new, strict=True)),
        lambda state: state,
    )
    torch.testing.assert_close(layer(x)[0], expected)
    assert nn.explain_backend(layer, x).startswith("kernel")


def test_recurrent_dropout_has_one_mask_for_all_steps() -> None:
    cell = torch.nn.LSTMCell(I, H)
    layer = nn.Recurrent(cell, recurrent_dropout=0.4)
    x = torch.randn(T, B, I)
    torch.manual_seed(5)
    out, (h_n, c_n) = layer(x)
    torch.manual_seed(5)
    mask = dropout(torch.ones(B, H), 0.4)
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.6}
    expected = loop(cell, x, lambda t, old, new: new, lambda state: (state[0] * mask, state[1]))
    torch.testing.assert_close(out, expected)
    for a, b in zip(gradients(out, cell), gradients(expected, cell), strict=True):
        torch.testing.assert_close(a, b)
    assert (h_n.shape, c_n.shape) == ((1, B, H), (1, B, H))
    torch.testing.assert_close(layer.eval()(x)[0], nn.Recurrent(cell)(x)[0])


def test_weight_dropout_of_a_cell() -> None:
    cell = torch.nn.GRUCell(I, H)
    layer = nn.Recurrent(cell, weight_dropout={"weight_hh": 0.5})
    x = torch.randn(T, B, I)
    torch.manual_seed(2)
    out, _ = layer(x)
    torch.manual_seed(2)
    dropped = copy.deepcopy(cell)
    with torch.no_grad():
        mask = dropout(torch.ones_like(cell.weight_hh), 0.5)
        dropped.weight_hh.mul_(mask)
    expected, _ = nn.Recurrent(dropped)(x)
    torch.testing.assert_close(out, expected)
    actual, of_dropped = gradients(out, cell), gradients(expected, dropped)
    torch.testing.assert_close(actual[1], of_dropped[1] * mask)
    torch.testing.assert_close(actual[0], of_dropped[0])
    torch.testing.assert_close(layer.eval()(x)[0], nn.Recurrent(cell)(x)[0])


@pytest.mark.parametrize(
    "options",
    [
        {"zoneout": 0.3},
        {"recurrent_dropout": 0.4},
        {"weight_dropout": {"hh.weight": 0.5}},
        {"zoneout": 0.2, "recurrent_dropout": 0.3, "weight_dropout": {"hh.weight": 0.5}},
    ],
)
def test_kernel_and_loop_draw_the_same_masks(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Cell(torch.nn.Module):
        def __init__(self, input_size: int):
            super().__init__()
            self.input_size, self.hidden_size = input_size, H
            self.ih, self.hh = torch.nn.Linear(input_size, H), torch.nn.Linear(H, H)

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return torch.tanh(self.ih(x) + self.hh(h))

    layer = nn.Recurrent(Cell, 2, True, input_size=I, **options)
    x = pack_padded_sequence(torch.randn(T, B, I), torch.tensor([6, 4, 1]))
    results: list[Tensor] = []
    for obstacle in ("", "a test"):
        if obstacle:
            monkeypatch.setattr("ohlol.nn.recurrent._find_obstacle", lambda *_: "a test")
        torch.manual_seed(1)
        out, h_n = layer(x)
        results += [pad_packed_sequence(out)[0], h_n, *gradients(out.data, layer)]
        assert nn.explain_backend(layer, x).startswith("torch: a test" if obstacle else "kernel")
    half = len(results) // 2
    for a, b in zip(results[:half], results[half:], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_a_built_in_layer_is_its_cell_with_the_same_masks(name: str) -> None:
    layer = getattr(nn, name)(I, H, num_layers=2, bidirectional=True, zoneout=0.2, recurrent_dropout=0.3)
    plain = getattr(torch.nn, name)(I, H, num_layers=2, bidirectional=True)
    assert list(layer.state_dict()) == list(plain.state_dict())
    cells: list[torch.nn.Module] = []
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        weights = {n: getattr(layer, n + suffix) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        cell = getattr(torch.nn, f"{name}Cell")(weights["weight_ih"].size(1), H)
        cell.load_state_dict(weights)
        cells.append(cell)
    made = iter(cells)
    recurrent = nn.Recurrent(lambda size: next(made), 2, True, input_size=I, zoneout=0.2, recurrent_dropout=0.3)
    x = torch.randn(T, B, I)
    for training in (True, False):
        layer.train(training), recurrent.train(training)
        torch.manual_seed(4)
        out, final = layer(x)
        torch.manual_seed(4)
        expected, last = recurrent(x)
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(final, last)
    layer.regularization = nn.Recurrent(cells[0]).regularization
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x)[0], plain(x)[0])


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weight_dropout_of_a_built_in_layer(name: str, dtype: torch.dtype) -> None:
    layer = getattr(nn, name)(I, H, num_layers=2, weight_dropout=0.5).to(dtype)
    plain = getattr(torch.nn, name)(I, H, num_layers=2).to(dtype)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(T, B, I).to(dtype)
    before = copy.deepcopy(layer.state_dict())
    torch.manual_seed(6)
    out, _ = layer(x)
    torch.manual_seed(6)
    with torch.no_grad():
        for weight in (plain.weight_hh_l0, plain.weight_hh_l1):
            weight.copy_(dropout(weight, 0.5))
    torch.testing.assert_close(out, plain(x)[0])
    assert all(torch.equal(a, b) for a, b in zip(before.values(), layer.state_dict().values(), strict=True))
    assert all(isinstance(p, torch.nn.Parameter) for p in layer._flat_weights)
    plain.load_state_dict(before)
    torch.testing.assert_close(layer.eval()(x)[0], plain(x)[0])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layout", ["time first", "batch first", "packed", "unbatched"])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_locked_dropout_between_layers(name: str, layout: str, bidirectional: bool) -> None:
    """Three layers are three single layers, with one mask of each sequence between them."""
    options: dict[str, Any] = {"bidirectional": bidirectional, "batch_first": layout == "batch first"}
    stack = getattr(nn, name)(I, H, num_layers=3, dropout=0.4, locked_dropout=True, **options)
    D = 2 if bidirectional else 1
    lengths = torch.tensor([6, 4, 1]) if layout == "packed" else torch.tensor([T] * B)
    x = torch.randn(T, B, I)
    state = [torch.randn(3 * D, B, H) for _ in range(2 if name == "LSTM" else 1)]
    one_row = layout == "unbatched"
    given = {
        "time first": x, "batch first": x.transpose(0, 1), "unbatched": x[:, 0],
        "packed": pack_padded_sequence(x, lengths),
    }[layout]  # fmt: skip
    states = tuple(s[:, 0] for s in state) if one_row else tuple(state)
    torch.manual_seed(9)
    out, final = stack(given, states if name == "LSTM" else states[0])
    torch.manual_seed(9)
    masks = [dropout(torch.ones(1 if one_row else B, D * H), 0.4) for _ in range(2)]
    assert set(masks[0].unique().tolist()) == {0.0, 1 / 0.6}
    expected, ends = pack_padded_sequence(x[:, :1] if one_row else x, lengths[:1] if one_row else lengths), []
    for k in range(3):
        single = getattr(torch.nn, name)(I if k == 0 else D * H, H, bidirectional=bidirectional)
        weights = {key: w for key, w in stack.state_dict().items() if f"_l{k}" in key}
        single.load_state_dict({key.replace(f"_l{k}", "_l0"): w for key, w in weights.items()})
        parts = tuple(s[k * D : (k + 1) * D, : 1 if one_row else B].contiguous() for s in state)
        expected, end = single(expected, parts if name == "LSTM" else parts[0])
        ends.append(end if name == "LSTM" else (end,))
        if k < 2:
            padded = pad_packed_sequence(expected)[0] * masks[k]
            expected = pack_padded_sequence(padded, lengths[:1] if one_row else lengths)
    expected = pad_packed_sequence(expected)[0]
    found = pad_packed_sequence(out)[0] if layout == "packed" else out.view(T, -1, D * H) if one_row else out
    torch.testing.assert_close(found.transpose(0, 1) if layout == "batch first" else found, expected)
    for ours, theirs in zip(final if name == "LSTM" else (final,), zip(*ends, strict=True), strict=True):
        torch.testing.assert_close(ours.view(3 * D, -1, H), torch.cat(theirs))
    plain = getattr(torch.nn, name)(I, H, num_layers=3, **options)
    plain.load_state_dict(stack.state_dict())
    evaluated, expected_evaluated = stack.eval()(given)[0], plain.eval()(given)[0]
    if layout == "packed":
        evaluated, expected_evaluated = evaluated.data, expected_evaluated.data
    torch.testing.assert_close(evaluated, expected_evaluated)


def test_a_stack_with_locked_dropout_keeps_its_parameters_and_options() -> None:
    """Also with weight drop, after a copy, and after its weights are replaced."""
    layer = nn.LSTM(I, H, num_layers=2, dropout=0.5, locked_dropout=True, weight_dropout=0.5)
    x = torch.randn(T, B, I)
    names = [name for name, _ in layer.named_parameters()]
    torch.manual_seed(0)
    layer(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    assert [name for name, _ in layer.named_parameters()] == names
    assert (layer.weight_hh_l0.grad == 0).float().mean() > 0.2
    other = copy.deepcopy(layer).float()
    assert other(x.float())[0].dtype is torch.float32
    for seed in (1, 1):
        torch.manual_seed(seed)
        out, _ = layer(x)
        torch.manual_seed(seed)
        torch.testing.assert_close(other(x.float())[0].double(), out, rtol=1e-4, atol=1e-5)
        weights = {name: torch.randn_like(w) for name, w in layer.state_dict().items()}
        layer.load_state_dict(weights)
        other.load_state_dict(weights)
    assert repr(layer) == "LSTM(4, 5, num_layers=2, dropout=0.5, weight_dropout=0.5, locked_dropout=True)"


@pytest.mark.parametrize("packs", [False, True])
def test_locked_dropout_of_any_cell(packs: bool) -> None:
    layer = nn.Recurrent(lambda size: torch.nn.GRUCell(size, H), 2, input_size=I, dropout=0.4, locked_dropout=True)
    built_in = nn.GRU(I, H, num_layers=2, dropout=0.4, locked_dropout=True)
    weights = {}
    for k in range(2):
        weights |= {f"{name}_l{k}": w for name, w in layer.cells[k].named_parameters()}
    built_in.load_state_dict(weights)
    x: Any = torch.randn(T, B, I)
    x = pack_padded_sequence(x, torch.tensor([6, 4, 1])) if packs else x
    results = []
    for module in (layer, built_in):
        torch.manual_seed(4)
        out, _ = module(x)
        results.append(out.data if packs else out)
    torch.testing.assert_close(*results)
    regularized = nn.GRU(I, H, num_layers=2, dropout=0.4, locked_dropout=True, recurrent_dropout=1e-12)
    regularized.load_state_dict(weights)
    assert nn.explain_backend(layer, x).startswith("kernel")
    torch.manual_seed(4)
    assert (regularized(x)[0].data if packs else regularized(x)[0]).shape == results[0].shape


def test_sequence_dropout_of_packed_rows() -> None:
    rows, sizes = torch.ones(6, 50), torch.tensor([3, 2, 1])
    for module in (SequenceDropout(0.5), SequenceDropout(0.5, locked=True)):
        out = module(rows, sizes)
        assert set(out.unique().tolist()) == {0.0, 2.0}
        same = torch.equal(out[0], out[3]) and torch.equal(out[0], out[5]) and torch.equal(out[1], out[4])
        assert same == module.locked
        assert not torch.equal(out[0], out[1])
        torch.testing.assert_close(module.eval()(rows, sizes), rows)
    locked = SequenceDropout(0.5, locked=True)
    chosen = torch.tensor([1, 3, 5])
    torch.manual_seed(1)
    out = locked(rows, sizes)
    torch.manual_seed(1)
    assert torch.equal(locked(rows[chosen], sizes, chosen), out[chosen])
    alone = locked(rows, None)
    assert not torch.equal(alone[0], alone[3])
    assert repr(locked) == "SequenceDropout(p=0.5, locked=True)"


def test_copies_and_devices_keep_the_options() -> None:
    layer = nn.LSTM(I, H, zoneout=0.3)
    x = torch.randn(T, B, I)
    layer(x)
    other = copy.deepcopy(layer).float()
    torch.manual_seed(0)
    out, _ = other(x.float())
    assert out.dtype is torch.float32
    with torch.no_grad():
        other.weight_hh_l0.zero_()
    torch.manual_seed(0)
    assert not torch.equal(other(x.float())[0], out)
    assert repr(layer) == "LSTM(4, 5, zoneout=0.3)"
    unbatched, (h_n, _) = layer(x[:, 0])
    assert (unbatched.shape, h_n.shape) == ((T, H), (1, H))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTM(I, H, zoneout=1.5), r"zoneout should be a number in range \[0, 1\], got 1.5"),
        (lambda: nn.LSTM(I, H, zoneout=(0.1,)), "zoneout has 1 probabilities, and the cell 2 states"),
        (lambda: nn.GRU(I, H, weight_dropout=-1.0), "weight_dropout should be"),
        (lambda: nn.LSTM(I, H, proj_size=2, zoneout=0.1), "need proj_size=0"),
        (lambda: nn.Recurrent(torch.nn.GRUCell(I, H), recurrent_dropout=2.0), "recurrent_dropout should be"),
        (lambda: nn.Recurrent(torch.nn.GRUCell(I, H), zoneout=(0.1, 0.2)), "and the cell 1 states"),
        (
            lambda: nn.Recurrent(torch.nn.GRUCell(I, H), weight_dropout={"W": 0.1}),
            "weight_dropout names 'W'; the parameters of the cell are weight_ih, weight_hh, bias_ih, bias_hh",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_docstrings() -> None:
    torch.set_default_dtype(torch.float32)
    result = doctest.testmod(regularization)
    assert result.attempted > 0
    assert result.failed == 0


def test_no_probability_of_zero_is_a_fraction() -> None:
    """torch's compiler traces a model with a fraction that its graph does not need twice."""
    layer, plain = nn.Recurrent(torch.nn.GRUCell(3, 4), dropout=0.0, zoneout=0.0), nn.GRU(3, 4, zoneout=0.0)
    numbers = [layer.dropout, plain.weight_dropout]
    numbers += [n for m in (layer, plain) for n in (m.regularization.zoneout, m.regularization.recurrent_dropout)]
    assert [type(number) for number in numbers] == [int] * 6
    assert "dropout" not in repr(layer) + repr(plain)
