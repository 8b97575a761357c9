"""A plain module with cells of a user, as a file that is not part of the package, imported by name."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ohlol.cells import CELLS

MODULE = "mycells"
SOURCE = '''"""Cells: their states differ in number and width, in what the cell returns, and in what it runs on."""

import torch
from torch.nn import Linear, Module


class Peephole(Module):
    """A pair of states, as `torch.nn.LSTMCell` has it."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.gates = Linear(input_size + hidden_size, 4 * hidden_size)
        self.peepholes = torch.nn.Parameter(torch.zeros(3, hidden_size))

    def forward(self, x, state):
        h, c = state
        i, f, g, o = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f + self.peepholes[0] * c) * c + torch.sigmoid(i + self.peepholes[1] * c) * torch.tanh(g)
        return torch.sigmoid(o + self.peepholes[2] * c) * torch.tanh(c), c


class Widths(Module):
    """States of two widths, and an output that is neither."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.state_sizes = (hidden_size, hidden_size // 2)
        self.wide = Linear(input_size + hidden_size // 2, hidden_size)
        self.narrow = Linear(hidden_size, hidden_size // 2)
        self.out = Linear(hidden_size, hidden_size + 1)

    def forward(self, x, state):
        wide, narrow = state
        wide = torch.tanh(self.wide(torch.cat([x, narrow], dim=1))) + 0.5 * wide
        narrow = 0.5 * narrow + torch.sigmoid(self.narrow(wide))
        return torch.tanh(self.out(wide)), (wide, narrow)


class OneTuple(Module):
    """A tuple of one state."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.linear = Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, state):
        (h,) = state
        return (torch.tanh(self.linear(torch.cat([x, h], dim=1))),)


class Four(Module):
    """Four states."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.linear = Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, state):
        h, a, b, c = state
        return torch.tanh(self.linear(torch.cat([x, h], dim=1)) + a - c), 0.5 * (a + h), 0.5 * (b + h), torch.tanh(b)


class InLoop(Module):
    """A cell that reads a number in Python, which the kernels cannot, nor tensors without memory; with a buffer."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.linear = Linear(input_size + hidden_size, hidden_size)
        self.register_buffer("scale", torch.tensor(float(torch.ones(3).sum()) / 2))

    def forward(self, x, h):
        h = torch.tanh(self.scale * self.linear(torch.cat([x, h], dim=1)))
        return h if float(h.detach().abs().max()) < 2 else 2 * h


class ThreeArguments(Module):
    def __init__(self, input_size, hidden_size, bias):
        super().__init__()


class Raises(Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        raise KeyError("no such gate")


class OtherWidth(Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.linear = Linear(input_size, hidden_size + 1)

    def forward(self, x, h):
        return self.linear(x) + h


class InFloat64(Peephole):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.double()


class WithoutParameters(Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size

    def forward(self, x, h):
        return torch.tanh(x.sum(1, keepdim=True) + h)


class NotAModule:
    def __init__(self, input_size, hidden_size):
        pass


def make_number(input_size, hidden_size):
    return 3


number = 3
made = OneTuple(3, 4)
'''


def write_module(folder: Path) -> Path:
    """Write the module into a folder."""
    path = folder / f"{MODULE}.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@contextmanager
def forgotten() -> Iterator[None]:
    """Within it, the cells of the module are not imported, as in a new process; nor after it."""
    _forget()
    try:
        yield
    finally:
        _forget()


def _forget() -> None:
    for name in [name for name in CELLS if ":" in name]:
        del CELLS._members[name]
    sys.modules.pop(MODULE, None)
