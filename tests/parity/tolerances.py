"""How far the kernels may be from the equations and from torch, one row a dtype; nothing in tests/parity has another.

Both sides add the same terms in another order. A sum of n products of size about one errs by some sqrt(n) to n units
of the last place (n is 257 for the longest dot product of the time loop, and T * B = 1600 for the largest weight
gradient), and the time loop passes the error of one step to the next, shrunk by the gates. 64 to 100 units of the last
place, taken of the largest number in the tensor, allow for that and for nothing that is wrong: a gate left out, a
step missed or a tanh with half the digits is off by thousands.
"""

import torch
from torch import Tensor

RELATIVE = {torch.float32: 1e-5, torch.float64: 2e-14}
"""Largest difference allowed, as a share of the largest number of the tensor (at least 1)."""

REDUCED = {"bf16": 5e-3, "int8": 5e-2}
"""Largest distance of a layer with weights of fewer bits from float32, as a share of the largest number (at least 1).

For weights as torch initializes them and inputs of size one, up to 512 units and 50 steps. A weight in bf16 is off by
up to 2^-9 of itself, and one in int8 by up to 1/254 of the largest of its row, as are inputs and states; the errors of
the products of a row are added with random signs, which leaves one thousandth (bf16) or one hundredth (int8) of the sum
of a gate. The bounds allow five times as much for the steps that pass it on.
"""

ULP = {("tanh", torch.float32): 2.5, ("tanh", torch.float64): 2.5,
       ("sigmoid", torch.float32): 2.5, ("sigmoid", torch.float64): 2.5}  # fmt: skip
"""Largest error of the vector functions, in units of the last place of the true value."""


def assert_same(name: str, ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    """Both tensors agree within the table, and are NaN or infinite at the same places."""
    assert ours.shape == theirs.shape, f"{name}: shape {tuple(ours.shape)}, expected {tuple(theirs.shape)}"
    ours, theirs = ours.detach().double(), theirs.detach().double()
    if not theirs.numel():
        return
    finite = theirs.isfinite()
    assert torch.equal(ours.isfinite(), finite), f"{name}: not finite at other places"
    assert torch.equal(ours.isnan(), theirs.isnan()), f"{name}: NaN at other places"
    size = max(1.0, theirs[finite].abs().max().item()) if finite.any() else 1.0
    off = (ours - theirs)[finite].abs().max().item() if finite.any() else 0.0
    assert off <= RELATIVE[dtype] * size, f"{name}: off by {off:.3g}, allowed {RELATIVE[dtype] * size:.3g}"
