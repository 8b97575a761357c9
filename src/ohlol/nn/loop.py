"""The module of a registered cell, and cells run one time step after the other in a Python loop.

Shapes: S packed steps, T time steps, B sequences, I input size, H hidden size, G gates.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ohlol.cells import CellSpec, State, Weights
from ohlol.nn.layers import CELL_CLASSES
from ohlol.utils.errors import InputError, describe_user_error


class StepCell(torch.nn.Module):
    """One step of a cell with a step function; parameters and initial values are those of `torch.nn`'s cells."""

    def __init__(self, spec: CellSpec, input_size: int, hidden_size: int):
        super().__init__()
        self.spec = spec
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = len(spec.gates) * hidden_size
        self.weight_ih = torch.nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = torch.nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih = torch.nn.Parameter(torch.empty(rows))
        self.bias_hh = torch.nn.Parameter(torch.empty(rows))
        bound = hidden_size**-0.5
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Float[Tensor, "B I"], state: State) -> State:
        """The state after one step."""
        weights = Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        assert self.spec.step is not None
        return self.spec.step(x, state=state, weights=weights)


def make_cell(spec: CellSpec, input_size: int, hidden_size: int) -> torch.nn.Module:
    """The module of a cell, with `forward(x, state)`, as `ohlol.nn.Recurrent` takes it.

    Raises:
        InputError: the module of the spec cannot be made of these sizes.
    """
    if spec.module is None:
        return StepCell(spec, input_size, hidden_size)
    try:
        cell = _make_module(spec.module, input_size, hidden_size)
    except Exception as error:
        raise InputError(
            "`cell` {name} cannot be made of input size {input_size} and hidden size {hidden_size}: {error}",
            name=spec.name,
            input_size=input_size,
            hidden_size=hidden_size,
            error=describe_user_error(error),
        ) from error
    if not isinstance(cell, torch.nn.Module):
        raise InputError(
            "`cell` {name} makes an object of type {type}, not a torch.nn.Module",
            name=spec.name,
            type=type(cell).__name__,
        )
    return cell


def _make_module(make: Callable[[int, int], Any], input_size: int, hidden_size: int) -> Any:
    """The module; on the meta device, one that cannot be made there, or not as a whole, is moved there."""
    if torch.get_default_device().type != "meta":
        return make(input_size, hidden_size)
    try:
        cell = make(input_size, hidden_size)
    except Exception:  # such as values that are read in Python, which meta tensors have not
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            cell = make(input_size, hidden_size)
    return cell.to("meta") if isinstance(cell, torch.nn.Module) else cell


class CellLoop(torch.nn.Module):
    """A cell over packed steps, as a Python loop over the time steps.

    The cell is torch's where torch has it, with the same initial values from the same seed, and otherwise a `StepCell`.
    """

    def __init__(self, spec: CellSpec, input_size: int, hidden_size: int):
        super().__init__()
        self.spec, self.hidden_size = spec, hidden_size
        if spec.torch_cell is None:
            self.cell: torch.nn.Module = StepCell(spec, input_size, hidden_size)
        else:
            self.cell = CELL_CLASSES[spec.torch_cell](input_size, hidden_size, **spec.torch_options)  # pyright: ignore[reportCallIssue]

    def _step(self, x: Tensor, state: State) -> State:
        if isinstance(self.cell, StepCell):
            return self.cell(x, state)
        (h, *others) = state
        result = self.cell(x, state if others else h)
        return result if isinstance(result, tuple) else (result,)

    def forward(self, x: PackedSequence, state: State | None) -> tuple[Float[Tensor, "S H"], State]:
        """The hidden state at every step, and the state (1, B, H) after the last step of each sequence."""
        sizes = x.batch_sizes.tolist()
        if sizes[-1] < 1 or sizes != sorted(sizes, reverse=True):
            raise ValueError("batch_sizes must be positive and in descending order")
        if state is None:
            state = tuple(x.data.new_zeros(1, sizes[0], self.hidden_size) for _ in self.spec.states)
        current = tuple(s[0] for s in state)
        hidden: list[Tensor] = []
        ended: list[State] = []
        for x_t in x.data.split(sizes):
            if len(x_t) < len(current[0]):  # the shortest sequences, at the end of the batch, are over
                ended.append(tuple(s[len(x_t) :] for s in current))
                current = tuple(s[: len(x_t)] for s in current)
            current = self._step(x_t, current)
            hidden.append(current[0])
        parts = [current, *reversed(ended)]
        final = tuple(torch.cat([part[k] for part in parts])[None] for k in range(len(self.spec.states)))
        return torch.cat(hidden), final
