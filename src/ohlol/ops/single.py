"""One layer in one direction over a dense batch: the whole pass in one call of the kernel.

The same numbers as `recurrence`, which hands such calls on. It is its commonest case, and for a few hundred
multiplications the cost of a call is the Python before it, so here nothing is asked that this case knows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ohlol.ops.backend import CELL_CODES, GATES, KERNEL, empty


def forward(
    cell: str, x: Tensor, h_0: Tensor | None, c_0: Tensor | None, weights: Sequence[Tensor], save: bool
) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """The pass over x (T, B, I), all tensors contiguous; the results, and what backward needs besides them."""
    T, B, width = x.shape
    W_hh = weights[1]
    H, G = W_hh.size(1), GATES[cell]
    out, h_n = empty(W_hh, T, B, H), empty(W_hh, 1, B, H)
    lstm = cell == "lstm"
    c_n = empty(W_hh, 1, B, H) if lstm else None
    saved, at, behind = None, 0, 0
    if save and G > 1:
        # gates (S, G*H), then the cell states of the LSTM or the GRU's W_hn h + b_hn, (S, H)
        saved = empty(W_hh, T * B * (G + 1) * H)
        at = saved.data_ptr()
        behind = at + T * B * G * H * W_hh.element_size()
    run = KERNEL.forward_float32 if W_hh.dtype is torch.float32 else KERNEL.forward_float64  # type: ignore[union-attr]
    b_ih, b_hh = (weights[2].data_ptr(), weights[3].data_ptr()) if len(weights) == 4 else (0, 0)
    run(
        CELL_CODES[cell], torch.get_num_threads(), False, T, B, H, width, 0, B, 1,
        weights[0].data_ptr(), W_hh.data_ptr(), b_ih, b_hh,
        0 if h_0 is None else h_0.data_ptr(), 0 if c_0 is None else c_0.data_ptr(), x.data_ptr(), 0, 0,
        out.data_ptr(), H, h_n.data_ptr(), 0 if c_n is None else c_n.data_ptr(),
        at, behind if lstm else 0, 0 if lstm else behind,
    )  # fmt: skip
    return ((out, h_n) if c_n is None else (out, h_n, c_n)), saved


class Single(torch.autograd.Function):
    """`forward` with gradients; `replay` makes them differentiable again."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, cell: str, replay: Any, x: Tensor, h_0: Tensor | None, c_0: Tensor | None, *weights: Tensor
    ) -> Any:
        results, saved = forward(cell, x, h_0, c_0, weights, True)
        ctx.cell, ctx.replay = cell, replay
        ctx.save_for_backward(x, h_0, c_0, results[0], saved, *weights)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # noqa: D102
        x, h_0, c_0, out, saved, *weights = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # create_graph=True: the gradients are to be differentiated again
            return (None, None, *ctx.replay(x, h_0, c_0, weights, needs, grad_outputs))
        T, B, width = x.shape
        cell, (W_ih, W_hh, *biases) = ctx.cell, weights
        H, G = W_hh.size(1), GATES[cell]
        lstm = cell == "lstm"
        above, d_h_n, d_c_n = (
            None if g is None else g if g.is_contiguous() and not g.is_neg() else g.resolve_neg().contiguous()
            for g in (*grad_outputs, None)[:3]
        )
        d_x = empty(W_hh, T, B, width) if needs[0] else None
        d_h_0 = empty(W_hh, 1, B, H) if needs[1] else None
        d_c_0 = empty(W_hh, 1, B, H) if needs[2] else None
        d_W_ih = empty(W_hh, G * H, width) if needs[3] else None
        d_W_hh = empty(W_hh, G * H, H) if needs[4] else None
        d_b_ih, d_b_hh = (empty(W_hh, G * H) if need else None for need in needs[5:]) if biases else (None, None)
        at = 0 if saved is None else saved.data_ptr()
        behind = at and at + T * B * G * H * W_hh.element_size()
        run = KERNEL.backward_float32 if W_hh.dtype is torch.float32 else KERNEL.backward_float64  # type: ignore[union-attr]
        run(
            CELL_CODES[cell], torch.get_num_threads(), False, T, B, H, width, 0, B, 1, W_ih.data_ptr(), W_hh.data_ptr(),
            0 if h_0 is None else h_0.data_ptr(), 0 if c_0 is None else c_0.data_ptr(), x.data_ptr(),
            out.data_ptr(), H, at, behind if lstm else 0, 0 if lstm else behind,
            0 if above is None else above.data_ptr(), H,
            0 if d_h_n is None else d_h_n.data_ptr(), 0 if d_c_n is None else d_c_n.data_ptr(), 0,
            0 if d_h_0 is None else d_h_0.data_ptr(), 0 if d_c_0 is None else d_c_0.data_ptr(),
            0 if d_b_ih is None else d_b_ih.data_ptr(), 0 if d_b_hh is None else d_b_hh.data_ptr(),
            0 if d_x is None else d_x.data_ptr(), False, 0 if d_W_ih is None else d_W_ih.data_ptr(),
            0 if d_W_hh is None else d_W_hh.data_ptr(),
        )  # fmt: skip
        grads = (None, None, d_x, d_h_0, d_c_0, d_W_ih, d_W_hh, d_b_ih, d_b_hh)
        return grads if biases else grads[:-2]
