"""Convert recurrent weights between the gate order of torch and that of ONNX; the onnx package is not needed.

The directions of a layer share three tensors in ONNX: W (D, G*H, I), R (D, G*H, H) and B (D, 2*G*H), which holds both
biases. The gate order of a cell is that of its `OnnxOperator`. Source: the ONNX operators RNN, GRU and LSTM.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ohlol.cells import CellSpec, Weights


def onnx_order(spec: CellSpec) -> list[int]:
    """For each of ONNX's gates the index of the same gate in torch's order.

    >>> from ohlol.cells import CELLS
    >>> onnx_order(CELLS["lstm"])
    [0, 3, 1, 2]
    """
    assert spec.onnx is not None
    return [spec.symbols.index(symbol) for symbol in spec.onnx.gate_order]


def to_onnx(spec: CellSpec, directions: Sequence[Weights]) -> tuple[Tensor, Tensor, Tensor]:
    """W, R and B of one layer from the weights of its directions; a missing bias is zero.

    >>> from ohlol.cells import CELLS
    >>> W, R, B = to_onnx(CELLS["lstm"], [Weights(torch.zeros(8, 3), torch.zeros(8, 2))])
    >>> W.shape, R.shape, B.shape
    (torch.Size([1, 8, 3]), torch.Size([1, 8, 2]), torch.Size([1, 16]))
    """
    order = onnx_order(spec)
    zero = directions[0].W_ih.new_zeros(len(directions[0].W_ih))
    W = torch.stack([_reorder(w.W_ih, order) for w in directions])
    R = torch.stack([_reorder(w.W_hh, order) for w in directions])
    biases = [torch.cat([_reorder(zero if b is None else b, order) for b in (w.b_ih, w.b_hh)]) for w in directions]
    return W, R, torch.stack(biases)


def from_onnx(spec: CellSpec, W: Tensor, R: Tensor, B: Tensor | None) -> list[Weights]:
    """The weights of each direction of one layer; the inverse of `to_onnx`.

    Raises:
        ValueError: the shapes are not those of a layer of this cell.
    """
    order = onnx_order(spec)
    G = len(order)
    if W.dim() != 3 or R.dim() != 3 or not 1 <= len(W) <= 2:
        raise ValueError(f"W is {tuple(W.shape)} and R {tuple(R.shape)}; they must be (D, {G}*H, I) and (D, {G}*H, H)")
    D, GH, H = R.shape
    if H < 1 or GH != G * H or W.shape[:2] != R.shape[:2] or W.size(2) < 1:
        raise ValueError(f"W is {tuple(W.shape)} and R {tuple(R.shape)}; they must be (D, {G}*H, I) and (D, {G}*H, H)")
    B = W.new_zeros(D, 2 * GH) if B is None else B
    if B.shape != (D, 2 * GH):
        raise ValueError(f"B is {tuple(B.shape)}; it must be {(D, 2 * GH)}")
    inverse = sorted(range(G), key=order.__getitem__)
    parts = zip(W, R, B[:, :GH], B[:, GH:], strict=True)
    return [Weights(*(_reorder(tensor, inverse) for tensor in part)) for part in parts]


def _reorder(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """The rows of each gate in another order."""
    gates = tensor.chunk(len(order))
    return torch.cat([gates[i] for i in order])
