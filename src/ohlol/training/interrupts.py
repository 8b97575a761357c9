"""Contexts of a training: signals that stop it after its step, out-of-memory errors, deterministic algorithms."""

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch

from ohlol.utils.errors import TooLarge

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")
"""Parts of the messages of a RuntimeError with which torch reports that memory is exhausted."""


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` on the first SIGINT or SIGTERM; a second one has its usual effect.

    Python handles signals in the main thread only; in any other thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def handle_first(number: int, frame: Any) -> None:
        stop()
        for s, handler in handlers.items():
            signal.signal(s, handler)

    for s in handlers:
        signal.signal(s, handle_first)
    try:
        yield
    finally:
        for s, handler in handlers.items():
            signal.signal(s, handler)


@contextmanager
def explain_out_of_memory() -> Generator[None]:
    """Turn an out-of-memory error into an InputError that names the settings to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        raise TooLarge(
            "out of memory in training; a smaller `batch_size` helps most, then `bptt` (next, forecast, "
            "next_row) and `hidden_size`; the last saved state is unchanged"
        ) from None


@contextmanager
def deterministic_algorithms(enabled: bool, device: torch.device) -> Generator[None]:
    """Use torch's deterministic algorithms, if enabled."""
    if not enabled:
        yield
        return
    if device.type == "cuda":  # cuBLAS reads it at its start, and torch raises an error without it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # nothing here reads uninitialized memory, and filling it takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
