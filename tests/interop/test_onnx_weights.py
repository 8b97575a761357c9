"""Weights in the gate order of ONNX: conversion in both directions, and ONNX's node tests by the equations."""

from typing import Any

import pytest
import torch

from ohlol.cells import CELLS, Weights
from ohlol.interop import onnx_weights

pytest.importorskip("onnx", reason="onnx is not installed")

from interop.onnx_cases import VARIANTS, difference, node_cases


@pytest.mark.parametrize("cell", [name for name, spec in CELLS.items() if spec.onnx is not None])
@pytest.mark.parametrize("D", [1, 2])
def test_conversion_round_trip(cell: str, D: int) -> None:
    spec = CELLS[cell]
    G = len(spec.gates)
    weights = [Weights(*(torch.randn(G * 4, *n) for n in ((3,), (4,), (), ()))) for _ in range(D)]
    W, R, B = onnx_weights.to_onnx(spec, weights)
    assert (W.shape, R.shape, B.shape) == ((D, G * 4, 3), (D, G * 4, 4), (D, 2 * G * 4))
    for before, after in zip(weights, onnx_weights.from_onnx(spec, W, R, B), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    bare = onnx_weights.from_onnx(spec, W, R, None)
    assert all(not w.b_ih.any() and not w.b_hh.any() for w in bare)
    again = onnx_weights.to_onnx(spec, [Weights(w.W_ih, w.W_hh) for w in weights])
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
def test_wrong_shapes_are_refused(W: Any, R: Any, B: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        onnx_weights.from_onnx(CELLS["lstm"], torch.zeros(W), torch.zeros(R), None if B is None else torch.zeros(B))


def test_there_are_18_node_tests() -> None:
    assert len(node_cases()) == 18
    assert set(VARIANTS) <= {case.name for case in node_cases()}


@pytest.mark.parametrize("case", node_cases(), ids=lambda case: case.name)
def test_onnx_node_tests(case: Any) -> None:
    """16 follow the equations of the cells; two are variants that torch does not have, and must differ."""
    if case.name in VARIANTS:
        assert difference(case, variant=True) < 1e-6
        assert difference(case, variant=False) > 1e-3
    else:
        assert difference(case, variant=False) < 1e-6
