"""Recurrent weights in ONNX's order and back in torch's; knows nothing of graphs, files or the onnx package.

ONNX stacks the gates as i o f c (LSTM) and z r h (GRU), torch as i f g o and r z n. A layer's directions lie in one
tensor each: W (D, G*H, I), R (D, G*H, H), B (D, 2*G*H) with both biases. Source: the ONNX operators RNN, GRU and LSTM;
the GRU is torch's only with `linear_before_reset` = 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ohlol.cells import Weights

ORDERS = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""For each of ONNX's gates the place of the same gate in torch's order."""


def to_onnx(kind: str, directions: Sequence[Weights]) -> tuple[Tensor, Tensor, Tensor]:
    """W, R and B of one layer from the weights of its directions; a bias that is left out is zero.

    >>> W, R, B = to_onnx("lstm", [Weights(torch.zeros(8, 3), torch.zeros(8, 2))])
    >>> W.shape, R.shape, B.shape
    (torch.Size([1, 8, 3]), torch.Size([1, 8, 2]), torch.Size([1, 16]))
    """
    order = ORDERS[kind]
    zero = directions[0].W_ih.new_zeros(len(directions[0].W_ih))
    W = torch.stack([_turned(w.W_ih, order) for w in directions])
    R = torch.stack([_turned(w.W_hh, order) for w in directions])
    biases = [torch.cat([_turned(zero if b is None else b, order) for b in (w.b_ih, w.b_hh)]) for w in directions]
    return W, R, torch.stack(biases)


def from_onnx(kind: str, W: Tensor, R: Tensor, B: Tensor | None) -> list[Weights]:
    """The weights of each direction of one layer; the reverse of `to_onnx`.

    Raises:
        ValueError: the shapes are not those of such a layer.
    """
    G = len(ORDERS[kind])
    if W.dim() != 3 or R.dim() != 3 or not 1 <= len(W) <= 2:
        raise ValueError(f"W is {tuple(W.shape)} and R {tuple(R.shape)}; they must be (D, {G}*H, I) and (D, {G}*H, H)")
    D, GH, H = R.shape
    if H < 1 or GH != G * H or W.shape[:2] != R.shape[:2] or W.size(2) < 1:
        raise ValueError(f"W is {tuple(W.shape)} and R {tuple(R.shape)}; they must be (D, {G}*H, I) and (D, {G}*H, H)")
    B = W.new_zeros(D, 2 * GH) if B is None else B
    if B.shape != (D, 2 * GH):
        raise ValueError(f"B is {tuple(B.shape)}; it must be {(D, 2 * GH)}")
    back = sorted(range(G), key=ORDERS[kind].__getitem__)
    parts = zip(W, R, B[:, :GH], B[:, GH:], strict=True)
    return [Weights(*(_turned(t, back) for t in part)) for part in parts]


def _turned(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Blocks of rows, one a gate, in another order."""
    gates = tensor.chunk(len(order))
    return torch.cat([gates[i] for i in order])
