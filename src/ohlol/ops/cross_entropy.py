"""The cross-entropy of logits, and that of a linear layer in one function, which holds the logits of few rows.

For a layer the rows are cut into blocks. The logits of a block are a product by torch. The kernels turn them into
losses and, where gradients are needed, into their own gradients, and two more products add these to the gradients of
the layer. So the forward pass computes the gradients, and memory does not grow with rows times labels. Source: Hsu et
al., "Liger Kernel: Efficient Triton kernels for LLM training" (2024).

Shapes: N rows, W columns of the input, K labels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

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

    @staticmethod
    def choose(targets: Tensor, weight: Tensor | None, smoothing: float, reduction: str) -> "_Options":
        """Those of a loss with the reduction "mean" or "sum"."""
        if reduction == "sum":
            return _Options(weight, smoothing, 1.0)
        if weight is None:
            has_ignored = int(targets.min()) < 0
            divisor = len(targets) - (int((targets == IGNORED).sum()) if has_ignored else 0)
        else:
            divisor = float(weight[targets[targets != IGNORED]].sum(dtype=torch.float64))
        return _Options(weight, smoothing, 1 / divisor if divisor else float("nan"))

    def materialize(self) -> "_Options":
        """The same, in contiguous memory."""
        weights = self.label_weights
        return self if weights is None else self._replace(label_weights=materialize(weights))


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
        logits = functional.linear(hidden, layer.weight, layer.bias)
        return cross_entropy(logits, targets, weight=weight, label_smoothing=label_smoothing, reduction=reduction)
    options = _Options.choose(targets, weight, label_smoothing, reduction)
    return _LinearCrossEntropy.apply(hidden, *layer, targets, options)


def cross_entropy(
    logits: Float[Tensor, "N K"],
    targets: Int[Tensor, " N"],
    *,
    weight: Float[Tensor, " K"] | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " N"]:
    """`torch.nn.functional.cross_entropy` of labels; with several threads the kernels compute it where they can.

    Torch's softmax and its gradient run on all threads even if there are five rows, and wait for each of them: beside
    other processes that takes a hundred times as long as the softmax. With one thread torch's take less time.

    Args:
        logits: of each row.
        targets, weight, label_smoothing, reduction: as those of `linear_cross_entropy`.

    Raises:
        IndexError: a target is no label.

    >>> round(float(cross_entropy(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))), 4)
    0.3133
    """
    if reduction == "none" or torch.get_num_threads() == 1 or not _can_read_logits(logits, targets, weight):
        return _torch_cross_entropy(logits, targets, weight, label_smoothing, reduction)
    return _CrossEntropy.apply(logits, targets, weight, label_smoothing, reduction)


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
    K = len(layer.weight)
    tensors = [(hidden, (len(targets), layer.weight.size(1))), (layer.weight, (K, hidden.size(1)))]
    return _can_read([*tensors, (layer.bias, (K,))], targets, weight, K)


def _can_read_logits(logits: Tensor, targets: Tensor, weight: Tensor | None) -> bool:
    """Whether the kernels can compute the loss of logits."""
    return logits.dim() == 2 and _can_read([(logits, (len(targets), logits.size(1)))], targets, weight, logits.size(1))


def _can_read(
    tensors: Sequence[tuple[Tensor | None, tuple[int, ...]]], targets: Tensor, weight: Tensor | None, K: int
) -> bool:
    """Whether the kernels can read tensors of these shapes, all in the dtype of the first."""
    first = tensors[0][0]
    assert first is not None
    return (
        KERNEL is not None
        and first.dtype in DTYPES
        and targets.dim() == 1
        and targets.numel() > 0
        and K > 0
        and all(
            tensor is None or (tensor.shape == shape and not find_unreadable(tensor, first.dtype))
            for tensor, shape in (*tensors, (weight, (K,)))
        )
        and not find_unreadable(targets, torch.int64)
        and not (weight is not None and weight.requires_grad)
        and not torch.is_autocast_enabled("cpu")
    )


def _torch_cross_entropy(
    logits: Tensor, targets: Tensor, weight: Tensor | None, label_smoothing: float, reduction: str
) -> Tensor:
    return functional.cross_entropy(logits, targets, weight, label_smoothing=label_smoothing, reduction=reduction)


def block_rows(K: int) -> int:
    """The most rows of a block, for K labels."""
    return max(LEAST_ROWS, BLOCK_NUMBERS // K)


class _CrossEntropy(torch.autograd.Function):
    """The loss of logits, whose gradient the forward pass computes."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, weight: Tensor | None, label_smoothing: float, reduction: str
    ) -> Tensor:
        N, K = logits.shape
        gradient = empty(logits, N, _padded(K))[:, :K].copy_(logits)
        options = _Options.choose(targets, weight, label_smoothing, reduction)
        needed = bool(ctx.needs_input_grad[0])
        total = _run(gradient, materialize(targets), options.materialize(), with_gradients=needed)
        if needed:
            ctx.save_for_backward(logits, targets, weight, gradient)
            ctx.options = (label_smoothing, reduction)
        return logits.new_full((), total * options.scale)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, targets, weight, gradient = ctx.saved_tensors
        (grad,) = grad_outputs
        if not torch.is_grad_enabled():
            return gradient if grad.item() == 1 else gradient * grad, None, None, None, None
        # With create_graph=True the gradient is differentiated again.
        loss = _torch_cross_entropy(logits, targets, weight, *ctx.options)
        return *torch.autograd.grad(loss, logits, grad, create_graph=True), None, None, None, None


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
    weight, bias = layer.weight, None if layer.bias is None else materialize(layer.bias)
    options, targets = options.materialize(), materialize(targets)
    buffer, total = empty(hidden, rows, _padded(K)), 0.0
    d_hidden, d_weight, d_bias = gradients or (None, None, None)
    for start in range(0, N, rows):
        x = hidden[start : start + rows]
        logits = torch.mm(x, weight.t(), out=buffer[: len(x), :K])
        total += _run(
            logits,
            targets[start:],
            options,
            bias=bias,
            with_gradients=gradients is not None,
            d_bias=d_bias,
            labels=None if labels is None else labels[start:],
        )
        if d_hidden is not None:
            torch.mm(logits, weight, out=d_hidden[start : start + rows])
        if d_weight is not None:
            torch.addmm(d_weight, logits.t(), x, beta=float(start > 0), out=d_weight)
    return total


def _padded(K: int) -> int:
    """The distance of two rows of K logits."""
    return -(-K // VECTOR_NUMBERS) * VECTOR_NUMBERS


def _run(
    logits: Tensor,
    targets: Tensor,
    options: _Options,
    *,
    bias: Tensor | None = None,
    with_gradients: bool,
    d_bias: Tensor | None = None,
    labels: Tensor | None = None,
) -> float:
    """The sum of the losses of logits (N, K), which become their gradients; adds to `d_bias`, and fills `labels`."""
    return typed_kernel("cross_entropy", logits.dtype)(
        threads=torch.get_num_threads(),
        shape=(*logits.shape, logits.stride(0)),
        logits=logits.data_ptr(),
        bias=0 if bias is None else bias.data_ptr(),
        weights=0 if options.label_weights is None else options.label_weights.data_ptr(),
        targets=targets.data_ptr(),
        ignored=IGNORED,
        smoothing=options.smoothing,
        scale=options.scale,
        with_gradients=with_gradients,
        d_bias=0 if d_bias is None else d_bias.data_ptr(),
        best=0 if labels is None else labels.data_ptr(),
    )
