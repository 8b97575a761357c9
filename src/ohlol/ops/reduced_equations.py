"""Products and layers with weights of fewer bits, in plain PyTorch: what the kernels compute with `bf16` and `int8`.

With `bf16` the weights W_ih and W_hh are rounded to bfloat16, and all else is float32. With `int8` every row of W_ih
and W_hh, and every row of input and hidden state of every step, is rounded to q * scale with integers q from -127 to
127; the products of these integers are added exactly, and gates, biases and states are float32.

In a user's cell this holds for each of its products with a weight: a product with a concatenation is one product for
each of its parts.

Shapes: T time steps, B batch, I input size, H hidden size, K columns and M rows of a weight.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ohlol.cells import CELLS
from ohlol.cells.base import State, Weights
from ohlol.config import FULL_PRECISION
from ohlol.ops.step_recurrence import CompiledStep, PackedRows, prepare_step, torch_step_recurrence

_SMALLEST_SCALED = 1e-30
"""A row whose largest number is smaller counts as zeros, since its scale would not be a normal number."""
_EXACT_COLUMNS = 1 << 10
"""K up to which float32 adds K such products exactly, in any order."""


def quantize_rows(x: Float[Tensor, "*N K"]) -> tuple[Float[Tensor, "*N K"], Float[Tensor, "*N 1"]]:
    """Round every row to integers from -127 to 127, as float32, and a scale: q * scale is the row.

    A row with a number that is not finite has the scale NaN, and one of numbers below 1e-30 is zero.

    >>> quantize_rows(torch.tensor([[-2.54, 0.01, 1.27]]))[0].tolist()
    [[-127.0, 0.0, 64.0]]
    """
    largest = x.abs().amax(-1, keepdim=True)
    is_finite = x.isfinite().all(-1, keepdim=True)
    # One rounding: torch computes 127 / tensor as 127 * (1 / tensor).
    factor = torch.where(is_finite & (largest >= _SMALLEST_SCALED), largest.new_tensor(127) / largest, 0.0)
    scale = torch.where(factor > 0, largest / 127, torch.where(is_finite, 0.0, torch.nan))
    return (torch.where(is_finite, x, 0.0) * factor).round(), scale


def reduced_linear(x: Float[Tensor, "*N K"], W: Float[Tensor, "M K"], precision: str) -> Float[Tensor, "*N M"]:
    """The product x W^T of float32 tensors with a reduced precision, as the kernels compute it.

    >>> reduced_linear(torch.ones(1, 2), torch.tensor([[1.0, 0.5]]), "int8").item()  # 0.5 becomes 64 / 127
    1.503937005996704
    """
    if precision == FULL_PRECISION:
        return linear(x, W)
    if precision == "bf16":
        return linear(x, W.bfloat16().to(x.dtype))
    (q_x, scale_x), (q_W, scale_W) = quantize_rows(x), quantize_rows(W)
    exact = torch.float32 if x.size(-1) <= _EXACT_COLUMNS else torch.float64
    sums = linear(q_x.to(exact), q_W.to(exact)).to(x.dtype)
    return sums * (scale_W.squeeze(-1) * scale_x)


def run_equations(
    cell: str,
    x: Float[Tensor, "T B I"],
    state: State,
    weights: Sequence[Tensor],
    precision: str,
    hidden: Float[Tensor, "T B H"] | None = None,
) -> tuple[Float[Tensor, "T B H"], State]:
    """One layer in one direction with a reduced precision, in plain PyTorch.

    Args:
        cell: a cell with a kernel.
        x: the inputs.
        state: the states before the first step, each (B, H).
        weights: W_ih, W_hh and, if the layer has biases, b_ih and b_hh.
        hidden: the hidden states that each step but the first reads, in place of those that were computed here. A
            rounding of float32 may move a number to the next integer, and so two right results apart; with the hidden
            states of the other result, they stay together.

    Returns:
        The hidden state after every step, and the state after the last one.
    """
    W_ih, W_hh, *biases = weights
    b_ih, b_hh = biases or (W_ih.new_zeros(len(W_ih)),) * 2
    step, no_weights = CELLS[cell].step, torch.zeros_like(W_hh)
    assert step is not None
    (h, *rest), outputs = state, list[Tensor]()
    for t, x_t in enumerate(x):
        terms = reduced_linear(x_t, W_ih, precision) + b_ih, reduced_linear(h, W_hh, precision) + b_hh
        # The cell's own step, with the terms of the gates as its biases.
        h, *rest = step(x_t[:, :0], state=(h, *rest), weights=Weights(W_ih[:, :0], no_weights, *terms))
        outputs.append(h)
        h = h if hidden is None else hidden[t]
    return torch.stack(outputs), (outputs[-1], *rest)


def run_step_equations(
    step: CompiledStep, weights: Mapping[str, Tensor], x: Float[Tensor, "B I"], state: State, precision: str
) -> tuple[Float[Tensor, "B O"], State]:
    """One step of a user's cell with a reduced precision, in plain PyTorch.

    Args:
        step: the cell.
        weights: its parameters and buffers by name.
        x: the input.
        state: the states before the step, each (B, W).
        precision: as `reduced_linear` takes it.

    Returns:
        The output and the states after the step.
    """
    rows = PackedRows(1, len(x), len(x), None)
    tensors, values = prepare_step(step, weights, x, step.graph.trace.constants, rows)
    multiply = partial(_multiply, precision=precision)
    results = torch_step_recurrence(step, rows, [*tensors, *state], multiply)
    return (results[0], results[1:]) if step.graph.out else (values[step.graph.out_value], results)


def _multiply(x: Tensor, W: Tensor, precision: str) -> Tensor:
    """The product of (B, K) and (K, W)."""
    return reduced_linear(x, W.t(), precision)
