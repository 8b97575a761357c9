"""The layers of `ohlol.nn` compared with torch on this machine: that their results agree, then how long each takes.

A layer of torch is compared with the same layer of ohlol, and a cell that torch has no layer of with the same cell in a
loop over the steps, as it is and compiled by TorchScript, whichever is faster. A layer with a reduced precision is
compared with the same layer of ohlol in float32, and its results with those of `ohlol.ops.reduced_equations`.

Times are taken in turns, so that a change in the machine's load affects all, and the median of the turns is kept. The
share of `torch.mm` is the layer's arithmetic per second over that of the fastest `torch.mm` of two large matrices in
the same run. It exceeds 1 where `torch.mm` uses narrower vectors than the layer. The share of the roofline is the least
time in which the machine could run the layer over the time measured.
"""

import copy
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ohlol import nn
from ohlol.cells import CellSpec, import_cell, torch_cells
from ohlol.config import FULL_PRECISION
from ohlol.nn.roofline import Limits, measure_limits
from ohlol.ops import available
from ohlol.ops.reduced_equations import run_equations, run_step_equations
from ohlol.utils.errors import InputError

TOLERANCE = {torch.float32: 1e-5, torch.float64: 2e-14}
"""Largest difference from a layer of torch, as a share of the largest number (at least 1)."""
CELL_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}
"""Largest difference from a cell in a loop, over `CHECKED_STEPS`: some cells magnify roundings from step to step."""
CHECKED_STEPS = 5
TURN = 0.02
"""Seconds of a turn at least; a turn is calls of one implementation."""
MIN_TURNS = 5


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
    """One line of the table; times in seconds, medians of the turns."""

    cell: str
    size: Size
    grad: bool
    torch: float
    """Of the fastest implementation by torch; with a reduced precision, of the layer in float32."""
    ours: float
    turns: int
    matmul_share: float | None
    """Relative to `torch.mm`; None for a cell whose arithmetic is not known."""
    roofline_share: float | None
    """Relative to what the machine could do; None likewise."""
    bound: str
    """What bounds it: multiply-adds or memory; empty where it is not known."""
    backend: str
    compared_with: str
    """The fastest implementation by torch, "torch.nn", "loop" or "TorchScript"; with a reduced precision "fp32"."""
    times: dict[str, float] = field(default_factory=dict[str, float])
    """The time of each implementation by torch."""
    recording: float = 0.0
    """Seconds that reading a cell took, once."""

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.torch / self.ours


class ParityError(Exception):
    """Ours and torch's results differ, so their times are not to be compared."""


Run = Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]
"""An implementation: x (T, B, I) to the output (T, B, O) and the final states."""


@dataclass(frozen=True)
class _Contest:
    """The implementations of one layer, with the same parameters."""

    name: str
    parameters: list[Tensor]
    torch: dict[str, Run]
    ours: Run
    our_parameters: list[Tensor]
    tolerance: float
    checked_steps: int | None
    """The steps over which results are compared; None for all."""
    backend: Callable[[Tensor], str]
    recording: float = 0.0
    reference: Run | None = None
    """What results are compared with; None for the first of `torch`."""


def check(contest: _Contest, x: Tensor, grad: bool) -> None:
    """Compare outputs, final states and, with `grad`, the gradient of every parameter.

    Raises:
        ParityError: one of them is off by more than the tolerance.
    """
    x = x[: contest.checked_steps]
    expected = _results(contest.reference or next(iter(contest.torch.values())), contest.parameters, x, grad)
    for place, (a, b) in enumerate(zip(expected, _results(contest.ours, contest.our_parameters, x, grad), strict=True)):
        off, size = (a - b).abs().max().item(), max(1.0, a.abs().max().item())
        if not off <= contest.tolerance * size:
            raise ParityError(f"{contest.name} {tuple(x.shape)}: result {place} is off by {off:.3g} of {size:.3g}")


def _results(run: Run, parameters: list[Tensor], x: Tensor, grad: bool) -> list[Tensor]:
    with torch.set_grad_enabled(grad):
        out, states = run(x)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=out.dtype)
    grads: list[Tensor] = []
    if grad and out.requires_grad:
        grads += torch.autograd.grad(out, parameters, weight, allow_unused=True, materialize_grads=True)
    return [out, *states, *grads]


def _call(run: Run, parameters: list[Tensor], x: Tensor, grad: bool) -> Callable[[], None]:
    """A call to measure."""
    weight = torch.randn(run(x)[0].shape, dtype=x.dtype)

    def infer() -> None:
        with torch.no_grad():
            run(x)

    def train() -> None:
        for p in parameters:
            p.grad = None
        run(x)[0].backward(weight)

    return train if grad else infer


def time_in_turns(calls: Sequence[Callable[[], None]], seconds: float) -> tuple[list[float], int]:
    """The median seconds of each call, and the number of turns; a turn that is not counted comes first."""
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    turns = -1
    while turns < MIN_TURNS or time.perf_counter() < end:
        for call, measured in zip(calls, times, strict=True):
            start, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() < start + TURN:
                call()
                count += 1
            if turns >= 0:
                measured.append((time.perf_counter() - start) / count)
        turns += 1
    return [statistics.median(measured) for measured in times], turns


def run(
    cells: Sequence[str] = (),
    sizes: Sequence[Size] = SIZES,
    grad: Sequence[bool] = (False, True),
    dtype: torch.dtype = torch.float32,
    seconds: float = 1.0,
    limits: Limits | None = None,
    precision: str = FULL_PRECISION,
) -> list[Row]:
    """Measure every cell at every size, without gradients and with forward and backward.

    Args:
        cells: names of cells, or `package.module:Class` to import one; if empty, one for each class of layer of torch.
        sizes: what to run.
        grad: False for inference, True for training; one row each.
        dtype: float32 or float64.
        seconds: how long to take turns for each row, at least `MIN_TURNS` turns.
        limits: of this machine; measured if not given.
        precision: one of `INFERENCE_PRECISIONS`; a reduced one is compared with float32, in inference alone.

    Raises:
        InputError: no such cell, or it cannot be made of these sizes, or does not run with this precision.
        ParityError: the results differ; nothing is measured then.

    >>> [row] = run(["gru"], [Size(3, 2, 4, 4)], [False], seconds=0.01)
    >>> row.cell, row.ratio > 0
    ('gru', True)
    """
    specs = [import_cell(cell) for cell in cells] or torch_cells()
    rows: list[Row] = []
    limits = limits or measure_limits(dtype)
    for size in sizes:
        for spec in specs:
            if precision != FULL_PRECISION:
                if not available():
                    raise InputError(
                        "`precision` {precision}: there is no kernel of `cell` {name}",
                        precision=precision,
                        name=spec.name,
                    )
                contest = (_of_reduced if spec.torch_layer is not None else _of_reduced_cell)(spec, size, precision)
            else:
                contest = _of_layer(spec, size, dtype) if spec.torch_layer is not None else _of_cell(spec, size, dtype)
            x = torch.randn(size.T, size.B, size.inputs, dtype=dtype)
            rows += [_measure(contest, spec, size, x, train, limits, seconds) for train in grad]
    return rows


def _measure(
    contest: _Contest, spec: CellSpec, size: Size, x: Tensor, grad: bool, limits: Limits, seconds: float
) -> Row:
    check(contest, x, grad)
    names = list(contest.torch)
    calls = [_call(contest.ours, contest.our_parameters, x, grad)]
    calls += [_call(run, contest.parameters, x, grad) for run in contest.torch.values()]
    (ours, *theirs), turns = time_in_turns(calls, seconds)
    times = dict(zip(names, theirs, strict=True))
    fastest = min(names, key=times.__getitem__)
    matmul_share = roofline_share = None
    bound = ""
    if spec.torch_layer is not None:
        work, traffic = count_work(len(spec.gates), size, grad)
        matmul_share = work / ours / limits.matmul
        least, bound = limits.least_time(work, traffic * x.itemsize)
        roofline_share = None if contest.reference is not None else least / ours
    return Row(
        cell=spec.name,
        size=size,
        grad=grad,
        torch=times[fastest],
        ours=ours,
        turns=turns,
        matmul_share=matmul_share,
        roofline_share=roofline_share,
        bound=bound,
        backend=contest.backend(x),
        compared_with=fastest,
        times=times,
        recording=contest.recording,
    )


def count_work(gates: int, size: Size, grad: bool) -> tuple[int, int]:
    """The operations of a layer's products, and the numbers that it reads or writes at least once.

    >>> count_work(4, Size(1, 1, 2, 3), grad=False)
    (120, 65)
    """
    steps = size.T * size.B
    # products: projection and recurrence, and again for dh, dW_hh and dW_ih (the input needs no gradient)
    pair = 2 * steps * gates * size.hidden
    weights = gates * size.hidden * (size.inputs + size.hidden)
    if not grad:
        return pair * (size.inputs + size.hidden), weights + steps * (size.inputs + size.hidden)
    # the weights are read twice and their gradients written; x, the output and the gates are used by both passes
    used_twice = size.inputs + size.hidden * (1 + gates)
    return pair * (2 * size.inputs + 3 * size.hidden), 3 * weights + steps * (2 * used_twice + size.hidden)


def _of_layer(spec: CellSpec, size: Size, dtype: torch.dtype) -> _Contest:
    """A layer of torch and the same layer of ohlol."""
    assert spec.torch_layer is not None
    options: dict[str, Any] = {"dtype": dtype, **spec.torch_options}
    theirs = spec.torch_layer(size.inputs, size.hidden, **options)  # pyright: ignore[reportArgumentType]
    ours = nn.LAYER_CLASSES[spec.torch_layer](size.inputs, size.hidden, **options)  # pyright: ignore[reportArgumentType]
    ours.load_state_dict(theirs.state_dict())
    return _Contest(
        name=type(ours).__name__,
        parameters=list(theirs.parameters()),
        torch={"torch.nn": _as_run(theirs)},
        ours=_as_run(ours),
        our_parameters=list(ours.parameters()),
        tolerance=TOLERANCE[dtype],
        checked_steps=None,
        backend=lambda x: nn.explain_backend(ours, x),
    )


def _of_reduced(spec: CellSpec, size: Size, precision: str) -> _Contest:
    """A layer in float32 and with a reduced precision."""
    assert spec.torch_layer is not None
    exact: Any = nn.LAYER_CLASSES[spec.torch_layer](size.inputs, size.hidden, **spec.torch_options)  # pyright: ignore[reportArgumentType]
    ours = nn.quantize(copy.deepcopy(exact), precision)
    run, weights = _as_run(ours), [p.detach() for p in exact.parameters()]

    def state_exactly(x: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        states = (x.new_zeros(x.size(1), size.hidden),) * len(spec.states)
        out, final = run_equations(spec.name, x, states, weights, precision, run(x)[0])
        return out, [s.unsqueeze(0) for s in final]

    return _contest_of_reduced(f"{type(ours).__name__} ({precision})", exact, ours, state_exactly)


def _contest_of_reduced(
    name: str, exact: torch.nn.Module, ours: torch.nn.Module, reference: Run, recording: float = 0.0
) -> _Contest:
    return _Contest(
        name=name,
        parameters=[],
        torch={FULL_PRECISION: _as_run(exact)},
        ours=_as_run(ours),
        our_parameters=[],
        tolerance=TOLERANCE[torch.float32],
        checked_steps=CHECKED_STEPS,
        backend=lambda x: nn.explain_backend(ours, x),
        recording=recording,
        reference=reference,
    )


def _as_run(layer: torch.nn.Module) -> Run:
    def run(x: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        out, final = layer(x)
        return out, final if isinstance(final, tuple) else (final,)

    return run


def _of_cell(spec: CellSpec, size: Size, dtype: torch.dtype) -> _Contest:
    """A cell in loops over the steps, and in `Recurrent`."""
    layer = _make_recurrent(spec, size, dtype)
    (cell,) = layer.cells
    parameters: list[Tensor] = [p for p in cell.parameters() if p.requires_grad]
    x = torch.randn(CHECKED_STEPS, size.B, size.inputs, dtype=dtype)
    started = time.perf_counter()
    layer.explain_backend(x)
    recording = time.perf_counter() - started
    loops = {"loop": _loop(cell, layer)}
    if (compiled := _compile(cell, layer, parameters, x)) is not None:
        loops["TorchScript"] = compiled
    return _Contest(
        name=spec.name,
        parameters=parameters,
        torch=loops,
        ours=_as_run(layer),
        our_parameters=parameters,
        tolerance=CELL_TOLERANCE[dtype],
        checked_steps=CHECKED_STEPS,
        backend=layer.explain_backend,
        recording=recording,
    )


def _of_reduced_cell(spec: CellSpec, size: Size, precision: str) -> _Contest:
    """A cell in `Recurrent`, in float32 and with a reduced precision."""
    exact = _make_recurrent(spec, size, torch.float32)
    try:
        ours = nn.quantize(copy.deepcopy(exact), precision)
    except ValueError as error:
        raise InputError(
            "`precision` {precision}, `cell` {cell}: {error}", precision=precision, cell=spec.name, error=error
        ) from None
    assert isinstance(ours, nn.Recurrent)
    run, interface = _as_run(ours), ours.interface
    started = time.perf_counter()
    nn.explain_backend(exact.eval(), torch.zeros(1, 1, size.inputs))
    recording = time.perf_counter() - started

    def state_exactly(x: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Each step by the plain statement, from the states that the kernels have computed before it."""
        states = tuple(x.new_zeros(x.size(1), width) for width in interface.state_sizes)
        outputs: list[Tensor] = []
        step, weights = ours.find_compiled(0, x)
        for t in range(len(x)):
            out, after = run_step_equations(step, weights, x[t], states, precision)
            outputs.append(out)
            states = tuple(s[0] for s in run(x[: t + 1])[1]) if t + 1 < len(x) else after
        return torch.stack(outputs), [s.unsqueeze(0) for s in states]

    return _contest_of_reduced(f"{spec.name} ({precision})", exact, ours, state_exactly, recording)


def _make_recurrent(spec: CellSpec, size: Size, dtype: torch.dtype) -> nn.Recurrent:
    """A cell of these sizes as a layer; raises InputError where it cannot be read."""
    cell = nn.make_cell(spec, size.inputs, size.hidden).to(dtype)
    try:
        return nn.Recurrent(cell, input_size=size.inputs)
    except ValueError as error:
        raise InputError("`cell` {name}: {error}", name=spec.name, error=error) from None


def _loop(cell: Callable[..., Any], layer: nn.Recurrent) -> Run:
    """A cell in a Python loop over the steps."""
    interface = layer.interface

    def run(x: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        states = tuple(x.new_zeros(x.size(1), size) for size in interface.state_sizes)
        outputs: list[Tensor] = []
        for x_t in x:
            out, states = interface.unpack(cell(x_t, interface.pack(states)))
            outputs.append(out)
        return torch.stack(outputs), [s.unsqueeze(0) for s in states]

    return run


def _compile(cell: torch.nn.Module, layer: nn.Recurrent, parameters: list[Tensor], x: Tensor) -> Run | None:
    """The loop with the cell compiled by TorchScript; None where TorchScript refuses the cell or a call of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        try:
            run = _loop(torch.jit.script(cell), layer)
            for _ in range(3):  # it compiles in the first calls
                _results(run, parameters, x, True)
        except Exception:
            return None
    return run


def group_cells(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of cells that were compared with loops, by size and mode; groups of several."""
    groups: dict[tuple[Size, bool], list[Row]] = {}
    for row in rows:
        if row.matmul_share is None:
            groups.setdefault((row.size, row.grad), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def geometric_mean(rows: Sequence[Row]) -> float:
    """The geometric mean of how many times faster ours is."""
    return math.exp(sum(math.log(row.ratio) for row in rows) / len(rows))
