"""The node tests of the onnx package for recurrent operators, computed with the equations of the cells."""

import importlib
from dataclasses import replace
from typing import Any

import onnx
import onnx.helper
import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from ohlol import cells
from ohlol.cells import State, Weights, unroll
from ohlol.interop.onnx_weights import from_onnx


def reset_first(x: Tensor, *, state: State, weights: Weights) -> State:
    """ONNX's GRU with linear_before_reset = 0, its default: the reset gate before the product, as in Cho et al."""
    (h,) = state
    x_r, x_z, x_n = linear(x, weights.W_ih, weights.b_ih).chunk(3, dim=-1)
    W_r, W_z, W_n = weights.W_hh.chunk(3)
    b_r, b_z, b_n = weights.b_hh.chunk(3)
    r, z = torch.sigmoid(x_r + linear(h, W_r, b_r)), torch.sigmoid(x_z + linear(h, W_z, b_z))
    n = torch.tanh(x_n + linear(r * h, W_n, b_n))
    return ((1 - z) * n + z * h,)


def peepholes(P: Tensor) -> Any:
    """ONNX's LSTM whose gates see the cell state, through weights P in the order i o f."""
    p_i, p_o, p_f = P.chunk(3)

    def step(x: Tensor, *, state: State, weights: Weights) -> State:
        h, c = state
        sums = linear(x, weights.W_ih, weights.b_ih) + linear(h, weights.W_hh, weights.b_hh)
        i, f, g, o = sums.chunk(4, dim=-1)
        new = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        return torch.sigmoid(o + p_o * new) * torch.tanh(new), new

    return step


VARIANTS = {"test_gru_seq_length": "reset first", "test_lstm_with_peepholes": "peepholes"}
"""The tests of variants that torch does not have."""


def node_cases() -> list[Any]:
    node = importlib.import_module("onnx.backend.test.case.node")
    for name in ("rnn", "gru", "lstm"):
        importlib.import_module(f"onnx.backend.test.case.node.{name}")
    cases = [c for c in node._NodeTestCases if c.model.graph.node[0].op_type in ("RNN", "GRU", "LSTM")]
    return sorted(cases, key=lambda c: c.name)


def compute(case: Any, *, variant: bool) -> dict[str, Tensor]:
    """The outputs of a node test, by the equations of the cells or by ONNX's variant of them."""
    (node,) = case.model.graph.node
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    named = dict(zip((i.name for i in case.model.graph.input), case.data_sets[0][0], strict=True))
    X, W, R, B, lens, h_0, c_0, P = (
        torch.from_numpy(named[n]) if n else None for n in [*node.input, *[""] * (8 - len(node.input))]
    )
    cell, direction = node.op_type.lower(), attributes.get("direction", b"forward").decode()
    if attributes.get("layout"):
        X = X.transpose(0, 1)
    T, N = X.shape[:2]
    spec = cells.CELLS[cell]
    step = spec.step
    if variant:
        step = peepholes(P[0]) if P is not None else reset_first
    outputs, ends = [], []
    for d, weights in enumerate(from_onnx(spec, W, R, B)):
        H = weights.W_hh.size(1)
        rows = []
        for n in range(N):  # one sequence at a time, so that nothing is padded
            x = X[: T if lens is None else int(lens[n]), n : n + 1]
            is_reversed = direction == "reverse" or d == 1
            start = tuple(
                torch.zeros(1, H) if s is None else s[d, n : n + 1] for s in ((h_0, c_0) if cell == "lstm" else (h_0,))
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(cells.CELLS._members, cell, replace(spec, step=step))
                y, state = unroll(cell, x.flip(0) if is_reversed else x, state=start, weights=weights)
            rows.append((y.flip(0) if is_reversed else y, state))
        outputs.append(torch.cat([y for y, _ in rows], dim=1))
        ends.append([torch.cat([s[i] for _, s in rows]) for i in range(len(rows[0][1]))])
    Y = torch.stack(outputs, dim=1)  # (T, D, N, H)
    last = [torch.stack(parts) for parts in zip(*ends, strict=True)]
    if attributes.get("layout"):
        Y, last = Y.permute(2, 0, 1, 3), [s.transpose(0, 1) for s in last]
    return {name: value for name, value in zip(node.output, (Y, *last), strict=False) if name}


def difference(case: Any, *, variant: bool) -> float:
    outputs = compute(case, variant=variant)
    names = [o.name for o in case.model.graph.output]
    assert set(names) <= set(outputs)
    pairs = [(outputs[n], torch.from_numpy(w)) for n, w in zip(names, case.data_sets[0][1], strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float((a - b).abs().max()) for a, b in pairs)
