"""A cell over a whole sequence, one step after the other."""

import torch
from jaxtyping import Float
from torch import Tensor

from ohlol.cells.base import CELLS, State, Weights


def unroll(
    cell: str, x: Float[Tensor, "T B I"], *, state: State, weights: Weights
) -> tuple[Float[Tensor, "T B H"], State]:
    """Run a cell over a whole sequence.

    Args:
        cell: the name of a registered cell.
        x: the inputs, time first.
        state: the state before the first step, a tensor (B, H) for each of the cell's states.
        weights: the cell's parameters.

    Returns:
        The hidden state after every step, (T, B, H), and the state after the last one.

    Raises:
        KeyError: no such cell.

    >>> weights = Weights(torch.zeros(2, 4), torch.zeros(2, 2))
    >>> output, (h,) = unroll("rnn", torch.ones(3, 1, 4), state=(torch.zeros(1, 2),), weights=weights)
    >>> output.shape, h.shape
    (torch.Size([3, 1, 2]), torch.Size([1, 2]))
    """
    step = CELLS[cell].step
    hidden: list[Tensor] = []
    for x_t in x:
        state = step(x_t, state=state, weights=weights)
        hidden.append(state[0])
    if not hidden:
        return state[0].new_empty(0, *state[0].shape), state
    return torch.stack(hidden), state
