"""The layers of `ohlol.nn` and of torch compared on this machine: that their results agree, then how long each takes.

Times are taken in turns, so that a change in the machine's load affects both, and the median is kept. The share of the
peak is the layer's arithmetic per second over that of the fastest `torch.mm` of two large matrices in the same run. It
exceeds 1 where `torch.mm` uses narrower vectors than the layer.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ohlol import nn
from ohlol.cells import CELLS, torch_cells
from ohlol.utils.errors import InputError

TOLERANCE = {torch.float32: 1e-5, torch.float64: 2e-14}
"""Largest difference between the two, as a share of the largest number (at least 1)."""


@dataclass(frozen=True)
class Size:
    """Steps, sequences, inputs and hidden units of one measurement."""

    T: int
    B: int
    inputs: int
    hidden: int


SIZES = (
    Size(50, 32, 64, 64),
    Size(50, 32, 128, 128),
    Size(50, 64, 256, 256),
    Size(100, 64, 512, 512),
    Size(100, 1, 256, 256),
    Size(5, 1, 4, 4),
)


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds, medians of `rounds` turns."""

    cell: str
    size: Size
    grad: bool
    torch: float
    ours: float
    rounds: int
    peak_share: float
    backend: str

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.torch / self.ours


class ParityError(Exception):
    """Ours and torch's results differ, so their times are not to be compared."""


def _results(layer: torch.nn.RNNBase, x: Tensor, weight: Tensor, grad: bool) -> list[Tensor]:
    with torch.set_grad_enabled(grad):
        out, final = layer(x)
    states = list(final) if isinstance(final, tuple) else [final]
    grads = torch.autograd.grad(out, list(layer.parameters()), weight) if grad else ()
    return [out, *states, *grads]


def check(theirs: torch.nn.RNNBase, ours: torch.nn.RNNBase, x: Tensor, weight: Tensor, grad: bool) -> None:
    """Compare outputs, final states and, with `grad`, every weight's gradient.

    Raises:
        ParityError: one of them is off by more than `TOLERANCE`.
    """
    pairs = zip(_results(theirs, x, weight, grad), _results(ours, x, weight, grad), strict=True)
    for place, (a, b) in enumerate(pairs):
        off, size = (a - b).abs().max().item(), max(1.0, a.abs().max().item())
        if not off <= TOLERANCE[x.dtype] * size:
            raise ParityError(
                f"{type(ours).__name__} {tuple(x.shape)}: result {place} is off by {off:.3g} of {size:.3g}"
            )


def gemm_peak(dtype: torch.dtype = torch.float32, seconds: float = 0.3) -> float:
    """Multiplications and additions a second of the best large matrix product torch does here."""
    n = 1024
    a, b, out = (torch.randn(n, n, dtype=dtype) for _ in range(3))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def _runner(layer: torch.nn.RNNBase, x: Tensor, weight: Tensor, grad: bool) -> Callable[[], None]:
    parameters = list(layer.parameters())

    def infer() -> None:
        with torch.no_grad():
            layer(x)

    def train() -> None:
        for p in parameters:
            p.grad = None
        layer(x)[0].backward(weight)

    return train if grad else infer


def _in_turns(a: Callable[[], None], b: Callable[[], None], seconds: float) -> tuple[float, float, int]:
    times: tuple[list[float], list[float]] = ([], [])
    for run in (a, b, a, b):  # warm
        run()
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or (time.perf_counter() < end and len(times[0]) < 5000):
        for run, kept in zip((a, b), times, strict=True):
            start = time.perf_counter()
            run()
            kept.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1]), len(times[0])


def run(
    cells: Sequence[str] = (),
    sizes: Sequence[Size] = SIZES,
    grad: Sequence[bool] = (False, True),
    dtype: torch.dtype = torch.float32,
    seconds: float = 1.0,
) -> list[Row]:
    """Measure every cell at every size, without gradients and with forward and backward.

    Args:
        cells: names of cells that torch has a layer of; without any, one for each class of layer.
        sizes: what to run.
        grad: False for inference, True for training; one row each.
        dtype: float32 or float64.
        seconds: how long to take turns for each row.

    Raises:
        InputError: no such cell, or torch has no layer of it.
        ParityError: the results differ; nothing is measured then.

    >>> [row] = run(["gru"], [Size(3, 2, 4, 4)], [False], seconds=0.01)
    >>> row.cell, row.ratio > 0
    ('gru', True)
    """
    specs = [CELLS.select(cell) for cell in cells] or torch_cells()
    for spec in specs:
        if spec.torch_layer is None:
            raise InputError(f"torch has no layer of the cell {spec.name}")
    rows: list[Row] = []
    peak = gemm_peak(dtype)
    for size in sizes:
        for spec in specs:
            assert spec.torch_layer is not None
            options: dict[str, Any] = {"dtype": dtype, **spec.torch_options}
            theirs = spec.torch_layer(size.inputs, size.hidden, **options)  # pyright: ignore[reportArgumentType]
            ours = nn.LAYER_CLASSES[spec.torch_layer](size.inputs, size.hidden, **options)  # pyright: ignore[reportArgumentType]
            ours.load_state_dict(theirs.state_dict())
            x = torch.randn(size.T, size.B, size.inputs, dtype=dtype)
            weight = torch.randn(size.T, size.B, size.hidden, dtype=dtype)
            for train in grad:
                check(theirs, ours, x, weight, train)
                old, new, rounds = _in_turns(
                    _runner(theirs, x, weight, train), _runner(ours, x, weight, train), seconds
                )
                # products: projection and recurrence, and again for dh, dW_hh and dW_ih (the input needs no gradient)
                pair = 2 * size.T * size.B * len(spec.gates) * size.hidden
                work = pair * (size.inputs + size.hidden) + (pair * (size.inputs + 2 * size.hidden) if train else 0)
                share = work / new / peak
                rows.append(Row(spec.name, size, train, old, new, rounds, share, nn.explain_backend(ours, x)))
    return rows
