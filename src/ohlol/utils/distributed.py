"""The processes of one run, as torchrun starts them, and their collective operations.

A run without torchrun has one process, for which every operation returns its argument. The process of rank 0 is the
main process: it alone writes files and prints. Values that decide how a run proceeds (loss, signals, time to save) are
reduced over all processes before any process acts on them, so that all take the same branch and none waits for a
message that never comes.
"""

import atexit
import gc
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

from ohlol.utils.devices import CPU
from ohlol.utils.errors import InputError, InputWarning, describe_error
from ohlol.utils.torchrun import read_launch
from ohlol.utils.translation import translate

RENDEZVOUS_TIMEOUT = timedelta(minutes=5)
"""How long the main process waits for the other processes to start."""
COLLECTIVE_TIMEOUT = timedelta(hours=2)
"""How long a process waits in a collective operation: as long as the main process may take to encode a file. A process
that ends is noticed at once, by its connection."""
PEER_FAILURES = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Connection refused",
    "Socket Timeout",
)
"""How gloo and the store report, in a RuntimeError, that another process has ended."""
T = TypeVar("T")


def rank_seed(seed: int, rank: int) -> int:
    """The seed of the random numbers that differ between processes, such as dropout; rank 0 has the run's seed."""
    return (seed + rank * 0x9E3779B97F4A7C15) % (1 << 63)


class MainProcessFailed(InputError):  # noqa: N818 - the error occurred in another process
    """Work of the main process failed; it reports the error, so the message is empty."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as seen from one of them."""

    rank: int = 0
    """Index of this process, from 0."""
    size: int = 1
    """Number of processes."""
    restarted: bool = False
    """Whether torchrun restarted the processes after one of them failed."""
    device: torch.device = CPU
    """The device that this process computes on."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """The part of each batch that this process computes: (rank, size)."""
        return self.rank, self.size

    def wrap_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model, with its gradients averaged over all processes in each backward pass."""
        if self.size == 1:
            return model
        device_ids = [self.device] if self.device.type == "cuda" else None
        _wrapped_models.append(DistributedDataParallel(model, device_ids=device_ids))
        return _wrapped_models[-1]

    def sum_values(self, values: Sequence[float]) -> list[float]:
        """Each number, summed over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.tolist()

    def sum_array(self, values: NDArray[Any]) -> NDArray[Any]:
        """An array, summed over all processes in its own dtype, so that integers stay exact."""
        if self.size == 1:
            return values
        total = torch.from_numpy(np.array(values))
        distributed.all_reduce(total)
        return total.numpy()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes by rank, in the main process; an empty list in the others.

        Args:
            tensor: on the CPU, of at most four axes; its shape may differ between processes.
        """
        if self.size == 1:
            return [tensor]
        shape = torch.tensor([*tensor.shape, *[-1] * (4 - tensor.dim())])
        shapes = [torch.empty_like(shape) for _ in range(self.size)]
        distributed.all_gather(shapes, shape)
        if not self.is_main:
            distributed.send(tensor.contiguous(), 0)
            return []
        tensors = [tensor]
        for rank in range(1, self.size):
            received = torch.empty([n for n in shapes[rank].tolist() if n >= 0], dtype=tensor.dtype)
            distributed.recv(received, rank)
            tensors.append(received)
        return tensors

    def run_on_main(self, work: Callable[[], T]) -> T | None:
        """Call `work` in the main process while the others wait.

        Returns:
            What `work` returns in the main process; None in the others.

        Raises:
            MainProcessFailed: in the other processes, where `work` raised in the main process.
        """
        if self.size == 1:
            return work()
        result, failed = None, 1.0
        try:
            if self.is_main:
                result = work()
            failed = 0.0
        finally:
            failed = self.sum_values([failed])[0]
        if failed:
            raise MainProcessFailed("")
        return result


SINGLE_PROCESS = Processes()
"""A run without torchrun, on the CPU."""


@contextmanager
def join_processes(device: torch.device = CPU) -> Generator[Processes]:
    """Connect this process to the others of its run, as the environment of torchrun describes them.

    Args:
        device: the device that this process computes on; all processes must use the same type of device.

    Raises:
        InputError: another process of the run ended, or computes on another type of device.
    """
    launch = read_launch()
    if launch.world_size == 1:
        yield Processes(restarted=launch.restarts > 0, device=device)
        return
    if launch.shares_store and launch.is_main:
        warnings.warn(
            translate(
                "a process that torchrun restarts would wait for ever; set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 "
                "before torchrun"
            ),
            InputWarning,
            2,
        )
    try:
        _connect(launch.world_size, device)
        processes = Processes(distributed.get_rank(), launch.world_size)
        # only the host of the process that failed counts a restart
        restarts, on_gpu = processes.sum_values([launch.restarts, device.type != "cpu"])
        if 0 < on_gpu < launch.world_size:
            raise InputError(
                "{on_gpu:g} of {world_size} processes compute on a GPU, the others on the CPU: give `device`",
                on_gpu=on_gpu,
                world_size=launch.world_size,
            )
        yield Processes(processes.rank, processes.size, restarts > 0, device)
    except RuntimeError as error:
        if not any(words in str(error) for words in PEER_FAILURES):
            raise
        raise InputError(
            "another process of this run has ended; torchrun starts all again from the last saved state if "
            "it was given --max-restarts, and `resume` does by hand"
        ) from None
    finally:
        _disconnect()


def _disconnect() -> None:
    """Destroy the process group with its threads: a thread that outlives the interpreter aborts the process.

    A reference to a wrapped model that remains, such as in the traceback of an error, refers to an emptied object.
    """
    while _wrapped_models:
        vars(_wrapped_models.pop()).clear()
    if distributed.is_initialized():
        distributed.destroy_process_group()
    gc.collect()


_wrapped_models: list[torch.nn.Module] = []
"""The models whose gradients are averaged over the processes."""
_stores: list[Any] = []
"""The store where the processes met, once, and an entry for each run since. A process may train several models, and a
second rendezvous at the same port would read what the first one left."""
atexit.register(_stores.clear)  # the store of the main process has a thread


def _connect(size: int, device: torch.device) -> None:
    if not _stores:
        try:
            store: Any = next(iter(rendezvous("env://", timeout=RENDEZVOUS_TIMEOUT)))[0]
        except RuntimeError as error:
            raise InputError(
                "the {size} processes of this run could not connect to each other: {error}",
                size=size,
                error=describe_error(error),
            ) from None
        store.set_timeout(COLLECTIVE_TIMEOUT)
        _stores.append(store)
    _stores.append(None)
    backend = "gloo"
    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index)
        # tensors on the CPU always go over gloo; gradients go over the backend of their device
        backend = f"cpu:gloo,{device.type}:{distributed.get_default_backend_for_device(device)}"
    import_module("torch.distributed.nn.functional")  # otherwise DDP imports it, and its defaults keep the group alive
    distributed.init_process_group(
        backend,
        store=PrefixStore(f"run-{len(_stores)}", _stores[0]),
        rank=read_launch().rank,
        world_size=size,
        timeout=COLLECTIVE_TIMEOUT,
    )
