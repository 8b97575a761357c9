"""A stack of recurrent layers over a whole batch as one autograd function.

A layer in one direction is one call of the kernels forward and one backward; this module stacks the layers, applies
dropout and collects the gradients. A double backward runs through `torch_path`.

Shapes: S rows (T*B, or the sum of the lengths), G gates, D directions, L layers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ohlol.ops import single
from ohlol.ops.backend import PackedWeights, empty, kernel_cell, run_backward, run_forward
from ohlol.ops.gather import scatter_rows
from ohlol.ops.torch_path import LayerSpec, Rows, replay_gradients, rows_of
from ohlol.ops.validation import are_readable, are_unchanged, check_call, materialize
from ohlol.ops.workspace import workspace


class _SavedLayer(NamedTuple):
    """What the forward pass of one layer in one direction keeps for its backward pass."""

    gates: Tensor | None
    cell_states: Tensor | None
    hidden_n: Tensor | None


def all_materialized(*tensors: Tensor | None) -> bool:
    """Whether `is_materialized` is true of all tensors."""
    for tensor in tensors:
        if tensor is not None and not (tensor.is_contiguous() and not tensor.is_neg() and tensor.data_ptr()):
            return False  # is_materialized(), without the time of a call
    return True


def _any_requires_grad(*tensors: Tensor | None) -> bool:
    for tensor in tensors:  # noqa: SIM110
        if tensor is not None and tensor.requires_grad:
            return True
    return False


def _address(tensor: Tensor | None, offset: int = 0) -> int:
    """Where a tensor's number `offset` lies; 0 without a tensor."""
    return 0 if tensor is None else tensor.data_ptr() + offset * tensor.element_size()


def weights_of(
    spec: LayerSpec, weights: Sequence[Tensor], k: int
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """W_ih, W_hh, b_ih and b_hh of the k-th layer and direction, in contiguous memory."""
    if spec.bias:
        W_ih, W_hh, b_ih, b_hh = weights[4 * k : 4 * k + 4]
        return materialize(W_ih), materialize(W_hh), materialize(b_ih), materialize(b_hh)
    W_ih, W_hh = weights[2 * k : 2 * k + 2]
    return materialize(W_ih), materialize(W_hh), None, None


def forward_stack(
    spec: LayerSpec,
    rows: Rows,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    save: list[Tensor | None] | None,
    packed: PackedWeights | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run the stack; (S, D*H), (L*D, B, H) and a cell state (L*D, B, H).

    `save` receives what backward needs; `packed` has the weights in the format of its kernel.
    """
    like = weights[0]
    float32, float64, G, has_cell_state, has_reset = kernel_cell(spec.cell)
    D, H = spec.directions, weights[1].size(1)
    state_size = rows.B * H
    by_id = not x.is_floating_point()
    h_n = empty(like, spec.num_layers * D, rows.B, H)
    c_n = empty(like, spec.num_layers * D, rows.B, H) if has_cell_state else None
    layer_input = x.reshape(rows.S) if by_id else x.reshape(rows.S, x.size(-1))
    out = layer_input
    for layer in range(spec.num_layers):
        layer_input = materialize(layer_input)
        out = empty(like, rows.S, D * H)
        looked_up = by_id and layer == 0
        for d in range(D):
            k = layer * D + d
            W_ih, W_hh, b_ih, b_hh = weights_of(spec, weights, k)
            gates = cell_states = hidden_n = None
            if save is not None and G > 1:
                gates = workspace(like, rows.S, G * H)
                cell_states = workspace(like, rows.S, H) if has_cell_state else None
                hidden_n = workspace(like, rows.S, H) if has_reset else None
            run_forward(
                kernel=packed.kernel if packed else float64 if like.dtype is torch.float64 else float32,
                threads=torch.get_num_threads(),
                shape=(rows.T, rows.B, H, 0 if looked_up else layer_input.size(1)),
                rows=(_address(rows.batch_sizes), rows.time_stride, rows.batch_stride, d == 1),
                weights=(0 if looked_up else _address(W_ih), _address(W_hh), _address(b_ih), _address(b_hh)),
                states=(_address(h_0, k * state_size), _address(c_0, k * state_size)),
                x=0 if looked_up else _address(layer_input),
                lookup=(_address(W_ih), _address(layer_input)) if looked_up else (0, 0),
                out=(_address(out, d * H), D * H),
                saved=(_address(gates), _address(cell_states), _address(hidden_n)),
                final_states=(_address(h_n, k * state_size), _address(c_n, k * state_size)),
                packed_weights=packed.address(k) if packed else 0,
            )
            if save is not None:
                save += _SavedLayer(gates, cell_states, hidden_n)
        layer_input = out
        mask = None
        if spec.dropout > 0 and layer < spec.num_layers - 1:
            # drawn as torch draws it, so that the same seed drops the same units
            keep = 1 - spec.dropout
            mask = torch.empty_like(out).bernoulli_(keep)
            mask = mask.div_(keep) if keep > 0 else mask
            layer_input = out * mask
        if save is not None:
            save += (out if layer < spec.num_layers - 1 else None, mask)
    return out, h_n, c_n


def stack_gradients(
    spec: LayerSpec,
    rows: Rows,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    saved: Sequence[Tensor | None],
    needs: Sequence[bool],
    grad_out: Tensor | None,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
) -> list[Tensor | None]:
    """Gradients to x, h_0, c_0 and every weight, None where `needs` does not ask for one."""
    like = weights[0]
    float32, float64, G, _, _ = kernel_cell(spec.cell)
    D, L, H = spec.directions, spec.num_layers, weights[1].size(1)
    state_size = rows.B * H
    by_id = not x.is_floating_point()
    per = 4 if spec.bias else 2
    grads: list[Tensor | None] = [None] * len(needs)
    lowest = 0 if any(needs[:3]) else min(k for k in range(len(weights)) if needs[3 + k]) // (per * D)
    d_h_0 = grads[1] = empty(like, L * D, rows.B, H) if needs[1] else None
    d_c_0 = grads[2] = empty(like, L * D, rows.B, H) if needs[2] else None
    grad_h_n = None if grad_h_n is None else materialize(grad_h_n)
    grad_c_n = None if grad_c_n is None else materialize(grad_c_n)
    grad_layer_out = None if grad_out is None else grad_out.reshape(rows.S, D * H)
    saved_per_layer = 3 * D + 2
    for layer in range(L - 1, lowest - 1, -1):
        out = saved[layer * saved_per_layer + 3 * D]
        assert out is not None
        mask = saved[(layer - 1) * saved_per_layer + 3 * D + 1] if layer else None
        layer_input = x.reshape(rows.S, -1) if layer == 0 else saved[(layer - 1) * saved_per_layer + 3 * D]
        assert layer_input is not None
        layer_input = materialize(layer_input if mask is None else layer_input * mask)
        looked_up = by_id and layer == 0
        I = 0 if looked_up else layer_input.size(1)
        d_input = empty(like, rows.S, I) if layer > lowest or (layer == 0 and needs[0]) else None
        if grad_layer_out is not None and (
            grad_layer_out.stride(1) != 1 or grad_layer_out.stride(0) < D * H or grad_layer_out.is_neg()
        ):
            grad_layer_out = grad_layer_out.resolve_neg().contiguous()
        for d in range(D):
            k = layer * D + d
            W_ih, W_hh, _, _ = weights_of(spec, weights, k)
            saved_layer = _SavedLayer(*saved[layer * saved_per_layer + 3 * d : layer * saved_per_layer + 3 * d + 3])
            needs_W_ih, needs_W_hh, needs_b_ih, needs_b_hh = (
                *needs[3 + per * k : 3 + per * k + per],
                False,
                False,
            )[:4]
            d_b_ih = empty(like, G * H) if needs_b_ih else None
            d_b_hh = empty(like, G * H) if needs_b_hh else None
            d_W_ih = empty(like, G * H, I) if needs_W_ih and not looked_up else None
            d_W_hh = empty(like, G * H, H) if needs_W_hh else None
            d_input_terms = empty(like, rows.S, G * H) if needs_W_ih and looked_up else None
            run_backward(
                kernel=float64 if like.dtype is torch.float64 else float32,
                threads=torch.get_num_threads(),
                shape=(rows.T, rows.B, H, I),
                rows=(_address(rows.batch_sizes), rows.time_stride, rows.batch_stride, d == 1),
                weights=(_address(W_ih), _address(W_hh), 0, 0),
                states=(_address(h_0, k * state_size), _address(c_0, k * state_size)),
                x=0 if looked_up else _address(layer_input),
                out=(_address(out, d * H), D * H),
                saved=(
                    _address(saved_layer.gates),
                    _address(saved_layer.cell_states),
                    _address(saved_layer.hidden_n),
                ),
                grad_out=(
                    _address(grad_layer_out, d * H),
                    0 if grad_layer_out is None else grad_layer_out.stride(0),
                ),
                grad_final_states=(_address(grad_h_n, k * state_size), _address(grad_c_n, k * state_size)),
                d_input_terms=_address(d_input_terms),
                d_weights=(_address(d_W_ih), _address(d_W_hh), _address(d_b_ih), _address(d_b_hh)),
                d_states=(_address(d_h_0, k * state_size), _address(d_c_0, k * state_size)),
                d_x=(_address(d_input), d == 1),
            )
            if d_input_terms is not None:
                d_W_ih = scatter_rows(d_input_terms, layer_input, W_ih.size(0))
            grads[3 + per * k : 3 + per * k + per] = (d_W_ih, d_W_hh, d_b_ih, d_b_hh)[:per]
        if d_input is not None and mask is not None:
            d_input.mul_(mask)
        grad_layer_out = d_input
    if needs[0] and grad_layer_out is not None:
        grads[0] = grad_layer_out.view(x.shape)
    return grads


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        spec: LayerSpec,
        batch_sizes: Tensor | None,
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        *weights: Tensor,
    ) -> Any:
        if batch_sizes is not None:
            batch_sizes = batch_sizes.clone()  # the caller may change them before the backward pass
        rows = rows_of(spec, x, batch_sizes)
        saved: list[Tensor | None] = []
        h, c = (None if s is None else materialize(s) for s in (h_0, c_0))
        out, h_n, c_n = forward_stack(spec, rows, x, h, c, weights, saved)
        if batch_sizes is None:
            out = out.view(*x.shape[:2], out.size(1))
        saved[-2] = out
        ctx.spec, ctx.rows, ctx.count = spec, rows, len(weights)
        tensors = (x, h_0, c_0, *weights, *saved)
        # The ids have no gradient, and whoever reads them again checks them.
        numbers = tensors if x.is_floating_point() else tensors[1:]
        ctx.dtype, ctx.shapes = out.dtype, [None if t is None else t.shape for t in numbers]
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return (out, h_n) if c_n is None else (out, h_n, c_n)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        spec, rows, count = ctx.spec, ctx.rows, ctx.count
        x, h_0, c_0, *rest = tensors = ctx.saved_tensors
        weights, saved = rest[:count], list(rest[count:])
        needs = ctx.needs_input_grad[2:]
        # With create_graph=True the gradients are differentiated again.
        if (
            torch.is_grad_enabled()
            or not are_readable(grad_outputs, ctx.dtype)
            or not are_unchanged(tensors[1:] if x.dtype is torch.int64 else tensors, ctx.shapes, ctx.dtype)
            or not all_materialized(*saved)
        ):
            masks = saved[3 * spec.directions + 1 :: 3 * spec.directions + 2]
            grads = replay_gradients(spec, rows.batch_sizes, x, h_0, c_0, weights, masks, needs, grad_outputs)
            return (None, None, *grads)
        saved[-2] = saved[-2].view(rows.S, -1)
        h, c = (None if s is None else materialize(s) for s in (h_0, c_0))
        grads = stack_gradients(spec, rows, x, h, c, weights, saved, needs, *(*grad_outputs, None)[:3])
        return (None, None, *grads)


def recurrence(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    spec: LayerSpec,
    batch_sizes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Run a stack of recurrent layers over a batch of sequences with the compiled kernels.

    Args:
        x: (T, B, I), (B, T, I) with `spec.batch_first`, or (S, I) with `batch_sizes`. Integers of the same shape
            without the last axis are ids: each direction's first weight is then a table (V, G*H) of projected symbols.
        h_0: (L*D, B, H) or None for zeros.
        c_0: the cell state of a cell that has one, like h_0.
        weights: as `torch.nn` orders them: W_ih, W_hh and, with `spec.bias`, b_ih, b_hh for each layer and direction.
        spec: the cell and its options.
        batch_sizes: (T,), the number of entries at each step, in descending order.

    Returns:
        The top layer's states in the layout of x, h_n and, if the cell has a cell state, c_n, both (L*D, B, H).

    Raises:
        IndexError: an id has no row in a table.
        TypeError: ids are not int64.
        ValueError: the shapes, dtypes or batch sizes do not fit, or a tensor is not one that the kernels can read.

    >>> weights = [torch.zeros(4, 3), torch.zeros(4, 4)]
    >>> out, h_n = recurrence(torch.ones(5, 2, 3), None, None, weights, LayerSpec("rnn", bias=False))
    >>> out.shape, h_n.shape
    (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))
    """
    check_call(spec, x, h_0, c_0, weights, batch_sizes)
    return run_checked(x, h_0, c_0, weights, spec, batch_sizes)


def run_checked(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    spec: LayerSpec,
    batch_sizes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """`recurrence` for a caller that has checked the tensors itself, as the layers of `ohlol.nn` do."""
    by_id = not x.is_floating_point()
    grad = torch.is_grad_enabled() and _any_requires_grad(*weights, x, h_0, c_0)
    dense = batch_sizes is None and not spec.batch_first and not by_id
    if dense and spec.num_layers * spec.directions == 1 and all_materialized(x, h_0, c_0, *weights):
        if not grad:
            return single.forward_layer(spec.cell, x, h_0, c_0, weights, False)[0]

        def gradients(x: Tensor, h_0: Tensor, c_0: Tensor, weights: Sequence[Tensor], needs: Any, grads: Any) -> Any:
            return replay_gradients(spec, None, x, h_0, c_0, weights, (), needs, grads)

        return single.SingleLayer.apply(spec.cell, gradients, x, h_0, c_0, *weights)  # type: ignore[return-value]
    time_first = spec.batch_first and spec.dropout > 0  # torch draws its masks with time first
    if time_first:
        x, spec = x.transpose(0, 1), spec._replace(batch_first=False)
    if grad:
        result: tuple[Tensor, ...] = _Recurrence.apply(spec, batch_sizes, x, h_0, c_0, *weights)  # type: ignore[assignment]
    else:
        rows = rows_of(spec, x, batch_sizes)
        h, c = (None if s is None else materialize(s) for s in (h_0, c_0))
        out, h_n, c_n = forward_stack(spec, rows, x, h, c, weights, None)
        if batch_sizes is None:
            out = out.view(*x.shape[:2], out.size(1))
        result = (out, h_n) if c_n is None else (out, h_n, c_n)
    return (result[0].transpose(0, 1), *result[1:]) if time_first else result
