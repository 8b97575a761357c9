"""The processes of one run, as torchrun starts them: which this is, and what they tell each other; knows no model.

One process is a team of one, which tells nobody anything. Rank 0 leads: it alone writes and prints. All that decides
how a run goes on (loss, signals, time to save) is made the same for all before anybody acts on it, so that none waits
for another that has gone elsewhere.
"""

import atexit
import gc
import os
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from ohlol.data.batches import Share
from ohlol.utils.devices import CPU
from ohlol.utils.errors import InputError, InputWarning, short

MEETING = timedelta(minutes=5)
"""How long the first process waits for the others to come."""
PATIENCE = timedelta(hours=2)
"""How long one process waits for the others: as long as the leader may take to encode a file. A process that ends is
noticed at once, by its connection."""
GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection refused", "Socket Timeout")
"""How gloo and the store say, in a RuntimeError, that another process has ended."""
T = TypeVar("T")


def rank_seed(seed: int, rank: int) -> int:
    """The seed of the chance that is a process's own, such as dropout; the leader's is the run's."""
    return (seed + rank * 0x9E3779B97F4A7C15) % (1 << 63)


class Elsewhere(InputError):  # noqa: N818 - the error is another's
    """The leader failed, and says why; there is nothing to add."""


@dataclass(frozen=True)
class Team:
    """The processes of a run."""

    rank: int = 0
    """Which this is, from 0."""
    size: int = 1
    restarted: bool = False
    """Whether torchrun started them again, after one of them ended."""
    device: torch.device = CPU
    """Where this one computes."""

    @property
    def leads(self) -> bool:
        """Whether this one writes and prints."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """Which part of each batch is this one's."""
        return self.rank, self.size

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model, its gradients averaged over all in each backward pass."""
        if self.size == 1:
            return model
        own = [self.device] if self.device.type == "cuda" else None
        _joint.append(DistributedDataParallel(model, device_ids=own))
        return _joint[-1]

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each number, summed over all."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.tolist()

    def total(self, values: NDArray[Any]) -> NDArray[Any]:
        """An array of numbers, summed over all; whole numbers stay exact."""
        if self.size == 1:
            return values
        total = torch.from_numpy(np.array(values))
        distributed.all_reduce(total)
        return total.numpy()

    def collected(self, tensor: Tensor) -> list[Tensor]:
        """A tensor of each, of any size on the CPU, in the order of ranks, where this one leads; elsewhere nothing."""
        if self.size == 1:
            return [tensor]
        shape = torch.tensor([*tensor.shape, *[-1] * (4 - tensor.dim())])
        shapes = [torch.empty_like(shape) for _ in range(self.size)]
        distributed.all_gather(shapes, shape)
        if not self.leads:
            distributed.send(tensor.contiguous(), 0)
            return []
        found = [tensor]
        for rank in range(1, self.size):
            other = torch.empty([n for n in shapes[rank].tolist() if n >= 0], dtype=tensor.dtype)
            distributed.recv(other, rank)
            found.append(other)
        return found

    def first(self, work: Callable[[], T]) -> T | None:
        """Do something on the leader alone while the others wait; None there.

        Raises:
            Elsewhere: on the others, where it failed on the leader.
        """
        if self.size == 1:
            return work()
        done, failed = None, 1.0
        try:
            if self.leads:
                done = work()
            failed = 0.0
        finally:
            failed = self.sums([failed])[0]
        if failed:
            raise Elsewhere("")
        return done


@contextmanager
def joined(device: torch.device = CPU) -> Generator[Team]:
    """The team that this process is of, by the environment that torchrun makes; alone where there is none.

    Args:
        device: where this process computes; the others must do so on the same kind.

    Raises:
        InputError: another process of the team ended, or computes on another kind of device.
    """
    size, restarts = (int(os.environ.get(name, low)) for name, low in (("WORLD_SIZE", 1), (RESTARTS, 0)))
    if size == 1:
        yield Team(restarted=restarts > 0, device=device)
        return
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and int(os.environ.get("RANK", 0)) == 0:
        warnings.warn(
            "a process that torchrun starts again would wait for ever; set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before "
            "torchrun",
            InputWarning,
            2,
        )
    try:
        _meet(size, device)
        team = Team(distributed.get_rank(), size)
        # only the host of the process that ended counts a restart
        restarts, elsewhere = team.sums([restarts, device.type != "cpu"])
        if 0 < elsewhere < size:
            raise InputError(
                f"{elsewhere:g} of {size} processes compute on a GPU, the others on the CPU: give --device"
            )
        yield Team(team.rank, size, restarts > 0, device)
    except RuntimeError as error:
        if not any(words in str(error) for words in GONE):
            raise
        raise InputError(
            "another process of this run has ended; torchrun starts all again from the last saved state if it was "
            "given --max-restarts, and --resume does by hand"
        ) from None
    finally:
        _part()


def _part() -> None:
    """End what joins this process to the others, with its threads: one that outlives Python ends the process with an
    abort. Whoever still holds a joint model, as the traceback of an error does, holds an empty one.
    """
    while _joint:
        vars(_joint.pop()).clear()
    if distributed.is_initialized():
        distributed.destroy_process_group()
    gc.collect()


_joint: list[torch.nn.Module] = []
"""The models that are joined to those of the others."""
_met: list[Any] = []
"""The place where the processes of this team met, once, and an entry for each run since: a process may train several,
and a second meeting at the same port would be told what the first one left."""
atexit.register(_met.clear)  # the leader's has a thread


def _meet(size: int, device: torch.device) -> None:
    if not _met:
        try:
            store: Any = next(iter(rendezvous("env://", timeout=MEETING)))[0]
        except RuntimeError as error:
            raise InputError(f"the {size} processes of this run did not meet: {short(error)}") from None
        store.set_timeout(PATIENCE)
        _met.append(store)
    _met.append(None)
    backend = "gloo"
    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index)
        # what processes tell each other of a run goes over gloo as ever; the gradients go where they are
        backend = f"cpu:gloo,{device.type}:{distributed.get_default_backend_for_device(device)}"
    import_module("torch.distributed.nn.functional")  # else DDP does, and its defaults keep the group alive
    distributed.init_process_group(
        backend,
        store=PrefixStore(f"run-{len(_met)}", _met[0]),
        rank=int(os.environ["RANK"]),
        world_size=size,
        timeout=PATIENCE,
    )


RESTARTS = "TORCHELASTIC_RESTART_COUNT"
