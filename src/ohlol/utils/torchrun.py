"""The environment variables that torchrun sets for each process; without torch, so that the CLI starts fast."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError, shorten


@dataclass(frozen=True)
class Launch:
    """How torchrun started this process; the defaults describe a process that was started without it."""

    rank: int = 0
    """Index of this process among all processes of the run."""
    world_size: int = 1
    """Number of processes of the run, on all hosts."""
    local_rank: int = 0
    """Index of this process among those of this host."""
    local_world_size: int = 1
    """Number of processes on this host."""
    restarts: int = 0
    """How many times torchrun has restarted the processes; only the host of the process that failed counts."""
    shares_store: bool = False
    """Whether the processes meet at the store of torchrun's own agent."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Read the variables that torchrun sets.

    Raises:
        InputError: one of them is not a number.

    >>> read_launch({"RANK": "1", "WORLD_SIZE": "2"}).is_main
    False
    """

    def read(name: str, default: int) -> int:
        number = parse_digits(environment.get(name, str(default)))
        if number is None:
            raise InputError(
                "the environment variable {name} is {environment!r}; torchrun sets a number",
                name=name,
                environment=shorten(environment[name]),
            )
        return number

    return Launch(
        rank=read("RANK", 0),
        world_size=read("WORLD_SIZE", 1),
        local_rank=read("LOCAL_RANK", 0),
        local_world_size=read("LOCAL_WORLD_SIZE", 1),
        restarts=read("TORCHELASTIC_RESTART_COUNT", 0),
        shares_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )
