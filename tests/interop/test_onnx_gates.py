"""Weights in ONNX's order: there and back, and ONNX's own node tests through our equations."""

import importlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from ohlol import cells
from ohlol.cells import State, Weights, unroll
from ohlol.interop import onnx_gates

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.mark.parametrize("kind", list(cells.CELLS))
@pytest.mark.parametrize("D", [1, 2])
def test_there_and_back(kind: str, D: int) -> None:
    spec = cells.CELLS[kind]
    G = len(spec.gates)
    made = [Weights(*(torch.randn(G * 4, *n) for n in ((3,), (4,), (), ()))) for _ in range(D)]
    W, R, B = onnx_gates.to_onnx(spec, made)
    assert (W.shape, R.shape, B.shape) == ((D, G * 4, 3), (D, G * 4, 4), (D, 2 * G * 4))
    for before, after in zip(made, onnx_gates.from_onnx(spec, W, R, B), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    bare = onnx_gates.from_onnx(spec, W, R, None)
    assert all(not w.b_ih.any() and not w.b_hh.any() for w in bare)
    again = onnx_gates.to_onnx(spec, [Weights(w.W_ih, w.W_hh) for w in made])
    assert torch.equal(again[0], W)
    assert not again[2].any()


@pytest.mark.parametrize(
    ("W", "R", "B"),
    [
        ((1, 8, 3), (1, 8, 3), None),
        ((1, 8, 3), (1, 9, 2), None),
        ((2, 8, 3), (1, 8, 2), None),
        ((3, 8, 3), (3, 8, 2), None),
        ((8, 3), (8, 2), None),
        ((0, 8, 3), (0, 8, 2), None),
        ((1, 0, 3), (1, 0, 0), None),
        ((1, 8, 0), (1, 8, 2), None),
        ((1, 8, 3), (1, 8, 2), (1, 8)),
    ],
)
def test_shapes_that_are_none(W: Any, R: Any, B: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        onnx_gates.from_onnx(cells.CELLS["lstm"], torch.zeros(W), torch.zeros(R), None if B is None else torch.zeros(B))


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


OTHERS = {"test_gru_seq_length": "reset first", "test_lstm_with_peepholes": "peepholes"}
"""The tests whose answers are not those of torch's GRU and LSTM, hence not of ours: `ohlol import` refuses them."""


def cases() -> list[Any]:
    node = importlib.import_module("onnx.backend.test.case.node")
    for name in ("rnn", "gru", "lstm"):
        importlib.import_module(f"onnx.backend.test.case.node.{name}")
    found = [c for c in node._NodeTestCases if c.model.graph.node[0].op_type in ("RNN", "GRU", "LSTM")]
    return sorted(found, key=lambda c: c.name)


def answered(case: Any, *, ours: bool) -> dict[str, Tensor]:
    """What a node test's graph gives, by the equations of cells.py, or with `ours` false by ONNX's variant of them."""
    (node,) = case.model.graph.node
    told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    named = dict(zip((i.name for i in case.model.graph.input), case.data_sets[0][0], strict=True))
    X, W, R, B, lens, h_0, c_0, P = (
        torch.from_numpy(named[n]) if n else None for n in [*node.input, *[""] * (8 - len(node.input))]
    )
    kind, way = node.op_type.lower(), told.get("direction", b"forward").decode()
    if told.get("layout"):
        X = X.transpose(0, 1)
    T, N = X.shape[:2]
    spec = cells.CELLS[kind]
    step = spec.step
    if not ours:
        step = peepholes(P[0]) if P is not None else reset_first
    outputs, ends = [], []
    for d, weights in enumerate(onnx_gates.from_onnx(spec, W, R, B)):
        H = weights.W_hh.size(1)
        rows = []
        for n in range(N):  # each sequence for itself, so that its length is simply its length
            x = X[: T if lens is None else int(lens[n]), n : n + 1]
            turned = way == "reverse" or d == 1
            start = tuple(
                torch.zeros(1, H) if s is None else s[d, n : n + 1] for s in ((h_0, c_0) if kind == "lstm" else (h_0,))
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(cells.CELLS._members, kind, replace(spec, step=step))
                y, state = unroll(kind, x.flip(0) if turned else x, state=start, weights=weights)
            rows.append((y.flip(0) if turned else y, state))
        outputs.append(torch.cat([y for y, _ in rows], dim=1))
        ends.append([torch.cat([s[i] for _, s in rows]) for i in range(len(rows[0][1]))])
    Y = torch.stack(outputs, dim=1)  # (T, D, N, H)
    last = [torch.stack(parts) for parts in zip(*ends, strict=True)]
    if told.get("layout"):
        Y, last = Y.permute(2, 0, 1, 3), [s.transpose(0, 1) for s in last]
    return {name: value for name, value in zip(node.output, (Y, *last), strict=False) if name}


def off(case: Any, *, ours: bool) -> float:
    found = answered(case, ours=ours)
    names = [o.name for o in case.model.graph.output]
    assert set(names) <= set(found)
    pairs = [(found[n], torch.from_numpy(w)) for n, w in zip(names, case.data_sets[0][1], strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float((a - b).abs().max()) for a, b in pairs)


def test_there_are_18_node_tests() -> None:
    assert len(cases()) == 18
    assert set(OTHERS) <= {case.name for case in cases()}


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_onnx_node_tests(case: Any) -> None:
    """16 of them by our equations; two ask for variants that torch has not, and there ours must not agree."""
    if case.name in OTHERS:
        assert off(case, ours=False) < 1e-6
        assert off(case, ours=True) > 1e-3
    else:
        assert off(case, ours=True) < 1e-6
