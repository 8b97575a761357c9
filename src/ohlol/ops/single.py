"""One layer in one direction over a dense batch: the whole pass in one call of the kernel.

The same numbers as `recurrence`, which hands such calls on. It is the most frequent case, and for a few hundred
multiplications a call costs what the Python before it costs, so this path checks nothing that `recurrence` has checked.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ohlol.ops.backend import PackedWeights, empty, kernel_cell, run_backward, run_forward
from ohlol.ops.validation import DTYPES, are_readable
from ohlol.ops.workspace import workspace


def forward_layer(
    cell: str,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    save: bool,
    packed: PackedWeights | None = None,
) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """The pass over x (T, B, I), all tensors contiguous; the results, and what backward needs besides them.

    `packed` has the weights in the format of its kernel.
    """
    T, B, I = x.shape
    W_hh = weights[1]
    H = W_hh.shape[1]
    float32, float64, G, has_cell_state, has_reset = kernel_cell(cell)
    out, h_n = empty(W_hh, T, B, H), empty(W_hh, 1, B, H)
    c_n = empty(W_hh, 1, B, H) if has_cell_state else None
    saved, gates, after_gates = None, 0, 0
    if save and G > 1:
        # gates (S, G*H), then the cell states or the hidden terms of the reset gate, (S, H)
        saved = workspace(W_hh, T * B * (G + 1) * H)
        gates = saved.data_ptr()
        after_gates = gates + T * B * G * H * W_hh.element_size()
    b_ih, b_hh = (weights[2].data_ptr(), weights[3].data_ptr()) if len(weights) == 4 else (0, 0)
    run_forward(
        kernel=packed.kernel if packed else float64 if W_hh.dtype is torch.float64 else float32,
        threads=torch.get_num_threads(),
        shape=(T, B, H, I),
        rows=(0, B, 1, False),
        weights=(weights[0].data_ptr(), W_hh.data_ptr(), b_ih, b_hh),
        states=(0 if h_0 is None else h_0.data_ptr(), 0 if c_0 is None else c_0.data_ptr()),
        x=x.data_ptr(),
        out=(out.data_ptr(), H),
        saved=(gates, after_gates if has_cell_state else 0, after_gates if has_reset else 0),
        final_states=(h_n.data_ptr(), 0 if c_n is None else c_n.data_ptr()),
        packed_weights=packed.address(0) if packed else 0,
    )
    return ((out, h_n) if c_n is None else (out, h_n, c_n)), saved


def _are_unchanged(
    ctx: Any, x: Tensor, h_0: Tensor | None, c_0: Tensor | None, out: Tensor, saved: Tensor | None, *weights: Tensor
) -> bool:
    """Whether what backward reads is as the forward pass saw it: neither `Tensor.data` nor a hook has replaced it."""
    (T, B, I), H, G, dtype = ctx.x_shape, ctx.H, ctx.cell.gates, x.dtype
    W_ih, W_hh = weights[:2]
    if (
        x.shape != ctx.x_shape
        or W_ih.shape != (G * H, I)
        or W_hh.shape != (G * H, H)
        or out.shape != (T, B, H)
        or (saved is not None and saved.numel() != T * B * (G + 1) * H)
        or (h_0 is not None and h_0.shape != (1, B, H))
        or (c_0 is not None and c_0.shape != (1, B, H))
    ):
        return False
    for tensor in (x, W_ih, W_hh, out, saved, h_0, c_0):
        if tensor is not None and (
            tensor.dtype is not dtype or not tensor.is_cpu or not tensor.is_contiguous() or not tensor.data_ptr()
        ):
            return False
    return dtype in DTYPES


class SingleLayer(torch.autograd.Function):
    """`forward_layer` with gradients; `replay_gradients` computes them where the kernels cannot."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        cell: str,
        replay_gradients: Callable[..., list[Tensor | None]],
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        *weights: Tensor,
    ) -> Any:
        results, saved = forward_layer(cell, x, h_0, c_0, weights, True)
        ctx.cell, ctx.replay_gradients = kernel_cell(cell), replay_gradients
        ctx.x_shape, ctx.H = x.shape, weights[1].shape[1]
        ctx.save_for_backward(x, h_0, c_0, results[0], saved, *weights)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # noqa: D102
        x, h_0, c_0, out, saved, *weights = tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        # With create_graph=True the gradients are differentiated again.
        if torch.is_grad_enabled() or not are_readable(grad_outputs, out.dtype) or not _are_unchanged(ctx, *tensors):
            return (None, None, *ctx.replay_gradients(x, h_0, c_0, weights, needs, grad_outputs))
        (T, B, I), H = ctx.x_shape, ctx.H
        W_ih, W_hh, *biases = weights
        float32, float64, G, has_cell_state, has_reset = ctx.cell
        grad_out, *grads_of_states = (*grad_outputs, None)[:3]
        grad_stride = H
        if grad_out is not None and grad_out.stride()[:2] == (0, 0):  # that of a sum: all rows are one
            grad_out, grad_stride = grad_out[0, 0], 0
        grad_out, grad_h_n, grad_c_n = (
            None if g is None else g if g.is_contiguous() and not g.is_neg() else g.resolve_neg().contiguous()
            for g in (grad_out, *grads_of_states)
        )
        d_x = empty(W_hh, T, B, I) if needs[0] else None
        d_h_0 = empty(W_hh, 1, B, H) if needs[1] else None
        d_c_0 = empty(W_hh, 1, B, H) if needs[2] else None
        d_W_ih = empty(W_hh, G * H, I) if needs[3] else None
        d_W_hh = empty(W_hh, G * H, H) if needs[4] else None
        d_b_ih, d_b_hh = (empty(W_hh, G * H) if need else None for need in needs[5:]) if biases else (None, None)
        gates = 0 if saved is None else saved.data_ptr()
        after_gates = gates and gates + T * B * G * H * W_hh.element_size()
        run_backward(
            kernel=float64 if W_hh.dtype is torch.float64 else float32,
            threads=torch.get_num_threads(),
            shape=(T, B, H, I),
            rows=(0, B, 1, False),
            weights=(W_ih.data_ptr(), W_hh.data_ptr(), 0, 0),
            states=(0 if h_0 is None else h_0.data_ptr(), 0 if c_0 is None else c_0.data_ptr()),
            x=x.data_ptr(),
            out=(out.data_ptr(), H),
            saved=(gates, after_gates if has_cell_state else 0, after_gates if has_reset else 0),
            grad_out=(0 if grad_out is None else grad_out.data_ptr(), grad_stride),
            grad_final_states=(
                0 if grad_h_n is None else grad_h_n.data_ptr(),
                0 if grad_c_n is None else grad_c_n.data_ptr(),
            ),
            d_weights=(
                0 if d_W_ih is None else d_W_ih.data_ptr(),
                0 if d_W_hh is None else d_W_hh.data_ptr(),
                0 if d_b_ih is None else d_b_ih.data_ptr(),
                0 if d_b_hh is None else d_b_hh.data_ptr(),
            ),
            d_states=(0 if d_h_0 is None else d_h_0.data_ptr(), 0 if d_c_0 is None else d_c_0.data_ptr()),
            d_x=(0 if d_x is None else d_x.data_ptr(), False),
        )
        grads = (None, None, d_x, d_h_0, d_c_0, d_W_ih, d_W_hh, d_b_ih, d_b_hh)
        return grads if biases else grads[:-2]
