"""`Recurrent` in `torch.compile`, `torch.export` and `vmap`, where its step is a registered operator.

The module is imported while torch traces, not before: what marks its functions for torch's compiler takes a second to
import.

Shapes: T steps, B sequences, S rows of all steps, I input size, O output size, W width of a state.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes  # pyright: ignore[reportPrivateUsage]

from ohlol.cells.step_trace import UnsupportedStepError
from ohlol.nn.autocast import runs_in_onednn
from ohlol.nn.cell_interface import CellInterface, weights_of
from ohlol.nn.cell_step import read_cell, view_cell
from ohlol.nn.transforms import are_all_vmap
from ohlol.ops.step_operators import run_step_operator
from ohlol.ops.step_recurrence import CompiledStep, PackedRows, computes_ahead
from ohlol.ops.validation import DTYPES


@runtime_checkable
class Layer(Protocol):
    """What is needed of a `Recurrent`."""

    cells: torch.nn.ModuleList

    def interface_of(self, k: int) -> CellInterface:
        """What the k-th cell takes and returns."""
        ...

    def input_size_of(self, k: int) -> int:
        """The width of its input."""
        ...

    def read_step(
        self, k: int, cell: torch.nn.Module, interface: CellInterface, size: int, dtype: torch.dtype, view: Any
    ) -> CompiledStep | str:
        """The compiled cell, or why it must run in a loop."""
        ...

    def known_step(self, k: int, size: int, dtype: torch.dtype, view: Any) -> CompiledStep | str:
        """The compiled cell if it has been read before."""
        ...


_STEPS: dict[str, CompiledStep] = {}
"""The steps of traced layers, by a name that a graph can hold."""


def run_traced(
    layer: Layer,
    first: int,
    names: list[str],
    x: Tensor,
    states: Sequence[Sequence[Tensor] | None],
    rows: PackedRows,
    dropped: Sequence[dict[str, Tensor]],
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Run cells of a layer: one, or both directions.

    Args:
        layer: the layer.
        first: the number of the first cell.
        names: what `find_step` calls the compiled cells.
        x: (S, I).
        states: the initial states of each cell, each (B, W); zeros if None.
        rows: where the sequences lie, and the way of the first cell; a second goes the other way.
        dropped: parameters of each cell that differ in this call.

    Returns:
        The outputs (S, D*O) and the final states of each cell, each (B, W).
    """
    T, B, S, batch_sizes, reverse = rows
    is_autocast = torch.is_autocast_enabled("cpu")
    weights: list[list[Tensor]] = []
    dtypes: list[list[torch.dtype]] = []
    for k, (state, own) in enumerate(zip(states, dropped, strict=True), first):
        cell, interface = layer.cells[k], layer.interface_of(k)
        if torch.compiler.is_dynamo_compiling() or is_autocast:
            # The numbers are not used: the call is traced so that what the cell reads is a condition of the graph, and
            # it shows the dtypes that autocast chooses.
            before = [x.new_zeros(B, size) for size in interface.state_sizes] if state is None else list(state)
            out, after = interface.unpack(cell(x[:B], interface.pack(before)))
            dtypes.append([tensor.dtype for tensor in (out, *after)])
        if torch.compiler.is_dynamo_compiling():
            # Its fractions would be inputs of the graph, but for the comparison.
            for place in find_numbers(layer, k).split():
                path, attribute, number = place.split(":")
                assert getattr(cell.get_submodule(path), attribute) == float(number)
        weights.append(list({**weights_of(cell), **own}.values()))
    exports = torch.compiler.is_exporting()
    # The operator must be the same for all sizes in an exported program.
    ahead = not exports and computes_ahead(rows)

    def run(initial: list[list[Tensor] | None]) -> tuple[Tensor, ...]:
        return run_in_graph(names, x, initial, weights, batch_sizes, T, B, S, reverse, ahead, not exports)

    if is_autocast:
        with torch.autocast("cpu", enabled=False):  # the kernels compute in the dtype of the weights
            out, *final = run([None if state is None else [s.to(x.dtype) for s in state] for state in states])
        out = out.to(reduce(torch.promote_types, [own[0] for own in dtypes]))
        after = [dtype for own in dtypes for dtype in own[1:]]
        final = [state.to(dtype) for state, dtype in zip(final, after, strict=True)]
    else:
        out, *final = run([None if state is None else list(state) for state in states])
    count = len(final) // len(names)
    return out, [tuple(final[d * count : (d + 1) * count]) for d in range(len(names))]


@torch.compiler.assume_constant_result
def has_only_vmap() -> bool:
    """`are_all_vmap` as a constant of a graph, of which torch makes another one for other transforms."""
    return are_all_vmap()


@torch.compiler.assume_constant_result
def traces_onednn(dtype: torch.dtype) -> bool:
    """`runs_in_onednn` as a constant of a graph."""
    return runs_in_onednn(dtype)


def explain_traced(layer: Layer, k: int, cell: torch.nn.Module, x: Tensor) -> CompiledStep | str:
    """The step that `run_traced` runs, or why it runs none."""
    if cell is not layer.cells[k]:
        return "zoneout and recurrent_dropout run in a loop where torch traces or transforms the call"
    return (
        _read(layer, k, x.dtype) or "under vmap, a cell runs in the kernels once the layer has been called without it"
    )


@torch.compiler.assume_constant_result
def find_step(layer: Layer, k: int, dtype: torch.dtype) -> str:
    """The name of the compiled k-th cell; empty if the cell must run in a loop."""
    step = _read(layer, k, dtype)
    if not isinstance(step, CompiledStep):
        return ""
    name = f"{k}:{id(step)}"
    _STEPS[name] = step
    return name


@torch.compiler.assume_constant_result
def find_numbers(layer: Layer, k: int) -> str:
    """The attributes of the k-th cell that are fractions: the path of the module, the name and the number of each."""
    return " ".join(
        f"{path}:{name}:{value!r}"
        for path, module in layer.cells[k].named_modules()
        for name, value in vars(module).items()
        if type(value) is float
    )


def _read(layer: Layer, k: int, dtype: torch.dtype) -> CompiledStep | str:
    cell, interface, size = layer.cells[k], layer.interface_of(k), layer.input_size_of(k)
    if dtype not in DTYPES:
        return f"the input has dtype {dtype}, the kernels support float32 and float64"
    # The modes of `torch.export` would record the changes of autocast and of gradients that reading makes.
    with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.autocast("cpu", enabled=False):
        weights = weights_of(cell)
        if all(type(w) in (Tensor, torch.nn.Parameter) for w in weights.values()):
            view = view_cell(cell, dtype)
            if view.obstacle:
                return view.obstacle
            if torch.compiler.is_compiling():
                return layer.read_step(k, cell, interface, size, dtype, view.key)
            return layer.known_step(k, size, dtype, view.key)  # a cell cannot be read under vmap
        # `torch.export` has put tensors without numbers in the place of the weights, and reading needs any numbers.
        if any(w.dtype is not dtype for w in weights.values()):
            return "the weights of the cell do not fit"
        examples = {name: torch.randn(tuple(map(int, w.shape)), dtype=dtype) for name, w in weights.items()}
        try:
            return read_cell(cell, interface, size, dtype, examples)
        except UnsupportedStepError as error:
            return str(error)


@torch.compiler.allow_in_graph
def run_in_graph(
    names: list[str],
    x: Tensor,
    states: list[list[Tensor] | None],
    weights: list[list[Tensor]],
    batch_sizes: Tensor | None,
    T: int,
    B: int,
    S: int,
    reverse: bool,
    ahead: bool,
    save: bool,
) -> tuple[Tensor, ...]:
    """The steps that `find_step` has named over rows: the outputs (S, D*O) and the final states of each (B, W)."""
    steps = [_STEPS[name] for name in names]
    by_name = [dict(zip(step.graph.trace.weights, own, strict=True)) for step, own in zip(steps, weights, strict=True)]
    rows = PackedRows(T, B, S, batch_sizes, reverse)
    out, final = run_step_operator(steps, by_name, x, states, rows, ahead=ahead, save=save)
    return (out, *(state for own in final for state in own))
