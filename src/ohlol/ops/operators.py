"""The recurrence as operators of torch, for `torch.compile`, `torch.export` and the transforms of `torch.func`.

A registered operator is one node of a graph: the shapes of its results are known without running it, it has a gradient
of its own, and `vmap` has a rule for it. A call costs more than one of `recurrence.run_checked`, which runs otherwise.

Shapes: T time steps, B batch, S rows (T*B, or the sum of the lengths), I input size, H hidden size, G gates,
D directions, L layers, N entries of a `vmap`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ohlol.cells import CELLS
from ohlol.ops.backend import kernel_cell
from ohlol.ops.recurrence import forward_stack, stack_gradients
from ohlol.ops.torch_path import LayerSpec, replay_gradients, rows_of
from ohlol.ops.validation import check_call, find_unreadable, materialize


def run_operator(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    spec: LayerSpec,
    batch_sizes: Tensor | None = None,
    *,
    save: bool,
) -> tuple[Tensor, ...]:
    """`ohlol.ops.recurrence` as one node of a graph.

    Args:
        x: as `recurrence` has it, but no ids; likewise the arguments that follow.
        h_0: the first state or None.
        c_0: the second state or None.
        weights: those of all layers.
        spec: the cell and its options.
        batch_sizes: (T,) of packed rows.
        save: whether to keep what a backward pass reads. Without it a backward pass runs the forward pass again.

    Returns:
        What `recurrence` returns.
    """
    time_first = spec.batch_first and spec.dropout > 0  # torch draws its masks with time first
    if time_first:
        x, spec = x.transpose(0, 1), spec._replace(batch_first=False)
    results = torch.ops.ohlol.recurrence(x, h_0, c_0, list(weights), batch_sizes, *spec, save or spec.dropout > 0)
    out, *final = results[: 1 + len(CELLS[spec.cell].states)]
    return (out.transpose(0, 1) if time_first else out, *final)


def _kept(spec: LayerSpec) -> list[int]:
    """Of each tensor that a forward pass may keep, the numbers for each row as multiples of H, or 0 if it does not."""
    _, _, G, has_cell_state, has_reset = kernel_cell(spec.cell)
    layer = spec.directions * [G if G > 1 else 0, int(has_cell_state), int(has_reset)]
    below = [spec.directions, spec.directions if spec.dropout > 0 else 0]
    return (spec.num_layers - 1) * [*layer, *below] + [*layer, 0, 0]


@torch.library.custom_op(
    "ohlol::recurrence", mutates_args=(), device_types="cpu", tags=(torch.Tag.nondeterministic_seeded,)
)
def recurrence_operator(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    cell: str,
    num_layers: int,
    directions: int,
    bias: bool,
    batch_first: bool,
    dropout: float,
    save: bool,
) -> list[Tensor]:
    """The output and the final states of a stack and, with `save`, what the backward pass reads.

    The arguments from `cell` on are the fields of `LayerSpec`; the others are those of `run_operator`. The tag is for
    dropout, which draws from torch's generator.

    Raises:
        ValueError: the shapes, dtypes or batch sizes do not fit.
    """
    spec = LayerSpec(cell, num_layers, directions, bias, batch_first, dropout)
    check_call(spec, x, h_0, c_0, weights, batch_sizes)
    saved: list[Tensor | None] | None = [] if save else None
    h, c = (None if s is None else materialize(s) for s in (h_0, c_0))
    out, h_n, c_n = forward_stack(spec, rows_of(spec, x, batch_sizes), x, h, c, weights, saved)
    out = out.view(*x.shape[:-1], out.size(1))
    return [t for t in (out, h_n, c_n, *(saved or ())) if t is not None]


@recurrence_operator.register_fake
def _(
    x: Tensor, h_0: Tensor | None, c_0: Tensor | None, weights: list[Tensor], batch_sizes: Tensor | None, *options: Any
) -> list[Tensor]:
    *fields, save = options
    spec = LayerSpec(*fields)
    H, rows = weights[1].size(1), math.prod(x.shape[:-1])
    if batch_sizes is None:
        B = x.size(0 if spec.batch_first else 1)
    else:
        # The batch is a number in batch_sizes, which a trace does not have; the axis of a state has it, too.
        B = torch.library.get_ctx().new_dynamic_size() if h_0 is None else h_0.size(1)
    results = [x.new_empty(*x.shape[:-1], spec.directions * H)]
    results += [x.new_empty(spec.num_layers * spec.directions, B, H) for _ in range(len(CELLS[spec.cell].states))]
    return results + [x.new_empty(rows, width * H) for width in _kept(spec) if width] if save else results


@torch.library.custom_op("ohlol::recurrence_backward", mutates_args=(), device_types="cpu")
def backward_operator(
    grad_out: Tensor | None,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    out: Tensor,
    saved: list[Tensor],
    needs: list[bool],
    cell: str,
    num_layers: int,
    directions: int,
    bias: bool,
    batch_first: bool,
    dropout: float,
) -> list[Tensor]:
    """The gradients of x, h_0, c_0 and each weight, those that `needs` asks for.

    Args:
        grad_out: the gradient of the output, or None; likewise `grad_h_n` and `grad_c_n`.
        grad_h_n: of the first state.
        grad_c_n: of the second state.
        x: as the forward pass had it, and the arguments that follow.
        h_0: the first state or None.
        c_0: the second state or None.
        weights: those of all layers.
        batch_sizes: (T,) of packed rows.
        out: the output.
        saved: what the forward pass kept; empty if it did not.
        needs: for x, h_0, c_0 and each weight.
        cell: the fields of `LayerSpec` from here on.
        num_layers: L.
        directions: D.
        bias: whether there are biases.
        batch_first: whether x is (B, T, I).
        dropout: between the layers.

    Raises:
        ValueError: the tensors do not fit.
    """
    spec = LayerSpec(cell, num_layers, directions, bias, batch_first, dropout)
    check_call(spec, x, h_0, c_0, weights, batch_sizes)
    rows, H = rows_of(spec, x, batch_sizes), weights[1].size(1)
    h, c = (None if s is None else materialize(s) for s in (h_0, c_0))
    widths, state = _kept(spec), (num_layers * directions, rows.B, H)
    kept: list[Tensor | None] = []
    if saved:
        _check("out", out, (*x.shape[:-1], directions * H), x.dtype)
        if len(saved) != len(widths) - widths.count(0):
            raise ValueError(f"saved has {len(saved)} tensors; expected {len(widths) - widths.count(0)}")
        rest = iter(saved)
        for width in widths:
            kept.append(_check("saved", next(rest), (rows.S, width * H), x.dtype) if width else None)
    else:
        if dropout:
            raise ValueError("saved is empty: the masks of dropout cannot be drawn again")
        out, _, _ = forward_stack(spec, rows, x, h, c, weights, kept)
    kept[-2] = materialize(out).view(rows.S, -1)
    shapes = ((*x.shape[:-1], directions * H), state, state)
    grads = [
        None if g is None else _check("a gradient", g, shape, x.dtype)
        for g, shape in zip((grad_out, grad_h_n, grad_c_n), shapes, strict=True)
    ]
    leaves = (x, h_0, c_0, *weights)
    if all(g is None for g in grads) or not any(needs):
        results: list[Tensor | None] = [None] * len(leaves)
    else:
        results = stack_gradients(spec, rows, x, h, c, weights, kept, needs, *grads)
    return [
        torch.zeros_like(leaf) if grad is None else grad
        for leaf, grad, need in zip(leaves, results, needs, strict=True)
        if need and leaf is not None
    ]


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor that the kernels can read, in contiguous memory; raises ValueError if it is not of this shape."""
    if reason := find_unreadable(tensor, dtype):
        raise ValueError(f"{name}: {reason}")
    if tensor.shape != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {shape}")
    return materialize(tensor)


@backward_operator.register_fake
def _(
    grad_out: Any, grad_h_n: Any, grad_c_n: Any, x: Tensor, h_0: Tensor | None, c_0: Tensor | None,
    weights: list[Tensor], batch_sizes: Any, out: Any, saved: Any, needs: list[bool], *options: Any,
) -> list[Tensor]:  # fmt: skip
    leaves = (x, h_0, c_0, *weights)
    return [leaf.new_empty(leaf.shape) for leaf, need in zip(leaves, needs, strict=True) if need and leaf is not None]


# Gradients


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, h_0, c_0, weights, batch_sizes, *options, _ = inputs
    ctx.spec = LayerSpec(*options)
    states = len(CELLS[ctx.spec.cell].states)
    ctx.count, ctx.states, ctx.outputs = len(weights), states, len(output)
    ctx.save_for_backward(x, h_0, c_0, batch_sizes, *weights, output[0], *output[1 + states :])
    ctx.set_materialize_grads(False)


def _masks(spec: LayerSpec, saved: Sequence[Tensor]) -> list[Tensor | None]:
    """The masks of dropout (S, D*H) of each layer among what a forward pass kept."""
    if not saved:
        return []
    rest = iter(saved)
    kept = [next(rest) if width else None for width in _kept(spec)]
    return kept[3 * spec.directions + 1 :: 3 * spec.directions + 2]


def _differentiate(ctx: Any, grads: Sequence[Tensor | None]) -> Any:
    x, h_0, c_0, batch_sizes, *rest = ctx.saved_tensors
    weights, out, saved = rest[: ctx.count], rest[ctx.count], rest[ctx.count + 1 :]
    needs = [*ctx.needs_input_grad[:3], *ctx.needs_input_grad[3]]
    grad_out, grad_h_n, grad_c_n = (*grads[: 1 + ctx.states], None)[:3]
    grad_outputs = (grad_out, grad_h_n, grad_c_n)
    if torch.is_grad_enabled():  # the gradients are differentiated again
        masks = _masks(ctx.spec, saved)
        found = replay_gradients(ctx.spec, batch_sizes, x, h_0, c_0, weights, masks, needs, grad_outputs)
    else:
        results = iter(
            torch.ops.ohlol.recurrence_backward(
                *grad_outputs, x, h_0, c_0, weights, batch_sizes, out, saved, needs, *ctx.spec
            )
        )
        found = [next(results) if need else None for need in needs]
    d_x, d_h_0, d_c_0, *d_weights = found
    return (d_x, d_h_0, d_c_0, d_weights, *[None] * (len(ctx.spec) + 2))


recurrence_operator.register_autograd(_differentiate, setup_context=_keep)


# Autocast: the kernels compute in float32.

for _operator in (recurrence_operator, backward_operator):
    _operator.register_autocast("cpu", torch.float32)


# Batches of calls


def _vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
    """The rule of `vmap`: entries of the input and the states are entries of the batch; others are calls of their own.

    What a backward pass reads is then not kept, since each entry has its own backward pass.
    """
    _, _, _, weights, batch_sizes, *options, _ = args
    spec = LayerSpec(*options)
    if spec.dropout:
        raise RuntimeError("vmap of the recurrence with dropout between layers: call eval(), or vmap the torch layer")
    if batch_sizes is not None or any(dim is not None for dim in in_dims[3]):
        return call_for_each(recurrence_operator, info, in_dims, args)
    N, at = info.batch_size, 0 if spec.batch_first else 1

    def fold(tensor: Tensor | None, dim: int | None, at: int) -> Tensor | None:
        if tensor is None:
            return None
        tensor = tensor.unsqueeze(at) if dim is None else tensor.movedim(dim, at)
        return tensor.expand(*tensor.shape[:at], N, *tensor.shape[at + 1 :]).flatten(at, at + 1)

    x, h_0, c_0 = (fold(t, dim, axis) for t, dim, axis in zip(args[:3], in_dims[:3], (at, 1, 1), strict=True))
    out, *final = torch.ops.ohlol.recurrence(x, h_0, c_0, weights, None, *spec, False)
    results = [out.unflatten(at, (N, -1)), *(state.unflatten(1, (N, -1)) for state in final)]
    return results, [at, *[1] * len(final)]


def call_for_each(
    operator: Callable[..., list[Tensor]], info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...]
) -> Any:
    """Call an operator for each entry of a `vmap`."""

    def pick(argument: Any, dim: Any, n: int) -> Any:
        if isinstance(argument, (list, tuple)):
            return [pick(a, d, n) for a, d in zip(argument, dim, strict=True)]
        return argument if dim is None else argument.select(dim, n)

    calls = [operator(*(pick(a, d, n) for a, d in zip(args, in_dims, strict=True))) for n in range(info.batch_size)]
    return [torch.stack(results) for results in zip(*calls, strict=True)], [0] * len(calls[0])


recurrence_operator.register_vmap(_vmap)
backward_operator.register_vmap(lambda info, in_dims, *args: call_for_each(backward_operator, info, in_dims, args))
