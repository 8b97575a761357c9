"""One autograd function over a whole sequence and a whole stack of layers; knows nothing of modules.

A layer in one direction is one call of the kernels forward and one backward; here the layers are stacked, dropped out
and given their gradients. A double backward runs through `torch_path`.

Shapes: S the rows of all steps together (T*B, or the sum of the lengths), G gates, D directions, L layers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ohlol.ops import single
from ohlol.ops.backend import ABSENT, CELL_CODES, GATES, KERNEL, empty
from ohlol.ops.gather import scatter_rows
from ohlol.ops.torch_path import Rows, Spec, replay, rows_of


class _Layer(NamedTuple):
    """What the forward pass of one layer in one direction leaves for its backward pass."""

    gates: Tensor | None
    cells: Tensor | None
    hidden_n: Tensor | None


def _plain(tensor: Tensor) -> Tensor:
    """The same numbers as they lie in memory: contiguous, and without a lazy sign."""
    if tensor.is_contiguous() and not tensor.is_neg():
        return tensor
    return tensor.resolve_neg().contiguous()


def _all_plain(*tensors: Tensor | None) -> bool:
    for tensor in tensors:  # noqa: SIM110  a loop takes half the time of all() here, and small calls are made of such things
        if tensor is not None and (not tensor.is_contiguous() or tensor.is_neg()):
            return False
    return True


def _wants_grad(*tensors: Tensor | None) -> bool:
    for tensor in tensors:  # noqa: SIM110
        if tensor is not None and tensor.requires_grad:
            return True
    return False


def _at(tensor: Tensor | None, offset: int = 0) -> int:
    return 0 if tensor is None else tensor.data_ptr() + offset * tensor.element_size()


def _weights_of(spec: Spec, weights: Sequence[Tensor], k: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    if spec.bias:
        W_ih, W_hh, b_ih, b_hh = weights[4 * k : 4 * k + 4]
        return _plain(W_ih), _plain(W_hh), _plain(b_ih), _plain(b_hh)
    W_ih, W_hh = weights[2 * k : 2 * k + 2]
    return _plain(W_ih), _plain(W_hh), None, None


def _forward(
    spec: Spec,
    rows: Rows,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    save: list[Tensor | None] | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run the stack; (S, D*H), (L*D, B, H) and for the LSTM (L*D, B, H). `save` receives what backward needs."""
    assert KERNEL is not None, ABSENT
    like = weights[0]
    run = KERNEL.forward_float32 if like.dtype == torch.float32 else KERNEL.forward_float64
    G, D, H = GATES[spec.cell], spec.directions, weights[1].size(1)
    code, threads, step = CELL_CODES[spec.cell], torch.get_num_threads(), rows.B * H
    by_id = not x.is_floating_point()
    h_n = empty(like, spec.num_layers * D, rows.B, H)
    c_n = empty(like, spec.num_layers * D, rows.B, H) if spec.cell == "lstm" else None
    below = x.reshape(rows.S) if by_id else x.reshape(rows.S, x.size(-1))
    out = below
    for layer in range(spec.num_layers):
        below = _plain(below)
        out = empty(like, rows.S, D * H)
        ids = by_id and layer == 0
        width = 0 if ids else below.size(1)
        for d in range(D):
            k = layer * D + d
            W_ih, W_hh, b_ih, b_hh = _weights_of(spec, weights, k)
            gates = cells = hidden_n = None
            if save is not None and G > 1:
                gates = empty(like, rows.S, G * H)
                cells = empty(like, rows.S, H) if spec.cell == "lstm" else None
                hidden_n = empty(like, rows.S, H) if spec.cell == "gru" else None
            run(
                code, threads, d == 1, rows.T, rows.B, H, width, *rows.where(),
                0 if ids else _at(W_ih), _at(W_hh), _at(b_ih), _at(b_hh), _at(h_0, k * step), _at(c_0, k * step),
                *((0, _at(W_ih), _at(below)) if ids else (_at(below), 0, 0)),
                _at(out, d * H), D * H, _at(h_n, k * step), _at(c_n, k * step),
                _at(gates), _at(cells), _at(hidden_n),
            )  # fmt: skip
            if save is not None:
                save += _Layer(gates, cells, hidden_n)
        below = out
        mask = None
        if spec.dropout > 0 and layer < spec.num_layers - 1:
            # drawn as torch draws it, so that the same seed drops the same units
            keep = 1 - spec.dropout
            mask = torch.empty_like(out).bernoulli_(keep)
            mask = mask.div_(keep) if keep > 0 else mask
            below = out * mask
        if save is not None:
            save += (out if layer < spec.num_layers - 1 else None, mask)
    return out, h_n, c_n


def _grads(
    spec: Spec,
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
    assert KERNEL is not None, ABSENT
    like = weights[0]
    run = KERNEL.backward_float32 if like.dtype == torch.float32 else KERNEL.backward_float64
    G, D, L, H = GATES[spec.cell], spec.directions, spec.num_layers, weights[1].size(1)
    code, threads, step = CELL_CODES[spec.cell], torch.get_num_threads(), rows.B * H
    by_id = not x.is_floating_point()
    per = 4 if spec.bias else 2
    grads: list[Tensor | None] = [None] * len(needs)
    lowest = 0 if any(needs[:3]) else min(k for k in range(len(weights)) if needs[3 + k]) // (per * D)
    d_h_0 = grads[1] = empty(like, L * D, rows.B, H) if needs[1] else None
    d_c_0 = grads[2] = empty(like, L * D, rows.B, H) if needs[2] else None
    grad_h_n = None if grad_h_n is None else _plain(grad_h_n)
    grad_c_n = None if grad_c_n is None else _plain(grad_c_n)
    above = None if grad_out is None else grad_out.reshape(rows.S, D * H)
    size = 3 * D + 2  # saved tensors of a layer
    for layer in range(L - 1, lowest - 1, -1):
        out = saved[layer * size + 3 * D]
        assert out is not None
        mask_below = saved[(layer - 1) * size + 3 * D + 1] if layer else None
        below = x.reshape(rows.S, -1) if layer == 0 else saved[(layer - 1) * size + 3 * D]
        assert below is not None
        below = _plain(below if mask_below is None else below * mask_below)
        ids = by_id and layer == 0
        width = 0 if ids else below.size(1)
        d_below = empty(like, rows.S, width) if layer > lowest or (layer == 0 and needs[0]) else None
        if above is not None and (above.stride(1) != 1 or above.stride(0) < D * H or above.is_neg()):
            above = above.resolve_neg().contiguous()
        for d in range(D):
            k = layer * D + d
            W_ih, W_hh, _, _ = _weights_of(spec, weights, k)
            gates, cells, hidden_n = saved[layer * size + 3 * d : layer * size + 3 * d + 3]
            want_ih, want_hh, want_b_ih, want_b_hh = (*needs[3 + per * k : 3 + per * k + per], False, False)[:4]
            d_b_ih = empty(like, G * H) if want_b_ih else None
            d_b_hh = empty(like, G * H) if want_b_hh else None
            d_W_ih = empty(like, G * H, width) if want_ih and not ids else None
            d_W_hh = empty(like, G * H, H) if want_hh else None
            d_gates = empty(like, rows.S, G * H) if want_ih and ids else None  # a table's gradient is made of them
            run(
                code, threads, d == 1, rows.T, rows.B, H, width, *rows.where(),
                _at(W_ih), _at(W_hh), _at(h_0, k * step), _at(c_0, k * step),
                0 if ids else _at(below), _at(out, d * H), D * H, _at(gates), _at(cells), _at(hidden_n),
                _at(above, d * H), 0 if above is None else above.stride(0),
                _at(grad_h_n, k * step), _at(grad_c_n, k * step),
                _at(d_gates), _at(d_h_0, k * step), _at(d_c_0, k * step),
                _at(d_b_ih), _at(d_b_hh), _at(d_below), d == 1, _at(d_W_ih), _at(d_W_hh),
            )  # fmt: skip
            if d_gates is not None:
                d_W_ih = scatter_rows(d_gates, below, W_ih.size(0))
            found = (d_W_ih, d_W_hh, d_b_ih, d_b_hh)
            grads[3 + per * k : 3 + per * k + per] = found[:per]
        if d_below is not None and mask_below is not None:
            d_below.mul_(mask_below)
        above = d_below
    if needs[0] and above is not None:
        grads[0] = above.view(x.shape)
    return grads


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        spec: Spec,
        batch_sizes: Tensor | None,
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        *weights: Tensor,
    ) -> Any:
        rows = rows_of(spec, x, batch_sizes)
        saved: list[Tensor | None] = []
        h, c = (None if s is None else _plain(s) for s in (h_0, c_0))
        out, h_n, c_n = _forward(spec, rows, x, h, c, weights, saved)
        if batch_sizes is None:
            out = out.view(*x.shape[:2], out.size(1))
        saved[-2] = out
        ctx.spec, ctx.rows, ctx.count = spec, rows, len(weights)
        ctx.save_for_backward(x, h_0, c_0, *weights, *saved)
        ctx.set_materialize_grads(False)
        return (out, h_n) if c_n is None else (out, h_n, c_n)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        spec, rows, count = ctx.spec, ctx.rows, ctx.count
        x, h_0, c_0, *rest = ctx.saved_tensors
        weights, saved = rest[:count], list(rest[count:])
        needs = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # create_graph=True: the gradients are to be differentiated again
            masks = saved[3 * spec.directions + 1 :: 3 * spec.directions + 2]
            return (None, None, *replay(spec, rows.batch_sizes, x, h_0, c_0, weights, masks, needs, grad_outputs))
        saved[-2] = saved[-2].view(rows.S, -1)
        h, c = (None if s is None else _plain(s) for s in (h_0, c_0))
        grads = _grads(spec, rows, x, h, c, weights, saved, needs, *(*grad_outputs, None)[:3])
        return (None, None, *grads)


def recurrence(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    spec: Spec,
    batch_sizes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Run a stack of recurrent layers over a batch of sequences with the compiled kernels.

    Args:
        x: (T, B, I), (B, T, I) with `spec.batch_first`, or (S, I) with `batch_sizes`. Integers of the same shape
            without the last axis are ids: each direction's first weight is then a table (V, G*H) of projected symbols.
        h_0: (L*D, B, H) or None for zeros.
        c_0: the LSTM's cell state, like h_0.
        weights: as `torch.nn` orders them: W_ih, W_hh and, with `spec.bias`, b_ih, b_hh for each layer and direction.
        spec: the cell and its options.
        batch_sizes: (T,), the entries alive at each step, never growing.

    Returns:
        The top layer's states in the layout of x, h_n and, for the LSTM, c_n, both (L*D, B, H).

    >>> weights = [torch.zeros(4, 3), torch.zeros(4, 4)]
    >>> out, h_n = recurrence(torch.ones(5, 2, 3), None, None, weights, Spec("rnn_tanh", bias=False))
    >>> out.shape, h_n.shape
    (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))
    """
    grad = torch.is_grad_enabled() and _wants_grad(*weights, x, h_0, c_0)
    dense = batch_sizes is None and not spec.batch_first and x.is_floating_point()
    if dense and spec.num_layers * spec.directions == 1 and _all_plain(x, h_0, c_0, *weights):
        if not grad:
            return single.forward(spec.cell, x, h_0, c_0, weights, False)[0]

        def again(x: Tensor, h_0: Tensor, c_0: Tensor, weights: Sequence[Tensor], needs: Any, grads: Any) -> Any:
            return replay(spec, None, x, h_0, c_0, weights, (), needs, grads)

        return single.Single.apply(spec.cell, again, x, h_0, c_0, *weights)  # type: ignore[return-value]
    turn = spec.batch_first and spec.dropout > 0  # torch draws its masks with time first
    if turn:
        x, spec = x.transpose(0, 1), spec._replace(batch_first=False)
    if grad:
        result: tuple[Tensor, ...] = _Recurrence.apply(spec, batch_sizes, x, h_0, c_0, *weights)  # type: ignore[assignment]
    else:
        rows = rows_of(spec, x, batch_sizes)
        h, c = (None if s is None else _plain(s) for s in (h_0, c_0))
        out, h_n, c_n = _forward(spec, rows, x, h, c, weights, None)
        if batch_sizes is None:
            out = out.view(*x.shape[:2], out.size(1))
        result = (out, h_n) if c_n is None else (out, h_n, c_n)
    return (result[0].transpose(0, 1), *result[1:]) if turn else result
