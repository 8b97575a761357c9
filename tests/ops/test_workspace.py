"""Memory that calls use again: never while a tensor still uses it."""

import gc
import threading

import pytest
import torch

from ohlol import nn
from ohlol.ops import backend, workspace
from ohlol.ops.workspace import LEAST_BYTES, MOST_BYTES

SIZE = 2 * LEAST_BYTES


@pytest.fixture(autouse=True)
def _no_blocks():
    """Start and end without blocks."""
    workspace._local.blocks.clear()
    yield
    workspace._local.blocks.clear()


def take(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A workspace of a shape."""
    return workspace.workspace(torch.zeros((), dtype=dtype), *shape)


def test_memory_is_used_again_when_its_tensor_is_gone():
    """The second tensor lies where the first one lay, also where it is smaller."""
    address = take(SIZE).data_ptr()
    assert take(SIZE - 5).data_ptr() == address
    assert take(2, SIZE // 4).data_ptr() == address


def test_memory_is_not_used_while_a_view_of_its_tensor_lives():
    """A view, a detached tensor and a numpy array of the tensor keep its memory."""
    for keep in (lambda t: t[:1], lambda t: t.detach(), lambda t: t.numpy(), lambda t: t.untyped_storage()):
        kept = keep(take(SIZE))
        gc.collect()
        first, second = take(SIZE), take(SIZE)
        addresses = {t.data_ptr() for t in (first, second)}
        address = kept.ctypes.data if hasattr(kept, "ctypes") else kept.data_ptr()
        assert address not in addresses
        assert len(addresses) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_have_the_shape_and_dtype_and_begin_at_cache_lines(dtype: torch.dtype):
    """Small, usual and large ones."""
    for shape in ((3,), (SIZE,), (7, SIZE // 8), (MOST_BYTES // 4,)):
        tensor = take(*shape, dtype=dtype)
        assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == (shape, dtype, True)
        assert tensor.data_ptr() % 64 == 0
        assert not tensor.requires_grad


def test_dtypes_do_not_share_memory_and_small_requests_take_no_large_block():
    """A block of another dtype, or of more than twice the size, is not taken."""
    address = take(SIZE).data_ptr()
    assert take(SIZE, dtype=torch.float64).data_ptr() != address
    assert take(SIZE // 3).data_ptr() != address


def test_a_thread_keeps_a_limited_amount_of_memory():
    """The blocks that were used longest ago are dropped; tensors that use them keep their numbers."""
    size = MOST_BYTES // 4 // 4
    tensors = [take(size).fill_(k) for k in range(7)]
    assert sum(block.nbytes for block in workspace._local.blocks) <= MOST_BYTES
    assert [float(t[-1]) for t in tensors] == list(range(7))


def test_threads_have_blocks_of_their_own():
    """A free block of one thread is not taken by another."""
    address, others = take(SIZE).data_ptr(), []
    thread = threading.Thread(target=lambda: others.append(take(SIZE)))
    thread.start()
    thread.join()
    assert others[0].data_ptr() != address
    assert take(SIZE).data_ptr() == address


def test_the_numbers_are_nan_in_tests():
    """What is read before it is written shows."""
    backend.fill_with_nan(True)
    try:
        take(SIZE).zero_()
        assert take(SIZE).isnan().all()
    finally:
        backend.fill_with_nan(False)


@pytest.mark.parametrize("layer", ["lstm", "recurrent"])
def test_graphs_that_live_at_the_same_time_have_memory_of_their_own(layer: str):
    """Gradients of two calls whose backward passes run in either order, twice, are those of the calls alone."""
    torch.manual_seed(0)
    module = nn.LSTM(32, 64) if layer == "lstm" else nn.Recurrent(torch.nn.LSTMCell(32, 64))
    parameters = list(module.parameters())
    inputs = [torch.randn(40, 16, 32) for _ in range(2)]

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, parameters, retain_graph=True))

    expected = [gradients(module(x)[0].square().sum()) for x in inputs]
    losses = [module(x)[0].square().sum() for x in inputs]
    for k in (1, 0, 1, 0):
        for actual, right in zip(gradients(losses[k]), expected[k], strict=True):
            assert torch.equal(actual, right)
