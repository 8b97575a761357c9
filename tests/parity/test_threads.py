"""More threads than entries, more entries than threads, and concurrent callers: the results of one thread."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import numpy
import pytest
import torch

from ohlol import nn
from ohlol.ops import backend

from .helpers import CELLS, Case, call, check, outputs_and_gradients
from .tolerances import RELATIVE, assert_same


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("cell", CELLS)
def test_split_by_batch_and_by_hidden(variant: str, threaded: None, cell: str, threads: int) -> None:
    torch.set_num_threads(threads)
    for B, H in ((1, 130), (2, 130), (4, 33), (7, 70), (12, 130)):
        check(Case(cell, T=4, B=B, inputs=9, H=H, dtype=torch.float32))
    check(Case(cell, T=6, B=6, lengths=(6, 1, 3, 3, 2, 1), bidirectional=True, dtype=torch.float64))
    check(Case(cell, T=5, B=2, H=140, lengths=(2, 5), bidirectional=True, num_layers=2, dtype=torch.float64))


@pytest.mark.parametrize("cell", CELLS)
def test_concurrent_callers_get_the_results_of_one(threaded: None, cell: str) -> None:
    torch.set_num_threads(2)
    case = Case(cell, T=6, B=4, H=40, dtype=torch.float32)
    _, layer = case.layers()
    inputs = [case.tensors() for _ in range(4)]
    alone = [outputs_and_gradients(case, layer, tensors) for tensors in inputs]
    found: dict[int, list[list[torch.Tensor]]] = {}

    def work(place: int) -> None:
        torch.set_num_threads(2)
        found[place] = [outputs_and_gradients(case, layer, inputs[place]) for _ in range(5)]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(found) == list(range(len(inputs)))
    for place, runs in found.items():
        for run in runs:
            for ours, expected in zip(run, alone[place], strict=True):
                assert torch.equal(ours, expected)


def test_same_thread_count_same_bits(threaded: None) -> None:
    torch.set_num_threads(3)
    case = Case("lstm", T=9, B=10, H=70, dtype=torch.float32)
    _, layer = case.layers()
    tensors = case.tensors()
    first, second = outputs_and_gradients(case, layer, tensors), outputs_and_gradients(case, layer, tensors)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.set_num_threads(1)
    for one, three in zip(outputs_and_gradients(case, layer, tensors), first, strict=True):
        assert_same("one thread against three", one, three, torch.float32)


SPLIT = (
    Case("lstm", T=9, B=10, H=70, dtype=torch.float32),
    Case("gru", T=7, B=2, inputs=40, H=200, dtype=torch.float32),
    Case("rnn", T=40, B=3, inputs=9, H=300, num_layers=2, bidirectional=True, dtype=torch.float32),
    Case("gru", T=8, B=6, lengths=(6, 1, 8, 3, 2, 1), bidirectional=True),
    Case("lstm", T=5, B=2, H=140, lengths=(2, 5), bidirectional=True, num_layers=2),
)
"""Calls that split the batch, and calls that split the hidden units."""


@pytest.mark.parametrize("case", SPLIT, ids=lambda case: f"{case.cell}-{case.B}")
@pytest.mark.parametrize("parts", [2, 5])
def test_the_bits_do_not_depend_on_the_threads_that_run_the_parts(threaded: None, case: Case, parts: int) -> None:
    torch.set_num_threads(parts)
    _, layer = case.layers()
    tensors = case.tensors()
    expected = outputs_and_gradients(case, layer, tensors)
    for limit in (1, 2, 3):
        backend.limit_threads(limit)
        before = threaded_calls()
        for one, other in zip(outputs_and_gradients(case, layer, tensors), expected, strict=True):
            assert torch.equal(one, other)
        after = threaded_calls()
        assert after == before if limit == 1 else (after[0] > before[0] and after[1] == min(limit, parts))


@pytest.mark.parametrize("case", SPLIT, ids=lambda case: f"{case.cell}-{case.B}")
def test_the_caller_continues_without_a_thread_that_is_late(threaded: None, case: Case) -> None:
    """With a short timeout most threads leave at their first barriers; the caller runs their parts."""
    torch.set_num_threads(5)
    _, layer = case.layers()
    tensors = case.tensors()
    expected = outputs_and_gradients(case, layer, tensors)
    with _leave_timeout(1):
        for _ in range(20):
            for one, other in zip(outputs_and_gradients(case, layer, tensors), expected, strict=True):
                assert torch.equal(one, other)


def test_threads_that_wait_for_each_other_are_not_used(threaded: None) -> None:
    """Two threads on one processor: a call takes longer than on one thread, and the following ones run on one."""
    torch.set_num_threads(2)
    case = Case("gru", T=300, B=1, inputs=64, H=130, dtype=torch.float32)
    _, layer = case.layers()
    tensors = case.tensors()
    expected = outputs_and_gradients(case, layer, tensors)  # starts the threads
    assert backend.KERNEL is not None
    backend.KERNEL.force_threads(False)
    with _one_processor():
        end = time.monotonic() + 20
        while not backend.KERNEL.is_contended() and time.monotonic() < end:
            for one, other in zip(outputs_and_gradients(case, layer, tensors), expected, strict=True):
                assert torch.equal(one, other)
        assert backend.KERNEL.is_contended()
    before = threaded_calls()
    backend.force_threads(True)
    assert not backend.KERNEL.is_contended()
    outputs_and_gradients(case, layer, tensors)
    assert threaded_calls()[0] > before[0]


@pytest.mark.parametrize("cell", CELLS)
def test_parts_of_unequal_work_are_not_taken_for_lost_time(threaded: None, cell: str) -> None:
    """One of the eight parts has no entry, and another one as many rows as four of the others."""
    case = Case(cell, T=400, B=8, inputs=120, H=120, lengths=(400, *[100] * 7), dtype=torch.float32)
    _, layer = case.layers()
    tensors = case.tensors()
    times: dict[int, list[list[int]]] = {1: [], 8: []}
    with _leave_timeout(10**10):
        for threads, found in [*times.items()] * 10:
            torch.set_num_threads(threads)
            start = time.perf_counter_ns()
            (out, *_) = call(case, layer, tensors)
            middle, forward = time.perf_counter_ns(), threaded_calls()
            torch.autograd.grad(out, list(layer.parameters()), torch.ones_like(out))
            end, backward = time.perf_counter_ns(), threaded_calls()
            found.append([middle - start, end - middle] if threads == 1 else [forward[2], backward[2]])
            assert threads == 1 or (forward[1], backward[1]) == (8, 8)
    for one, estimates in zip(zip(*times[1], strict=True), zip(*times[8], strict=True), strict=True):
        assert max(estimates) > min(one) / 2


def threaded_calls() -> list[int]:
    """How many calls ran on several threads; the threads of the last one, and its time on one, estimated."""
    assert backend.KERNEL is not None
    return backend.KERNEL.threaded_calls()


@contextmanager
def _one_processor() -> Generator[None]:
    """All threads of this process on one processor."""
    before = os.sched_getaffinity(0)
    _set_affinity({min(before)})
    try:
        yield
    finally:
        _set_affinity(before)


def _set_affinity(processors: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(int(thread), processors)


@contextmanager
def _leave_timeout(nanoseconds: int) -> Generator[None]:
    assert backend.KERNEL is not None
    backend.KERNEL.set_leave_timeout(nanoseconds)
    try:
        yield
    finally:
        backend.KERNEL.set_leave_timeout(0)


def test_the_kernel_is_used() -> None:
    assert nn.explain_backend(nn.RNN(2, 3), torch.ones(4, 1, 2)).startswith("kernel")


@pytest.mark.parametrize("cell", CELLS)
def test_a_forked_process_runs_on_one_thread(cell: str) -> None:
    """The OpenMP threads of the parent do not exist in the child, which would wait for them forever."""
    torch.set_num_threads(2)
    case = Case(cell, T=10, B=8, inputs=64, H=64, dtype=torch.float32)
    _, layer = case.layers()
    (x, *_) = case.tensors()
    expected = _run(layer, x)  # starts the threads
    run_forked(_compare, layer, x, expected)
    assert all(numpy.array_equal(a, b) for a, b in zip(_run(layer, x), expected, strict=True))


def test_a_forked_process_runs_the_operations_of_torch() -> None:
    """A layer falls back to torch for one step with large weights; a model has other parts, too."""
    torch.set_num_threads(2)
    layer, x = nn.RNN(1024, 1024), torch.ones(1, 1, 1024)
    assert not nn.explain_backend(layer, x).startswith("kernel")
    expected = _predict(layer, x)
    run_forked(_compare_predictions, layer, x, expected)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("forks", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_many_forks_end(forks: int) -> None:
    """Also while the idle team exists, which keeps the threads of OpenMP from spinning, and while it ends."""
    torch.set_num_threads(2)
    layer, x = nn.GRU(64, 64), torch.randn(20, 8, 64)
    expected = _run(layer, x)
    try:
        for number in range(forks):
            if number == forks // 2:
                backend.limit_threads(1)  # a call of two parts on one thread starts the idle team
            _run(layer, x)
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    signal.alarm(60)
                    _compare(layer, x, expected)
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        backend.force_threads(False)


def run_forked(check: Callable[..., None], *arguments: Any) -> None:
    """Run a check in a forked process, which must not hang."""
    process = multiprocessing.get_context("fork").Process(target=check, args=arguments)
    process.start()
    process.join(60)
    hangs = process.is_alive()
    process.kill()
    process.join()
    assert not hangs
    assert process.exitcode == 0


@torch.no_grad()
def _predict(layer: torch.nn.Module, x: torch.Tensor) -> numpy.ndarray:
    return (layer(x)[0][0] @ torch.ones(1024, 1000).exp()).numpy()


def _compare_predictions(layer: torch.nn.Module, x: torch.Tensor, expected: numpy.ndarray) -> None:
    assert numpy.abs(_predict(layer, x) - expected).max() <= RELATIVE[torch.float32] * numpy.abs(expected).max()


def _run(layer: torch.nn.Module, x: torch.Tensor) -> list[numpy.ndarray]:
    """The output and the gradients."""
    out = layer(x)[0]
    grads = torch.autograd.grad(out, list(layer.parameters()), torch.ones_like(out))
    return [tensor.detach().numpy() for tensor in (out, *grads)]


def _compare(layer: torch.nn.Module, x: torch.Tensor, expected: list[numpy.ndarray]) -> None:
    assert torch.get_num_threads() == 1
    for forked, parent in zip(_run(layer, x), expected, strict=True):
        assert numpy.abs(forked - parent).max() <= RELATIVE[torch.float32] * max(1, numpy.abs(parent).max())
