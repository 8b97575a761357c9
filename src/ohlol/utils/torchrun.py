"""The environment variables that torchrun sets for each process; without torch, so that the CLI starts fast."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


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

    >>> read_launch({"RANK": "1", "WORLD_SIZE": "2"}).is_main
    False
    """
    return Launch(
        rank=int(environment.get("RANK", 0)),
        world_size=int(environment.get("WORLD_SIZE", 1)),
        local_rank=int(environment.get("LOCAL_RANK", 0)),
        local_world_size=int(environment.get("LOCAL_WORLD_SIZE", 1)),
        restarts=int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)),
        shares_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )
