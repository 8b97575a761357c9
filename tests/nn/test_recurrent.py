"""`Recurrent`: calls and errors as in torch.nn.LSTM, the two paths and the reasons, modes and copies."""

import copy
import pickle
import re
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from parity.tolerances import assert_same
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence
from user_cells import IndRNN, PlainGRU, PlainLSTM, TwoWidths

from ohlol import nn, ops

needs_kernels = pytest.mark.skipif(not ops.available(), reason="the compiled kernels are not installed")
LOOP = "torch: "


def stack(make: Any = PlainGRU, **options: Any) -> nn.Recurrent:
    torch.manual_seed(4)
    options = {"input_size": 3, **options}
    return nn.Recurrent(lambda size: make(size, 5), **options)


def backend(cell: torch.nn.Module, state_sizes: Any = None) -> str:
    layer = nn.Recurrent(cell, input_size=3, state_sizes=state_sizes)
    return nn.explain_backend(layer, torch.randn(4, 2, 3))


class Cell(torch.nn.Module):
    """A base of the cells below."""

    hidden_size = 5

    def __init__(self) -> None:
        super().__init__()
        self.ih, self.hh = torch.nn.Linear(3, 5), torch.nn.Linear(5, 5)


def assert_same_as_loop(layer: nn.Recurrent, x: Tensor) -> None:
    """A loop over the cell by hand gives the same; for one layer in one direction."""
    state = x.new_zeros(x.size(1), 5)
    outs = []
    for x_t in x:
        state = layer.cells[0](x_t, state)
        outs.append(state)
    assert_same("output", layer(x)[0], torch.stack(outs), x.dtype)


# Calls


def test_shapes_are_those_of_torch() -> None:
    for batch_first in (False, True):
        ours = stack(PlainLSTM, num_layers=2, bidirectional=True, batch_first=batch_first)
        theirs = torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=batch_first)
        for x in (torch.randn(4, 2, 3), torch.randn(4, 3)):
            out, (h, c) = ours(x)
            expected, (h_n, c_n) = theirs(x)
            assert (out.shape, h.shape, c.shape) == (expected.shape, h_n.shape, c_n.shape)
            assert ours(x, (h, c))[0].shape == expected.shape


def test_an_empty_batch_has_empty_results() -> None:
    for layer in (nn.Recurrent(torch.nn.GRUCell(3, 5)), nn.Recurrent(torch.nn.GRUCell(3, 5), batch_first=True)):
        out, h_n = layer(torch.randn(0, 7, 3) if layer.batch_first else torch.randn(7, 0, 3))
        assert (out.shape, h_n.shape) == (((0, 7, 5) if layer.batch_first else (7, 0, 5)), (1, 0, 5))


def test_a_packed_batch_keeps_its_order() -> None:
    layer = stack(PlainLSTM, bidirectional=True)
    sequences = [torch.randn(n, 3) for n in (2, 5, 3)]
    packed = pack_sequence(sequences, enforce_sorted=False)
    state = tuple(torch.randn(2, 3, 5) for _ in range(2))
    out, final = layer(packed, state)
    padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(out)
    assert lengths.tolist() == [2, 5, 3]
    for b, sequence in enumerate(sequences):
        alone, last = layer(sequence, tuple(s[:, b] for s in state))
        assert_same("output", padded[: len(sequence), b], alone, torch.float32)
        for ours, expected in zip(final, last, strict=True):
            assert_same("state", ours[:, b], expected, torch.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda layer: layer(torch.randn(4, 2, 4)), r"input.size\(-1\) must be equal to input_size. Expected 3, got 4"),
        (lambda layer: layer(torch.randn(3)), "Expected input to be 2D or 3D, got 1D"),
        (lambda layer: layer(torch.randn(0, 2, 3)), "Expected sequence length to be larger than 0"),
        (lambda layer: layer(torch.randn(4, 2, 3), torch.randn(1, 3, 5)), r"Expected hidden\[0\] size \(1, 2, 5\)"),
        (lambda layer: layer(torch.randn(4, 3), torch.randn(1, 1, 5)), r"Expected hidden\[0\] size \(1, 5\)"),
        (lambda layer: layer(torch.randn(4, 2, 3), (torch.randn(1, 2, 5),)), "is one tensor, got 1 tensors"),
        (lambda layer: layer(torch.randn(4, 2, 3), [None]), "is one tensor, got 1 tensors"),
        (lambda layer: stack(PlainLSTM)(torch.randn(4, 2, 3), (torch.randn(1, 2, 5), None)), r"\[1\] is a NoneType"),
        (
            lambda layer: stack(batch_first=True)(torch.randn(2, 4, 3), torch.randn(2, 1, 5)),
            r"size \(1, 2, 5\), got \[2, 1, 5\]; with batch_first only the input is \(B, T, I\)",
        ),
        (lambda layer: layer([1.0]), "to be a tensor or PackedSequence, got list"),
    ],
)
def test_wrong_calls(make: Any, message: str) -> None:
    with pytest.raises((RuntimeError, ValueError, TypeError), match=message):
        make(stack())


def test_wrong_arguments() -> None:
    cell = PlainGRU(3, 5)
    with pytest.raises(ValueError, match="num_layers must be greater than zero"):
        nn.Recurrent(cell, num_layers=0)
    with pytest.raises(ValueError, match="dropout should be a number in range"):
        nn.Recurrent(cell, dropout=2.0)
    with pytest.raises(ValueError, match="pass a function of the input size"):
        nn.Recurrent(cell, bidirectional=True)
    with pytest.raises(ValueError, match="needs input_size="):
        nn.Recurrent(lambda size: PlainGRU(size, 5))
    with pytest.raises(ValueError, match=r"GRUCell is a class: a cell is GRUCell\(\.\.\.\)"):
        nn.Recurrent(torch.nn.GRUCell)
    with pytest.raises(ValueError, match=r"GRU is a layer, .* as GRUCell does"):
        nn.Recurrent(torch.nn.GRU(3, 5))
    with pytest.raises(ValueError, match=r"the cell is a str, not a torch\.nn\.Module"):
        nn.Recurrent("gru", input_size=3)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="expects num_layers greater than 1"):
        nn.Recurrent(cell, dropout=0.5)
    with pytest.raises(ValueError, match=r"a Tensor, not a torch.nn.Module"):
        nn.Recurrent(lambda size: torch.zeros(size), input_size=3)  # type: ignore[arg-type, return-value]


def test_states_of_layers_that_cannot_be_stacked() -> None:
    class Remembers(torch.nn.Module):
        """Its second state is the last input."""

        def __init__(self, size: int) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(size, 5)

        def forward(self, x: Tensor, state: Any = None) -> Any:
            h, before = (torch.zeros(len(x), 5), torch.zeros_like(x)) if state is None else state
            return torch.tanh(self.linear(before) + h), x

    assert nn.Recurrent(Remembers, input_size=3)(torch.randn(4, 2, 3))[1][1].shape == (1, 2, 3)
    with pytest.raises(ValueError, match=r"layer 1 have the widths \(5, 5\), those of layer 0 \(5, 3\)"):
        nn.Recurrent(Remembers, 2, input_size=3)


def test_an_output_beside_the_state() -> None:
    layer = stack(TwoWidths, num_layers=2, bidirectional=True, state_sizes=(5, 1))
    out, (wide, small) = layer(torch.randn(4, 2, 3))
    assert out.shape == (4, 2, 14)
    assert wide.shape == (4, 2, 5)
    assert small.shape == (4, 2, 1)


def test_dropout_between_layers() -> None:
    layer = stack(num_layers=2, dropout=0.5)
    x = torch.randn(4, 2, 3)
    torch.manual_seed(0)
    first = layer(x)[0]
    assert not torch.equal(first, layer(x)[0])
    torch.manual_seed(0)
    assert torch.equal(first, layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


# The two paths


@needs_kernels
def test_usual_cells_run_in_the_kernels() -> None:
    assert backend(PlainGRU(3, 5)).startswith("kernel")
    assert backend(WritesOverResults()).startswith("kernel")
    assert_same_as_loop(nn.Recurrent(WritesOverResults(), input_size=3), torch.randn(4, 2, 3))
    assert backend(torch.nn.LSTMCell(3, 5)).startswith("kernel")
    assert backend(torch.nn.RNNCell(3, 5, nonlinearity="relu")).startswith("kernel")


class Scans(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x) + self.hh(h).cumsum(1))


class MixesRows(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x) + self.hh(h - h.mean(0)))


class MixesInputs(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x - x.mean(0)) + self.hh(h))


class Decides(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.hh(h)) if h.sum() > 0 else torch.tanh(self.ih(x) + self.hh(h))


class Draws(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x) + self.hh(torch.nn.functional.dropout(h, 0.5, self.training)))


class ChangesInPlace(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        y = self.ih(x) + self.hh(h)
        y[:, 0].zero_()
        return y.tanh()


class WritesOverResults(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.nn.functional.relu(self.ih(x).add_(self.hh(h)), inplace=True)


class Counts(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        self.calls += 1
        return torch.tanh(self.ih(x) + self.hh(h))


class Normalizes(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(5)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x) + self.norm(self.hh(h)))


class StopsGradients(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        with torch.no_grad():
            gate = torch.sigmoid(self.hh(h))
        return torch.tanh(self.ih(x)) * gate


class Rounds(torch.autograd.Function):
    """A sign whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class StraightThrough(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x) + self.hh(h)) + 0.1 * Rounds.apply(self.hh(h))  # type: ignore[operator]


class Clip(torch.autograd.Function):
    """The identity, whose gradient has limits that the gradients of an example do not reach."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0].clamp(-50, 50)


class ClipsGradients(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return Clip.apply(torch.tanh(self.ih(x) + self.hh(h)))  # type: ignore[return-value]


class HooksIfNeeded(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        h = torch.tanh(self.ih(x) + self.hh(h))
        if h.requires_grad:
            h.register_hook(lambda grad: grad.clamp(-50, 50))
        return h


class Hooks(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        h = torch.tanh(self.ih(x) + self.hh(h))
        h.register_hook(lambda grad: grad.clamp(-50, 50))
        return h


class ReadsMemory(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        h = torch.tanh(self.ih(x) + self.hh(h))
        return h / 2 if h.detach().numpy().max() > 0.5 else h


class KeepsGate(Cell):
    gate = torch.zeros(())

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        self.gate = torch.sigmoid(self.hh(h))
        return self.gate * torch.tanh(self.ih(x))


class KeepsGates(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.gates: list[Tensor] = []

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        self.gates.append(torch.sigmoid(self.hh(h)))
        return self.gates[-1] * torch.tanh(self.ih(x))


class CountsSteps(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(steps=0, scale=0.5)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        self.config.steps += 1
        return torch.tanh(self.ih(x) + self.hh(h)) * self.config.scale


class SetsBuffer(Counts):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return torch.tanh(self.ih(x) + self.hh(h))


class Profiled(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        with torch.profiler.record_function("step"):
            return torch.tanh(self.ih(x) + self.hh(h))


class KnowsOne(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x) + self.hh(h)) / (2 if len(x) == 1 else 1)


@needs_kernels
@pytest.mark.parametrize(
    ("cell_class", "reason"),
    [
        (Scans, "no kernel: aten.cumsum at .*test_recurrent.py"),
        (MixesRows, "not along the features.*: aten.mean at"),
        (MixesInputs, r"aten.mean at .*test_recurrent.py"),
        (Decides, "numbers in a tensor are read in Python: aten._local_scalar_dense at"),
        (Draws, "the operation is random: aten.bernoulli|the operation is random: aten.native_dropout"),
        (ChangesInPlace, "after an operation changes it in place: aten.zero_ at"),
        (Counts, "changes a tensor in place: aten.add_ at"),
        (Normalizes, "torch: "),
        (StraightThrough, "calls the torch.autograd.Function Rounds"),
        (ClipsGradients, "calls the torch.autograd.Function Clip"),
        (HooksIfNeeded, "reads or changes gradients itself: Tensor.requires_grad at .*test_recurrent.py"),
        (Hooks, "reads or changes gradients itself: Tensor.register_hook at .*test_recurrent.py"),
        (ReadsMemory, "numbers in a tensor are read in Python: Tensor.numpy at .*test_recurrent.py"),
        (KeepsGate, "sets its attribute 'gate' in a step"),
        (KeepsGates, "sets its attribute 'gates' in a step"),
        (CountsSteps, "sets its attribute 'config' in a step"),
        (SetsBuffer, "sets its buffer 'calls' in a step"),
        (Profiled, "an argument cannot be compared: profiler"),
        (KnowsOne, "results or gradients of the recorded step are not those of the cell.*by the batch size"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_cells_that_run_in_a_loop(cell_class: type[Cell], reason: str) -> None:
    torch.manual_seed(0)
    cell = cell_class()
    assert backend(cell).startswith(LOOP)
    assert re.search(reason, backend(cell)), backend(cell)
    layer = nn.Recurrent(cell, input_size=3)
    x = torch.randn(4, 2, 3, requires_grad=True)
    if cell_class in (Draws, Normalizes):
        layer.eval()
    assert_same_as_loop(layer, x)


@pytest.mark.parametrize("cell_class", [ClipsGradients, HooksIfNeeded, Hooks])
def test_gradients_are_clipped_in_a_cell(cell_class: type[Cell]) -> None:
    torch.manual_seed(0)
    layer, x = nn.Recurrent(cell_class(), input_size=3), torch.randn(4, 2, 3, requires_grad=True)
    grads = [torch.autograd.grad(1e6 * run(x)[0].sum(), x)[0] for run in (layer, nn.Recurrent(Unclipped(layer)))]
    assert grads[0].abs().max() < 1e-3 * grads[1].abs().max()


class Unclipped(Cell):
    def __init__(self, layer: nn.Recurrent):
        super().__init__()
        self.load_state_dict(layer.cells[0].state_dict())

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.ih(x) + self.hh(h))


@needs_kernels
def test_what_a_cell_keeps_is_that_of_the_last_call() -> None:
    """It is neither that of a trial run, nor is such a cell read again at each call."""
    for cell in (KeepsGates(), KeepsGate(), CountsSteps()):
        layer = nn.Recurrent(cell, input_size=3)
        if isinstance(cell, KeepsGates):
            assert cell.gates == []
        for _ in range(5):
            layer(torch.randn(4, 2, 3))
        assert len(layer._steps) <= 3
    assert cell.config.steps == 20
    first, second = KeepsGates(), KeepsGate()
    nn.Recurrent(first, input_size=3)(torch.randn(4, 2, 3))
    nn.Recurrent(second, input_size=3)(torch.randn(4, 2, 3))
    assert [gate.shape for gate in (*first.gates, second.gate)] == [(2, 5)] * 5


class KeepsGateIfAsked(Cell):
    asked = True
    gate: Any = None

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        if self.asked:
            self.gate = torch.sigmoid(self.hh(h))
        return torch.tanh(self.ih(x) + self.hh(h))


@needs_kernels
def test_a_cell_that_keeps_something_no_more_runs_in_the_kernels() -> None:
    cell = KeepsGateIfAsked()
    layer, x = nn.Recurrent(cell, input_size=3), torch.randn(4, 2, 3)
    for _ in range(6):
        layer(x)
    assert "sets its attribute 'gate'" in nn.explain_backend(layer, x)
    cell.asked = False
    layer(x)
    assert nn.explain_backend(layer, x).startswith("kernel")
    assert_same_as_loop(layer, x)


@needs_kernels
def test_a_cell_that_changes_between_all_calls_is_not_recorded_in_each() -> None:
    class Annealed(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(scale=1.0)

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return torch.tanh(self.ih(x) + self.hh(h)) * self.config.scale

    cell = Annealed()
    layer, x = nn.Recurrent(cell, input_size=3), torch.randn(4, 2, 3)
    for _ in range(10):
        cell.config.scale *= 0.9
        assert_same_as_loop(layer, x)
    assert len(layer._steps) == 3
    cell.config.scale = 0.5
    assert nn.explain_backend(layer, x) == "torch: what the cell reads changes between calls"
    assert nn.explain_backend(layer, x).startswith("kernel")
    assert_same_as_loop(layer, x)


@needs_kernels
def test_an_equal_number_is_no_change() -> None:
    class Scales(Cell):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            self.scale = self.hidden_size**-0.5
            return torch.tanh(self.ih(x) + self.hh(h)) * self.scale

    layer, x = nn.Recurrent(Scales(), input_size=3), torch.randn(4, 2, 3)
    layer(x)
    assert nn.explain_backend(layer, x).startswith("kernel")


class AttributesOfKeys(dict[str, Any]):
    __getattr__ = dict.__getitem__

    def __init__(self) -> None:
        super().__init__(scale=0.5)


class ByName:
    """Without the attributes that Python looks for, there is a KeyError and no AttributeError."""

    def __init__(self) -> None:
        self.values = {"scale": 0.5}

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["values"][name]


@needs_kernels
@pytest.mark.parametrize("kind", [AttributesOfKeys, ByName])
def test_objects_with_attributes_of_their_own(kind: type) -> None:
    class Configured(Cell):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return torch.tanh(self.ih(x) + self.hh(h)) * self.config.scale

    cell = Configured()
    cell.config = kind()
    layer, x = nn.Recurrent(cell, input_size=3), torch.randn(4, 2, 3)
    assert nn.explain_backend(layer, x).startswith("kernel")
    assert_same_as_loop(layer, x)


def test_objects_that_hold_each_other_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ohlol.nn import cell_interface, cell_step

    looks: list[Any] = []

    def look(value: Any) -> Any:
        looks.append(value)
        return cell_interface_attributes_of(value)

    cell_interface_attributes_of = cell_interface.attributes_of
    monkeypatch.setattr(cell_interface, "attributes_of", look)
    monkeypatch.setattr(cell_step, "attributes_of", look)
    objects = [SimpleNamespace() for _ in range(10)]
    for one in objects:
        vars(one).update({f"other_{i}": other for i, other in enumerate(objects)})
    cell = Cell()
    cell.objects = objects
    cell_step.view_cell(cell, torch.float32)
    with cell_interface.preserve_attributes(cell):
        pass
    assert 0 < len(looks) <= 400


@needs_kernels
def test_a_cell_may_fill_a_cache() -> None:
    class Caches(Cell):
        cache: Any = None

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            if self.cache is None:
                self.cache = torch.arange(5.0)
            return torch.tanh(self.ih(x) + self.hh(h) * self.cache)

    layer, x = nn.Recurrent(Caches(), input_size=3), torch.randn(4, 2, 3)
    assert nn.explain_backend(layer, x).startswith(LOOP)
    layer(x)
    assert nn.explain_backend(layer, x).startswith("kernel")
    assert_same_as_loop(layer, x)


@needs_kernels
def test_operations_under_no_grad_run_in_the_kernels() -> None:
    """No gradient passes them, however small it would be."""

    class Stops(StopsGradients):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            with torch.no_grad():
                small = 1e-6 * self.hh(h)
            return super().forward(x, h) + small

    cell = Stops()
    layer, x = nn.Recurrent(cell, input_size=3), torch.randn(4, 2, 3)
    assert nn.explain_backend(layer, x).startswith("kernel")
    assert_same_as_loop(layer, x)
    layer(x)[0].sum().backward()
    assert cell.hh.weight.grad is None or not cell.hh.weight.grad.any()
    assert cell.ih.weight.grad is not None


@needs_kernels
def test_evaluation_mode_is_read_anew() -> None:
    layer = nn.Recurrent(Draws(), input_size=3)
    x = torch.randn(4, 2, 3)
    assert nn.explain_backend(layer, x).startswith(LOOP)
    assert nn.explain_backend(layer.eval(), x).startswith("kernel")


@needs_kernels
def test_changed_attributes_are_read_anew() -> None:
    class Scaled(Cell):
        scale = 1.0

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return torch.tanh(self.ih(x) + self.hh(h)) * self.scale

    layer = nn.Recurrent(Scaled(), input_size=3)
    x = torch.randn(4, 2, 3)
    assert_same_as_loop(layer, x)
    layer.cells[0].scale = 0.25
    assert_same_as_loop(layer, x)
    Scaled.scale = 0.125
    del layer.cells[0].scale
    assert_same_as_loop(layer, x)
    for scale in np.linspace(0.1, 1.0, 20):  # numbers of numpy, each in the memory of one before
        layer.cells[0].scale = scale
        assert_same_as_loop(layer, x)


scale_of_all = 1.0


@needs_kernels
def test_changed_objects_and_variables_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Configured(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(scale=1.0, gates={"f": [0.5]})

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return torch.tanh(self.ih(x) * self.config.gates["f"][0] + self.hh(h)) * self.config.scale * scale_of_all

    cell = Configured()
    layer, x = nn.Recurrent(cell, input_size=3), torch.randn(4, 2, 3)
    assert nn.explain_backend(layer, x).startswith("kernel")
    for change in (
        lambda: setattr(cell.config, "scale", 0.5),
        lambda: cell.config.gates.update(f=[0.25]),
        lambda: monkeypatch.setitem(globals(), "scale_of_all", 0.5),
        lambda: monkeypatch.setattr(Configured, "forward", Unclipped.forward),
    ):
        assert_same_as_loop(layer, x)
        change()
        assert_same_as_loop(layer, x)


@needs_kernels
def test_hooks_are_called_at_each_step() -> None:
    layer = stack()
    calls: list[int] = []
    handle = layer.cells[0].hh.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(4, 2, 3)
    assert "has hooks" in nn.explain_backend(layer, x)
    layer(x)
    assert len(calls) == 4
    handle.remove()
    assert nn.explain_backend(layer, x).startswith("kernel")


@needs_kernels
def test_dtypes_and_transforms() -> None:
    layer, x = stack(), torch.randn(4, 2, 3)
    with torch.autocast("cpu"):
        assert "autocast" in nn.explain_backend(layer, x)
    assert "dtype" in nn.explain_backend(stack().to(torch.bfloat16), x.bfloat16())
    assert "weights of the cell do not fit" in nn.explain_backend(layer, x.double())
    batched = torch.func.vmap(lambda x: layer(x)[0], in_dims=1, out_dims=1)(x.unsqueeze(2))
    assert_same("vmap", batched.squeeze(2), layer(x)[0], torch.float32)


def test_functional_call_and_parametrizations() -> None:
    layer, x = stack(), torch.randn(4, 2, 3)
    doubled = {name: 2 * p for name, p in layer.named_parameters()}
    out = torch.func.functional_call(layer, doubled, (x,))[0]
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter *= 2
    assert_same("functional_call", out, other(x)[0], torch.float32)
    torch.nn.utils.parametrizations.weight_norm(layer.cells[0].hh)
    assert_same_as_loop(layer, x)


def test_double_backward_equals_that_of_the_loop() -> None:
    layer = stack().double()
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = list(layer.parameters())

    def penalty(out: Tensor) -> list[Tensor]:
        (grad,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        return list(torch.autograd.grad(grad.square().sum(), weights))

    state, outs = x.new_zeros(2, 5), []
    for x_t in x:
        state = layer.cells[0](x_t, state)
        outs.append(state)
    for ours, expected in zip(penalty(layer(x)[0]), penalty(torch.stack(outs)), strict=True):
        assert_same("second derivative", ours, expected, torch.float64)


def test_backward_twice_and_changed_batch_sizes() -> None:
    layer = stack()
    packed = pack_sequence([torch.randn(3, 3), torch.randn(2, 3)])
    out = layer(packed)[0].data
    weights = list(layer.parameters())
    first = torch.autograd.grad(out.sum(), weights, retain_graph=True)
    packed.batch_sizes.fill_(1)
    for a, b in zip(first, torch.autograd.grad(out.sum(), weights), strict=True):
        assert torch.equal(a, b)


def test_only_the_final_state_has_a_gradient() -> None:
    layer = stack()
    x = torch.randn(4, 2, 3, requires_grad=True)
    layer(x)[1].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


class IgnoresInput(Cell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.hh(h))


@pytest.mark.parametrize("cell_class", [IgnoresInput, Unclipped])
def test_no_gradient_of_the_output(cell_class: type[Cell]) -> None:
    """The numbers in its place stay zeros until the backward pass has read them."""
    layer = nn.Recurrent(IgnoresInput() if cell_class is IgnoresInput else PlainGRU(3, 5), input_size=3).double()
    x, h_0 = torch.randn(3, 2, 3, dtype=torch.float64), torch.randn(1, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h_0: layer(x, h_0)[1], h_0)
    assert torch.autograd.gradcheck(lambda h_0: layer(x, h_0), h_0)
    assert torch.autograd.gradcheck(lambda h_0: layer(x, h_0)[0], h_0)


@needs_kernels
@pytest.mark.parametrize("make", [PlainGRU, PlainLSTM, TwoWidths, IndRNN])
def test_weights_are_frozen_after_a_call(make: Any) -> None:
    """Each choice of weights has a backward pass of its own."""
    torch.manual_seed(0)
    sizes = (5, 1) if make is TwoWidths else None
    layer = nn.Recurrent(make(3, 5), state_sizes=sizes)
    interface = layer.interface
    x = torch.randn(4, 2, 3)

    def loop(x: Tensor) -> Tensor:
        state, outs = interface.pack([x.new_zeros(2, size) for size in interface.state_sizes]), []
        for x_t in x:
            out, states = interface.unpack(layer.cells[0](x_t, state))
            state = interface.pack(states)
            outs.append(out)
        return torch.stack(outs)

    parameters = list(layer.parameters())
    for chosen in range((2 << len(parameters)) - 1, 0, -1):
        for number, tensor in enumerate([x, *parameters]):
            tensor.requires_grad_(bool(chosen >> number & 1))
        leaves = [t for t in (x, *parameters) if t.requires_grad]
        grads = [torch.autograd.grad(run(x).square().sum(), leaves) for run in (lambda x: layer(x)[0], loop)]
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_an_attribute_made_in_inference_mode() -> None:
    class Masked(Unclipped):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return super().forward(x, h * self.mask)

    cell = Masked(nn.Recurrent(IgnoresInput(), input_size=3))
    with torch.inference_mode():
        cell.mask = torch.rand(5)
        layer = nn.Recurrent(cell, input_size=3)
        assert_same_as_loop(layer, torch.randn(4, 2, 3))


def test_copies() -> None:
    layer, x = nn.Recurrent(PlainGRU(3, 5)), torch.randn(4, 2, 3)
    out = layer(x)[0]
    assert torch.equal(copy.deepcopy(layer)(x)[0], out)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x)[0], out)
    other = nn.Recurrent(PlainGRU(3, 5))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x)[0], out)


def test_inference_mode_first() -> None:
    layer, x = stack(), torch.randn(4, 2, 3)
    with torch.inference_mode():
        inferred = layer(x)[0]
    assert torch.equal(inferred, layer(x)[0])
    layer(x)[0].sum().backward()


def test_reading_a_cell_draws_no_random_numbers() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    layer, x = stack(), torch.ones(4, 2, 3)
    torch.manual_seed(5)
    layer(x)
    assert torch.equal(torch.rand(3), expected)


def test_the_repr_names_the_options() -> None:
    assert repr(stack(num_layers=2, batch_first=True)).startswith("Recurrent(\n  num_layers=2, batch_first=True")


class OutputOfInput(Cell):
    """Its output does not depend on the state."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return torch.relu(self.ih(x)).cumsum(1), torch.tanh(self.ih(x.cumsum(1)) + self.hh(h))


class KeepsState(Cell):
    """Its second state never changes, and its third is the input."""

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        h, kept, before = state
        h = torch.tanh(self.ih(before) + self.hh(h) * kept)
        return torch.cat([h, kept, x], 1), (h, kept, x)


@needs_kernels
@pytest.mark.parametrize(("cell_class", "sizes"), [(OutputOfInput, 5), (KeepsState, (5, 5, 3))])
def test_outputs_and_states_of_other_kinds(cell_class: type[Cell], sizes: Any) -> None:
    torch.manual_seed(0)
    layer = nn.Recurrent(cell_class(), input_size=3, state_sizes=sizes).double()
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert nn.explain_backend(layer, x).startswith("kernel")
    is_tuple = isinstance(sizes, tuple)
    start = tuple(
        torch.randn(1, 2, n, dtype=torch.float64, requires_grad=True) for n in (sizes if is_tuple else (sizes,))
    )
    state: Any = tuple(s[0] for s in start) if is_tuple else start[0][0]
    outs = []
    for x_t in x:
        out, state = layer.cells[0](x_t, state)
        outs.append(out)
    ours, final = layer(x, start if is_tuple else start[0])
    finals, states = (final, state) if is_tuple else ((final,), (state,))
    expected = [torch.stack(outs), *(s[None] for s in states)]
    results = [ours, *finals]
    leaves = [x, *start, *layer.parameters()]
    grads = [torch.autograd.grad(sum(r.square().sum() for r in rs), leaves) for rs in (results, expected)]
    for a, b in zip((*results, *grads[0]), (*expected, *grads[1]), strict=True):
        assert_same("result", a, b, torch.float64)


@needs_kernels
def test_reading_a_large_cell_takes_little_time() -> None:
    layer = nn.Recurrent(PlainLSTM(512, 512))
    started = time.perf_counter()
    assert nn.explain_backend(layer, torch.randn(2, 1, 512)).startswith("kernel")
    assert time.perf_counter() - started < 5  # 0.1 s without other load


@pytest.mark.parametrize("what", ["x", "state", "weight_hh", "bias_hh", "weight_hh after the call"])
def test_a_freed_storage_is_an_error(what: str) -> None:
    """As with torch's layers; the kernels would read from address 0."""
    layer = nn.Recurrent(torch.nn.GRUCell(3, 4))
    x, state, cell = torch.ones(5, 2, 3), torch.zeros(1, 2, 4), layer.cells[0]
    tensors: dict[str, Any] = {"x": x, "state": state, "weight_hh": cell.weight_hh, "bias_hh": cell.bias_hh}
    if what in tensors:
        tensors[what].data.untyped_storage().resize_(0)
        with pytest.raises(RuntimeError, match=r"freed|out of bounds"):
            layer(x, state)
        return
    out, _ = layer(x, state)
    cell.weight_hh.data.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="freed"):
        out.sum().backward()


def test_zero_tensors_are_zeros() -> None:
    layer = nn.Recurrent(torch.nn.GRUCell(3, 4))
    zeros = torch.zeros(5, 2, 3)
    assert torch.equal(layer(torch._efficientzerotensor(zeros.shape))[0], layer(zeros)[0])
