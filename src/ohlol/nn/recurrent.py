"""Any cell as a recurrent layer: `Recurrent` runs it over sequences, in the kernels where they can.

Shapes: T steps, B sequences, S rows of all steps, I input size, O output size of the cell, W width of a state,
L layers, D directions.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.nn.modules.module import _has_any_global_hook
from torch.nn.utils.rnn import PackedSequence

from ohlol.cells.step_lowering import StepGraph
from ohlol.cells.step_trace import UnsupportedStepError
from ohlol.cells.unroll import unroll_packed
from ohlol.config import FULL_PRECISION
from ohlol.nn.cell_interface import CellInterface, call_with, find_interface
from ohlol.nn.cell_step import CellView, is_current, read_cell, read_graph, view_cell
from ohlol.nn.reduced import find_reduced_obstacle, refuse_call, refuse_gradients_of
from ohlol.nn.regularization import (
    Regularization,
    RegularizedCell,
    SequenceDropout,
    as_constant,
    check_names,
    check_probability,
)
from ohlol.nn.tracing import find_tracing, make_node, takes_operators
from ohlol.ops import selected
from ohlol.ops.backend import ABSENT
from ohlol.ops.reduced import ReducedStep, find_wide_matrix
from ohlol.ops.step_recurrence import CompiledStep, PackedRows, run_step
from ohlol.ops.validation import DTYPES, TENSOR_TYPES, find_unreadable, packed_batch

MAX_STEPS = 64
"""Recordings that a layer keeps."""
MAX_CHANGES = 3
"""Recordings of a cell; after them, one that has changed is recorded in the second call that finds it so."""


class _Batch(NamedTuple):
    """The rows (S, I) of a call, and what puts them back."""

    x: Tensor
    rows: PackedRows
    packed: PackedSequence | None = None
    is_batched: bool = True
    is_time_first: bool = False
    """Whether the input was (T, B, I)."""


class Recurrent(torch.nn.Module):
    """A recurrent layer over a cell: (T, B, I) -> (T, B, D*O), and the final states, each (L*D, B, W).

    The cell is any module with `forward(x, state)` for one step, x (B, I) and one state (B, W) or a tuple of them, each
    of its own width. It returns the next state, whose first tensor is then the output, or (output, state). Calls,
    packed sequences and input without a batch are as in `torch.nn.LSTM`.

    The cell is read once for each dtype and mode. If its operations are products with weights, pointwise operations and
    reductions over the features, it runs in the compiled kernels; otherwise in a loop over the steps.
    `ohlol.nn.explain_backend` says which, and why.

    Args:
        cell: the cell; or, for more than one layer or direction, a function that makes the cell of an input size.
        num_layers: L.
        bidirectional: whether D is 2, with a cell of its own for the reverse direction.
        dropout: the probability of dropout between layers.
        batch_first: whether input and output are (B, T, I) and (B, T, D*O).
        input_size: I, which a function that makes cells needs; otherwise `cell.input_size`, or the first input's.
        state_sizes: the width of the state, or a tuple with that of each of its tensors; found by running the cell.
        returns_output: whether the cell returns (output, state); found by running the cell.
        zoneout: the probability that a number of a state keeps its value in a step; one for all states or one for each.
        recurrent_dropout: the probability that a number of the first state is zero wherever the next step reads it;
            the numbers are the same in all steps of a sequence.
        weight_dropout: the probability that a number of a parameter of the cell is zero in a call, by the parameter's
            name, such as {"weight_hh": 0.5}.
        locked_dropout: whether the dropout between layers has the same mask at all steps of a sequence.

    Raises:
        ValueError: the arguments do not fit, or the cell can be read in no way, or in two.

    >>> layer = Recurrent(torch.nn.GRUCell(3, 5))
    >>> output, h_n = layer(torch.ones(7, 2, 3))
    >>> output.shape, h_n.shape
    (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))
    """

    precision = FULL_PRECISION
    """Of the weights in products; `ohlol.nn.quantize` sets it."""

    def __init__(
        self,
        cell: torch.nn.Module | Callable[[int], torch.nn.Module],
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_first: bool = False,
        *,
        input_size: int | None = None,
        state_sizes: int | Sequence[int] | None = None,
        returns_output: bool | None = None,
        zoneout: float | Sequence[float] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: Mapping[str, float] | None = None,
        locked_dropout: bool = False,
    ):
        super().__init__()
        if num_layers < 1:
            raise ValueError("num_layers must be greater than zero")
        check_probability("dropout", dropout)
        if dropout > 0 and num_layers == 1:  # torch's layers say the same
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=2,
            )
        self.regularization = Regularization(zoneout, recurrent_dropout, weight_dropout)
        self.num_layers, self.bidirectional = num_layers, bidirectional
        self.dropout, self.locked_dropout, self.batch_first = as_constant(float(dropout)), locked_dropout, batch_first
        self.state_sizes, self.returns_output = state_sizes, returns_output
        self.cells = torch.nn.ModuleList()
        self._interfaces: list[CellInterface] = []
        self._steps: dict[Any, CompiledStep | str] = {}
        self._last: dict[int, tuple[Any, CellView | None, CompiledStep | str]] = {}
        """By the cell's number: what the last call depended on, how the cell was, and its step."""
        self._changes: dict[Any, tuple[int, Any, str]] = {}
        """By the cell's number, input size and dtype: its recordings, how it was last, and why it ran in a loop."""
        self._regularized: dict[int, RegularizedCell] = {}
        self._reduced: dict[int, ReducedStep] = {}
        """By the cell's number: its packed weights with a reduced precision."""
        _check_kind(cell)
        if isinstance(cell, torch.nn.Module):
            self._add_cell(cell, input_size)
        else:
            self._make_cells(cell, input_size)

    def _add_cell(self, cell: torch.nn.Module, input_size: int | None) -> None:
        if self.num_layers * self._directions > 1:
            raise ValueError(
                "a cell is one layer in one direction; for more, pass a function of the input size that makes cells, "
                f"such as lambda input_size: {type(cell).__name__}(input_size, ...), and input_size="
            )
        size = getattr(cell, "input_size", None) if input_size is None else input_size
        self.input_size: int | None = size if isinstance(size, int) else None
        self.cells.append(cell)
        if self.input_size is not None:
            self._find_interfaces(None)

    def _make_cells(self, make_cell: Callable[[int], torch.nn.Module], input_size: int | None) -> None:
        if input_size is None:
            name = make_cell.__name__ if isinstance(make_cell, type) else ""
            hint = f"; {name} is a class: a cell is {name}(...)" if name else ""
            raise ValueError(f"a function that makes cells needs input_size={hint}")
        self.input_size = input_size
        size = input_size
        for _ in range(self.num_layers):
            layer = [self._make_cell(make_cell, size) for _ in range(self._directions)]
            size = self._directions * layer[0].output_size
        first = self._interfaces[0]
        for k, interface in enumerate(self._interfaces):
            if (interface.state_sizes, interface.has_tuple) != (first.state_sizes, first.has_tuple):
                raise ValueError(
                    f"the states of layer {k // self._directions} have the widths {interface.state_sizes}, those of "
                    f"layer 0 {first.state_sizes}: they cannot be stacked; use one Recurrent for each layer"
                )

    def _make_cell(self, make_cell: Callable[[int], torch.nn.Module], size: int) -> CellInterface:
        cell = make_cell(size)
        _check_kind(cell)
        if not isinstance(cell, torch.nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"the cell is a {type(cell).__name__}, not a torch.nn.Module")
        self.cells.append(cell)
        self._interfaces.append(find_interface(cell, size, self.state_sizes, self.returns_output))
        self._check_regularization(cell, self._interfaces[-1])
        return self._interfaces[-1]

    def _find_interfaces(self, x: Tensor | None) -> None:
        size = self.input_size if x is None else x.size(-1)
        assert size is not None
        self._interfaces = [find_interface(self.cells[0], size, self.state_sizes, self.returns_output, x)]
        self._check_regularization(self.cells[0], self._interfaces[0])

    def _check_regularization(self, cell: torch.nn.Module, interface: CellInterface) -> None:
        self.regularization.zoneout_of(interface)
        check_names(self.regularization.weight_dropout or (), [name for name, _ in cell.named_parameters()])

    def __getstate__(self) -> dict[str, Any]:
        """Without what was compiled, which is made again when it is needed."""
        return {**self.__dict__, "_steps": {}, "_last": {}, "_changes": {}, "_reduced": {}}

    @property
    def output_size(self) -> int:
        """O, the width of the output of the top layer in one direction."""
        return self._interfaces[-1].output_size

    @property
    def interface(self) -> CellInterface:
        """What the first cell takes and returns; it is found in the first call where `input_size` is not known."""
        return self._interfaces[0]

    def interface_of(self, k: int) -> CellInterface:
        """What the k-th cell takes and returns."""
        return self._interfaces[k]

    def read_graph(self, k: int, dtype: torch.dtype = torch.float32) -> StepGraph:
        """The step of the k-th cell as a graph; raises UnsupportedStepError if the cell must run in a loop."""
        return read_graph(self.cells[k], self._interfaces[k], self.input_size_of(k), dtype)

    def input_size_of(self, k: int) -> int:
        """The width of the input of the k-th cell; I must be known."""
        size = self.input_size if k < self._directions else self._directions * self._interfaces[0].output_size
        assert size is not None
        return size

    def _cell(self, k: int) -> torch.nn.Module:
        """The k-th cell: `self.cells[k]`, in a fraction of its time."""
        cells: Any = self._modules["cells"]
        return cells._modules[str(k)]

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def extra_repr(self) -> str:
        """The options that are not the default ones."""
        options = {name: getattr(self, name) for name in ("bidirectional", "dropout", "locked_dropout", "batch_first")}
        options |= vars(self.regularization)
        options["precision"] = self.precision if self.precision != FULL_PRECISION else ""
        shown = ["num_layers=" + str(self.num_layers)] if self.num_layers > 1 else []
        return ", ".join(shown + [f"{name}={value}" for name, value in options.items() if value])

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run the cell over sequences.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, (T, I), or a packed sequence.
            hx: the initial state as the cell takes it, each tensor (L*D, B, W), or (L*D, W) without a batch; zeros if
                left out.

        Returns:
            The output (T, B, D*O) in the layout of the input, and the final state in that of `hx`.
        """
        if isinstance(input, Proxy):
            return make_node(self, input, hx)
        if self.precision == FULL_PRECISION:
            return self._forward(input, hx)
        with torch.no_grad():
            results = self._forward(input, hx)
        return refuse_gradients_of(self, input, hx, *results)

    def _forward(self, input: Any, hx: Any) -> Any:
        batch = self._read_input(input)
        states = self._read_state(batch, hx)
        if len(self._interfaces) == 1 and batch.is_time_first:
            out, final = self._run(0, batch.x, states[0], batch.rows, as_layer=True)
            return out, self._interfaces[0].pack(final)
        x, ends = batch.x, []
        for layer in range(self.num_layers):
            x, last = self._run_layer(layer, x, states, batch.rows)
            ends += last
            if layer < self.num_layers - 1 and self.dropout:
                drop = SequenceDropout(self.dropout, self.locked_dropout).train(self.training)
                x = drop(x, torch.tensor(batch.rows.sizes()))
        stacked = [
            parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts) for parts in zip(*ends, strict=True)
        ]
        return self._restore(batch, x, stacked)

    # Layout

    def _read_input(self, input: Any) -> _Batch:
        """The rows of the input, time first."""
        if isinstance(input, PackedSequence):
            x, batch_sizes = input.data, input.batch_sizes
            if x.dim() != 2:
                raise ValueError(f"Recurrent: Expected packed data to be 2D, got {x.dim()}D instead")
            indices = input.sorted_indices
            # A trace knows the shape of a tensor, and not a number in it.
            B = indices.size(0) if indices is not None and torch.compiler.is_compiling() else int(batch_sizes[0])
            rows = PackedRows(len(batch_sizes), B, x.size(0), batch_sizes)
            self._check_input_size(x)
            return _Batch(x, rows, input)
        if not isinstance(input, Tensor):
            raise TypeError(f"Recurrent: Expected input to be a tensor or PackedSequence, got {type(input).__name__}")
        if input.dim() not in (2, 3):
            raise ValueError(f"Recurrent: Expected input to be 2D or 3D, got {input.dim()}D instead")
        self._check_input_size(input)
        x = input.unsqueeze(1) if input.dim() == 2 else input.transpose(0, 1) if self.batch_first else input
        T, B = x.shape[:2]
        if T == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        is_batched = input.dim() == 3
        is_time_first = is_batched and not self.batch_first
        return _Batch(x.reshape(T * B, x.size(2)), PackedRows(T, B, T * B, None), None, is_batched, is_time_first)

    def _check_input_size(self, x: Tensor) -> None:
        if self.input_size is not None and x.size(-1) != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.size(-1)}"
            )
        if not self._interfaces:
            self._find_interfaces(x)

    def _read_state(self, batch: _Batch, hx: Any) -> list[tuple[Tensor, ...] | None]:
        """The initial states of each layer and direction, each (B, W), in the order of the rows; None for zeros."""
        interface, L, B = self._interfaces[0], len(self._interfaces), batch.rows.B
        if hx is None:
            return [None] * L
        if interface.has_tuple:
            if not isinstance(hx, (tuple, list)) or len(hx) != len(interface.state_sizes):
                raise RuntimeError(
                    f"Recurrent: the state of the cell is a tuple of {len(interface.state_sizes)} tensors, "
                    f"got {_describe(hx)}"
                )
            states: tuple[Any, ...] = tuple(hx)
        else:
            if not isinstance(hx, Tensor):
                raise RuntimeError(f"Recurrent: the state of the cell is one tensor, got {_describe(hx)}")
            states = (hx,)
        results: list[Tensor] = []
        for i, (state, size) in enumerate(zip(states, interface.state_sizes, strict=True)):
            expected = (L, B, size) if batch.is_batched else (L, size)
            if not isinstance(state, Tensor):
                raise RuntimeError(f"Recurrent: hidden[{i}] is a {type(state).__name__}, expected a tensor {expected}")
            if tuple(state.shape) != expected:
                is_swapped = self.batch_first and tuple(state.shape) == (B, L, size)
                hint = "; with batch_first only the input is (B, T, I), a state stays (L*D, B, W)" if is_swapped else ""
                raise RuntimeError(f"Expected hidden[{i}] size {expected}, got {list(state.shape)}{hint}")
            results.append(state if batch.is_batched else state.unsqueeze(1))
        if batch.packed is not None and batch.packed.sorted_indices is not None:
            results = [state.index_select(1, batch.packed.sorted_indices) for state in results]
        return [tuple(state[k] for state in results) for k in range(L)]

    def _restore(self, batch: _Batch, x: Tensor, final: list[Tensor]) -> Any:
        """Output and final states in the layout of the input."""
        packed = batch.packed
        if packed is not None:
            out: Any = PackedSequence(x, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
            if packed.unsorted_indices is not None:
                final = [state.index_select(1, packed.unsorted_indices) for state in final]
        else:
            out = x.view(batch.rows.T, batch.rows.B, x.size(1))
            if not batch.is_batched:
                out, final = out.squeeze(1), [state.squeeze(1) for state in final]
            elif self.batch_first:
                out = out.transpose(0, 1)
        return out, self._interfaces[0].pack(final)

    def _run_layer(
        self, layer: int, x: Tensor, states: list[tuple[Tensor, ...] | None], rows: PackedRows
    ) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """A layer in its directions over rows (S, I): the outputs (S, D*O) and the final states of each, (B, W)."""
        D = self._directions
        first = layer * D
        if D == 1:
            x, last = self._run(first, x, states[first], rows)
            return x, [last]
        if takes_operators(torch.compiler.is_compiling()) and (names := self._name_steps(first, D, x)):
            from ohlol.nn.traced import run_traced

            dropped = [self._drop_weights(first), self._drop_weights(first + 1)]
            return run_traced(self, first, names, x, states[first : first + D], rows, dropped)
        out, last = self._run(first, x, states[first], rows)
        other_out, other_last = self._run(first + 1, x, states[first + 1], rows._replace(reverse=True))
        return torch.cat((out, other_out), -1), [last, other_last]

    def _name_steps(self, first: int, count: int, x: Tensor) -> list[str]:
        """The names of the compiled cells from the first on, in a graph or under `vmap`; empty if one has none."""
        if ABSENT or self.precision != FULL_PRECISION or not x.is_cpu:
            return []
        from ohlol.nn.traced import find_step

        ks = range(first, first + count)
        names = ["" if self._regularize(k) is not None else find_step(self, k, x.dtype) for k in ks]
        return names if all(names) else []

    # The two ways to run a cell

    def _run(
        self, k: int, x: Tensor, states: tuple[Tensor, ...] | None, rows: PackedRows, as_layer: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The k-th cell over the rows (S, I): the outputs (S, O) and the final states (B, W).

        With `as_layer` they are (T, B, O) and (1, B, W).
        """
        if self.precision != FULL_PRECISION and x.numel():
            return self._run_reduced(k, x, states, rows, as_layer)
        count = len(self._interfaces[k].state_sizes)
        cell, interface, x, states = self._prepare(k, x, states, rows)
        dropped = self._drop_weights(k, "cell." if isinstance(cell, RegularizedCell) else "")
        step: CompiledStep | str = ""
        weights: dict[str, Tensor] = {}
        if not takes_operators(torch.compiler.is_compiling()):
            step, weights = self._find_step(k, cell, interface, x, states, rows)
        elif names := self._name_steps(k, 1, x):
            from ohlol.nn.traced import run_traced

            out, (last,) = run_traced(self, k, names, x, [states], rows, [dropped])
            if as_layer:
                return out.view(rows.T, rows.B, -1), tuple(s.unsqueeze(0) for s in last)
            return out, last
        if isinstance(step, CompiledStep):
            out, last = run_step(step, {**weights, **dropped}, x, states, rows, as_layer)
            return out, last[:count]

        def run(at: slice, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            packed = interface.pack(state)
            return interface.unpack(call_with(cell, dropped, x[at], packed) if dropped else cell(x[at], packed))

        out, last = unroll_packed(run, rows.sizes(), states or _zeros(x, interface, rows), rows.reverse)
        last = last[:count]
        if as_layer:
            return out.view(rows.T, rows.B, self._interfaces[k].output_size), tuple(s.unsqueeze(0) for s in last)
        return out, last

    def _run_reduced(
        self, k: int, x: Tensor, states: tuple[Tensor, ...] | None, rows: PackedRows, as_layer: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `_run`, with a reduced precision."""
        count = len(self._interfaces[k].state_sizes)
        step, weights, x, states = self._find_reduced(k, x, states, rows)
        if isinstance(step, str):
            raise refuse_call(self, step)
        tensors = list(weights.values())
        reduced = self._reduced.get(k)
        if reduced is None or not reduced.is_current(step, tensors, self.precision):
            reduced = self._reduced[k] = ReducedStep(step, tensors, self.precision)
        out, last = run_step(step, weights, x, states, rows, as_layer, reduced)
        return out, last[:count]

    def _find_reduced(
        self, k: int, x: Tensor, states: tuple[Tensor, ...] | None, rows: PackedRows
    ) -> tuple[CompiledStep | str, dict[str, Tensor], Tensor, tuple[Tensor, ...] | None]:
        """The compiled k-th cell, or why this call cannot have a reduced precision; its weights, input and states."""
        if reason := find_reduced_obstacle(self):
            return reason, {}, x, states
        cell, interface, x, states = self._prepare(k, x, states, rows)
        step, weights = self._find_step(k, cell, interface, x, states, rows)
        if isinstance(step, CompiledStep):
            if x.dtype is not torch.float32:
                step = f"the weights have dtype {x.dtype}"
            elif reason := find_wide_matrix(step):
                step = reason
        return step, weights, x, states

    def find_compiled(self, k: int, x: Tensor) -> tuple[CompiledStep, dict[str, Tensor]]:
        """The compiled k-th cell and its weights, for input as x (T, B, I); raises RuntimeError where it has none."""
        step, weights, *_ = self._find_reduced(k, x[0], None, PackedRows(1, x.size(1), x.size(1), None))
        if isinstance(step, str):
            raise refuse_call(self, step)
        return step, weights

    def forget_reduced(self) -> None:
        """Pack the weights again in the next call with a reduced precision."""
        self._reduced.clear()

    def find_unreducible(self) -> str:
        """Why no call can have a reduced precision, whatever its input, or an empty string; for evaluation mode."""
        if ABSENT or self.input_size is None:
            return ""  # the call says why
        for k in range(len(self._interfaces)):
            rows = PackedRows(1, 1, 1, None)
            step, *_ = self._find_reduced(k, torch.zeros(1, self.input_size_of(k)), None, rows)
            if isinstance(step, str):
                return step
        return ""

    def _prepare(
        self, k: int, x: Tensor, states: tuple[Tensor, ...] | None, rows: PackedRows
    ) -> tuple[torch.nn.Module, CellInterface, Tensor, tuple[Tensor, ...] | None]:
        """The k-th cell as this call runs it, what it takes, and its input and states, with masks where it has them."""
        interface, regularized = self._interfaces[k], self._regularize(k)
        if regularized is None:
            return self._cell(k), interface, x, states
        x, states = regularized.add_masks(x, states or _zeros(x, interface, rows), rows.B)
        return regularized, regularized.interface, x, states

    def _regularize(self, k: int) -> RegularizedCell | None:
        """The k-th cell with zoneout and recurrent dropout, where it has them in this mode."""
        options, interface = self.regularization, self._interfaces[k]
        if not options.zoneout and not (self.training and options.recurrent_dropout):
            return None
        cell = self._regularized.get(k)
        if cell is None or cell.cell is not self.cells[k]:
            cell = self._regularized[k] = RegularizedCell(self.cells[k], interface, options, self.input_size_of(k))
        cell.training = self.training
        return cell

    def _drop_weights(self, k: int, prefix: str = "") -> dict[str, Tensor]:
        """The parameters of the k-th cell of which some numbers are zero in this call."""
        if not self.training or not self.regularization.weight_dropout:
            return {}
        dropped = self.regularization.drop_weights(dict(self.cells[k].named_parameters()))
        return {prefix + name: weight for name, weight in dropped.items()}

    def _find_step(
        self,
        k: int,
        cell: torch.nn.Module,
        interface: CellInterface,
        x: Tensor,
        states: tuple[Tensor, ...] | None,
        rows: PackedRows,
    ) -> tuple[CompiledStep | str, dict[str, Tensor]]:
        """The compiled cell, or why this call runs it in a loop; and its weights."""
        if reason := _find_obstacle(x, states, rows):
            return reason, {}
        of_call = (cell, x.size(1), x.dtype)
        last, view, step = self._last.get(k, (None, None, ""))
        if view is not None and last == of_call and is_current(view):
            return step, view.weights
        view = view_cell(cell, x.dtype)
        if view.obstacle:
            return view.obstacle, {}
        step = self.known_step(k, x.size(1), x.dtype, view.key)
        if not step:
            slot = k, x.size(1), x.dtype
            count, last_key, reason = self._changes.get(slot, (0, None, ""))
            if count >= MAX_CHANGES and view.key != last_key:
                reason = reason or "what the cell reads changes between calls"
                self._changes[slot] = count, view.key, reason
                return reason, {}
            step = self.read_step(k, cell, interface, x.size(1), x.dtype, view.key)
            self._changes[slot] = count + 1, view.key, step if isinstance(step, str) else ""
        self._last[k] = (of_call, view, step)
        return step, view.weights

    def known_step(self, k: int, size: int, dtype: torch.dtype, view: Any) -> CompiledStep | str:
        """What `read_step` has returned before; an empty string if it has not been called."""
        return self._steps.get((k, size, dtype, view), "")

    def read_step(
        self, k: int, cell: torch.nn.Module, interface: CellInterface, size: int, dtype: torch.dtype, view: Any
    ) -> CompiledStep | str:
        """The k-th cell compiled for inputs of a size, or why it must run in a loop; `view` is how the cell is."""
        key = (k, size, dtype, view)
        step = self.known_step(*key)
        if not step:
            if len(self._steps) >= MAX_STEPS:
                self._steps.clear()
            try:
                step = read_cell(cell, interface, size, dtype)
            except UnsupportedStepError as error:
                step = str(error)
            self._steps[key] = step
        return step

    def explain_backend(self, input: Any, hx: Any = None) -> str:
        """Say how a call `layer(input, hx)` runs: "kernel (avx512)" and the like, or "torch: " and the reason.

        With a reduced precision "kernel (avx512, int8)", or "error: " and the reason.
        """
        batch = self._read_input(input)
        states = self._read_state(batch, hx)
        x = batch.x
        for layer in range(self.num_layers):
            for d in range(self._directions):
                k = layer * self._directions + d
                if self.precision != FULL_PRECISION:
                    step, *_ = self._find_reduced(k, x, states[k], batch.rows)
                    if isinstance(step, str):
                        return f"error: {step}"
                    continue
                with torch.random.fork_rng(devices=[]):  # the masks are not those of a call
                    cell, interface, x_k, states_k = self._prepare(k, x, states[k], batch.rows)
                if takes_operators(torch.compiler.is_compiling()):
                    from ohlol.nn.traced import explain_traced

                    step: Any = ABSENT or explain_traced(self, k, cell, x_k)
                else:
                    step, _ = self._find_step(k, cell, interface, x_k, states_k, batch.rows)
                if isinstance(step, str):
                    return f"torch: {step}"
            x = x.new_empty(()).expand(len(x), self._directions * self._interfaces[0].output_size)
        return (
            f"kernel ({selected()})" if self.precision == FULL_PRECISION else f"kernel ({selected()}, {self.precision})"
        )


def _check_kind(cell: Any) -> None:
    """Refuse what can be no cell; raises ValueError."""
    if isinstance(cell, torch.nn.RNNBase):
        kind = type(cell).__name__
        raise ValueError(
            f"{kind} is a layer, which runs over sequences itself; a cell runs one step, as {kind}Cell does"
        )
    if not isinstance(cell, torch.nn.Module) and not callable(cell):
        raise ValueError(f"the cell is a {type(cell).__name__}, not a torch.nn.Module")


def _zeros(x: Tensor, interface: CellInterface, rows: PackedRows) -> tuple[Tensor, ...]:
    """The initial states (B, W) where none are given."""
    return tuple(x.new_zeros(rows.B, size) for size in interface.state_sizes)


def _describe(hx: Any) -> str:
    return f"{len(hx)} tensors" if isinstance(hx, (tuple, list)) else f"a {type(hx).__name__}"


def _find_obstacle(x: Tensor, states: tuple[Tensor, ...] | None, rows: PackedRows) -> str:
    """Why the kernels cannot run this call, whatever the cell does; or an empty string."""
    if ABSENT:
        return ABSENT
    if tracing := find_tracing():
        return tracing
    if type(x) not in TENSOR_TYPES:
        return f"the input is a {type(x).__name__}, not a plain torch.Tensor"
    if x.dtype not in DTYPES:
        return f"the input has dtype {x.dtype}, the kernels support float32 and float64"
    for tensor in (x, *(states or ())):
        if (
            type(tensor) in TENSOR_TYPES
            and tensor.is_cpu
            and tensor.dtype is x.dtype
            and tensor.layout is torch.strided
        ):
            continue
        if unreadable := find_unreadable(tensor, x.dtype):
            return unreadable
    if not x.numel():
        return "the input is empty"
    if rows.batch_sizes is not None and packed_batch(rows.batch_sizes, rows.S) != rows.B:
        return "the batch sizes are not positive, in descending order and S in total"
    return "there are global hooks of modules" if _has_any_global_hook() else ""
