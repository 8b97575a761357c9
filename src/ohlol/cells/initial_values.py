"""The initial values of cells that are modules."""

import torch


def draw_uniform(cell: torch.nn.Module, hidden_size: int) -> None:
    """Draw every parameter as torch's recurrent layers do, uniformly between -1/sqrt(H) and 1/sqrt(H).

    >>> cell = torch.nn.Linear(2, 16)
    >>> draw_uniform(cell, 16)
    >>> bool(cell.weight.abs().max() <= 0.25)
    True
    """
    bound = hidden_size**-0.5
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -bound, bound)
