"""Recurrent layers and users' cells with weights of fewer bits, packed once for many calls; for inference.

`ohlol.ops.reduced_equations` has the same in plain PyTorch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ohlol.ops import single
from ohlol.ops.backend import pack_matrices, pack_weights, reduced_kernel, selected, step_program
from ohlol.ops.recurrence import all_materialized, forward_stack, weights_of
from ohlol.ops.step_program import StepPrograms
from ohlol.ops.step_recurrence import CompiledStep
from ohlol.ops.torch_path import LayerSpec, rows_of
from ohlol.ops.validation import MOST_COLUMNS, check_precision


class ReducedWeights:
    """The weights of a stack of layers with a reduced precision, packed for the kernels.

    Args:
        spec: the cell and its options.
        weights: float32, as `torch.nn` orders them.
        precision: bf16 or int8.

    Raises:
        RuntimeError: there are no kernels.
        ValueError: the weights cannot have this precision.
    """

    def __init__(self, spec: LayerSpec, weights: Sequence[Tensor], precision: str) -> None:
        check_precision(precision, weights)
        self.precision = precision
        self.kernel = reduced_kernel(spec.cell, precision)
        self._source = _Source(weights)
        self._packed: list[Tensor] = []
        for k in range(spec.num_layers * spec.directions):
            self._packed.append(pack_weights(self.kernel, *weights_of(spec, weights, k)))

    def address(self, k: int) -> int:
        """Where the packed weights of the k-th layer and direction lie."""
        return self._packed[k].data_ptr()

    def is_current(self, weights: Sequence[Tensor], precision: str) -> bool:
        """Whether these weights are the packed ones, unchanged since, and the kernels of the same instruction set."""
        return precision == self.precision and self._source.is_current(weights)


class _Source:
    """The tensors that something was packed from.

    Torch counts the changes of a tensor, but not those through `Tensor.data`, nor of one of `torch.inference_mode`.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self._weights, self._versions = list(weights), self._describe(weights)

    def is_current(self, weights: Sequence[Tensor]) -> bool:
        """Whether these are the same tensors, unchanged since, and the kernels of the same instruction set."""
        return (
            len(weights) == len(self._weights)
            and all(ours is theirs for ours, theirs in zip(self._weights, weights, strict=True))
            and self._describe(weights) == self._versions
        )

    @staticmethod
    def _describe(weights: Sequence[Tensor]) -> tuple[Any, ...]:
        return (selected(), *((w.data_ptr(), -1 if w.is_inference() else w._version) for w in weights))


class ReducedStep:
    """The weight matrices of a user's cell with a reduced precision, packed for the vector machine.

    Args:
        step: the cell.
        weights: its parameters and buffers.
        precision: bf16 or int8.
    """

    def __init__(self, step: CompiledStep, weights: Sequence[Tensor], precision: str) -> None:
        self.precision, self._step, self._source = precision, step, _Source(weights)
        self._format = step_program().formats[precision]
        self._packed: dict[bool, tuple[Tensor, Tensor | None]] = {}
        """By whether products of the input are computed before the first step."""

    def is_current(self, step: CompiledStep, weights: Sequence[Tensor], precision: str) -> bool:
        """Whether the packed matrices are those of this step and these weights."""
        return precision == self.precision and step is self._step and self._source.is_current(weights)

    def arguments(self, programs: StepPrograms, matrices: list[int]) -> dict[str, Any]:
        """As `ohlol.ops.backend.PackedMatrices` has it."""
        before = programs.before
        packed = self._packed.get(before is not None)
        if packed is None:
            packed = self._packed[before is not None] = (
                pack_matrices(programs.forward, self._format, matrices),
                None if before is None else pack_matrices(before, self._format, matrices),
            )
        places = [n for memory in packed for n in ((0, 0) if memory is None else (memory.data_ptr(), len(memory)))]
        return {"format": self._format, "packed": places}


def find_wide_matrix(step: CompiledStep) -> str:
    """Why the matrices of a step cannot have a reduced precision, or an empty string."""
    widest = max((leaf.rows for leaf in step.graph.matrices), default=0)
    return f"a product has more than {MOST_COLUMNS} terms" if widest > MOST_COLUMNS else ""


def run_reduced(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    spec: LayerSpec,
    batch_sizes: Tensor | None = None,
    *,
    reduced: ReducedWeights,
) -> tuple[Tensor, ...]:
    """`ohlol.ops.recurrence` with packed weights, without gradients, for a caller that has checked the tensors."""
    is_single = batch_sizes is None and not spec.batch_first and spec.num_layers * spec.directions == 1
    if is_single and x.is_floating_point() and all_materialized(x, h_0, c_0, *weights):
        with torch.no_grad():
            return single.forward_layer(spec.cell, x, h_0, c_0, weights, False, reduced)[0]
    rows = rows_of(spec, x, batch_sizes)
    with torch.no_grad():
        out, h_n, c_n, _ = forward_stack(spec, rows, x, h_0, c_0, weights, False, reduced)
    out = out if batch_sizes is not None else out.view(*x.shape[:2], out.size(1))
    return (out, h_n) if c_n is None else (out, h_n, c_n)


class _WithoutGradient(torch.autograd.Function):
    """Results whose gradient is asked for in vain."""

    @staticmethod
    def forward(ctx: Any, message: str, source: Tensor, *results: Tensor) -> Any:
        ctx.message = message
        return tuple(tensor.view_as(tensor) for tensor in results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        raise RuntimeError(ctx.message)


def refuse_gradients(message: str, arguments: Sequence[Tensor | None], results: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The results of a call, which raise RuntimeError with the message where a gradient to an argument is asked for."""
    if not torch.is_grad_enabled():
        return tuple(results)
    source = next((a for a in arguments if a is not None and a.requires_grad), None)
    return tuple(results) if source is None else _WithoutGradient.apply(message, source, *results)  # type: ignore[return-value]
