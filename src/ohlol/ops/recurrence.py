"""A stack of recurrent layers over a whole batch as one autograd function.

A layer in one direction is one call of the kernels forward and one backward; this module stacks the layers, applies
dropout and collects the gradients. A double backward runs through `torch_path`.

Shapes: S rows (T*B, or the sum of the lengths), G gates, D directions, L layers.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ohlol.ops import single
from ohlol.ops.backend import PackedWeights, empty, kernel_cell, run_backward, run_forward
from ohlol.ops.gather import scatter_rows
from ohlol.ops.torch_path import LayerSpec, Rows, replay_gradients, rows_of
from ohlol.ops.validation import are_readable, are_unchanged, check_call, materialize
from ohlol.ops.workspace import workspace


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


def _find_addresses(tensors: Sequence[Tensor | None], copies: list[Tensor]) -> list[int]:
    """Where the numbers of tensors lie, of a contiguous copy where they must be copied; 0 for None."""
    addresses: list[int] = []
    for tensor in tensors:
        if tensor is None:
            addresses.append(0)
            continue
        address = tensor.data_ptr() if tensor.is_contiguous() and not tensor.is_neg() else 0
        if not address:
            copies.append(tensor := materialize(tensor))
            address = tensor.data_ptr()
        addresses.append(address)
    return addresses


class SavedBlocks(NamedTuple):
    """Where a layer's parts lie in what a forward pass keeps, a vector: offsets for each row of a unit, -1 if absent.

    The offset in numbers is that times S*H. The top layer's output is a result of its own.
    """

    gates: tuple[int, ...]
    """(S, G*H) of each direction."""
    cell_states: tuple[int, ...]
    """(S, H) of each direction."""
    hidden_n: tuple[int, ...]
    """(S, H) of each direction: W_hn h + b_hn of a cell with a reset gate."""
    out: int
    """(S, D*H)"""
    mask: int
    """(S, D*H) of dropout."""


@lru_cache(maxsize=256)
def saved_blocks(spec: LayerSpec) -> tuple[tuple[SavedBlocks, ...], int]:
    """The blocks of each layer, and the length of the vector as a multiple of S*H."""
    _, _, G, has_cell_state, has_reset = kernel_cell(spec.cell)
    D, length = spec.directions, 0
    layers: list[SavedBlocks] = []

    def add(width: int) -> int:
        nonlocal length
        length += width
        return length - width if width else -1

    for layer in range(spec.num_layers):
        parts = [(add(G if G > 1 else 0), add(int(has_cell_state)), add(int(has_reset))) for _ in range(D)]
        gates, cell_states, hidden_n = zip(*parts, strict=True)
        is_top = layer == spec.num_layers - 1
        out, mask = add(0 if is_top else D), add(D if spec.dropout > 0 and not is_top else 0)
        layers.append(SavedBlocks(gates, cell_states, hidden_n, out, mask))
    return tuple(layers), length


def saved_masks(spec: LayerSpec, saved: Tensor | None, S: int, H: int) -> list[Tensor | None]:
    """The masks of dropout (S, D*H) of each layer in what a forward pass kept."""
    if saved is None or not spec.dropout:
        return []
    blocks, _ = saved_blocks(spec)
    return [_block(saved, block.mask, S, H, spec.directions) if block.mask >= 0 else None for block in blocks]


def _block(saved: Tensor, offset: int, S: int, H: int, width: int) -> Tensor:
    return saved.narrow(0, offset * S * H, S * width * H).view(S, width * H)


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
    save: bool,
    packed: PackedWeights | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Run the stack: (S, D*H), (L*D, B, H), a cell state (L*D, B, H), and with `save` what the backward pass reads.

    `packed` has the weights in the format of its kernel.
    """
    like, W_hh = weights[0], weights[1]
    float32, float64, G, has_cell_state, has_reset = kernel_cell(spec.cell)
    kernel = packed.kernel if packed else float64 if like.dtype is torch.float64 else float32
    D, H, S, L, per = spec.directions, W_hh.size(1), rows.S, spec.num_layers, 4 if spec.bias else 2
    size = like.element_size()
    block, state_size = S * H * size, rows.B * H * size
    by_id = not x.is_floating_point()
    copies: list[Tensor] = []
    at_weights = _find_addresses(weights, copies)
    at_h_0, at_c_0 = _find_addresses((h_0, c_0), copies)
    h_n = empty(like, L * D, rows.B, H)
    c_n = empty(like, L * D, rows.B, H) if has_cell_state else None
    at_h_n, at_c_n = h_n.data_ptr(), 0 if c_n is None else c_n.data_ptr()
    blocks, length = saved_blocks(spec)
    saved = workspace(like, length * S * H) if save and length else None
    at_saved = 0 if saved is None else saved.data_ptr()
    at_batch_sizes = 0 if rows.batch_sizes is None else rows.batch_sizes.data_ptr()
    threads = torch.get_num_threads()
    (at_input,) = _find_addresses((x,), copies)
    I = 0 if by_id else x.size(-1)
    out = x
    for layer in range(L):
        gates, cell_states, hidden_n, own_block, mask_block = blocks[layer]
        is_top = layer == L - 1
        if is_top or saved is None:
            out = empty(like, S, D * H)
            copies.append(out)  # the next layer reads it
            at_out = out.data_ptr()
        else:
            at_out = at_saved + own_block * block
        for d in range(D):
            k = layer * D + d
            at = k * per
            looked_up = by_id and layer == 0
            run_forward(
                kernel=kernel,
                threads=threads,
                shape=(rows.T, rows.B, H, I),
                rows=(at_batch_sizes, rows.time_stride, rows.batch_stride, d == 1),
                weights=(
                    0 if looked_up else at_weights[at],
                    at_weights[at + 1],
                    at_weights[at + 2] if per == 4 else 0,
                    at_weights[at + 3] if per == 4 else 0,
                ),
                states=(at_h_0 and at_h_0 + k * state_size, at_c_0 and at_c_0 + k * state_size),
                x=0 if looked_up else at_input,
                lookup=(at_weights[at], at_input) if looked_up else (0, 0),
                out=(at_out + d * H * size, D * H),
                saved=(
                    at_saved + gates[d] * block if at_saved and G > 1 else 0,
                    at_saved + cell_states[d] * block if at_saved and has_cell_state else 0,
                    at_saved + hidden_n[d] * block if at_saved and has_reset else 0,
                ),
                final_states=(at_h_n + k * state_size, at_c_n and at_c_n + k * state_size),
                packed_weights=packed.address(k) if packed else 0,
            )
        if is_top:
            break
        at_input, I = at_out, D * H
        if spec.dropout > 0:
            # drawn as torch draws it, so that the same seed drops the same units
            keep = 1 - spec.dropout
            mask = empty(like, S, D * H) if saved is None else _block(saved, mask_block, S, H, D)
            out = out if saved is None else _block(saved, own_block, S, H, D)
            mask = mask.bernoulli_(keep)
            mask = mask.div_(keep) if keep > 0 else mask
            copies.append(dropped := out * mask)
            at_input = dropped.data_ptr()
    return out, h_n, c_n, saved


def stack_gradients(
    spec: LayerSpec,
    rows: Rows,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    out: Tensor,
    saved: Tensor | None,
    needs: Sequence[bool],
    grad_out: Tensor | None,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
) -> list[Tensor | None]:
    """Gradients to x, h_0, c_0 and every weight, None where `needs` does not ask for one.

    `out` is the output in any layout of S rows, `saved` what `forward_stack` kept; both are contiguous.
    """
    like = weights[0]
    float32, float64, G, has_cell_state, has_reset = kernel_cell(spec.cell)
    kernel = float64 if like.dtype is torch.float64 else float32
    D, L, H, S = spec.directions, spec.num_layers, weights[1].size(1), rows.S
    size = like.element_size()
    block, state_size = S * H * size, rows.B * H * size
    by_id = not x.is_floating_point()
    per = 4 if spec.bias else 2
    grads: list[Tensor | None] = [None] * len(needs)
    lowest = 0 if any(needs[:3]) else min(k for k in range(len(weights)) if needs[3 + k]) // (per * D)
    d_h_0 = grads[1] = empty(like, L * D, rows.B, H) if needs[1] else None
    d_c_0 = grads[2] = empty(like, L * D, rows.B, H) if needs[2] else None
    copies: list[Tensor] = []
    at_weights = _find_addresses(weights, copies)
    at_h_0, at_c_0, at_grad_h_n, at_grad_c_n = _find_addresses((h_0, c_0, grad_h_n, grad_c_n), copies)
    at_d_h_0, at_d_c_0 = (0 if d is None else d.data_ptr() for d in (d_h_0, d_c_0))
    blocks, _ = saved_blocks(spec)
    at_saved = 0 if saved is None else saved.data_ptr()
    at_batch_sizes = 0 if rows.batch_sizes is None else rows.batch_sizes.data_ptr()
    threads = torch.get_num_threads()
    at_out = out.data_ptr()
    grad_layer_out = None if grad_out is None else grad_out.reshape(S, D * H)
    for layer in range(L - 1, lowest - 1, -1):
        gates, cell_states, hidden_n, _, _ = blocks[layer]
        looked_up = by_id and layer == 0
        mask = None
        if layer == 0:
            (at_input,) = _find_addresses((x,), copies)
            I, at_below = 0 if by_id else x.size(-1), 0
        else:
            below = blocks[layer - 1]
            at_input = at_below = at_saved + below.out * block
            I = D * H
            if below.mask >= 0:
                assert saved is not None
                mask = _block(saved, below.mask, S, H, D)
                copies.append(dropped := _block(saved, below.out, S, H, D) * mask)
                at_input = dropped.data_ptr()
        d_input = empty(like, S, I) if layer > lowest or (layer == 0 and needs[0]) else None
        if grad_layer_out is not None and grad_layer_out.stride(0) == 0:  # that of a sum: all rows are one
            grad_layer_out = grad_layer_out[:1].resolve_neg().contiguous().expand(S, -1)
        elif grad_layer_out is not None and (
            grad_layer_out.stride(1) != 1 or grad_layer_out.stride(0) < D * H or grad_layer_out.is_neg()
        ):
            grad_layer_out = grad_layer_out.resolve_neg().contiguous()
        at_grad_out, grad_stride = (
            (0, 0) if grad_layer_out is None else (grad_layer_out.data_ptr(), grad_layer_out.stride(0))
        )
        for d in range(D):
            k = layer * D + d
            at = k * per
            needs_W_ih, needs_W_hh, *needs_biases = needs[3 + at : 3 + at + per]
            d_W_ih = empty(like, G * H, I) if needs_W_ih and not looked_up else None
            d_W_hh = empty(like, G * H, H) if needs_W_hh else None
            d_biases = [empty(like, G * H) if need else None for need in needs_biases]
            d_input_terms = empty(like, S, G * H) if needs_W_ih and looked_up else None
            at_d_biases = [0 if d_bias is None else d_bias.data_ptr() for d_bias in d_biases] or [0, 0]
            run_backward(
                kernel=kernel,
                threads=threads,
                shape=(rows.T, rows.B, H, I),
                rows=(at_batch_sizes, rows.time_stride, rows.batch_stride, d == 1),
                weights=(at_weights[at], at_weights[at + 1], 0, 0),
                states=(at_h_0 and at_h_0 + k * state_size, at_c_0 and at_c_0 + k * state_size),
                x=0 if looked_up else at_input,
                out=(at_out + d * H * size, D * H),
                saved=(
                    at_saved + gates[d] * block if at_saved and G > 1 else 0,
                    at_saved + cell_states[d] * block if at_saved and has_cell_state else 0,
                    at_saved + hidden_n[d] * block if at_saved and has_reset else 0,
                ),
                grad_out=(at_grad_out and at_grad_out + d * H * size, grad_stride),
                grad_final_states=(
                    at_grad_h_n and at_grad_h_n + k * state_size,
                    at_grad_c_n and at_grad_c_n + k * state_size,
                ),
                d_input_terms=0 if d_input_terms is None else d_input_terms.data_ptr(),
                d_weights=(
                    0 if d_W_ih is None else d_W_ih.data_ptr(),
                    0 if d_W_hh is None else d_W_hh.data_ptr(),
                    at_d_biases[0],
                    at_d_biases[1],
                ),
                d_states=(at_d_h_0 and at_d_h_0 + k * state_size, at_d_c_0 and at_d_c_0 + k * state_size),
                d_x=(0 if d_input is None else d_input.data_ptr(), d == 1),
            )
            if d_input_terms is not None:
                d_W_ih = scatter_rows(d_input_terms, x.reshape(S), weights[at].size(0))
            grads[3 + at : 3 + at + per] = (d_W_ih, d_W_hh, *d_biases)
        if d_input is not None and mask is not None:
            d_input.mul_(mask)
        grad_layer_out, at_out = d_input, at_below
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
        out, h_n, c_n, saved = forward_stack(spec, rows, x, h_0, c_0, weights, True)
        if batch_sizes is None:
            out = out.view(*x.shape[:2], out.size(1))
        ctx.spec, ctx.rows = spec, rows
        tensors = (x, h_0, c_0, *weights, out, saved)
        # The ids have no gradient, and whoever reads them again checks them.
        numbers = tensors if x.is_floating_point() else tensors[1:]
        ctx.dtype, ctx.shapes = out.dtype, [None if t is None else t.shape for t in numbers]
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return (out, h_n) if c_n is None else (out, h_n, c_n)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        spec, rows = ctx.spec, ctx.rows
        x, h_0, c_0, *weights, out, saved = tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        # With create_graph=True the gradients are differentiated again.
        if (
            torch.is_grad_enabled()
            or not are_readable(grad_outputs, ctx.dtype)
            or not are_unchanged(tensors[1:] if x.dtype is torch.int64 else tensors, ctx.shapes, ctx.dtype)
            or not all_materialized(out, saved)
        ):
            masks = saved_masks(spec, saved, rows.S, out.size(-1) // spec.directions)
            grads = replay_gradients(spec, rows.batch_sizes, x, h_0, c_0, weights, masks, needs, grad_outputs)
            return (None, None, *grads)
        grads = stack_gradients(spec, rows, x, h_0, c_0, weights, out, saved, needs, *(*grad_outputs, None)[:3])
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
        out, h_n, c_n, _ = forward_stack(spec, rows, x, h_0, c_0, weights, False)
        if batch_sizes is None:
            out = out.view(*x.shape[:2], out.size(1))
        result = (out, h_n) if c_n is None else (out, h_n, c_n)
    return (result[0].transpose(0, 1), *result[1:]) if time_first else result
