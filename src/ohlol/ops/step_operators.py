"""The vector machine as operators of torch, for graphs and `vmap`; `operators` has those of the built-in cells.

Shapes: T steps, B sequences, S rows of all steps, W width, N entries of a `vmap`.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ohlol.cells.step_text import read_step, write_step
from ohlol.ops.operators import LIBRARY, call_for_each, define
from ohlol.ops.step_recurrence import (
    CompiledStep,
    PackedRows,
    backward_step,
    forward_step,
    prepare_step,
    replay_step,
)
from ohlol.ops.validation import DTYPES, find_unreadable, materialize, packed_batch

_MAX_STEPS = 64


@lru_cache(maxsize=_MAX_STEPS)
def _compiled(text: str, dtype: torch.dtype) -> CompiledStep:
    return CompiledStep(read_step(text), dtype)


def run_step_operator(
    step: CompiledStep,
    weights: Mapping[str, Tensor],
    x: Tensor,
    state: Sequence[Tensor] | None,
    rows: PackedRows,
    *,
    ahead: bool,
    save: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`run_step` whose part for the vector machine is one node of a graph.

    Args:
        step: the cell.
        weights: its parameters and buffers by name.
        x: (S, I).
        state: the initial states, each (B, W); zeros if None.
        rows: where the sequences lie.
        ahead: whether products of the input are computed before the first step.
        save: whether to keep what a backward pass reads; without it a backward pass runs the forward pass again.

    Returns:
        The outputs (S, O) and the final states, each (B, W).
    """
    graph = step.graph
    # A trace takes numbers, but no tensor that it has not seen.
    constants = {value: torch.tensor(c.tolist(), dtype=c.dtype) for value, c in graph.trace.constants.items()}
    leaves, values = prepare_step(step, weights, x, constants, rows)
    if state is None:
        state = [x.new_zeros(rows.B, width) for width in graph.state_widths]
    tensors: list[Any] = [*leaves, *state]
    needs = [t.requires_grad for t in tensors] if save and torch.is_grad_enabled() else []
    results = torch.ops.ohlol.step_recurrence(
        tensors, rows.batch_sizes, write_step(graph), rows.T, rows.B, rows.S, rows.reverse, ahead,
        needs if any(needs) else [],
    )  # fmt: skip
    if graph.out:
        return results[0], tuple(results[1:])
    return values[graph.out_value], tuple(results)


def _read(
    text: str, tensors: list[Tensor], batch_sizes: Tensor | None, T: int, B: int, S: int, reverse: bool
) -> tuple[CompiledStep, PackedRows]:
    """The step and the rows of a call.

    Raises:
        ValueError: the tensors are not those of the step, or the vector machine cannot read them.
    """
    dtype = tensors[0].dtype
    if dtype not in DTYPES:
        raise ValueError(f"a tensor has dtype {dtype}; the kernels support float32 and float64")
    step = _compiled(text, dtype)
    graph = step.graph
    shapes = [(S, leaf.width) for leaf in graph.inputs] + [(leaf.width,) for leaf in graph.vectors]
    shapes += [(m.width, m.rows) if m.transposed else (m.rows, m.width) for m in graph.matrices]
    shapes += [(B, width) for width in graph.state_widths]
    if [tuple(t.shape) for t in tensors] != shapes:
        raise ValueError(f"the tensors have shapes {[tuple(t.shape) for t in tensors]}; expected {shapes}")
    for tensor in tensors:
        if reason := find_unreadable(tensor, dtype):
            raise ValueError(reason)
    if not S or (T * B != S if batch_sizes is None else packed_batch(batch_sizes, S) != B or len(batch_sizes) != T):
        raise ValueError(f"{T} steps of {B} sequences do not have {S} rows")
    return step, PackedRows(T, B, S, batch_sizes, reverse)


_OPTIONS = "Tensor? batch_sizes, str step, SymInt T, SymInt B, SymInt S, bool reverse, bool ahead, bool[] needs"


def forward_operator(
    tensors: list[Tensor],
    batch_sizes: Tensor | None,
    step: str,
    T: int,
    B: int,
    S: int,
    reverse: bool,
    ahead: bool,
    needs: list[bool],
) -> list[Tensor]:
    """The output, if the step computes it, the final states and, if some leaf is needed, what the backward pass reads.

    Args:
        tensors: the leaves of the step: inputs, vectors, matrices and states.
        batch_sizes: (T,) of packed rows.
        step: the text of the step, as `write_step` has it.
        T: the number of steps.
        B: of sequences.
        S: of rows.
        reverse: from the last step of each sequence to its first.
        ahead: whether products of the input are computed before the first step.
        needs: the leaves whose gradients the backward pass computes; empty without one.

    Raises:
        ValueError: the tensors do not fit the step.
    """
    compiled, rows = _read(step, tensors, batch_sizes, T, B, S, reverse)
    results, kept = forward_step(compiled, rows, False, tuple(needs) if needs else None, tensors, ahead)
    return [*results, kept] if needs else [*results]


def _fake_forward(
    tensors: list[Tensor], batch_sizes: Any, step: str, T: int, B: int, S: int, reverse: bool, ahead: bool, needs: Any
) -> list[Tensor]:
    like = tensors[0]
    compiled = _compiled(step, like.dtype)
    out = [like.new_empty(S, compiled.out_width)] if compiled.out_width else []
    results = [*out, *(like.new_empty(B, width) for width in compiled.graph.state_widths)]
    return [*results, like.new_empty(S * compiled.programs(tuple(needs), ahead).kept_size)] if needs else results


_FORWARD = define(f"step_recurrence_forward(Tensor[] tensors, {_OPTIONS}) -> Tensor[]", forward_operator, _fake_forward)


def backward_operator(
    grads: list[Tensor | None],
    tensors: list[Tensor],
    kept: Tensor | None,
    batch_sizes: Tensor | None,
    step: str,
    T: int,
    B: int,
    S: int,
    reverse: bool,
    ahead: bool,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients of the leaves that `needs` asks for.

    Args:
        grads: of the output, if the step computes it, and of the final states.
        tensors: as the forward pass had them, and the arguments that follow.
        kept: what it kept; if None, the forward pass runs again.
        batch_sizes: (T,) of packed rows.
        step: the text of the step.
        T: the number of steps.
        B: of sequences.
        S: of rows.
        reverse: from the last step of each sequence to its first.
        ahead: whether products of the input are computed before the first step.
        needs: for each leaf.

    Raises:
        ValueError: the tensors do not fit the step.
    """
    compiled, rows = _read(step, tensors, batch_sizes, T, B, S, reverse)
    wanted, dtype = tuple(needs), tensors[0].dtype
    size = S * compiled.programs(wanted, ahead).kept_size
    if kept is None or kept.shape != (size,) or find_unreadable(kept, dtype):
        _, kept = forward_step(compiled, rows, False, wanted, tensors, ahead)
    widths = compiled.graph.state_widths
    shapes = ([(S, compiled.out_width)] if compiled.out_width else []) + [(B, width) for width in widths]
    if [None if g is None else tuple(g.shape) for g in grads] != [
        None if g is None else shape for g, shape in zip(grads, shapes, strict=True)
    ]:
        raise ValueError(f"the gradients do not have the shapes {shapes}")
    for grad in grads:
        if grad is not None and (reason := find_unreadable(grad, dtype)):
            raise ValueError(reason)
    results = backward_step(compiled, rows, wanted, tensors, materialize(kept), grads, ahead)
    # An operator's results lie apart from each other.
    return [
        torch.zeros_like(leaf, memory_format=torch.contiguous_format)
        if grad is None
        else grad.clone(memory_format=torch.contiguous_format)
        if grad._is_view()  # pyright: ignore[reportPrivateUsage]
        else grad.contiguous()
        for leaf, grad, need in zip(tensors, results, needs, strict=True)
        if need
    ]


def _fake_backward(grads: Any, tensors: list[Tensor], kept: Any, *options: Any) -> list[Tensor]:
    return [leaf.new_empty(leaf.shape) for leaf, need in zip(tensors, options[-1], strict=True) if need]


_BACKWARD = define(
    f"step_recurrence_backward(Tensor?[] grads, Tensor[] tensors, Tensor? kept, {_OPTIONS}) -> Tensor[]",
    backward_operator,
    _fake_backward,
)


# Gradients


def _run_without_gradient(*args: Any) -> list[Tensor]:
    *arguments, _ = args
    return torch.ops.ohlol.step_recurrence_forward(*arguments, [])


_RECURRENCE = define(
    f"step_recurrence(Tensor[] tensors, {_OPTIONS}) -> Tensor[]",
    _run_without_gradient,
    lambda *args: _fake_forward(*args[:-1], needs=[]),
)


class _StepRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, options: tuple[Any, ...], needs: list[bool], batch_sizes: Tensor | None, *tensors: Tensor
    ) -> Any:
        results = torch.ops.ohlol.step_recurrence_forward(tensors, batch_sizes, *options, needs)
        *results, kept = results if needs else (*results, None)
        ctx.options = options
        ctx.save_for_backward(batch_sizes, kept, *tensors)
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        batch_sizes, kept, *tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():  # the gradients are differentiated again
            text, T, B, S, reverse, _ = ctx.options
            rows = PackedRows(T, B, S, batch_sizes, reverse)
            results = replay_step(_compiled(text, tensors[0].dtype), rows, tensors, needs, grads)
        else:
            found = iter(
                torch.ops.ohlol.step_recurrence_backward(grads, tensors, kept, batch_sizes, *ctx.options, list(needs))
            )
            results = [next(found) if need else None for need in needs]
        return (None, None, None, *results)


def _differentiable(tensors: list[Tensor], batch_sizes: Tensor | None, *options: Any) -> list[Tensor]:
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        *fields, needs = options
        return list(_StepRecurrence.apply(tuple(fields), needs, batch_sizes, *tensors))  # type: ignore[arg-type]
    return _run_without_gradient(tensors, batch_sizes, *options)


LIBRARY.impl("step_recurrence", _differentiable, "Autograd")
for _name in ("step_recurrence_forward", "step_recurrence_backward"):
    LIBRARY.impl(_name, torch.library.fallthrough_kernel, "Autograd")


# Batches of calls


def _vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
    """The rule of `vmap`: entries of inputs and states are sequences of the batch; others are calls of their own."""
    tensors, batch_sizes, step, T, B, S, *options, _ = args
    dims, N = in_dims[0], info.batch_size
    graph = _compiled(step, tensors[0].dtype).graph
    first, last = len(graph.inputs), len(tensors) - len(graph.state_widths)
    if batch_sizes is not None or any(dim is not None for dim in dims[first:last]):
        return call_for_each(torch.ops.ohlol.step_recurrence, info, in_dims, args)

    def fold(tensor: Tensor, dim: int | None, steps: int) -> Tensor:
        tensor = tensor.unsqueeze(0).expand(N, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        return tensor.unflatten(1, (steps, B)).transpose(0, 1).flatten(0, 2)

    folded = [
        fold(tensor, dim, T if k < first else 1) if k < first or k >= last else tensor
        for k, (tensor, dim) in enumerate(zip(tensors, dims, strict=True))
    ]
    results = torch.ops.ohlol.step_recurrence(folded, None, step, T, N * B, N * S, *options, [])
    steps = [1] * len(graph.state_widths)
    if len(results) > len(steps):
        steps.insert(0, T)
    unfolded = [
        result.unflatten(0, (count, N, B)).transpose(0, 1).flatten(1, 2)
        for result, count in zip(results, steps, strict=True)
    ]
    return unfolded, [0] * len(unfolded)


torch.library.register_vmap(_RECURRENCE, _vmap, lib=LIBRARY)
for _name in (_FORWARD, _BACKWARD):
    torch.library.register_vmap(
        _name, partial(call_for_each, getattr(torch.ops.ohlol, _name.partition("::")[2])), lib=LIBRARY
    )
