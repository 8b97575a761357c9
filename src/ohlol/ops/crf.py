"""A linear-chain conditional random field over packed sequences, on the compiled kernels.

Tensors that the kernels cannot read, and double backward, take the equations of `ohlol.ops.crf_equations`.

Shapes: T steps, B sequences, S rows of all steps, K labels.
"""

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ohlol.ops import crf_equations
from ohlol.ops.backend import KERNEL, empty, typed_kernel
from ohlol.ops.crf_equations import ChainScores
from ohlol.ops.validation import DTYPES, are_readable, find_unreadable, materialize, packed_batch

MAX_LABELS = 1 << 16
"""K up to which the kernels decode: they keep labels as 16-bit integers."""


def check_arguments(
    emissions: Tensor, scores: ChainScores, batch_sizes: Tensor, labels: Tensor | None = None
) -> tuple[int, int, int, int]:
    """T, B, S and K of a call.

    Raises:
        ValueError: shapes, dtypes or batch sizes do not fit.
    """
    if emissions.dim() != 2 or not emissions.numel():
        raise ValueError(f"emissions have the shape {tuple(emissions.shape)}; expected (S, K), neither of them 0")
    S, K = emissions.shape
    for name, tensor, shape in zip(("transitions", "start", "end"), scores, ((K, K), (K,), (K,)), strict=True):
        if tensor.shape != shape or tensor.dtype is not emissions.dtype:
            expected = f"{shape} {emissions.dtype}"
            raise ValueError(f"{name}: {tuple(tensor.shape)} {tensor.dtype}; the emissions expect {expected}")
    if labels is not None and (labels.shape != (S,) or labels.dtype is not torch.int64):
        raise ValueError(f"labels: {tuple(labels.shape)} {labels.dtype}; expected ({S},) torch.int64")
    sizes = batch_sizes.tolist() if batch_sizes.dim() == 1 and not batch_sizes.is_floating_point() else []
    if not sizes or sizes[-1] < 1 or sum(sizes) != S or any(a < b for a, b in pairwise(sizes)):
        raise ValueError(
            f"batch_sizes must be integers, positive, in descending order and add up to the {S} rows of emissions"
        )
    return len(sizes), sizes[0], S, K


def losses(
    emissions: Float[Tensor, "S K"],
    scores: ChainScores,
    batch_sizes: Int[Tensor, " T"],
    labels: Int[Tensor, " S"] | None = None,
) -> Float[Tensor, " B"]:
    """Minus the logarithm of the probability of each sequence's labels, differentiable; infinite where it is 0.

    Args:
        emissions: the score of each label at each step.
        scores: those of neighbouring labels; minus infinity for what is impossible.
        batch_sizes: which rows belong to one sequence, as in a `PackedSequence`.
        labels: the labels; without them, the result is the log partition alone.

    Raises:
        IndexError: a label is not one of the K.
        ValueError: shapes, dtypes or batch sizes do not fit.
    """
    check_arguments(emissions, scores, batch_sizes, labels)
    if labels is not None and not _has_kernel(emissions, scores, batch_sizes, labels):
        lowest, highest = labels.aminmax()
        if lowest < 0 or highest >= emissions.size(1):
            wrong = int(lowest) if lowest < 0 else int(highest)
            raise IndexError(f"the label {wrong} is none of {emissions.size(1)}")
    if not _has_kernel(emissions, scores, batch_sizes, labels):
        return _equations(emissions, scores, batch_sizes, labels)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (emissions, *scores)):
        result = _Losses.apply(emissions, labels, batch_sizes.clone(), *scores)
        assert isinstance(result, Tensor)
        return result
    return _forward(emissions, labels, batch_sizes, scores)[0]


def marginals(
    emissions: Float[Tensor, "S K"], scores: ChainScores, batch_sizes: Int[Tensor, " T"]
) -> Float[Tensor, "S K"]:
    """The probability of each label at each step, whatever the labels of the other steps are.

    Raises:
        ValueError: as `losses`.
    """
    check_arguments(emissions, scores, batch_sizes)
    if _has_kernel(emissions, scores, batch_sizes):
        with torch.no_grad():
            total, alphas = _forward(emissions, None, batch_sizes, scores)
            return _backward(emissions, None, batch_sizes, scores, alphas, torch.ones_like(total))[0]
    with torch.enable_grad():
        x = emissions.detach().requires_grad_()
        fixed = ChainScores(*(tensor.detach() for tensor in scores))
        return torch.autograd.grad(crf_equations.log_partition(x, fixed, batch_sizes).sum(), x)[0]


@torch.no_grad()
def decode(
    emissions: Float[Tensor, "S K"], scores: ChainScores, batch_sizes: Int[Tensor, " T"]
) -> tuple[Int[Tensor, " S"], Float[Tensor, " B"]]:
    """The best labels of each sequence, and their scores.

    Raises:
        ValueError: as `losses`.
    """
    T, B, S, K = check_arguments(emissions, scores, batch_sizes)
    if not _has_kernel(emissions, scores, batch_sizes) or K > MAX_LABELS:
        labels, best = crf_equations.best_sequences(emissions, scores, batch_sizes)
        return labels[:, 0], best[:, 0]
    x, *chain = map(materialize, (emissions, *scores))
    labels, best = torch.empty(S, dtype=torch.int64), empty(x, B)
    run = typed_kernel("crf_decode", x.dtype)
    run(
        threads=torch.get_num_threads(),
        shape=(T, B, S, K),
        batch_sizes=batch_sizes.data_ptr(),
        emissions=x.data_ptr(),
        **dict(zip(ChainScores._fields, (t.data_ptr() for t in chain), strict=True)),
        best=labels.data_ptr(),
        scores=best.data_ptr(),
    )
    return labels, best


@torch.no_grad()
def best_sequences(
    emissions: Float[Tensor, "S K"], scores: ChainScores, batch_sizes: Int[Tensor, " T"], n: int
) -> tuple[Int[Tensor, "S n"], Float[Tensor, "B n"]]:
    """The n best sequences of labels of each sequence, and their probabilities, best first.

    A probability of 0 belongs to labels that are impossible, where there are fewer possible ones.

    Raises:
        ValueError: as `losses`; n is less than 1.
    """
    check_arguments(emissions, scores, batch_sizes)
    if n < 1:
        raise ValueError(f"n is {n}; it must be at least 1")
    if n == 1:
        labels, best = (tensor[:, None] for tensor in decode(emissions, scores, batch_sizes))
    else:
        labels, best = crf_equations.best_sequences(emissions, scores, batch_sizes, n)
    probabilities = (best - losses(emissions, scores, batch_sizes)[:, None]).exp()
    return labels, probabilities.masked_fill(best == -torch.inf, 0.0)


def _has_kernel(emissions: Tensor, scores: ChainScores, batch_sizes: Tensor, labels: Tensor | None = None) -> bool:
    """Whether the kernels can read the tensors of a call."""
    dtype = emissions.dtype
    return (
        KERNEL is not None
        and dtype in DTYPES
        and not any(find_unreadable(tensor, dtype) for tensor in (emissions, *scores))
        and (labels is None or not find_unreadable(labels, torch.int64))
        and not torch.compiler.is_compiling()
        and packed_batch(batch_sizes, emissions.size(0)) > 0
    )


def _equations(emissions: Tensor, scores: ChainScores, batch_sizes: Tensor, labels: Tensor | None) -> Tensor:
    total = crf_equations.log_partition(emissions, scores, batch_sizes)
    return total if labels is None else total - crf_equations.score_labels(emissions, labels, scores, batch_sizes)


def _inputs(
    emissions: Tensor, labels: Tensor | None, batch_sizes: Tensor, scores: ChainScores
) -> tuple[dict[str, Any], list[Tensor]]:
    """The arguments that forward and backward share, and the tensors whose addresses they are."""
    x, *chain = tensors = [*map(materialize, (emissions, *scores))]
    if labels is not None:
        tensors.append(labels := materialize(labels))
    addresses = dict(zip(ChainScores._fields, (tensor.data_ptr() for tensor in chain), strict=True))
    return {
        "threads": torch.get_num_threads(),
        "shape": (batch_sizes.size(0), int(batch_sizes[0]), *x.shape),
        "batch_sizes": batch_sizes.data_ptr(),
        "emissions": x.data_ptr(),
        **addresses,
        "labels": 0 if labels is None else labels.data_ptr(),
    }, tensors


def _forward(
    emissions: Tensor, labels: Tensor | None, batch_sizes: Tensor, scores: ChainScores
) -> tuple[Tensor, Tensor]:
    """The losses (B,), and the forward values (S, K) that backward reads."""
    arguments, tensors = _inputs(emissions, labels, batch_sizes, scores)
    alphas, result = empty(tensors[0], *emissions.shape), empty(tensors[0], int(batch_sizes[0]))
    run = typed_kernel("crf_forward", emissions.dtype)
    run(**arguments, alphas=alphas.data_ptr(), losses=result.data_ptr())
    return result, alphas


def _backward(
    emissions: Tensor,
    labels: Tensor | None,
    batch_sizes: Tensor,
    scores: ChainScores,
    alphas: Tensor,
    grad: Tensor,
) -> list[Tensor]:
    """The gradients of emissions, transitions, start and end."""
    arguments, tensors = _inputs(emissions, labels, batch_sizes, scores)
    grad, gradients = materialize(grad), [empty(t, *t.shape) for t in tensors[:4]]
    run = typed_kernel("crf_backward", emissions.dtype)
    run(
        **arguments,
        alphas=alphas.data_ptr(),
        grad=grad.data_ptr(),
        gradients=tuple(t.data_ptr() for t in gradients),
    )
    return gradients


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        emissions: Tensor,
        labels: Tensor | None,
        batch_sizes: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
    ) -> Tensor:
        result, alphas = _forward(emissions, labels, batch_sizes, ChainScores(transitions, start, end))
        ctx.save_for_backward(emissions, labels, batch_sizes, transitions, start, end, alphas)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        emissions, labels, batch_sizes, *chain, alphas = ctx.saved_tensors
        scores, (grad,) = ChainScores(*chain), grads
        readable = are_readable((*grads, alphas), alphas.dtype) and _has_kernel(emissions, scores, batch_sizes, labels)
        if not torch.is_grad_enabled() and readable and alphas.shape == emissions.shape:
            gradients = _backward(emissions, labels, batch_sizes, scores, alphas, grad)
        else:  # differentiated again, or a saved tensor was replaced
            with torch.enable_grad():
                result = _equations(emissions, scores, batch_sizes, labels)
            inputs = [t for t, needed in zip((emissions, *chain), _needs(ctx), strict=True) if needed]
            found = iter(torch.autograd.grad(result, inputs, grad, create_graph=torch.is_grad_enabled()))
            gradients = [next(found) if needed else None for needed in _needs(ctx)]
        d_emissions, *d_scores = gradients
        return (d_emissions, None, None, *d_scores)


def _needs(ctx: Any) -> tuple[bool, ...]:
    emissions, _, _, *scores = ctx.needs_input_grad
    return (emissions, *scores)
