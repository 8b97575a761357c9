"""What holds while a run trains: signals end it after its step, used-up memory is told, torch is deterministic.

Knows nothing of what is trained.
"""

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch

from ohlol.utils.errors import TooLarge

NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")
"""How torch says, in a RuntimeError, that memory is used up."""


@contextmanager
def signals(stop: Callable[[], None]) -> Generator[None]:
    """The first SIGINT or SIGTERM calls `stop`; a second one acts as it always does. Elsewhere than in the main thread,
    where Python lets nobody handle signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def first(number: int, frame: Any) -> None:
        stop()
        for s, handler in before.items():
            signal.signal(s, handler)

    for s in before:
        signal.signal(s, first)
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


@contextmanager
def enough_memory() -> Generator[None]:
    """Name the settings to lower where memory is used up."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        raise TooLarge(
            "out of memory in training; a smaller `batch_size` helps most, then `bptt` (next, forecast) and "
            "`hidden_size`; the last saved state is as it was"
        ) from None


@contextmanager
def deterministic(wanted: bool, device: torch.device) -> Generator[None]:
    """Hold torch to deterministic algorithms."""
    if not wanted:
        yield
        return
    if device.type == "cuda":  # cuBLAS reads it when it starts, and torch refuses to go on without
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # nothing here reads it, and filling takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
