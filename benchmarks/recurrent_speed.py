"""`Recurrent` against the same cell in a loop, eager and in TorchScript; plain LSTM and GRU against the built-in ones.

    python benchmarks/recurrent_speed.py [--cells NAME ...] [--sizes TxBxH ...] [--rounds N] [--threads N] [--quick]

The cells are those of the package torchrecurrent; without it, a peephole LSTM, an MGU and an IndRNN written here. The
forward and the backward pass of a batch take turns with those of the loop, and medians are compared. No time is shown
unless outputs and gradients are the same within 1e-3 of the largest number over 5 steps: some cells magnify roundings
from step to step. The last lines compare an LSTM and a GRU that are plain modules with `ohlol.nn.LSTM` and `GRU`.
"""

import argparse
import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from timing import parse_arguments, time_in_turns
from torch import Tensor
from torch.nn import Linear, Module, Parameter

from ohlol import nn

TOLERANCE = 1e-3
CHECKED_STEPS = 5


class Cell(Module):
    """Products of the input and of the state, for the cells below."""

    gates = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, self.gates * hidden_size, bias)
        self.hh = Linear(hidden_size, self.gates * hidden_size, bias)


class PlainLSTM(Cell):
    """The equations of torch.nn.LSTM."""

    gates = 4

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step."""
        h, c = state
        i, f, g, o = (self.ih(x) + self.hh(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class PlainGRU(Cell):
    """The equations of torch.nn.GRU."""

    gates = 3

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step."""
        x_r, x_z, x_n = self.ih(x).chunk(3, -1)
        h_r, h_z, h_n = self.hh(h).chunk(3, -1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        return (1 - z) * n + z * h


class PeepholeLSTM(PlainLSTM):
    """An LSTM whose gates see the cell state."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.peepholes = Parameter(0.1 * torch.randn(3, hidden_size))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step."""
        h, c = state
        p_i, p_f, p_o = self.peepholes.unbind(0)
        i, f, g, o = (self.ih(x) + self.hh(h)).chunk(4, -1)
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        return torch.sigmoid(o + p_o * c) * torch.tanh(c), c


class MGU(Cell):
    """A minimal gated unit."""

    gates = 2

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step."""
        x_f, x_n = self.ih(x).chunk(2, -1)
        h_f, h_n = self.hh(h).chunk(2, -1)
        f = torch.sigmoid(x_f + h_f)
        return (1 - f) * h + f * torch.tanh(x_n + f * h_n)


class IndRNN(Module):
    """Independent units: a vector of recurrent weights."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih, self.u = Linear(input_size, hidden_size), Parameter(torch.rand(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step."""
        return torch.relu(self.ih(x) + self.u * h)


class Loop(Module):
    """A cell in a loop of Python over the steps."""

    def __init__(self, layer: nn.Recurrent, cell: Module):
        super().__init__()
        self.cell, self.interface = cell, layer._interfaces[0]

    def forward(self, x: Tensor) -> Tensor:
        """x (T, B, I) to the outputs (T, B, O)."""
        state = tuple(x.new_zeros(x.size(1), size) for size in self.interface.state_sizes)
        outputs = []
        for x_t in x:
            out, state = self.interface.unpack(self.cell(x_t, self.interface.pack(state)))
            outputs.append(out)
        return torch.stack(outputs)


def scripted(cell: Module) -> Module | None:
    """The cell compiled by TorchScript, or None where it cannot be."""
    try:
        return torch.jit.script(cell)
    except Exception:
        return None


def peer_cells() -> dict[str, Any]:
    """The cells to measure by name."""
    if importlib.util.find_spec("torchrecurrent") is None:
        return {"PeepholeLSTM": PeepholeLSTM, "MGU": MGU, "IndRNN": IndRNN}
    package = importlib.import_module("torchrecurrent")
    return {name: getattr(package, name) for name in sorted(dir(package)) if name.endswith("Cell")}


def step_of(run: Callable[[Tensor], Tensor], layer: Module, x: Tensor) -> Callable[[], list[Tensor]]:
    """A forward and a backward pass; returns the output and the gradients."""
    parameters = [p for p in layer.parameters() if p.requires_grad]
    weight = torch.ones_like(run(x))

    def train() -> list[Tensor]:
        out = run(x)
        grads = torch.autograd.grad(out, parameters, weight, allow_unused=True)
        return [out, *(g for g in grads if g is not None)]

    return train


def check(name: str, ours: Callable[[], list[Tensor]], theirs: Callable[[], list[Tensor]]) -> None:
    """Refuse to go on where the results differ."""
    for a, b in zip(ours(), theirs(), strict=True):
        off, size = (a - b).abs().max().item(), max(1.0, b.abs().max().item())
        if not off <= TOLERANCE * size:
            raise SystemExit(f"{name}: a result is off by {off:.3g} of {size:.3g}; no times are shown")


def geometric_mean(ratios: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def measure_cell(name: str, cell_class: Any, size: tuple[int, int, int], rounds: int) -> tuple[float, str]:
    """How many times faster than the better loop, and the line that says so."""
    T, B, H = size
    torch.manual_seed(0)
    cell = cell_class(H, H)
    layer = nn.Recurrent(cell)
    x = torch.randn(T, B, H)
    started = time.perf_counter()
    backend = nn.explain_backend(layer, x)
    traced = time.perf_counter() - started
    compiled = scripted(cell)
    loops = [Loop(layer, c) for c in (cell, compiled) if c is not None]
    few = x[:CHECKED_STEPS]
    check(name, step_of(lambda x: layer(x)[0], cell, few), step_of(loops[0], cell, few))
    runs = [step_of(lambda x: layer(x)[0], cell, x)]
    for loop in loops:
        try:
            runs.append(step_of(loop, cell, x))
            runs[-1]()
        except RuntimeError:  # TorchScript accepts the cell, but not the call
            runs = runs[:2]
    ours, *theirs = time_in_turns(rounds, *runs)
    ratio = min(theirs) / ours
    script = f"{theirs[1] * 1e3:.2f}" if len(theirs) > 1 else "-"
    times = f"loop {theirs[0] * 1e3:.2f} ms, TorchScript {script} ms, ohlol {ours * 1e3:.3f} ms"
    return ratio, f"{name}, {T} x {B} x {H}: {times}, {ratio:.2f}x; traced in {traced * 1e3:.0f} ms; {backend}"


def measure_built_in(plain: Any, layer_class: Any, size: tuple[int, int, int], rounds: int) -> str:
    """A plain module against the built-in layer with the same weights."""
    T, B, H = size
    cell = plain(H, H)
    ours, built_in = nn.Recurrent(cell), layer_class(H, H)
    names = {"weight_ih_l0": "ih.weight", "weight_hh_l0": "hh.weight", "bias_ih_l0": "ih.bias", "bias_hh_l0": "hh.bias"}
    built_in.load_state_dict({name: cell.state_dict()[other] for name, other in names.items()})
    x = torch.randn(T, B, H)
    runs = step_of(lambda x: ours(x)[0], cell, x), step_of(lambda x: built_in(x)[0], built_in, x)
    a, b = runs[0](), runs[1]()
    check(plain.__name__, lambda: a[:1], lambda: b[:1])
    seconds = time_in_turns(rounds, *runs)
    times = f"plain {seconds[0] * 1e3:.3f} ms, built in {seconds[1] * 1e3:.3f} ms"
    return f"{plain.__name__}, {T} x {B} x {H}: {times}, {seconds[0] / seconds[1]:.2f} times as long"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="*", help="names of cells; all by default")
    parser.add_argument("--sizes", nargs="*", default=["50x32x64", "50x32x128", "100x1x64"], help="T x B x H")
    parser.add_argument("--built-in", nargs="*", default=["50x8x64", "50x32x64", "50x32x128"], help="T x B x H")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    small = {"sizes": ["4x2x8"], "built_in": ["4x2x8"], "rounds": 1, "threads": 1, "cells": ["MGU", "MGUCell"]}
    arguments = parse_arguments(parser, **small)
    torch.set_num_threads(arguments.threads)
    cells = {n: c for n, c in peer_cells().items() if not arguments.cells or n in arguments.cells}
    for text in arguments.sizes:
        size = tuple(map(int, text.split("x")))
        ratios = []
        for name, cell_class in cells.items():
            ratio, line = measure_cell(name, cell_class, size, arguments.rounds)
            ratios.append(ratio)
            print(line, flush=True)
        print(f"{text}: geometric mean {geometric_mean(ratios):.2f}x of {len(ratios)}, least {min(ratios):.2f}x")
    for text in arguments.built_in:
        size = tuple(map(int, text.split("x")))
        for plain, layer_class in ((PlainLSTM, nn.LSTM), (PlainGRU, nn.GRU)):
            print(measure_built_in(plain, layer_class, size, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
