"""More threads than entries, more entries than threads, and concurrent callers: the results of one thread."""

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

from ohlol import nn

from .helpers import CELLS, Case, check, outputs_and_gradients
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
