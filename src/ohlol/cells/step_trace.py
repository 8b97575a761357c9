"""Record the ATen operations of one step of a cell.

A cell runs on example tensors of two batch sizes; a dispatch mode sees every operation below autograd. The two
recordings have the same operations, and what differs between them is the batch: an axis of a shape, or a number in the
arguments. This is how `make_fx` works, without its graph, whose first use takes a second.

Shapes: B batch.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

EXAMPLE_BATCHES = (5, 7)
"""The batch sizes of the two recordings."""

_MAX_OPERATIONS = 2000
_NOT_USERS = frozenset({"torch", "jaxtyping", "beartype"})
"""Packages whose functions stand between a cell and its operations."""
_READS_VALUES = frozenset({"aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::nonzero"})
"""Operations whose result in Python depends on the numbers in a tensor."""
_READS_MEMORY = frozenset(
    {torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__, torch.Tensor.__dlpack__, torch.Tensor.data_ptr}
)
"""Functions that read the numbers in a tensor without an operation."""
_READS_GRADIENTS = frozenset(
    getattr(torch.Tensor, name).__get__ for name in ("requires_grad", "grad_fn", "is_leaf", "grad")
)
_HOOKS = frozenset(
    {torch.Tensor.register_hook, torch.Tensor.register_post_accumulate_grad_hook, torch.Tensor.retain_grad}
)
"""With those before, what changes gradients in a way that no operation shows."""


class UnsupportedStepError(Exception):
    """The cell cannot be read into a step graph; the message is the reason."""


class Ref(NamedTuple):
    """A tensor in the arguments of an operation, by the number of its value."""

    value: int


class BatchSize(NamedTuple):
    """The batch size in the arguments of an operation."""


BATCH = BatchSize()


@dataclass
class Operation:
    """One ATen operation on values, which are numbered in the order of their creation."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int | None, ...]
    """The numbers of the result's tensors; None for a result that is not a tensor."""
    is_sequence: bool
    """Whether the operation returns a list or tuple of tensors."""
    place: str
    """File and line of the cell's source that called the operation."""
    operands: tuple[int, ...] = ()

    @property
    def values(self) -> tuple[int, ...]:
        """The numbers of the tensors among the results."""
        return tuple(v for v in self.results if v is not None)

    @property
    def name(self) -> str:
        """Such as "aten::mm"."""
        return self.target._schema.name

    def describe(self) -> str:
        """The operation and where it is called, for messages."""
        return f"{self.name.replace('::', '.')} at {self.place}"


class Shape(tuple[Any, ...]):
    """A shape whose batch axis is `BATCH`."""

    @property
    def has_batch(self) -> bool:
        """Whether an axis is the batch."""
        return any(size is BATCH for size in self)


@dataclass
class StepTrace:
    """The operations of a step: values 0, 1, ... are the weights, the input x and the states, then all others."""

    weights: tuple[str, ...]
    """The names of the cell's parameters and buffers."""
    state_count: int
    operations: list[Operation]
    constants: dict[int, Tensor]
    """Tensors that the cell reads and that are neither weights nor computed."""
    shapes: dict[int, Shape]
    dtypes: dict[int, torch.dtype]
    result: Any
    """What the cell returns, with a `Ref` for each tensor."""

    @property
    def x(self) -> int:
        """The value of the input."""
        return len(self.weights)

    @property
    def states(self) -> range:
        """The values of the states."""
        return range(self.x + 1, self.x + 1 + self.state_count)


@dataclass
class _Recording:
    operations: list[Operation] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    """By value; all are kept, so that no two have the same id."""
    values: dict[int, int] = field(default_factory=dict)
    constants: dict[int, Tensor] = field(default_factory=dict)
    stale: dict[int, str] = field(default_factory=dict)
    """Values that an operation in place has changed, and the operation."""
    leaves: int = 0
    """The weights, the input and the states come first."""
    result: Any = None

    def add(self, tensor: Tensor) -> int:
        """The number of a new value."""
        self.tensors.append(tensor)
        self.values[id(tensor)] = len(self.tensors) - 1
        return len(self.tensors) - 1

    def value_of(self, tensor: Tensor) -> int:
        """The number of a tensor, which is a constant if it is new."""
        known = self.values.get(id(tensor))
        if known is None:
            known = self.add(tensor)
            self.constants[known] = tensor
        if known in self.stale:
            raise UnsupportedStepError(
                f"the cell reads a tensor after an operation changes it in place: {self.stale[known]}"
            )
        return known

    def find_functional(self, func: Any, args: Sequence[Any], where: str) -> Any:
        """The operation that returns what `func` writes to its first argument; None if an argument of the cell changes.

        Results of the step that share memory with the argument are stale afterwards.
        """
        name, overload = func._schema.name.removeprefix("aten::"), func._overloadname
        target = args[0] if args else None
        if not isinstance(target, Tensor) or not name.endswith("_") or id(target) not in self.values:
            return None
        storage = target.untyped_storage().data_ptr()
        written = _places_in_storage(target)
        for number, tensor in enumerate(self.tensors):
            if tensor.untyped_storage().data_ptr() != storage:
                continue
            if number < self.leaves or number in self.constants:
                return None
            if tensor is not target and not written.isdisjoint(_places_in_storage(tensor)):
                self.stale[number] = where
        return getattr(getattr(torch.ops.aten, name[:-1], None), overload, None)

    def refs(self, arguments: Any) -> Any:
        """The arguments with a `Ref` in the place of each tensor."""
        return tree_map(lambda a: Ref(self.value_of(a)) if isinstance(a, Tensor) else a, arguments)


def _places_in_storage(tensor: Tensor) -> set[int]:
    """The places of a tensor's numbers in its memory."""
    places = [int(tensor.storage_offset())]
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        places = [place + i * stride for place in places for i in range(size)]
    return set(places)


class _RecordingMode(TorchDispatchMode):
    def __init__(self, recording: _Recording):
        super().__init__()
        self.recording = recording

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch imports its compiler, to keep it out of this mode; that would take a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        recording, place = self.recording, _find_place()
        name = func._schema.name
        where = f"{name.replace('::', '.')} at {place}"
        if name in _READS_VALUES:
            raise UnsupportedStepError(f"the numbers in a tensor are read in Python: {where}")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise UnsupportedStepError(f"the operation is random: {where}")
        functional = func
        if func._schema.is_mutable:
            functional = recording.find_functional(func, args, where)
            if functional is None:
                raise UnsupportedStepError(f"the operation changes a tensor in place: {where}")
        if len(recording.operations) >= _MAX_OPERATIONS:
            raise UnsupportedStepError(f"a step has more than {_MAX_OPERATIONS} operations")
        operands, operand_kwargs = recording.refs(args), recording.refs(kwargs or {})
        results = func(*args, **(kwargs or {}))
        is_sequence = isinstance(results, (tuple, list))
        parts = tuple(results) if is_sequence else (results,)
        numbers = tuple(recording.add(part) if isinstance(part, Tensor) else None for part in parts)
        recording.operations.append(Operation(functional, operands, operand_kwargs, numbers, is_sequence, place))
        if not torch.is_grad_enabled():
            if functional is not func:
                raise UnsupportedStepError(f"the operation changes a tensor in place under torch.no_grad: {where}")
            for number, part in zip(numbers, parts, strict=True):
                if number is not None and part.is_floating_point():
                    detached = (recording.add(part),)
                    recording.operations.append(
                        Operation(torch.ops.aten.detach.default, (Ref(number),), {}, detached, False, place)
                    )
        return results


class _FunctionMode(TorchFunctionMode):
    """Sees what a cell reads of its tensors without an operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READS_MEMORY:
            raise UnsupportedStepError(
                f"the numbers in a tensor are read in Python: {_name_of(func)} at {_find_place()}"
            )
        if func in _HOOKS or (func in _READS_GRADIENTS and _is_users(sys._getframe(1))):
            raise UnsupportedStepError(
                f"the cell reads or changes gradients itself: {_name_of(func)} at {_find_place()}"
            )
        return func(*args, **(kwargs or {}))


def _name_of(func: Any) -> str:
    """Such as "Tensor.numpy"; of an attribute, whose function is that of its descriptor, too."""
    return f"Tensor.{getattr(getattr(func, '__self__', func), '__name__', func)}"


def _find_place() -> str:
    """File and line of the innermost frame that is neither torch's nor this module's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        is_generated = frame.f_code.co_filename.startswith("<")
        if _is_users(frame) and not is_generated:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"


def _is_users(frame: FrameType) -> bool:
    """Whether a frame is neither torch's nor this module's."""
    module = str(frame.f_globals.get("__name__", ""))
    return module != __name__ and module.partition(".")[0] not in _NOT_USERS


def trace_step(
    call: Callable[[Mapping[str, Tensor], Tensor, tuple[Tensor, ...]], Any],
    weights: Mapping[str, Tensor],
    x_width: int,
    state_widths: Sequence[int],
    dtype: torch.dtype,
) -> StepTrace:
    """Record one step of a cell.

    Args:
        call: runs the cell with other weights, on an input (B, I) and states (B, W).
        weights: the cell's parameters and buffers by name.
        x_width: I.
        state_widths: the width of each state.
        dtype: of the example tensors.

    Raises:
        UnsupportedStepError: the cell does something that depends on more than its arguments and their shapes.
    """
    recordings = [_record(call, weights, x_width, state_widths, dtype, B) for B in EXAMPLE_BATCHES]
    return _merge(recordings[0], recordings[1], tuple(weights), len(state_widths))


def _record(
    call: Callable[[Mapping[str, Tensor], Tensor, tuple[Tensor, ...]], Any],
    weights: Mapping[str, Tensor],
    x_width: int,
    state_widths: Sequence[int],
    dtype: torch.dtype,
    B: int,
) -> _Recording:
    recording = _Recording()
    generator = torch.Generator().manual_seed(B)
    copies = {name: weight.detach().clone() for name, weight in weights.items()}
    x = torch.randn(B, x_width, generator=generator, dtype=dtype)
    states = tuple(torch.randn(B, width, generator=generator, dtype=dtype) for width in state_widths)
    for tensor in (*copies.values(), x, *states):
        recording.add(tensor)
    recording.leaves = len(recording.tensors)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), _RecordingMode(recording), _FunctionMode():
        try:
            result = call(copies, x, states)
        except UnsupportedStepError:
            raise
        except Exception as error:
            raise UnsupportedStepError(f"the cell fails on example tensors: {type(error).__name__}: {error}") from error
    leaves, _ = tree_flatten(result)
    if not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise UnsupportedStepError("the cell returns something that is not a tensor")
    recording.result = recording.refs(result)
    return recording


def _merge(first: _Recording, second: _Recording, weights: tuple[str, ...], state_count: int) -> StepTrace:
    """One trace of two recordings, with `BATCH` where their batch sizes differ."""
    differs = UnsupportedStepError("the operations depend on the batch size")
    if len(first.operations) != len(second.operations) or len(first.tensors) != len(second.tensors):
        raise differs
    operations: list[Operation] = []
    for a, b in zip(first.operations, second.operations, strict=True):
        if a.target is not b.target or a.results != b.results:
            raise differs
        args, kwargs = _merge_arguments(a.args, b.args, a), _merge_arguments(a.kwargs, b.kwargs, a)
        leaves, _ = tree_flatten((args, kwargs), is_leaf=lambda leaf: isinstance(leaf, Ref))
        operands = tuple(leaf.value for leaf in leaves if isinstance(leaf, Ref))
        operations.append(Operation(a.target, args, kwargs, a.results, a.is_sequence, a.place, operands))
    shapes: dict[int, Shape] = {}
    for value, (a, b) in enumerate(zip(first.tensors, second.tensors, strict=True)):
        if a.dim() != b.dim():
            raise differs
        shapes[value] = Shape(_merge_sizes(m, n, differs) for m, n in zip(a.shape, b.shape, strict=True))
    if first.constants.keys() != second.constants.keys():
        raise differs
    for value, constant in first.constants.items():
        if constant.requires_grad:
            raise UnsupportedStepError("a tensor of the cell requires a gradient but is not a registered parameter")
        other = second.constants[value]
        if constant is not other and (constant.shape != other.shape or not torch.equal(constant, other)):
            raise UnsupportedStepError("the cell reads a tensor that changes between two calls")
    dtypes = {value: tensor.dtype for value, tensor in enumerate(first.tensors)}
    return StepTrace(weights, state_count, operations, first.constants, shapes, dtypes, first.result)


def _merge_sizes(a: int, b: int, error: UnsupportedStepError) -> int | BatchSize:
    if a == b:
        return a
    if (a, b) == EXAMPLE_BATCHES:
        return BATCH
    raise error


def _merge_arguments(a: Any, b: Any, operation: Operation) -> Any:
    if isinstance(a, Ref) or isinstance(b, Ref):
        if a != b:
            raise UnsupportedStepError(f"the operations depend on the batch size: {operation.describe()}")
        return a
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)) and len(a) == len(b):
        merged = [_merge_arguments(m, n, operation) for m, n in zip(a, b, strict=True)]
        return tuple(merged) if isinstance(a, tuple) else merged
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return {key: _merge_arguments(a[key], b[key], operation) for key in a}
    try:
        if type(a) is type(b) and (a == b or (a != a and b != b)):
            return a
    except NotImplementedError:  # such as the object of `torch.profiler.record_function`
        raise UnsupportedStepError(f"an argument cannot be compared: {operation.describe()}") from None
    if (a, b) == EXAMPLE_BATCHES:
        return BATCH
    raise UnsupportedStepError(f"an argument depends on the batch size: {operation.describe()}")


def run_operations(operations: Sequence[Operation], values: dict[int, Tensor], B: int) -> None:
    """Run operations with torch on a batch of B rows, and add their results to `values`."""
    for operation in operations:
        result = operation.target(*_with_values(operation.args, values, B), **_with_values(operation.kwargs, values, B))
        parts = result if operation.is_sequence else (result,)
        for number, part in zip(operation.results, parts, strict=True):
            if number is not None:
                values[number] = part


def _with_values(arguments: Any, values: Mapping[int, Tensor], B: int) -> Any:
    """Arguments with tensors for each `Ref` and B for `BATCH`."""
    if isinstance(arguments, Ref):
        return values[arguments.value]
    if arguments is BATCH or isinstance(arguments, BatchSize):
        return B
    if isinstance(arguments, (tuple, list)):
        return [_with_values(a, values, B) for a in arguments]
    if isinstance(arguments, dict):
        return {key: _with_values(a, values, B) for key, a in arguments.items()}
    return arguments
