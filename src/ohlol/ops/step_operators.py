"""The vector machine as operators of torch, for graphs and `vmap`; `operators` has those of the built-in cells.

Shapes: T steps, B sequences, S rows of all steps, W width, N entries of a `vmap`.
"""

import operator
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial, reduce
from itertools import islice
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
    steps: Sequence[CompiledStep],
    weights: Sequence[Mapping[str, Tensor]],
    x: Tensor,
    states: Sequence[Sequence[Tensor] | None],
    rows: PackedRows,
    *,
    ahead: bool,
    save: bool,
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """`run_step` for the directions of a layer, whose part for the vector machine is one node of a graph.

    Args:
        steps: the cell of each direction.
        weights: its parameters and buffers by name.
        x: (S, I).
        states: the initial states of each direction, each (B, W); zeros if None.
        rows: where the sequences lie, and the way of the first direction; a second goes the other way.
        ahead: whether products of the input are computed before the first step.
        save: whether to keep what a backward pass reads; without it a backward pass runs the forward pass again.

    Returns:
        The outputs (S, D*O) and the final states of each direction, each (B, W).
    """
    T, B, S, batch_sizes, _ = rows
    ways = [own.reverse for own in _rows_of(steps, *rows)]
    inputs: list[list[Any]] = []
    others: list[list[Any]] = []
    values: list[dict[int, Tensor]] = []
    for step, own_weights, state in zip(steps, weights, states, strict=True):
        graph = step.graph
        # A trace takes numbers, but no tensor that it has not seen.
        constants = {value: torch.tensor(c.tolist(), dtype=c.dtype) for value, c in graph.trace.constants.items()}
        leaves, computed = prepare_step(step, own_weights, x, constants, rows)
        if state is None:
            state = [x.new_zeros(B, width) for width in graph.state_widths]
        inputs.append(leaves[: len(graph.inputs)])
        others.append([*leaves[len(graph.inputs) :], *state])
        values.append(computed)

    def run(first: int, last: int) -> list[Tensor]:
        tensors = [*inputs[first], *(tensor for own in others[first:last] for tensor in own)]
        needs = [t.requires_grad for t in tensors] if save and torch.is_grad_enabled() else []
        texts = [write_step(step.graph) for step in steps[first:last]]
        return torch.ops.ohlol.step_recurrence(
            tensors, batch_sizes, texts, T, B, S, ways[first], ahead, needs if any(needs) else []
        )

    if all(step.graph.out for step in steps) and all(
        len(own) == len(inputs[0]) and all(map(operator.is_, own, inputs[0])) for own in inputs
    ):
        out, *final = run(0, len(steps))
    else:
        outs: list[Tensor] = []
        final: list[Tensor] = []
        for k, step in enumerate(steps):
            results = run(k, k + 1)
            outs.append(results.pop(0) if step.graph.out else values[k][step.graph.out_value])
            final += results
        out = outs[0] if len(outs) == 1 else torch.cat(outs, 1)
    rest = iter(final)
    return out, [tuple(islice(rest, len(step.graph.state_widths))) for step in steps]


def _read(
    texts: list[str], tensors: list[Tensor], batch_sizes: Tensor | None, T: int, B: int, S: int, reverse: bool
) -> list[tuple[CompiledStep, PackedRows, list[Tensor]]]:
    """For each step of a call the rows and the leaves.

    Raises:
        ValueError: the tensors are not those of the steps, or the vector machine cannot read them.
    """
    dtype = tensors[0].dtype
    if dtype not in DTYPES:
        raise ValueError(f"a tensor has dtype {dtype}; the kernels support float32 and float64")
    for tensor in tensors:
        if reason := find_unreadable(tensor, dtype):
            raise ValueError(reason)
    if not S or (T * B != S if batch_sizes is None else packed_batch(batch_sizes, S) != B or len(batch_sizes) != T):
        raise ValueError(f"{T} steps of {B} sequences do not have {S} rows")
    steps = [_compiled(text, dtype) for text in texts]
    if len(steps) not in (1, 2) or (len(steps) == 2 and not all(step.out_width for step in steps)):
        raise ValueError("expected one step, or two that compute their outputs")
    leaves = _split_leaves(steps, tensors)
    for step, own in zip(steps, leaves, strict=True):
        graph = step.graph
        shapes = [(S, leaf.width) for leaf in graph.inputs] + [(leaf.width,) for leaf in graph.vectors]
        shapes += [(m.width, m.rows) if m.transposed else (m.rows, m.width) for m in graph.matrices]
        shapes += [(B, width) for width in graph.state_widths]
        if [tuple(t.shape) for t in own] != shapes:
            raise ValueError(f"the tensors have shapes {[tuple(t.shape) for t in own]}; expected {shapes}")
    return list(zip(steps, _rows_of(steps, T, B, S, batch_sizes, reverse), leaves, strict=True))


def _rows_of(
    steps: Sequence[CompiledStep], T: int, B: int, S: int, batch_sizes: Tensor | None, reverse: bool
) -> list[PackedRows]:
    """The rows of each step; the second goes the other way than the first."""
    return [PackedRows(T, B, S, batch_sizes, way) for way in [reverse, not reverse][: len(steps)]]


def _split_leaves(steps: Sequence[CompiledStep], values: Sequence[Any]) -> list[list[Any]]:
    """What belongs to the leaves of each step: the inputs, which all have, and then its own."""
    inputs = len(steps[0].graph.inputs)
    shared, own = values[:inputs], iter(values[inputs:])
    split = [[*shared, *islice(own, sum(step.counts[1:]))] for step in steps]
    split[-1] += own  # too many tensors are the last step's
    return split


def _join_leaves(steps: Sequence[CompiledStep], gradients: Sequence[Sequence[Tensor | None]]) -> list[Tensor | None]:
    """The gradients of all leaves from those of each step: the inputs' are sums."""
    inputs = len(steps[0].graph.inputs)
    joined: list[Tensor | None] = []
    for parts in zip(*(own[:inputs] for own in gradients), strict=True):
        found = [part for part in parts if part is not None]
        joined.append(reduce(torch.add, found) if found else None)
    return [*joined, *(gradient for own in gradients for gradient in own[inputs:])]


def _split_results(steps: Sequence[CompiledStep], grads: Sequence[Tensor | None]) -> list[list[Tensor | None]]:
    """The gradients of the output, if a step computes it, and of the final states, for each step."""
    if len(steps) == 1:
        return [list(grads)]
    out, *final = grads
    outs = [None] * len(steps) if out is None else out.split([step.out_width for step in steps], 1)
    rest = iter(final)
    return [[part, *islice(rest, len(step.graph.state_widths))] for step, part in zip(steps, outs, strict=True)]


_OPTIONS = "Tensor? batch_sizes, str[] steps, SymInt T, SymInt B, SymInt S, bool reverse, bool ahead, bool[] needs"


def forward_operator(
    tensors: list[Tensor],
    batch_sizes: Tensor | None,
    steps: list[str],
    T: int,
    B: int,
    S: int,
    reverse: bool,
    ahead: bool,
    needs: list[bool],
) -> list[Tensor]:
    """The output, if the step computes it, the final states and, if some leaf is needed, what the backward pass reads.

    Two steps are the directions of a layer: they run over the same inputs, and the output has their outputs side by
    side. What the backward pass reads is one tensor for each.

    Args:
        tensors: the leaves: inputs and, for each step, vectors, matrices and states.
        batch_sizes: (T,) of packed rows.
        steps: the text of the step, as `write_step` has it, or those of two.
        T: the number of steps in time.
        B: of sequences.
        S: of rows.
        reverse: whether the first step goes from the end of the sequences to their beginning; a second the other way.
        ahead: whether products of the input are computed before the first step.
        needs: the leaves whose gradients the backward pass computes; empty without one.

    Raises:
        ValueError: the tensors do not fit the steps.
    """
    calls = _read(steps, tensors, batch_sizes, T, B, S, reverse)
    compiled = [step for step, _, _ in calls]
    wanted = [tuple(own) for own in _split_leaves(compiled, needs)] if needs else [None] * len(calls)
    outs: list[Tensor] = []
    final: list[Tensor] = []
    kept: list[Tensor] = []
    for (step, rows, leaves), own in zip(calls, wanted, strict=True):
        results, to_keep = forward_step(step, rows, False, own, leaves, ahead)
        outs += results[: bool(step.out_width)]
        final += results[bool(step.out_width) :]
        kept.append(to_keep)
    if len(outs) > 1:
        outs = [torch.cat(outs, 1)]
    return [*outs, *final, *kept] if needs else [*outs, *final]


def _fake_forward(
    tensors: list[Tensor], batch_sizes: Any, steps: list[str], T: int, B: int, S: int, reverse: Any, ahead: bool,
    needs: list[bool],
) -> list[Tensor]:  # fmt: skip
    like = tensors[0]
    compiled = [_compiled(text, like.dtype) for text in steps]
    width = sum(step.out_width for step in compiled)
    results = [like.new_empty(S, width)] if width else []
    results += [like.new_empty(B, width) for step in compiled for width in step.graph.state_widths]
    if not needs:
        return results
    wanted = _split_leaves(compiled, needs)
    sizes = [step.programs(tuple(own), ahead).kept_size for step, own in zip(compiled, wanted, strict=True)]
    return results + [like.new_empty(S * size) for size in sizes]


_FORWARD = define(f"step_recurrence_forward(Tensor[] tensors, {_OPTIONS}) -> Tensor[]", forward_operator, _fake_forward)


def backward_operator(
    grads: list[Tensor | None],
    tensors: list[Tensor],
    kept: list[Tensor],
    batch_sizes: Tensor | None,
    steps: list[str],
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
        kept: what it kept for each step; if empty, the forward pass runs again.
        batch_sizes: (T,) of packed rows.
        steps: the text of each step.
        T: the number of steps in time.
        B: of sequences.
        S: of rows.
        reverse: whether the first step goes from the end of the sequences to their beginning; a second the other way.
        ahead: whether products of the input are computed before the first step.
        needs: for each leaf.

    Raises:
        ValueError: the tensors do not fit the steps.
    """
    calls = _read(steps, tensors, batch_sizes, T, B, S, reverse)
    compiled, dtype = [step for step, _, _ in calls], tensors[0].dtype
    width = sum(step.out_width for step in compiled)
    shapes = ([(S, width)] if width else []) + [(B, width) for step in compiled for width in step.graph.state_widths]
    if [None if g is None else tuple(g.shape) for g in grads] != [
        None if g is None else shape for g, shape in zip(grads, shapes, strict=True)
    ]:
        raise ValueError(f"the gradients do not have the shapes {shapes}")
    for grad in grads:
        if grad is not None and (reason := find_unreadable(grad, dtype)):
            raise ValueError(reason)
    gradients: list[Sequence[Tensor | None]] = []
    for k, ((step, rows, leaves), own, results) in enumerate(
        zip(calls, _split_leaves(compiled, needs), _split_results(compiled, grads), strict=True)
    ):
        wanted = tuple(own)
        size = S * step.programs(wanted, ahead).kept_size
        if kept and kept[k].shape == (size,) and not find_unreadable(kept[k], dtype):
            read = materialize(kept[k])
        else:
            _, read = forward_step(step, rows, False, wanted, leaves, ahead)
        gradients.append(backward_step(step, rows, wanted, leaves, read, results, ahead))
    # An operator's results lie apart from each other.
    return [
        torch.zeros_like(leaf, memory_format=torch.contiguous_format)
        if grad is None
        else grad.clone(memory_format=torch.contiguous_format)
        if grad._is_view()  # pyright: ignore[reportPrivateUsage]
        else grad.contiguous()
        for leaf, grad, need in zip(tensors, _join_leaves(compiled, gradients), needs, strict=True)
        if need
    ]


def _fake_backward(grads: Any, tensors: list[Tensor], kept: Any, *options: Any) -> list[Tensor]:
    return [leaf.new_empty(leaf.shape) for leaf, need in zip(tensors, options[-1], strict=True) if need]


_BACKWARD = define(
    f"step_recurrence_backward(Tensor?[] grads, Tensor[] tensors, Tensor[] kept, {_OPTIONS}) -> Tensor[]",
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
        count = len(options[0]) if needs else 0
        results, kept = results[: len(results) - count], results[len(results) - count :]
        ctx.options, ctx.count = options, count
        ctx.save_for_backward(batch_sizes, *kept, *tensors)
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        batch_sizes, *saved = ctx.saved_tensors
        kept, tensors = saved[: ctx.count], saved[ctx.count :]
        needs = list(ctx.needs_input_grad[3:])
        if torch.is_grad_enabled():  # the gradients are differentiated again
            texts, T, B, S, reverse, _ = ctx.options
            steps = [_compiled(text, tensors[0].dtype) for text in texts]
            calls = zip(
                steps,
                _rows_of(steps, T, B, S, batch_sizes, reverse),
                _split_leaves(steps, tensors),
                _split_leaves(steps, needs),
                _split_results(steps, grads),
                strict=True,
            )
            results = _join_leaves(steps, [replay_step(*call) for call in calls])
        else:
            found = iter(
                torch.ops.ohlol.step_recurrence_backward(grads, tensors, kept, batch_sizes, *ctx.options, needs)
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
    tensors, batch_sizes, texts, T, B, S, *options, _ = args
    dims, N = in_dims[0], info.batch_size
    steps = [_compiled(text, tensors[0].dtype) for text in texts]
    lengths = [T] * len(steps[0].graph.inputs)  # of what lies along the batch; 0 for weights
    for step in steps:
        _, vectors, matrices, states = step.counts
        lengths += [0] * (vectors + matrices) + [1] * states
    if batch_sizes is not None or any(d is not None for d, length in zip(dims, lengths, strict=True) if not length):
        return call_for_each(torch.ops.ohlol.step_recurrence, info, in_dims, args)

    def fold(tensor: Tensor, dim: int | None, length: int) -> Tensor:
        if not length:
            return tensor
        tensor = tensor.unsqueeze(0).expand(N, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        return tensor.unflatten(1, (length, B)).transpose(0, 1).flatten(0, 2)

    folded = list(map(fold, tensors, dims, lengths))
    results = torch.ops.ohlol.step_recurrence(folded, None, texts, T, N * B, N * S, *options, [])
    counts = [1] * sum(len(step.graph.state_widths) for step in steps)
    if len(results) > len(counts):
        counts.insert(0, T)
    unfolded = [
        result.unflatten(0, (count, N, B)).transpose(0, 1).flatten(1, 2)
        for result, count in zip(results, counts, strict=True)
    ]
    return unfolded, [0] * len(unfolded)


torch.library.register_vmap(_RECURRENCE, _vmap, lib=LIBRARY)
for _name in (_FORWARD, _BACKWARD):
    torch.library.register_vmap(
        _name, partial(call_for_each, getattr(torch.ops.ohlol, _name.partition("::")[2])), lib=LIBRARY
    )
