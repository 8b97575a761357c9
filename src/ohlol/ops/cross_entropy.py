"""A linear layer and the cross-entropy of its logits in one function, which holds the logits of few rows at a time.

The rows are cut into blocks. The logits of a block are a product by torch. The kernels turn them into losses and, where
gradients are needed, into their own gradients, and two more products add these to the gradients of the layer. So the
forward pass computes the gradients, and memory does not grow with rows times labels. Source: Hsu et al., "Liger Kernel:
Efficient Triton kernels for LLM training" (2024).

Shapes: N rows, W columns of the input, K labels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, linear

from ohlol.ops.backend import KERNEL, empty, typed_kernel
from ohlol.ops.validation import DTYPES, find_unreadable, materialize

BLOCK_NUMBERS = 1 << 20
"""The logits of a block, 4 MiB in float32, where they are more than `LEAST_ROWS` rows."""
LEAST_ROWS = 64
"""The least rows of a block: products with fewer wait for the weights."""
LEAST_NUMBERS = 1 << 15
"""The least logits of a call with gradients: with fewer, torch's own functions take less time."""
VECTOR_NUMBERS = 16
"""The numbers of the widest vector: rows of logits begin at multiples of it, so that the kernels read full vectors."""
IGNORED = -100
"""A target without a loss, as in `torch.nn.functional.cross_entropy`."""


class LinearLayer(NamedTuple):
    """The weights of a linear layer."""

    weight: Tensor
    """(K, W)."""
    bias: Tensor | None
    """(K,)."""


class _Options(NamedTuple):
    """How the rows weigh in the loss."""

    label_weights: Tensor | None
    smoothing: float
    scale: float
    """The factor of the gradients."""


class _Gradients(NamedTuple):
    """The gradients that are computed, to be filled."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def linear_cross_entropy(
    hidden: Float[Tensor, "N W"],
    layer: LinearLayer,
    targets: Int[Tensor, " N"],
    *,
    weight: Float[Tensor, " K"] | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " N"]:
    """The cross-entropy of the logits of a linear layer, with the options of `torch.nn.functional.cross_entropy`.

    Where there are few logits, where the kernels cannot compute it, and with reduction "none", torch does, with all
    logits in memory. Otherwise it can be differentiated once.

    Args:
        hidden: the input of the layer.
        layer: its weights.
        targets: the labels, or -100 in rows without a loss.
        weight: the weight of each label.
        label_smoothing: the share of the target's probability spread over all labels, in [0, 1].
        reduction: "mean", "sum" or "none".

    Raises:
        IndexError: a target is no label.
    """
    is_small = len(hidden) * len(layer.weight) < LEAST_NUMBERS
    if is_small or reduction == "none" or not can_measure(hidden, layer, targets, weight):
        logits = linear(hidden, layer.weight, layer.bias)
        return cross_entropy(logits, targets, weight, label_smoothing=label_smoothing, reduction=reduction)
    scale = 1.0
    if reduction == "mean":
        if weight is None:
            divisor = len(targets) - int((targets == IGNORED).sum())
        else:
            divisor = float(weight[targets[targets != IGNORED]].sum(dtype=torch.float64))
        scale = 1 / divisor if divisor else float("nan")
    return _LinearCrossEntropy.apply(hidden, *layer, targets, _Options(weight, label_smoothing, scale))


def measure(hidden: Float[Tensor, "N W"], layer: LinearLayer, targets: Int[Tensor, " N"]) -> tuple[float, Tensor]:
    """The sum of the cross-entropies of some rows, and the label with the largest logit of each, (N,).

    Raises:
        IndexError: a target is no label.
        RuntimeError: there are no kernels, or they cannot read the tensors; see `can_measure`.
    """
    labels = targets.new_empty(len(hidden))
    with torch.no_grad():
        return _run_blocks(hidden, layer, targets, _Options(None, 0.0, 1.0), labels=labels), labels


def can_measure(hidden: Tensor, layer: LinearLayer, targets: Tensor, weight: Tensor | None = None) -> bool:
    """Whether the kernels can compute the loss: plain tensors of one dtype on the CPU, whose shapes fit."""
    dtype, K = hidden.dtype, len(layer.weight)
    shapes = [(hidden, (len(targets), layer.weight.size(1))), (layer.weight, (K, hidden.size(1)))]
    shapes += [(vector, (K,)) for vector in (layer.bias, weight) if vector is not None]
    return (
        KERNEL is not None
        and dtype in DTYPES
        and targets.dim() == 1
        and targets.numel() > 0
        and all(tensor.shape == shape and not find_unreadable(tensor, dtype) for tensor, shape in shapes)
        and not find_unreadable(targets, torch.int64)
        and not (weight is not None and weight.requires_grad)
        and not torch.is_autocast_enabled("cpu")
    )


def block_rows(K: int) -> int:
    """The most rows of a block, for K labels."""
    return max(LEAST_ROWS, BLOCK_NUMBERS // K)


class _LinearCrossEntropy(torch.autograd.Function):
    """The loss, whose gradients the forward pass computes."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: _Options
    ) -> Tensor:
        needed: Sequence[bool] = ctx.needs_input_grad
        gradients = _Gradients(
            empty(hidden, *hidden.shape) if needed[0] else None,
            empty(weight, *weight.shape) if needed[1] else None,
            torch.zeros_like(bias) if bias is not None and needed[2] else None,
        )
        ctx.gradients = gradients if any(needed) else None
        total = _run_blocks(hidden, LinearLayer(weight, bias), targets, options, gradients=ctx.gradients)
        return hidden.new_tensor(total * options.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients, ctx.gradients = ctx.gradients, None  # so that the parameters need no copies of them
        if gradients is None:
            raise RuntimeError(
                "the gradients of linear_cross_entropy were read already; they are kept for one backward"
            )
        (grad,) = grad_outputs
        if grad.item() != 1:
            gradients = [None if gradient is None else gradient * grad for gradient in gradients]
        return *gradients, None, None


def _run_blocks(
    hidden: Tensor,
    layer: LinearLayer,
    targets: Tensor,
    options: _Options,
    *,
    gradients: _Gradients | None = None,
    labels: Tensor | None = None,
) -> float:
    """The sum of the losses; fills the gradients, times `options.scale`, and the labels that are predicted."""
    N, K = len(hidden), len(layer.weight)
    blocks = -(-N // block_rows(K))
    rows = -(-N // blocks)
    weight, bias, label_weights = (
        layer.weight,
        *(None if vector is None else materialize(vector) for vector in (layer.bias, options.label_weights)),
    )
    targets = materialize(targets)
    run, threads = typed_kernel("cross_entropy", hidden.dtype), torch.get_num_threads()
    buffer, total = empty(hidden, rows, -(-K // VECTOR_NUMBERS) * VECTOR_NUMBERS), 0.0
    d_hidden, d_weight, d_bias = gradients or (None, None, None)
    for start in range(0, N, rows):
        x = hidden[start : start + rows]
        logits = torch.mm(x, weight.t(), out=buffer[: len(x), :K])
        total += run(
            threads=threads,
            shape=(len(x), K, buffer.size(1)),
            logits=logits.data_ptr(),
            bias=0 if bias is None else bias.data_ptr(),
            weights=0 if label_weights is None else label_weights.data_ptr(),
            targets=targets[start:].data_ptr(),
            ignored=IGNORED,
            smoothing=options.smoothing,
            scale=options.scale,
            with_gradients=gradients is not None,
            d_bias=0 if d_bias is None else d_bias.data_ptr(),
            best=0 if labels is None else labels[start:].data_ptr(),
        )
        if d_hidden is not None:
            torch.mm(logits, weight, out=d_hidden[start : start + rows])
        if d_weight is not None:
            torch.addmm(d_weight, logits.t(), x, beta=float(start > 0), out=d_weight)
    return total
