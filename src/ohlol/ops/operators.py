"""The recurrence as operators of torch, for `torch.compile`, `torch.export` and the transforms of `torch.func`.

A registered operator is one node of a graph: the shapes of its results are known without running it, and `vmap` has a
rule for it. `recurrence` has a gradient: where autograd sees it, it is `recurrence_forward` in the forward pass and
`recurrence_backward` in the backward pass, which have none. A compiled graph calls these two, and a call of them takes
no Python but that of the function that runs the kernels. They are declared with `torch.library.Library`: what
`torch.library.custom_op` adds around a function takes longer than the kernels do for a small layer.

Shapes: T time steps, B batch, S rows (T*B, or the sum of the lengths), I input size, H hidden size, G gates,
D directions, L layers, N entries of a `vmap`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ohlol.cells import CELLS
from ohlol.ops.recurrence import all_materialized, forward_stack, saved_blocks, saved_masks, stack_gradients
from ohlol.ops.single import forward_layer
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
    out, *final = torch.ops.ohlol.recurrence(x, h_0, c_0, list(weights), batch_sizes, *spec, save or spec.dropout > 0)
    return (out.transpose(0, 1) if time_first else out, *final)


LIBRARY = torch.library.Library("ohlol", "FRAGMENT")
"""The operators of the package; an operator is registered as long as this object exists."""

_INPUTS = "Tensor x, Tensor? h_0, Tensor? c_0, Tensor[] weights, Tensor? batch_sizes"
_OPTIONS = "str cell, int num_layers, int directions, bool bias, bool batch_first, float dropout"


def define(schema: str, run: Callable[..., list[Tensor]], fake: Callable[..., list[Tensor]], *tags: torch.Tag) -> str:
    """Declare an operator that runs on the CPU, and return its name.

    Args:
        schema: its arguments and results.
        run: the function that runs it.
        fake: the same for tensors without numbers.
        tags: what else torch should know of it.
    """
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag, *tags))
    name = schema.partition("(")[0]
    LIBRARY.impl(name, run, "CPU")
    torch.library.register_fake(f"ohlol::{name}", fake, lib=LIBRARY)
    # The kernels compute in float32.
    torch.library.register_autocast(f"ohlol::{name}", "cpu", torch.float32, lib=LIBRARY)
    return f"ohlol::{name}"


def forward_operator(
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
    """The output and the final states of a stack and, with `save`, what the backward pass reads, a vector.

    The arguments from `cell` on are the fields of `LayerSpec`; the others are those of `run_operator`.

    Raises:
        ValueError: the shapes, dtypes or batch sizes do not fit.
    """
    spec = LayerSpec(cell, num_layers, directions, bias, batch_first, dropout)
    check_call(spec, x, h_0, c_0, weights, batch_sizes)
    is_dense = batch_sizes is None and not batch_first
    if is_dense and num_layers * directions == 1 and all_materialized(x, h_0, c_0, *weights):
        found, saved = forward_layer(cell, x, h_0, c_0, weights, save)  # keeps the same, and takes less time
        results = list(found)
    else:
        out, h_n, c_n, saved = forward_stack(spec, rows_of(spec, x, batch_sizes), x, h_0, c_0, weights, save)
        out = out.view(*x.shape[:-1], out.size(1))
        results = [out, h_n] if c_n is None else [out, h_n, c_n]
    if save:
        results.append(results[0].new_empty(0) if saved is None else saved)
    return results


def _fake_forward(
    x: Tensor, h_0: Tensor | None, c_0: Tensor | None, weights: list[Tensor], batch_sizes: Tensor | None, *options: Any
) -> list[Tensor]:
    *fields, save = options
    spec = LayerSpec(*fields)
    H = weights[1].size(1)
    if batch_sizes is None:
        B = x.size(0 if spec.batch_first else 1)
    else:
        # The batch is a number in batch_sizes, which a trace does not have; the axis of a state has it, too.
        B = torch.library.get_ctx().new_dynamic_size() if h_0 is None else h_0.size(1)
    results = [x.new_empty(*x.shape[:-1], spec.directions * H)]
    results += [x.new_empty(spec.num_layers * spec.directions, B, H) for _ in range(len(CELLS[spec.cell].states))]
    return [*results, x.new_empty(saved_blocks(spec)[1] * H * math.prod(x.shape[:-1]))] if save else results


_SEEDED = torch.Tag.nondeterministic_seeded  # dropout draws from torch's generator
_FORWARD = define(
    f"recurrence_forward({_INPUTS}, {_OPTIONS}, bool save) -> Tensor[]", forward_operator, _fake_forward, _SEEDED
)


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
    saved: Tensor | None,
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
        saved: what the forward pass kept; None if it did not.
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
    leaves = (x, h_0, c_0, *weights)
    if len(needs) != len(leaves):
        raise ValueError(f"needs has {len(needs)} values; expected {len(leaves)}")
    if saved is None:
        if dropout:
            raise ValueError("there is no `saved`: the masks of dropout cannot be drawn again")
        out, _, _, saved = forward_stack(spec, rows, x, h_0, c_0, weights, True)
    else:
        out = _check("out", out, (*x.shape[:-1], directions * H), x.dtype)
        length = saved_blocks(spec)[1] * rows.S * H
        saved = _check("saved", saved, (length,), x.dtype) if length else None
    state = num_layers * directions, rows.B, H
    shapes = ((*x.shape[:-1], directions * H), state, state)
    grads = [
        None if g is None else _check("a gradient", g, shape, x.dtype)
        for g, shape in zip((grad_out, grad_h_n, grad_c_n), shapes, strict=True)
    ]
    if all(g is None for g in grads) or not any(needs):
        results: list[Tensor | None] = [None] * len(leaves)
    else:
        results = stack_gradients(spec, rows, x, h_0, c_0, weights, out, saved, needs, *grads)
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


def _fake_backward(
    grad_out: Any, grad_h_n: Any, grad_c_n: Any, x: Tensor, h_0: Tensor | None, c_0: Tensor | None,
    weights: list[Tensor], batch_sizes: Any, out: Any, saved: Any, needs: list[bool], *options: Any,
) -> list[Tensor]:  # fmt: skip
    leaves = (x, h_0, c_0, *weights)
    return [leaf.new_empty(leaf.shape) for leaf, need in zip(leaves, needs, strict=True) if need and leaf is not None]


_BACKWARD = define(
    "recurrence_backward(Tensor? grad_out, Tensor? grad_h_n, Tensor? grad_c_n, "
    f"{_INPUTS}, Tensor out, Tensor? saved, bool[] needs, {_OPTIONS}) -> Tensor[]",
    backward_operator,
    _fake_backward,
)


# Gradients


def run_without_gradient(*args: Any) -> list[Tensor]:
    """The output and the final states."""
    *arguments, _ = args
    return torch.ops.ohlol.recurrence_forward(*arguments, False)


_RECURRENCE = define(
    f"recurrence({_INPUTS}, {_OPTIONS}, bool save) -> Tensor[]",
    run_without_gradient,
    lambda *args: _fake_forward(*args[:-1], False),
    _SEEDED,
)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        spec: LayerSpec,
        save: bool,
        batch_sizes: Tensor | None,
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        *weights: Tensor,
    ) -> Any:
        results = torch.ops.ohlol.recurrence_forward(x, h_0, c_0, weights, batch_sizes, *spec, save)
        *results, saved = results if save else (*results, None)
        ctx.spec = spec
        ctx.save_for_backward(x, h_0, c_0, batch_sizes, results[0], saved, *weights)
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        x, h_0, c_0, batch_sizes, out, saved, *weights = ctx.saved_tensors
        spec, needs = ctx.spec, list(ctx.needs_input_grad[3:])
        grad_outputs = (*grads, None)[:3]
        if torch.is_grad_enabled():  # the gradients are differentiated again
            masks = saved_masks(spec, saved, math.prod(x.shape[:-1]), weights[1].size(1))
            found = replay_gradients(spec, batch_sizes, x, h_0, c_0, weights, masks, needs, grad_outputs)
        else:
            results = iter(
                torch.ops.ohlol.recurrence_backward(
                    *grad_outputs, x, h_0, c_0, weights, batch_sizes, out, saved, needs, *spec
                )
            )
            found = [next(results) if need else None for need in needs]
        return (None, None, None, *found)


def _differentiable(
    x: Tensor, h_0: Tensor | None, c_0: Tensor | None, weights: list[Tensor], batch_sizes: Tensor | None, *options: Any
) -> list[Tensor]:
    *fields, save = options
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, h_0, c_0, *weights)):
        return list(_Recurrence.apply(LayerSpec(*fields), save, batch_sizes, x, h_0, c_0, *weights))  # type: ignore[arg-type]
    return run_without_gradient(x, h_0, c_0, weights, batch_sizes, *options)


LIBRARY.impl("recurrence", _differentiable, "Autograd")
for _name in ("recurrence_forward", "recurrence_backward"):
    LIBRARY.impl(_name, torch.library.fallthrough_kernel, "Autograd")


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
        return call_for_each(torch.ops.ohlol.recurrence, info, in_dims, args)
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


torch.library.register_vmap(_RECURRENCE, _vmap, lib=LIBRARY)
for _name in (_FORWARD, _BACKWARD):
    torch.library.register_vmap(
        _name, partial(call_for_each, getattr(torch.ops.ohlol, _name.partition("::")[2])), lib=LIBRARY
    )
