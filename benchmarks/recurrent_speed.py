"""Cells in `Recurrent` against the same cells in a loop, and plain LSTM and GRU modules against the built-in layers.

    python benchmarks/recurrent_speed.py [--cells NAME ...] [--sizes TxBxH ...] [--seconds S] [--threads N] [--quick]

The cells are those of the package torchrecurrent; without it, a peephole LSTM, an MGU and an IndRNN written here. They
are compared as `ohlol bench --cell` does. The last lines compare an LSTM and a GRU that are plain modules with
`ohlol.nn.LSTM` and `GRU`, and a minGRU of many steps with `GRU`.
"""

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from timing import parse_arguments
from torch import Tensor
from torch.nn import Linear, Module, Parameter

from ohlol import nn
from ohlol.nn import benchmark


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


class MinGRU(Module):
    """A GRU whose gates do not depend on the state."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih = Linear(input_size, 2 * hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step."""
        z, n = self.ih(x).chunk(2, -1)
        return torch.lerp(h, n, torch.sigmoid(z))


class IndRNN(Module):
    """Independent units: a vector of recurrent weights."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.ih, self.u = Linear(input_size, hidden_size), Parameter(torch.rand(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step."""
        return torch.relu(self.ih(x) + self.u * h)


def peer_cells() -> list[str]:
    """The cells to measure, as `ohlol bench --cell` takes them."""
    if importlib.util.find_spec("torchrecurrent") is None:
        return [f"recurrent_speed:{cell.__name__}" for cell in (PeepholeLSTM, MGU, IndRNN)]
    package = importlib.import_module("torchrecurrent")
    return [f"torchrecurrent:{name}" for name in sorted(dir(package)) if name.endswith("Cell")]


def size_of(text: str) -> benchmark.Size:
    """T, B and H of TxBxH; the input has the size of the hidden state."""
    T, B, H = map(int, text.split("x"))
    return benchmark.Size(T, B, H, H)


def step_of(layer: Module, x: Tensor) -> Callable[[], list[Tensor]]:
    """A forward and a backward pass; returns the output."""
    parameters = [p for p in layer.parameters() if p.requires_grad]
    weight = torch.ones_like(layer(x)[0])

    def train() -> list[Tensor]:
        out = layer(x)[0]
        torch.autograd.grad(out, parameters, weight)
        return [out]

    return train


def measure_built_in(plain: Any, layer_class: Any, text: str, seconds: float) -> str:
    """A plain module against the built-in layer, with the same weights where they have the same equations."""
    size = size_of(text)
    cell = plain(size.inputs, size.hidden)
    ours, built_in = nn.Recurrent(cell), layer_class(size.inputs, size.hidden)
    runs = [step_of(layer, torch.randn(size.T, size.B, size.inputs)) for layer in (ours, built_in)]
    if isinstance(cell, Cell):
        names = {
            "weight_ih_l0": "ih.weight",
            "weight_hh_l0": "hh.weight",
            "bias_ih_l0": "ih.bias",
            "bias_hh_l0": "hh.bias",
        }
        built_in.load_state_dict({name: cell.state_dict()[other] for name, other in names.items()})
        x = torch.randn(size.T, size.B, size.inputs)
        torch.testing.assert_close(ours(x)[0], built_in(x)[0], rtol=0, atol=1e-5)
    (a, b), _ = benchmark.time_in_turns(runs, seconds)
    times = f"{plain.__name__} {a * 1e3:.3f} ms, {layer_class.__name__} {b * 1e3:.3f} ms"
    return f"{text}: {times}, {a / b:.2f} times as long"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="*", help="names of cells; all by default")
    parser.add_argument("--sizes", nargs="*", default=["50x32x64", "50x32x128", "100x1x64"], help="T x B x H")
    parser.add_argument("--built-in", nargs="*", default=["50x8x64", "50x32x64", "50x32x128"], help="T x B x H")
    parser.add_argument("--long", default="512x32x128", help="T x B x H of minGRU")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    small = {
        "sizes": ["4x2x8"], "built_in": ["4x2x8"], "long": "4x2x8", "seconds": 0.0, "threads": 1,
        "cells": ["MGU", "MGUCell"],
    }  # fmt: skip
    arguments = parse_arguments(parser, **small)
    torch.set_num_threads(arguments.threads)
    cells = [n for n in peer_cells() if not arguments.cells or n.partition(":")[2] in arguments.cells]
    for text in arguments.sizes:
        rows: list[benchmark.Row] = []
        for name in cells:
            [row] = benchmark.run([name], [size_of(text)], [True], seconds=arguments.seconds)
            rows.append(row)
            times = ", ".join(f"{kind} {seconds * 1e3:.2f} ms" for kind, seconds in row.times.items())
            print(
                f"{name.partition(':')[2]}, {text}: {times}, ohlol {row.ours * 1e3:.3f} ms, {row.ratio:.2f}x; "
                f"recorded in {row.recording * 1e3:.0f} ms; {row.backend}",
                flush=True,
            )
        mean, least = benchmark.geometric_mean(rows), min(row.ratio for row in rows)
        print(f"{text}: geometric mean {mean:.2f}x of {len(rows)}, least {least:.2f}x", flush=True)
    for text in arguments.built_in:
        print(measure_built_in(PlainLSTM, nn.LSTM, text, arguments.seconds), flush=True)
        print(measure_built_in(PlainGRU, nn.GRU, text, arguments.seconds), flush=True)
    print(measure_built_in(MinGRU, nn.GRU, arguments.long, arguments.seconds))


if __name__ == "__main__":
    main()
