"""Zoneout, recurrent dropout, locked dropout and weight drop: random masks of a cell, of outputs and of weights.

The masks are inputs and states of the cell, so a cell with them runs in the kernels as it does without them.

Shapes: B sequences, S rows of all steps, I input size, W width of a state.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ohlol.nn.cell_interface import CellInterface
from ohlol.ops.dropout import dropout


@dataclass(frozen=True)
class Regularization:
    """The options of a layer, each a probability in [0, 1]."""

    zoneout: float | Sequence[float] = 0.0
    """With which a number of a state keeps its value in a step; of every state, or one for each."""
    recurrent_dropout: float = 0.0
    """With which a number of the first state is zero wherever the next step reads it, the same in all steps."""
    weight_dropout: Mapping[str, float] | None = None
    """With which a number of a parameter of the cell is zero in a call, by the parameter's name."""

    def __post_init__(self) -> None:
        probabilities = {"zoneout": self.zoneout, "recurrent_dropout": self.recurrent_dropout}
        probabilities |= {f"weight_dropout of {name}": p for name, p in (self.weight_dropout or {}).items()}
        for name, value in probabilities.items():
            for p in value if isinstance(value, Sequence) else (value,):
                check_probability(name, p)
        for name in ("zoneout", "recurrent_dropout"):
            object.__setattr__(self, name, as_constant(getattr(self, name)))

    def zoneout_of(self, interface: CellInterface) -> tuple[float, ...]:
        """The probability for each state of a cell.

        Raises:
            ValueError: there are more or fewer of them than states.
        """
        count = len(interface.state_sizes)
        if not isinstance(self.zoneout, Sequence):
            return (float(self.zoneout),) * count
        if len(self.zoneout) != count:
            raise ValueError(f"zoneout has {len(self.zoneout)} probabilities, and the cell {count} states")
        return tuple(map(float, self.zoneout))

    def drop_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters that `weight_dropout` names, each number zero with its probability or scaled by 1 / (1 - p).

        Source: Wan et al., "Regularization of neural networks using DropConnect" (2013), of recurrent weights by
        Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models" (2018).
        """
        return {name: dropout(weights[name], p) for name, p in (self.weight_dropout or {}).items()}


class SequenceDropout(torch.nn.Module):
    """Dropout of packed rows (S, W) in training: a mask for each row, or with `locked` for each sequence.

    Source of the locked masks: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural
    networks" (2016), as variational dropout.

    Args:
        p: the probability that a number is zero; the others are scaled by 1 / (1 - p).
        locked: whether all steps of a sequence have the same mask.

    >>> rows = torch.ones(6, 4)
    >>> out = SequenceDropout(0.5, locked=True)(rows, torch.tensor([2, 2, 2]))
    >>> torch.equal(out[:2], out[4:])
    True
    """

    def __init__(self, p: float, locked: bool = False):
        super().__init__()
        check_probability("dropout", p)
        self.p, self.locked = p, locked

    def forward(self, x: Tensor, batch_sizes: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """The rows with some numbers zero.

        Args:
            x: the rows.
            batch_sizes: (T,) of the packed batch; None where each row is a sequence of its own.
            rows: which rows of the packed batch `x` has; None for all.
        """
        if not (self.locked and self.training and self.p) or batch_sizes is None:
            return dropout(x, self.p) if self.training else x
        mask = dropout(x.new_ones(int(batch_sizes[0]), x.size(1)), self.p)
        sequences = sequences_of_rows(batch_sizes).to(x.device)
        return x * mask[sequences if rows is None else sequences[rows]]

    def extra_repr(self) -> str:
        """The options."""
        return f"p={self.p}, locked={self.locked}"


def sequences_of_rows(batch_sizes: Tensor) -> Tensor:
    """The sequence of each row of a packed batch, (S,).

    >>> sequences_of_rows(torch.tensor([3, 2, 1]))
    tensor([0, 1, 2, 0, 1, 0])
    """
    first = torch.repeat_interleave(batch_sizes.cumsum(0) - batch_sizes, batch_sizes)
    return torch.arange(len(first)) - first


def as_constant(p: Any) -> Any:
    """A probability of 0 as an integer, anything else as it is.

    torch's compiler makes an input of the graph of a fraction that a module has, and traces the model a second time
    when the graph does not need it; an integer is a constant of the graph.
    """
    return p or 0


def check_probability(name: str, p: float) -> None:
    """Refuse a number that is not in [0, 1]; raises ValueError."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name} should be a number in range [0, 1], got {p}")


def check_names(weight_dropout: Iterable[str], parameters: Iterable[str]) -> None:
    """Refuse names that are not parameters of the cell; raises ValueError."""
    names = list(parameters)
    for name in weight_dropout:
        if name not in names:
            raise ValueError(f"weight_dropout names {name!r}; the parameters of the cell are {', '.join(names)}")


class RegularizedCell(torch.nn.Module):
    """A cell with zoneout and recurrent dropout; its parameters are those of the cell.

    In training the masks of zoneout follow the columns of the input, and the mask of recurrent dropout is one more
    state, which no step changes. In evaluation each state is the mean over the masks of zoneout.

    Source: Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations" (2017); Gal and
    Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks" (2016).

    Args:
        cell: the cell.
        interface: what it takes and returns.
        regularization: its options.
        input_size: I.
    """

    def __init__(
        self, cell: torch.nn.Module, interface: CellInterface, regularization: Regularization, input_size: int
    ):
        super().__init__()
        self.cell, self.inner, self.input_size = cell, interface, input_size
        self.zoneout, self.dropout = regularization.zoneout_of(interface), regularization.recurrent_dropout

    @property
    def interface(self) -> CellInterface:
        """What this cell takes and returns in its mode."""
        masks = (self.inner.state_sizes[0],) if self._drops else ()
        return replace(self.inner, state_sizes=(*self.inner.state_sizes, *masks), has_tuple=True, returns_output=True)

    @property
    def _drops(self) -> bool:
        return self.training and self.dropout > 0

    def add_masks(self, x: Tensor, states: Sequence[Tensor], B: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The input and the states with masks drawn from torch's generator."""
        if self.training:
            kept = [
                (torch.rand(len(x), size, dtype=x.dtype, device=x.device) < p).to(x.dtype)
                for size, p in zip(self.inner.state_sizes, self.zoneout, strict=True)
                if p
            ]
            x = torch.cat([x, *kept], 1) if kept else x
        masks = (dropout(x.new_ones(B, self.inner.state_sizes[0]), self.dropout),) if self._drops else ()
        return x, (*states, *masks)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step."""
        count = len(self.inner.state_sizes)
        before, masks = state[:count], state[count:]
        read = (before[0] * masks[0], *before[1:]) if masks else before
        out, after = self.inner.unpack(self.cell(x[:, : self.input_size], self.inner.pack(read)))
        after = self._preserve(x, before, after)
        return out if self.inner.returns_output else after[0], (*after, *masks)

    def _preserve(self, x: Tensor, before: Sequence[Tensor], after: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The states of which some numbers stay what they were."""
        states: list[Tensor] = []
        column = self.input_size
        for old, new, p in zip(before, after, self.zoneout, strict=True):
            if not p:
                states.append(new)
            elif self.training:
                kept = x[:, column : column + old.size(1)]
                column += old.size(1)
                states.append(torch.where(kept > 0, old, new))
            else:
                states.append(torch.lerp(new, old, p))
        return tuple(states)
