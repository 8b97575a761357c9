"""Recurrent layers with weights of fewer bits, packed once for many calls; for inference.

`ohlol.ops.reduced_equations` has the same in plain PyTorch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ohlol.ops import single
from ohlol.ops.backend import pack_weights, reduced_kernel, selected
from ohlol.ops.recurrence import all_materialized, forward_stack, weights_of
from ohlol.ops.torch_path import LayerSpec, rows_of
from ohlol.ops.validation import check_precision, materialize


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
        self._of = self._describe(weights)
        self._weights = list(weights)
        self._packed: list[Tensor] = []
        for k in range(spec.num_layers * spec.directions):
            self._packed.append(pack_weights(self.kernel, *weights_of(spec, weights, k)))

    def address(self, k: int) -> int:
        """Where the packed weights of the k-th layer and direction lie."""
        return self._packed[k].data_ptr()

    def is_current(self, weights: Sequence[Tensor], precision: str) -> bool:
        """Whether these weights are the packed ones, unchanged since, and the kernels of the same instruction set.

        Torch counts the changes of a tensor, but not those through `Tensor.data`, nor of one of `torch.inference_mode`.
        """
        return (
            precision == self.precision
            and all(ours is theirs for ours, theirs in zip(self._weights, weights, strict=True))
            and self._describe(weights) == self._of
        )

    @staticmethod
    def _describe(weights: Sequence[Tensor]) -> tuple[Any, ...]:
        return (selected(), *((w.data_ptr(), -1 if w.is_inference() else w._version) for w in weights))


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
    h, c = (None if s is None else materialize(s) for s in (h_0, c_0))
    with torch.no_grad():
        out, h_n, c_n = forward_stack(spec, rows, x, h, c, weights, None, reduced)
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
