"""Steps of a cell drawn at random: two expressions of the operations that have kernels."""

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

I = 3
"""The width of the input."""
UNARY = ("tanh", "sigmoid", "sin", "cos", "erf", "square", "neg", "abs", "relu", "exp", "softplus", "detach", "mean",
         "softmax", "layer_norm", "amax", "sum")  # fmt: skip
BINARY = ("add", "sub", "mul", "maximum", "minimum", "where", "lerp", "div", "cat")
LEAVES = ("x", "xW", "h", "c", "hW", "cW", "b", "s", "number")


def unary(op: str, a: Tensor) -> Tensor:
    if op in ("tanh", "sigmoid", "sin", "cos", "erf", "square", "neg", "abs", "relu", "detach"):
        return getattr(a, op)()
    if op == "exp":
        return torch.exp(torch.tanh(a))
    if op == "softplus":
        return torch.nn.functional.softplus(a)
    if op == "softmax":
        return torch.softmax(a, 1)
    if op == "layer_norm":
        return torch.nn.functional.layer_norm(a, a.shape[1:], eps=0.1)
    return getattr(a, op)(1, keepdim=True) + 0.5 * a


def binary(op: str, a: Tensor, b: Tensor) -> Tensor:
    if op == "where":
        return torch.where(a > b, a, 2 * b)
    if op == "lerp":
        return torch.lerp(a, b, torch.sigmoid(a))
    if op == "div":
        return a / (1.5 + b.square())
    if op == "cat":
        half = a.size(1) // 2
        return torch.cat([b[:, half:], a[:, :half]], 1)
    return getattr(torch, op)(a, b)


def compute(tree: Any, leaves: dict[str, Tensor]) -> Tensor:
    """The value (B, H) of an expression."""
    op, *args = tree
    if op in leaves:
        return leaves[op]
    if op == "number":
        return torch.full_like(leaves["h"], args[0])
    values = [compute(arg, leaves) for arg in args]
    return unary(op, *values) if len(values) == 1 else binary(op, *values)


leaf = st.one_of(
    st.sampled_from(LEAVES[:-1]).map(lambda name: (name,)),
    st.sampled_from([-1.5, 0.0, 0.7, 1.0]).map(lambda n: ("number", n)),
)  # fmt: skip
trees = st.recursive(
    leaf,
    lambda inner: st.one_of(st.tuples(st.sampled_from(UNARY), inner), st.tuples(st.sampled_from(BINARY), inner, inner)),
    max_leaves=9,
)


def leaves_of(weights: dict[str, Tensor], x: Tensor, states: Sequence[Tensor]) -> dict[str, Tensor]:
    h, c = states
    return {
        "x": (x @ weights["P"])[:, : h.size(1)], "xW": x @ weights["U"], "h": h, "c": c, "hW": h @ weights["W"],
        "cW": torch.tanh(c) @ weights["W"].t(), "b": weights["b"].expand(len(h), -1), "s": weights["s"] * h,
    }  # fmt: skip


def step_of(tree_h: Any, tree_c: Any) -> Any:
    """A step whose results are bounded."""

    def step(weights: dict[str, Tensor], x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        leaves = leaves_of(weights, x, states)
        return torch.tanh(compute(tree_h, leaves)), torch.tanh(compute(tree_c, leaves))

    return step


class RandomCell(torch.nn.Module):
    """A cell with the states h and c, whose next values are the expressions."""

    def __init__(self, tree_h: Any, tree_c: Any, H: int):
        super().__init__()
        self.step = step_of(tree_h, tree_c)
        shapes = {"P": (I, H + 2), "U": (I, H), "W": (H, H), "b": (H,), "s": ()}
        self.weights = torch.nn.ParameterDict({name: torch.randn(shape) for name, shape in shapes.items()})

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.step(self.weights, x, state)
