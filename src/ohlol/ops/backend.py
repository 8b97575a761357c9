"""The compiled kernels: whether they are installed, which instruction set they use, and the functions that run them.

This is the only module that touches the compiled one. `OHLOL_KERNEL` forces a variant: `avx512`, `avx2`, `baseline`, or
`off` for torch's own path. `OHLOL_POISON=1` fills every buffer that is allocated without being set with NaN, so that a
read before a write shows; the tests run so.
"""

import importlib
import os
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ohlol.cells import CELLS
from ohlol.config import FULL_PRECISION
from ohlol.utils.processors import find_processors

if TYPE_CHECKING:
    from ohlol.ops import _kernel

VARIANTS = ("avx512", "avx2", "baseline")
_ALIGNMENT = 64
"""Bytes to which packed weights are aligned."""

_fills_with_nan = False


def _load() -> tuple[ModuleType | None, str]:
    variant = os.environ.get("OHLOL_KERNEL", "")
    if variant == "off":
        return None, "OHLOL_KERNEL=off"
    if variant not in ("", *VARIANTS):
        raise ValueError(f"OHLOL_KERNEL={variant!r}: expected one of {', '.join(VARIANTS)} or off")
    try:
        # torch is imported above, so that its libgomp.so.1 is the one the kernels share
        module = importlib.import_module("ohlol.ops._kernel")
    except ImportError as error:  # also where a library that they need is missing, such as that of OpenMP
        is_absent = isinstance(error, ModuleNotFoundError) and not _list_compiled()
        reason = (
            "the compiled kernels are not installed (no compiler was found when ohlol was built)"
            if is_absent
            else f"the compiled kernels cannot be loaded: {error}"
        )
        if variant:
            raise ImportError(f"OHLOL_KERNEL={variant}: {reason}") from error
        if not is_absent:
            warnings.warn(f"{reason}; torch's own layers run instead; OHLOL_KERNEL=off chooses them", stacklevel=2)
        return None, reason
    if variant:
        if variant not in module.supported():
            raise ValueError(f"OHLOL_KERNEL={variant}: this machine runs {', '.join(module.supported())}")
        module.select(variant)
    module.limit_threads(find_processors().count)
    return module, ""


def _list_compiled() -> list[Path]:
    """The files of the compiled module beside this one, also those of another version of Python."""
    return [path for path in Path(__file__).parent.glob("_kernel.*") if path.suffix in (".so", ".pyd")]


_had_threads = False
"""Whether this process had several threads when it was last forked."""


def _before_fork() -> None:
    global _had_threads
    try:
        _had_threads = len(os.listdir("/proc/self/task")) > 1
    except OSError:  # not on Linux
        _had_threads = True


def _after_fork() -> None:
    """Let a forked process use one thread, where the threads of torch may have been started before.

    They do not exist in the child, and the first operation on several threads would wait for them forever, be it of
    the kernels or of torch, to which a layer may fall back.
    """
    if _had_threads:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)

KERNEL, ABSENT = _load()
"""The compiled module or None, and in that case the reason."""


if TYPE_CHECKING:
    run_forward, run_backward = _kernel.forward, _kernel.backward
else:
    # The module's own functions: for a small layer, one more Python call with these arguments would take longer than
    # the kernel.
    run_forward = getattr(KERNEL, "forward", None)
    run_backward = getattr(KERNEL, "backward", None)


class KernelCell(NamedTuple):
    """A cell as the kernels need it, from its `CellSpec`."""

    float32: int
    """The number of its kernel for this dtype."""
    float64: int
    gates: int
    has_cell_state: bool
    has_reset: bool
    """Whether the kernels keep W_hn h + b_hn of each step for backward."""


class PackedWeights(Protocol):
    """The weights of a stack in the format of a kernel, as `ohlol.ops.reduced` packs them."""

    kernel: int
    """The number of the kernel."""

    def address(self, k: int) -> int:
        """Where those of the k-th layer and direction lie."""
        ...


class PackedMatrices(Protocol):
    """The weight matrices of a user's cell in the format of a reduced precision, as `ohlol.ops.reduced` packs them."""

    def arguments(self, programs: Any, matrices: list[int]) -> dict[str, Any]:
        """The arguments of `StepProgram.run` for programs of the cell and the places of its matrices in float32."""
        ...


@cache
def kernel_cell(name: str) -> KernelCell:
    """The kernel of a registered cell.

    Raises:
        RuntimeError: there are no kernels, or none of this cell.
    """
    spec = CELLS[name]
    if KERNEL is None or spec.kernel is None:
        raise RuntimeError(f"there is no kernel of the cell {name}: {ABSENT or 'its CellSpec names none'}")
    float32, float64 = (KERNEL.KERNELS[spec.kernel, dtype] for dtype in ("float32", "float64"))
    return KernelCell(float32, float64, len(spec.gates), len(spec.states) > 1, spec.has_reset)


def reduced_kernel(cell: str, precision: str) -> int:
    """The number of the kernel of a registered cell with bf16 or int8 weights.

    Raises:
        RuntimeError: there are no kernels, or none of this cell.
    """
    kernel_cell(cell)
    assert KERNEL is not None
    return KERNEL.KERNELS[CELLS[cell].kernel, precision]


def pack_weights(kernel: int, W_ih: Tensor, W_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None) -> Tensor:
    """The contiguous float32 weights of a layer in one direction, packed for this kernel and instruction set; bytes."""
    assert KERNEL is not None
    addresses = [0 if t is None else t.data_ptr() for t in (W_ih, W_hh, b_ih, b_hh)]
    return _pack(partial(KERNEL.pack_weights, kernel=kernel, I=W_ih.size(1), H=W_hh.size(1), weights=addresses))


def pack_matrices(program: "_kernel.StepProgram", format: int, matrices: list[int]) -> Tensor:
    """The float32 matrices of a program in a format of `StepMachine`, packed for this instruction set; bytes."""
    return _pack(partial(program.pack, format=format, matrices=matrices))


def _pack(pack: Callable[..., int]) -> Tensor:
    """What a function writes to its `destination`, which returns the bytes that it needs; aligned."""
    memory = torch.empty(pack(destination=0) + _ALIGNMENT, dtype=torch.uint8)
    packed = memory[-memory.data_ptr() % _ALIGNMENT :]
    pack(destination=packed.data_ptr())
    return packed


def packed_layers(cell: str, dtype: torch.dtype, H: int, precision: str) -> "_kernel.PackedLayersFloat32":
    """A stack of layers for single steps, still empty; `precision` is that of float32 weights.

    Raises:
        RuntimeError: there are no kernels.
    """
    if KERNEL is None:
        raise RuntimeError(f"steps of packed layers need the compiled kernels: {ABSENT}")
    if precision != FULL_PRECISION:
        return KERNEL.PackedLayersFloat32(kernel=reduced_kernel(cell, precision), H=H)
    if dtype is torch.float64:
        return KERNEL.PackedLayersFloat64(kernel=kernel_cell(cell).float64, H=H)
    return KERNEL.PackedLayersFloat32(kernel=kernel_cell(cell).float32, H=H)


def typed_kernel(name: str, dtype: torch.dtype) -> Callable[..., Any]:
    """The compiled function of this name for float32 or float64.

    Raises:
        RuntimeError: there are no kernels.
    """
    if KERNEL is None:
        raise RuntimeError(f"{name} needs the compiled kernels: {ABSENT}")
    return getattr(KERNEL, f"{name}_{'float32' if dtype is torch.float32 else 'float64'}")


class StepMachine:
    """The vector machine of the kernels, which runs programs of `ohlol.ops.step_program`."""

    def __init__(self) -> None:
        if KERNEL is None:
            raise RuntimeError(f"steps of a cell need the compiled kernels: {ABSENT}")
        self.operations: tuple[str, ...] = tuple(KERNEL.PROGRAM_OPERATIONS)
        self.memories: tuple[str, ...] = tuple(KERNEL.PROGRAM_MEMORIES)

    @property
    def formats(self) -> dict[str, int]:
        """The number of each reduced precision."""
        assert KERNEL is not None
        return KERNEL.FORMATS

    def build(self, program: Any, dtype: torch.dtype) -> "_kernel.StepProgram":
        """A checked program; its fields are those of `step_program.Program`.

        Raises:
            ValueError: it reads or writes outside of its memories.
        """
        assert KERNEL is not None
        return KERNEL.StepProgram(
            float64=dtype is torch.float64,
            memories=[number for memory in program.memories for number in memory],
            layout=[number for part in program.layout for number in part],
            instructions=program.instructions,
            sections=program.sections,
            parts=program.parts,
            matrices=program.matrices,
            products=program.products,
            numbers=program.numbers,
            states=list(program.states),
            vectors=list(program.vectors),
            accumulators=list(program.accumulators),
        )


@cache
def step_program() -> StepMachine:
    """The vector machine.

    Raises:
        RuntimeError: there are no kernels.
    """
    return StepMachine()


def available() -> tuple[str, ...]:
    """The variants this machine runs, fastest first; empty without the compiled module."""
    return tuple(KERNEL.supported()) if KERNEL is not None else ()


def selected() -> str:
    """The variant in use, or "off"."""
    return KERNEL.selected() if KERNEL is not None else "off"


NO_KERNELS = "torch"
"""The result of `implementation` where torch's own layers run."""


def implementation(device: torch.device = torch.device("cpu"), precision: str = FULL_PRECISION) -> str:
    """What runs the recurrent layers: the variant of the compiled kernels, cuDNN and its version, or "torch"."""
    if device.type == "cuda" and torch.backends.cudnn.is_available():
        return f"cudnn {torch.backends.cudnn.version()}"
    if device.type != "cpu" or precision != FULL_PRECISION or KERNEL is None:
        return NO_KERNELS
    return selected()


def select(variant: str) -> None:
    """Use this variant from now on, in every thread.

    Raises:
        RuntimeError: there is no compiled module.
        ValueError: this machine does not run the variant.
    """
    if KERNEL is None:
        raise RuntimeError(f"no kernel to select: {ABSENT}")
    KERNEL.select(variant)


def measure_peak(variant: str, dtype: torch.dtype, threads: int, seconds: float) -> float:
    """Operations a second of multiply-adds in registers with the instructions of a variant; each is two operations.

    Raises:
        RuntimeError: there is no compiled module.
        ValueError: this machine does not run the variant.
    """
    if KERNEL is None:
        raise RuntimeError(f"no kernel to measure: {ABSENT}")
    return KERNEL.measure_peak(variant, dtype is torch.float64, threads, seconds)


def force_threads(on: bool) -> None:
    """Split even the smallest call among the threads, whatever time they lose, also if they outnumber the processors.

    For tests.
    """
    if KERNEL is not None:
        KERNEL.set_serial_below(0.0 if on else KERNEL.SERIAL_BELOW)
        KERNEL.force_threads(on)
    limit_threads(0 if on else find_processors().count)


def limit_threads(processors: int) -> None:
    """Run each call on this many threads at most, whatever it is split into; 0: no limit."""
    if KERNEL is not None:
        KERNEL.limit_threads(processors)


def fill_with_nan(on: bool) -> None:
    """Fill buffers that are allocated without being set, here and in the kernels, with NaN; for tests."""
    global _fills_with_nan
    _fills_with_nan = on
    if KERNEL is not None:
        KERNEL.set_poison(on)


def empty(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of the same dtype and device; NaN throughout while `fill_with_nan` is on."""
    tensor = like.new_empty(*shape)  # the fastest way: torch.empty takes twice as long, a shape as a tuple longer still
    return tensor.fill_(float("nan")) if _fills_with_nan else tensor


def poison(tensor: Tensor) -> Tensor:
    """The same tensor, whose numbers have not been set; NaN throughout while `fill_with_nan` is on."""
    return tensor.fill_(float("nan")) if _fills_with_nan else tensor


if os.environ.get("OHLOL_POISON") == "1":
    fill_with_nan(True)
