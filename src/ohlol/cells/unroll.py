"""A cell over a whole sequence, one step after the other."""

import itertools
from collections.abc import Callable, Sequence

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
        ValueError: the cell is a module and has no step function.

    >>> weights = Weights(torch.zeros(2, 4), torch.zeros(2, 2))
    >>> output, (h,) = unroll("rnn", torch.ones(3, 1, 4), state=(torch.zeros(1, 2),), weights=weights)
    >>> output.shape, h.shape
    (torch.Size([3, 1, 2]), torch.Size([1, 2]))
    """
    step = CELLS[cell].step
    if step is None:
        raise ValueError(f"the cell {cell} has no step function: run it with ohlol.nn.Recurrent")
    hidden: list[Tensor] = []
    for x_t in x:
        state = step(x_t, state=state, weights=weights)
        hidden.append(state[0])
    if not hidden:
        return state[0].new_empty(0, *state[0].shape), state
    return torch.stack(hidden), state


def unroll_packed(
    step: Callable[[slice, State], tuple[Tensor, State]],
    batch_sizes: Sequence[int],
    state: State,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """Run a step over packed sequences.

    Args:
        step: maps the rows of a step, as a slice of all rows, and the states (b, W) of its sequences to the output
            (b, O) and the next states.
        batch_sizes: the number of sequences at each step, in descending order.
        state: the initial states, each (B, W).
        reverse: from the last step of each sequence to its first.

    Returns:
        The outputs (S, O) in the order of the rows, and the states (B, W) after the last step of each sequence.
    """
    ends = list(itertools.accumulate(batch_sizes))
    outputs: list[Tensor] = []
    ended: list[State] = []
    current = tuple(s[: batch_sizes[-1 if reverse else 0]] for s in state)
    for t in reversed(range(len(batch_sizes))) if reverse else range(len(batch_sizes)):
        size, before = batch_sizes[t], len(current[0]) if current else batch_sizes[t]
        if size < before:  # the shortest sequences, at the end of the batch, are over
            ended.append(tuple(s[size:] for s in current))
            current = tuple(s[:size] for s in current)
        elif size > before:  # in reverse, shorter sequences begin
            current = tuple(torch.cat([s, start[before:size]]) for s, start in zip(current, state, strict=True))
        out, current = step(slice(ends[t] - size, ends[t]), current)
        outputs.append(out)
    parts = [current, *reversed(ended)]
    final = tuple(torch.cat([part[k] for part in parts]) for k in range(len(state)))
    return torch.cat(outputs[::-1] if reverse else outputs), final
