"""What a user's cell takes and returns, found by running it on example tensors.

Shapes: B batch, I input size, W width of a state, O width of the output.
"""

import sys
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ohlol.nn.transforms import current_level

_EXAMPLE_BATCH = 5
"""More than the states of any usual cell, so that a batch is not unpacked in the place of a tuple."""
_MAX_META_BYTES = 1 << 30
"""Of the weights of a cell that are replaced by zeros, where it cannot run on the meta device."""
MAX_DEPTH = 4
"""To which objects in attributes of a cell are looked at."""
MAX_ITEMS = 200
"""In all objects that an attribute holds, up to which they are looked at: each call does so."""
SIMPLE = frozenset({type(None), bool, int, float, str, bytes, torch.dtype})
"""Types whose values are compared, not their identities."""
_DATA = (
    type(None),
    int,
    float,
    complex,
    str,
    bytes,
    tuple,
    list,
    dict,
    set,
    frozenset,
    deque,
    torch.dtype,
    torch.device,
)
_NOT_DATA = (sys.stdlib_module_names | {"torch", "numpy"}) - {"types", "argparse", "__main__"}
"""Packages whose objects are no data, but for the namespaces of `types` and `argparse`."""
STANDARD_ATTRIBUTES = frozenset(vars(torch.nn.Module()))
"""What every module has."""


@dataclass(frozen=True)
class CellInterface:
    """How a cell is called: `cell(x, state)`."""

    state_sizes: tuple[int, ...]
    """The width of each state."""
    has_tuple: bool
    """Whether the state is a tuple of tensors, not a tensor."""
    returns_output: bool
    """Whether the cell returns (output, state), not the state alone."""
    output_size: int

    def pack(self, state: Sequence[Tensor]) -> Any:
        """The state as the cell takes it."""
        return tuple(state) if self.has_tuple else state[0]

    def unpack(self, result: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output and the states of what the cell returns."""
        out, state = result if self.returns_output else (None, result)
        states = tuple(state) if self.has_tuple else (state,)
        return (states[0] if out is None else out), states


def weights_of(cell: torch.nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a cell by name."""
    return {**dict(cell.named_parameters()), **dict(cell.named_buffers())}


def call_with(cell: torch.nn.Module, weights: Mapping[str, Tensor], x: Tensor, state: Any) -> Any:
    """Call a cell with other parameters and buffers."""
    return torch.func.functional_call(cell, dict(weights), (x, state))


def attributes_of(value: Any) -> dict[str, Any] | None:
    """The attributes of an object of data, such as a configuration; None of anything else."""
    kind: Any = type(value)  # attributes of the object itself may run code of its `__getattr__`
    if not kind.__dictoffset__ or isinstance(value, (torch.nn.Module, Tensor, ModuleType, FunctionType)):
        return None
    if kind.__module__.partition(".")[0] in _NOT_DATA:
        return None
    attributes: Any = vars(value)
    parameters = getattr(kind, "__dataclass_params__", None)
    if not isinstance(attributes, dict) or (parameters is not None and parameters.frozen):
        return None
    if len(attributes) > MAX_ITEMS:
        return None
    return attributes if all(map(_is_data, attributes.values())) else None


def _is_data(value: Any) -> bool:
    """Whether an object with this attribute may be one of data; one with a lock, an iterator or a file is none."""
    kind: Any = type(value)
    return isinstance(value, _DATA) or bool(kind.__dictoffset__) or hasattr(kind, "dtype")


@contextmanager
def preserve_attributes(cell: torch.nn.Module) -> Generator[list[str]]:
    """Undo what trial runs of a cell do to attributes of its modules; the list has the names of those afterwards."""
    changed: list[str] = []
    modules = [(module, dict(vars(module))) for module in cell.modules()]
    contents = [
        (name, *content)
        for _, attributes in modules
        for name, value in attributes.items()
        if name not in STANDARD_ATTRIBUTES
        for content in _copy_contents(value, 0, set())
    ]
    try:
        yield changed
    finally:
        for name, container, content in contents:
            if not _are_same(container, content):
                changed.append(name)
                if isinstance(container, dict):  # never without what it had: another thread may read it
                    for key in container.keys() - content.keys():
                        del container[key]
                    container.update(content)
                    continue
                container.clear()
                container.extend(content) if isinstance(container, (list, deque)) else container.update(content)
        for module, attributes in modules:
            now = vars(module)
            for name in (attributes.keys() | now.keys()) - STANDARD_ATTRIBUTES:
                if name not in attributes:
                    del now[name]
                elif name not in now or not _is_same(now[name], attributes[name]):
                    now[name] = attributes[name]
                else:
                    continue
                changed.append(name)


def _copy_contents(value: Any, depth: int, seen: set[int]) -> Iterator[tuple[Any, Any]]:
    """What can change in place in a value: objects that hold others, and a copy of what each holds."""
    container = value if isinstance(value, (tuple, list, dict, set, deque)) else attributes_of(value)
    if container is None or id(value) in seen or len(seen) >= MAX_ITEMS:
        return
    seen.add(id(value))
    if isinstance(container, tuple):
        held: Any = container
    else:
        held = container.copy()
        yield container, held
    if depth < MAX_DEPTH:
        for item in held.values() if isinstance(held, dict) else held:
            yield from _copy_contents(item, depth + 1, seen)


def _is_same(a: Any, b: Any) -> bool:
    """Whether two values are the same object, or equal numbers or texts."""
    return a is b or (type(a) in SIMPLE and type(a) is type(b) and a == b)


def _are_same(container: Any, content: Any) -> bool:
    """Whether a container has the same values in the same order as its copy."""
    if len(container) != len(content):
        return False
    if isinstance(container, dict):
        return list(container) == list(content) and all(map(_is_same, container.values(), content.values()))
    return all(map(_is_same, container, content))


def find_interface(
    cell: torch.nn.Module,
    input_size: int,
    state_sizes: int | Sequence[int] | None = None,
    returns_output: bool | None = None,
    like: Tensor | None = None,
) -> CellInterface:
    """Find out what a cell takes and returns.

    Args:
        cell: the cell, with `forward(x, state)`.
        input_size: I.
        state_sizes: the width of the state, or of each state of a tuple, if it is known.
        returns_output: whether the cell returns (output, state), if it is known.
        like: a tensor of the dtype and device of the input; by default those of the first parameter.

    Raises:
        ValueError: the cell runs with no state that can be guessed, or in two ways.
    """
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]), preserve_attributes(cell):
        weights = {name: weight.detach().clone() for name, weight in weights_of(cell).items()}
        if current_level() is None:
            for weight in weights.values():
                weight.requires_grad_(weight.is_floating_point())  # for hooks of tensors
        if like is None:
            like = next((w for w in weights.values() if w.is_floating_point()), torch.empty(0))
        if state_sizes is None:
            state_sizes = _declared_sizes(cell)
        x = torch.randn(_EXAMPLE_BATCH, input_size, dtype=like.dtype, device=like.device)
        with torch.enable_grad():
            fits, error = _find_fits(cell, weights, x, state_sizes, returns_output)
        with torch.no_grad():
            if not fits:
                fits, _ = _find_fits(cell, weights, x, state_sizes, returns_output)
            if not fits and x.is_meta and sum(w.nbytes for w in weights.values()) <= _MAX_META_BYTES:
                with torch.device("cpu"):  # for a cell that reads values in Python, which meta tensors do not have
                    weights = {name: torch.zeros_like(w, device="cpu") for name, w in weights.items()}
                    x = torch.zeros_like(x, device="cpu")
                    fits, error = _find_fits(cell, weights, x, state_sizes, returns_output)
    if len(fits) == 1:
        return fits[0]
    name = type(cell).__name__
    if not fits:
        problem = f": {error.describe()}" if error is not None else ", since their widths are not known"
        raise ValueError(
            f"{name} does not return its next state for the states that were tried{problem}. It must have "
            "forward(x, state), which returns the state, or (output, state), of tensors (B, W); state_sizes= names "
            "the width of its state, or of each tensor of a tuple, and so does an attribute state_sizes of the cell"
        ) from (error.error if error is not None else None)
    raise ValueError(
        f"what {name} returns can be read as its state and as (output, state): set returns_output=False or "
        "returns_output=True, or name the width of each state as state_sizes=, or in an attribute state_sizes"
    )


def _declared_sizes(cell: torch.nn.Module) -> int | tuple[int, ...] | None:
    """The widths of states that a cell has as an attribute."""
    sizes = getattr(cell, "state_sizes", None)
    if isinstance(sizes, (tuple, list)) and all(isinstance(size, int) for size in sizes):
        return tuple(sizes)
    return sizes if isinstance(sizes, int) else None


class _Misfit(NamedTuple):
    """A trial run that fits no way to read a cell."""

    x: Tensor
    state: Any
    result: Any
    error: Exception | None

    def describe(self) -> str:
        """What the cell returned, or its error."""
        arguments = f"for x {_describe(self.x)} and the state {_describe(self.state)}"
        if self.error is not None:
            return f"{arguments} it raises {type(self.error).__name__}: {self.error}"
        return f"{arguments} it returns {_describe(self.result)}"


def _describe(value: Any) -> str:
    """The shapes of what a cell takes or returns."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape)) if value.is_floating_point() else f"{tuple(value.shape)} of {value.dtype}"
    if isinstance(value, (tuple, list)):
        items: Any = value
        return f"a {type(value).__name__} of {', '.join(map(_describe, items))}"
    return "None" if value is None else f"a {type(value).__name__}"


def _find_fits(
    cell: torch.nn.Module,
    weights: Mapping[str, Tensor],
    x: Tensor,
    state_sizes: int | Sequence[int] | None,
    returns_output: bool | None,
) -> tuple[list[CellInterface], _Misfit | None]:
    """All ways to read a cell; without one, the first result that fits none or, if all runs fail, the first error."""
    first_error: _Misfit | None = None
    first_result: _Misfit | None = None
    for candidates in _candidates(cell, weights, x, state_sizes):
        fits: list[CellInterface] = []
        for sizes, has_tuple in candidates:
            states = tuple(torch.zeros(_EXAMPLE_BATCH, size, dtype=x.dtype, device=x.device) for size in sizes)
            state = states if has_tuple else states[0]
            try:
                result = call_with(cell, weights, x, state)
            except Exception as error:
                first_error = first_error or _Misfit(x, state, None, error)
                continue
            first_result = first_result or _Misfit(x, state, result, None)
            for has_output in (False, True):
                output_size = _output_size(result, sizes, has_tuple, has_output)
                if output_size and returns_output in (None, has_output):
                    fits.append(CellInterface(tuple(sizes), has_tuple, has_output, output_size))
        if fits:
            return fits, None
    return [], first_result or first_error


def _candidates(
    cell: torch.nn.Module, weights: Mapping[str, Tensor], x: Tensor, state_sizes: int | Sequence[int] | None
) -> list[list[tuple[tuple[int, ...], bool]]]:
    """Widths of states, and whether they are a tuple; a later list is tried if none of those before fits."""
    if isinstance(state_sizes, int):
        return [[((state_sizes,), False)]]
    if state_sizes is not None:
        return [[(tuple(state_sizes), True)]]
    for arguments in ((x,), (x, None)):
        try:
            result = torch.func.functional_call(cell, dict(weights), arguments)
        except Exception:
            continue
        if candidates := _from_result(result):
            return [candidates]
    H = getattr(cell, "hidden_size", None)
    if isinstance(H, int):
        return [[((H,), False), ((H, H), True)], *([((H,) * count, True)] for count in (1, 3, 4))]
    return []


def _from_result(result: Any) -> list[tuple[tuple[int, ...], bool]]:
    """The states that a cell may have that returns this without a state."""
    if _is_row(result):
        return [((result.size(1),), False)]
    if not isinstance(result, (tuple, list)):
        return []
    candidates: list[tuple[tuple[int, ...], bool]] = []
    if all(map(_is_row, result)):
        candidates.append((tuple(part.size(1) for part in result), True))
    if len(result) == 2 and _is_row(result[0]):
        candidates += _from_result(result[1])
    return candidates


def _is_row(result: Any) -> bool:
    return isinstance(result, Tensor) and result.dim() == 2


def _output_size(result: Any, sizes: Sequence[int], has_tuple: bool, has_output: bool) -> int:
    """The width of the output in this reading of a result; 0 if the result does not fit."""
    out = None
    if has_output:
        if not isinstance(result, (tuple, list)) or len(result) != 2 or not _is_row(result[0]):
            return 0
        out, result = result
    if has_tuple:
        if not isinstance(result, (tuple, list)) or len(result) != len(sizes):
            return 0
        states = list(result)
    else:
        states = [result]
    expected = [(_EXAMPLE_BATCH, size) for size in sizes]
    if not all(map(_is_row, states)) or [tuple(s.shape) for s in states] != expected:
        return 0
    first = states[0] if out is None else out
    return first.size(1) if first.size(0) == _EXAMPLE_BATCH else 0
