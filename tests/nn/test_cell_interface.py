"""What a cell takes and returns is found by running it."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from user_cells import OneTensorState, PlainLSTM, Stabilized, TwoWidths

from ohlol import nn
from ohlol.cells import CellSpec
from ohlol.nn import make_cell
from ohlol.nn.cell_interface import CellInterface, find_interface, preserve_attributes


class OptionalState(torch.nn.Module):
    """Returns whatever a function makes of its state."""

    def __init__(self, step: Any, start: Any) -> None:
        super().__init__()
        self.step, self.start = step, start

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return self.step(x, self.start(x) if state is None else state)


def zeros(*sizes: int) -> Any:
    return lambda x: tuple(x.new_zeros(len(x), size) for size in sizes)


def test_the_cells_of_torch() -> None:
    assert find_interface(torch.nn.GRUCell(3, 5), 3) == CellInterface((5,), False, False, 5)
    assert find_interface(torch.nn.LSTMCell(3, 5), 3) == CellInterface((5, 5), True, False, 5)


def test_states_by_hidden_size_or_as_given() -> None:
    assert find_interface(PlainLSTM(3, 5), 3) == CellInterface((5, 5), True, False, 5)
    assert find_interface(OneTensorState(3, 5), 3, 10) == CellInterface((10,), False, False, 10)
    assert find_interface(TwoWidths(3, 6), 3, (6, 2)) == CellInterface((6, 2), True, True, 8)
    assert find_interface(Stabilized(3, 5), 3, (5,) * 4) == CellInterface((5,) * 4, True, False, 5)


def test_states_by_the_result() -> None:
    cell = OptionalState(lambda x, s: (s[0] + x, (s[0], s[1] * 2)), zeros(3, 4))
    assert find_interface(cell, 3) == CellInterface((3, 4), True, True, 3)


def test_ambiguous_cells_need_a_keyword() -> None:
    cell = OptionalState(lambda x, s: (s[0] + x, s[-1] + x), zeros(3, 3))
    with pytest.raises(ValueError, match="set returns_output=False or returns_output=True"):
        nn.Recurrent(cell, input_size=3)
    assert find_interface(cell, 3, returns_output=False).state_sizes == (3, 3)
    assert find_interface(cell, 3, returns_output=True) == CellInterface((3,), False, True, 3)


def test_cells_that_cannot_be_run() -> None:
    with pytest.raises(ValueError, match="state_sizes= names the width"):
        find_interface(TwoWidths(3, 6), 3)
    with pytest.raises(ValueError, match=r"Linear does not return its next state.*forward\(x, state\)"):
        find_interface(torch.nn.Linear(3, 3), 3, 3)


class Plain(torch.nn.Module):
    """A cell that returns something of its next state."""

    hidden_size = 4

    def __init__(self, change: Callable[[Tensor], Any]):
        super().__init__()
        self.ih, self.hh, self.change = torch.nn.Linear(3, 4), torch.nn.Linear(4, 4), change

    def forward(self, x: Tensor, h: Tensor) -> Any:
        return self.change(torch.tanh(self.ih(x) + self.hh(h)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: {"h": h}, r"for x \(5, 3\) and the state \(5, 4\) it returns a dict\."),
        (lambda h: None, "it returns None"),
        (lambda h: h[:, :3], r"it returns \(5, 3\)"),
        (lambda h: h.unsqueeze(1), r"it returns \(5, 1, 4\)\. .* of tensors \(B, W\)"),
        (lambda h: h.argmax(1), r"it returns \(5,\) of torch\.int64"),
        (lambda h: (h, h, h), r"it returns a tuple of \(5, 4\), \(5, 4\), \(5, 4\)"),
        (lambda h: h + undefined, "it raises NameError: name 'undefined'"),  # type: ignore[name-defined]  # noqa: F821
    ],
)
def test_the_error_says_what_the_cell_does(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        find_interface(Plain(change), 3)
    assert ("NameError" in message) == isinstance(caught.value.__cause__, NameError)


def test_a_state_of_unknown_width() -> None:
    cell = Plain(lambda h: h)
    cell.hidden_size = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="since their widths are not known"):
        find_interface(cell, 3)


def test_a_cell_may_register_hooks() -> None:
    def change(h: Tensor) -> Tensor:
        h.register_hook(lambda grad: grad)
        return h

    assert find_interface(Plain(change), 3).state_sizes == (4,)


def test_trial_runs_leave_attributes_as_they_are() -> None:
    class Keeps(Plain):
        def forward(self, x: Tensor, h: Tensor) -> Any:
            self.last = x
            self.calls += 1
            self.kept["lists"][0].append(x)
            self.recent.append(x)
            self.seen.add(len(x))
            self.config.steps += 1
            return super().forward(x, h)

    cell = Keeps(lambda h: h)
    cell.calls, cell.kept, cell.recent, cell.seen = 0, {"lists": ([],)}, deque([1], 1), {0}
    cell.config = SimpleNamespace(steps=0)
    find_interface(cell, 3)
    with preserve_attributes(cell) as changed:
        cell(torch.zeros(1, 3), torch.zeros(1, 4))
    assert sorted(changed) == ["calls", "config", "kept", "last", "recent", "seen"]
    assert not hasattr(cell, "last")
    assert (cell.calls, cell.kept, cell.config.steps) == (0, {"lists": ([],)}, 0)
    assert (list(cell.recent), cell.seen) == ([1], {0})


def test_running_a_cell_changes_no_buffer() -> None:
    class Counts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            self.calls += 1
            return h

    cell = Counts()
    find_interface(cell, 3, 3)
    assert cell.calls == 0


class OnTheCpu(torch.nn.Module):
    """A cell that makes a parameter on the CPU, whatever the default device is, and a buffer on the default one."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        self.weight = torch.nn.Parameter(torch.zeros(input_size, hidden_size, device="cpu"))
        self.register_buffer("scale", torch.ones(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step."""
        return h * self.scale + x @ self.weight


def test_a_cell_on_two_devices_is_read_on_the_meta_device() -> None:
    with torch.device("meta"):
        cell = make_cell(CellSpec(name="on_the_cpu", module=OnTheCpu), 3, 5)
        interface = find_interface(cell, 3)
    assert all(weight.is_meta for weight in cell.state_dict().values())
    assert interface.state_sizes == (5,)
