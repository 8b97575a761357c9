"""A user's cell as a step of the vector machine: read, compiled and checked against the cell itself.

Shapes: B batch, I input size, W width of a state.
"""

import dis
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter, is_
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ohlol.cells.step_graph import build_step_graph
from ohlol.cells.step_lowering import StepGraph
from ohlol.cells.step_trace import Ref, UnsupportedStepError, trace_step
from ohlol.cells.unroll import unroll_packed
from ohlol.nn.cell_interface import (
    MAX_DEPTH,
    MAX_ITEMS,
    SIMPLE,
    STANDARD_ATTRIBUTES,
    CellInterface,
    attributes_of,
    call_with,
    preserve_attributes,
    weights_of,
)
from ohlol.ops.step_recurrence import CompiledStep, PackedRows, run_step
from ohlol.ops.validation import TENSOR_TYPES, find_unreadable

_CHECK_SIZES = ((3, 2, 1), (3, 2))
"""The batch sizes of the check; the second if the cell does not run with a batch of one."""
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}
"""Of the check, which is to find other equations and not roundings."""
_STANDARD_ATTRIBUTES = STANDARD_ATTRIBUTES - {"training"}
_HOOKS = frozenset(n for n in vars(torch.nn.Module()) if n.endswith("_hooks") and "state_dict" not in n)
_MEMBERS = ("_parameters", "_buffers", "_modules")
_NOT_USERS = frozenset({"builtins", "torch", "ohlol"})
"""Packages whose classes and modules do not change."""


class CellView(NamedTuple):
    """A cell at one call."""

    weights: dict[str, Tensor]
    """Its parameters and buffers by name."""
    key: tuple[Any, ...]
    """What a recording of the cell depends on besides its arguments: modes, attributes, shapes of parameters."""
    obstacle: str
    """Why the cell must be called at each step, or an empty string."""
    snapshot: "_Snapshot"
    """What tells whether the cell is still the same."""


class _Snapshot(NamedTuple):
    """The objects that a cell consists of; lists of the same length for what is compared in pairs."""

    modules: list[tuple[torch.nn.Module, type]]
    """Each module and its class."""
    classes: list[tuple[type, list[Any]]]
    """The classes of modules that are not torch's, and what each has at present."""
    sized: list[dict[str, Any]]
    """Dictionaries of attributes and members, and"""
    sizes: list[int]
    """how many of them there are."""
    mappings: list[dict[str, Any]]
    """The dictionary of each attribute, parameter, buffer and child, and of each global variable that a class reads,"""
    names: list[str]
    """its name,"""
    values: list[Any]
    """and its value."""
    tensors: list[Tensor]
    """The parameters and buffers, which `Tensor.data` changes in place, and"""
    kinds: list[tuple[Any, ...]]
    """what `_kind_of` says of them."""
    containers: list[tuple[Any, Any]]
    """Attributes that may change in place, and what `freeze` makes of them."""


_kind_of = attrgetter("shape", "dtype", "is_cpu")


def is_current(view: CellView) -> bool:
    """Whether a view is what `view_cell` would return now; it takes a fraction of the time."""
    snapshot = view.snapshot
    if (
        list(map(len, snapshot.sized)) != snapshot.sizes
        or not all(map(is_, map(dict.get, snapshot.mappings, snapshot.names), snapshot.values))
        or list(map(_kind_of, snapshot.tensors)) != snapshot.kinds
        or not all(map(Tensor.data_ptr, snapshot.tensors))
    ):
        return False
    for kind, members in snapshot.classes:
        now = vars(kind).values()
        if len(now) != len(members) or not all(map(is_, now, members)):
            return False
    for module, kind in snapshot.modules:
        if type(module) is not kind or any(map(vars(module).get, _HOOKS)):
            return False
    return all(_Freezer().freeze(value) == frozen for value, frozen in snapshot.containers)


def view_cell(cell: torch.nn.Module, dtype: torch.dtype) -> CellView:
    """Look at all modules of a cell.

    Args:
        cell: the cell.
        dtype: of the input, which floating-point weights must have.
    """
    viewer = _Viewer(dtype)
    viewer.add(cell, "")
    return CellView(viewer.weights, tuple(viewer.key), viewer.obstacle, viewer.snapshot)


class _Viewer:
    """Collects the parts of a view."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.weights: dict[str, Tensor] = {}
        self.key: list[Any] = []
        self.obstacle = ""
        self.classes: set[type] = set()
        self.snapshot = _Snapshot([], [], [], [], [], [], [], [], [], [])

    def add(self, module: torch.nn.Module, prefix: str) -> None:
        """Add a module, whose members have names with this prefix, and its children."""
        attributes = vars(module)
        self.snapshot.modules.append((module, type(module)))
        self._add_size(attributes)
        self.key.append(type(module))
        for kind in type(module).__mro__:
            if kind.__module__.partition(".")[0] not in _NOT_USERS and kind not in self.classes:
                self._add_class(kind)
        if any(map(attributes.get, _HOOKS)):
            self.obstacle = f"the cell{'.' + prefix[:-1] if prefix else ''} has hooks"
        for name, value in attributes.items():
            if name in _MEMBERS:
                self._add_value(attributes, name, value)
                for member, of_member in value.items():
                    self._add_value(value, member, of_member)
                self._add_size(value)
            elif name not in _STANDARD_ATTRIBUTES:
                frozen = _Freezer().freeze(value)
                self.key += (name, frozen)
                self._add_value(attributes, name, value)
                if type(value) not in SIMPLE and not isinstance(frozen, _Identity):
                    self.snapshot.containers.append((value, frozen))
        for name, tensor in (*attributes["_parameters"].items(), *attributes["_buffers"].items()):
            self._add_weight(name, prefix, tensor)
        for name, child in attributes["_modules"].items():
            self.key += (name, None) if child is None else (name,)
            if child is not None:
                self.add(child, f"{prefix}{name}.")

    def _add_class(self, kind: type) -> None:
        """Add the attributes of a class, and the global variables that its functions read."""
        members = vars(kind)
        self.classes.add(kind)
        self.snapshot.classes.append((kind, list(members.values())))
        for name, value in members.items():
            if not name.startswith("__"):
                self.key += (name, _identify(value))
            if isinstance(value, FunctionType):
                variables = value.__globals__
                for variable in _find_globals(value.__code__):
                    if variable in variables:
                        self._add_value(variables, variable, variables[variable])
                        self.key += (variable, _identify(variables[variable]))

    def _add_size(self, mapping: dict[str, Any]) -> None:
        self.snapshot.sized.append(mapping)
        self.snapshot.sizes.append(len(mapping))

    def _add_value(self, mapping: dict[str, Any], name: str, value: Any) -> None:
        self.snapshot.mappings.append(mapping)
        self.snapshot.names.append(name)
        self.snapshot.values.append(value)

    def _add_weight(self, name: str, prefix: str, tensor: Tensor | None) -> None:
        if tensor is None:
            self.key += (name, None)
            return
        self.weights[prefix + name] = tensor
        self.key += (name, tensor.shape, tensor.dtype)
        self.snapshot.tensors.append(tensor)
        self.snapshot.kinds.append((tensor.shape, tensor.dtype, True))
        is_plain = type(tensor) in TENSOR_TYPES and tensor.layout is torch.strided
        if not is_plain or tensor.dtype is not self.dtype or not tensor.is_cpu:
            expected = self.dtype if tensor.is_floating_point() else tensor.dtype
            if reason := find_unreadable(tensor, expected):
                self.obstacle = f"the weights of the cell do not fit: {reason}"
        elif torch._C._has_storage(tensor) and not tensor.data_ptr() and tensor.numel():  # none under vmap
            self.obstacle = "a weight of the cell has no memory"


@lru_cache(maxsize=256)
def _find_globals(code: CodeType) -> tuple[str, ...]:
    """The global variables that a function reads, also in functions within it."""

    def find(code: CodeType) -> Iterator[str]:
        yield from (str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from find(constant)

    return tuple(dict.fromkeys(find(code)))


class _Identity:
    """Equal to that of the same object alone; an id would be that of another object after this one is freed."""

    def __init__(self, value: Any):
        self.hash = id(value)
        try:
            self.get: Callable[[], Any] = weakref.ref(value)
        except TypeError:  # such as a number of numpy
            self.get = lambda: value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.get() is other.get() and self.get() is not None

    def __hash__(self) -> int:
        return self.hash


def _identify(value: Any) -> Any:
    """A hashable value that changes when a name stands for another object, number or text."""
    if type(value) in SIMPLE:
        return type(value), value
    if isinstance(value, Tensor):
        return _Identity(value), -1 if value.is_inference() else value._version
    return _Identity(value)


class _Freezer:
    """Makes a hashable value that changes with an attribute; each object that it holds is looked at once."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.left = MAX_ITEMS

    def freeze(self, value: Any, depth: int = 0, in_object: bool = False) -> Any:
        """The value of an attribute; `in_object` if it is one of an object that the cell holds."""
        is_container = isinstance(value, (tuple, list, set, frozenset, deque, dict))
        if type(value) in SIMPLE or isinstance(value, Tensor):
            return _identify(value)
        if id(value) in self.seen:
            return _Identity(value)
        self.seen.add(id(value))
        items: Any = value if is_container else attributes_of(value)
        if items is None:
            return _Identity(value)
        in_object |= not is_container
        if depth == MAX_DEPTH or (in_object and len(items) > self.left):
            return _Identity(value), len(items)
        if in_object:
            self.left -= len(items)
        kind = type(value) if is_container else _Identity(value)
        if isinstance(items, dict):
            named = [(name, item) for name, item in items.items() if isinstance(name, str)]
            return kind, *((name, self.freeze(item, depth + 1, in_object)) for name, item in named)
        return kind, *(self.freeze(item, depth + 1, in_object) for item in items)


def read_cell(
    cell: torch.nn.Module,
    interface: CellInterface,
    input_size: int,
    dtype: torch.dtype,
    weights: Mapping[str, Tensor] | None = None,
) -> CompiledStep:
    """The step of a cell, compiled; arguments and errors are those of `read_graph`."""
    weights = weights_of(cell) if weights is None else weights
    graph = read_graph(cell, interface, input_size, dtype, weights)
    with torch.inference_mode(False), preserve_attributes(cell):
        try:
            step = CompiledStep(graph, dtype)
            _check(cell, interface, step, input_size, dtype, weights)
        except ValueError as error:
            raise UnsupportedStepError(f"the step does not fit into the vector machine: {error}") from error
        return step


def read_graph(
    cell: torch.nn.Module,
    interface: CellInterface,
    input_size: int,
    dtype: torch.dtype,
    weights: Mapping[str, Tensor] | None = None,
) -> StepGraph:
    """The step of a cell as a graph.

    Args:
        cell: the cell.
        interface: what it takes and returns.
        input_size: I.
        dtype: of the input and the weights.
        weights: examples of its parameters and buffers; its own if None.

    Raises:
        UnsupportedStepError: the cell must run in a loop; the message is the reason.
    """

    def call(weights: Mapping[str, Tensor], x: Tensor, states: tuple[Tensor, ...]) -> Any:
        after = dict(weights)
        result = torch.func.functional_call(cell, after, (x, interface.pack(states)))
        for name, weight in weights.items():
            if after[name] is not weight:
                raise UnsupportedStepError(f"the cell sets its buffer {name!r} in a step")
        return result

    with torch.inference_mode(False):
        with preserve_attributes(cell) as changed:
            trace = trace_step(
                call, dict(weights_of(cell) if weights is None else weights), input_size, interface.state_sizes, dtype
            )
        if changed:
            raise UnsupportedStepError(f"the cell sets its attribute {changed[0]!r} in a step")
        return build_step_graph(trace, *_unpack_refs(interface, trace.result))


def _unpack_refs(interface: CellInterface, result: Any) -> tuple[Ref, tuple[Ref, ...]]:
    """The output and the states in a trace."""
    try:
        out, state = result if interface.returns_output else (None, result)
        states = tuple(state) if interface.has_tuple else (state,)
        out = states[0] if out is None else out
    except (TypeError, ValueError):
        raise UnsupportedStepError("the cell returns something else than on other examples") from None
    if not isinstance(out, Ref) or not all(isinstance(s, Ref) for s in states):
        raise UnsupportedStepError("the cell returns something else than on other examples")
    return out, states


def _check(
    cell: torch.nn.Module,
    interface: CellInterface,
    step: CompiledStep,
    input_size: int,
    dtype: torch.dtype,
    examples: Mapping[str, Tensor],
) -> None:
    """Compare the compiled step with the cell, results and gradients, on an example.

    A recording does not see everything that changes gradients: `torch.no_grad`, hooks of tensors, and the backward
    functions of `torch.autograd.Function`.
    """
    for sizes in _CHECK_SIZES:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=dtype)

        weights = {
            name: (w.detach() + 0.05 * draw(*w.shape)) if w.is_floating_point() else w.detach().clone()
            for name, w in examples.items()
        }
        x = draw(sum(sizes), input_size)
        states = tuple(draw(sizes[0], size) for size in interface.state_sizes)
        rows = PackedRows(len(sizes), sizes[0], len(x), torch.tensor(sizes))

        def run_cell(
            weights: Mapping[str, Tensor], x: Tensor, states: tuple[Tensor, ...], sizes: Sequence[int] = sizes
        ) -> tuple[Tensor, ...]:
            def run(at: slice, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
                return interface.unpack(call_with(cell, weights, x[at], interface.pack(state)))

            out, final = unroll_packed(run, sizes, states)
            _refuse_functions(out, *final)
            return (out, *final)

        def run_compiled(
            weights: Mapping[str, Tensor], x: Tensor, states: tuple[Tensor, ...], rows: PackedRows = rows
        ) -> tuple[Tensor, ...]:
            out, final = run_step(step, weights, x, states, rows)
            return (out, *final)

        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            try:
                expected = _results_and_gradients(run_cell, weights, x, states)
            except UnsupportedStepError:
                raise
            except Exception as error:
                if sizes is _CHECK_SIZES[-1]:
                    raise UnsupportedStepError(
                        f"the cell fails on example tensors: {type(error).__name__}: {error}"
                    ) from error
                continue
            actual = _results_and_gradients(run_compiled, weights, x, states)
        for a, b in zip(actual, expected, strict=True):
            size = max(1.0, b.abs().nan_to_num(0, 0, 0).max().item()) if b.numel() else 1.0
            if not torch.allclose(a, b, rtol=0, atol=_TOLERANCE[dtype] * size, equal_nan=True):
                raise UnsupportedStepError(
                    "results or gradients of the recorded step are not those of the cell, which may change them "
                    "outside of its operations (Tensor.data), or by the batch size"
                )
        return


def _refuse_functions(*results: Tensor) -> None:
    """Refuse a cell with a `torch.autograd.Function`, whose backward pass may be another one than that of its steps."""
    nodes = [result.grad_fn for result in results]
    seen: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [parent for parent, _ in node.next_functions]
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            kind: Any = getattr(type(node), "_forward_cls", None)
            if str(getattr(kind, "__module__", "")).partition(".")[0] != "ohlol":
                raise UnsupportedStepError(
                    f"the cell calls the torch.autograd.Function {getattr(kind, '__name__', '')}"
                )


def _results_and_gradients(
    run: Callable[[Mapping[str, Tensor], Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]],
    weights: Mapping[str, Tensor],
    x: Tensor,
    states: tuple[Tensor, ...],
) -> list[Tensor]:
    weights = {n: w.detach().clone().requires_grad_(w.is_floating_point()) for n, w in weights.items()}
    x, states = x.clone().requires_grad_(), tuple(s.clone().requires_grad_() for s in states)
    results = run(weights, x, states)
    generator = torch.Generator().manual_seed(1)
    total = sum((r * torch.randn(r.shape, generator=generator, dtype=r.dtype)).sum() for r in results)
    assert isinstance(total, Tensor)
    leaves = [w for w in weights.values() if w.requires_grad] + [x, *states]
    grads = torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else (None,) * len(leaves)
    return [*results, *(torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, grads, strict=True))]
