"""The loss of logits and of a linear layer in blocks, against torch: value, gradients, labels; its memory; what torch
computes."""

from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode

from ohlol import ops
from ohlol.ops import backend, cross_entropy
from ohlol.ops.cross_entropy import LinearLayer, can_measure, linear_cross_entropy, measure

pytestmark = [
    pytest.mark.skipif(not ops.available(), reason="no compiled kernels"),
    pytest.mark.usefixtures("poisoned"),
]

F32, F64 = torch.float32, torch.float64
RELATIVE = {F32: 1e-5, F64: 2e-14}
"""Largest difference, as a share of the largest number of a tensor, at least 1: that of tests/parity."""
SIZES = ((1, 1, 2), (7, 3, 5), (64, 16, 17), (130, 33, 65), (300, 8, 1000))
"""N, W, K."""


@pytest.fixture(autouse=True)
def _small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "LEAST_NUMBERS", 0)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks, the last one smaller, at the sizes of these tests."""
    monkeypatch.setattr(cross_entropy, "BLOCK_NUMBERS", 1 << 10)
    monkeypatch.setattr(cross_entropy, "LEAST_ROWS", 48)


def draw(N: int, W: int, K: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, weight, bias and targets."""
    generator = torch.Generator().manual_seed(N + W + K)
    hidden, weight, bias = (
        torch.randn(shape, generator=generator, dtype=F64).to(dtype) for shape in ((N, W), (K, W), (K,))
    )
    return hidden, weight, bias, torch.randint(K, (N,), generator=generator)


def assert_near(name: str, ours: Tensor, theirs: Tensor) -> None:
    """Within rounding, as a share of the largest number."""
    assert ours.dtype is theirs.dtype
    assert ours.shape == theirs.shape
    size = max(1.0, float(theirs.detach().abs().max()))
    off = float((ours - theirs).detach().abs().max())
    assert off <= RELATIVE[theirs.dtype] * size, f"{name}: off by {off:.3g} of {size:.3g}"


def compare(hidden: Tensor, layer: LinearLayer, targets: Tensor, **options: Any) -> None:
    """The loss and the gradients of all leaves that need them, for a gradient other than 1, too."""
    leaves = [tensor for tensor in (hidden, *layer) if tensor is not None and tensor.requires_grad]
    theirs = torch_cross_entropy(linear(hidden, *layer), targets, **options)
    ours = linear_cross_entropy(hidden, layer, targets, **options)
    assert_near("loss", ours, theirs)
    for name, a, b in zip(
        "xWb", torch.autograd.grad(3 * ours, leaves), torch.autograd.grad(3 * theirs, leaves), strict=False
    ):
        assert_near(name, a, b)


@pytest.fixture
def two_threads() -> Generator[None]:
    """Two threads of torch, whatever it starts with: with one, torch computes the loss of logits."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(("N", "K"), [(1, 2), (5, 4), (64, 17), (300, 1000)])
def test_the_loss_of_logits_is_that_of_torch(
    N: int, K: int, dtype: torch.dtype, weighted: bool, smoothing: float, reduction: str
) -> None:
    _, _, label_weights, targets = draw(N, 3, K, dtype)
    generator = torch.Generator().manual_seed(N * K)
    logits = (4 * torch.randn(N, K, generator=generator, dtype=F64)).to(dtype).requires_grad_()
    targets[::5] = cross_entropy.IGNORED if N > 1 else targets[0]
    weight = label_weights.abs() if weighted else None
    options: dict[str, Any] = {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}
    kept = logits.detach().clone()
    ours, theirs = (loss(logits, targets, **options) for loss in (cross_entropy.cross_entropy, torch_cross_entropy))
    assert_near("loss", ours, theirs)
    for factor in (1, 3):
        d_ours, d_theirs = (torch.autograd.grad(factor * loss, logits, retain_graph=True)[0] for loss in (ours, theirs))
        assert_near("logits", d_ours, d_theirs)
    assert torch.equal(logits, kept)


@pytest.mark.usefixtures("two_threads")
def test_the_loss_of_logits_can_be_differentiated_twice() -> None:
    logits, targets = torch.randn(5, 4, dtype=F64, generator=torch.Generator().manual_seed(0)), torch.arange(5) % 4
    assert torch.autograd.gradgradcheck(
        lambda z: cross_entropy.cross_entropy(z, targets, label_smoothing=0.1), logits.requires_grad_()
    )


@pytest.mark.usefixtures("two_threads")
def test_a_target_that_is_no_label_of_logits_is_an_error() -> None:
    with pytest.raises(IndexError, match="the label 4 is none of 4"):
        cross_entropy.cross_entropy(torch.zeros(2, 4), torch.tensor([0, 4]))


@pytest.mark.usefixtures("two_threads")
def test_torch_computes_losses_of_logits_one_by_one_and_with_one_thread() -> None:
    logits, targets = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.arange(5) % 4
    none = cross_entropy.cross_entropy(logits, targets, reduction="none")
    assert torch.equal(none, torch_cross_entropy(logits, targets, reduction="none"))
    torch.set_num_threads(1)
    assert torch.equal(cross_entropy.cross_entropy(logits, targets), torch_cross_entropy(logits, targets))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(("N", "W", "K"), SIZES)
def test_loss_and_gradients_equal_those_of_torch(
    N: int, W: int, K: int, dtype: torch.dtype, weighted: bool, smoothing: float, reduction: str, variant: str
) -> None:
    hidden, weight, bias, targets = draw(N, W, K, dtype)
    targets[::5] = cross_entropy.IGNORED if N > 1 else targets[0]
    label_weights = torch.linspace(0.5, 2, K, dtype=dtype) if weighted else None
    for tensor in (hidden, weight, bias):
        tensor.requires_grad_()
    compare(
        hidden, LinearLayer(weight, bias), targets, weight=label_weights, label_smoothing=smoothing, reduction=reduction
    )


@pytest.mark.parametrize("needed", ["x", "W", "b", "xW", "Wb"])
def test_only_the_gradients_that_are_needed(needed: str) -> None:
    hidden, weight, bias, targets = draw(70, 9, 12, F64)
    for name, tensor in (("x", hidden), ("W", weight), ("b", bias)):
        tensor.requires_grad_(name in needed)
    compare(hidden, LinearLayer(weight, bias), targets)
    if needed != "b":
        compare(hidden, LinearLayer(weight, None), targets)


def test_a_weight_that_is_also_an_embedding_gets_both_gradients() -> None:
    _, weight, bias, targets = draw(50, 9, 12, F64)
    weight.requires_grad_()
    ids = torch.arange(50) % 12
    ours = linear_cross_entropy(weight[ids], LinearLayer(weight, bias), targets)
    theirs = torch_cross_entropy(linear(weight[ids], weight, bias), targets)
    assert_near("W", *(torch.autograd.grad(loss, weight)[0] for loss in (ours, theirs)))


def test_large_logits_and_what_is_not_finite() -> None:
    hidden, weight, bias, targets = draw(40, 9, 12, F32)
    hidden *= 1000
    hidden.requires_grad_()
    compare(hidden, LinearLayer(weight, bias), targets)
    for value in (float("nan"), float("inf")):
        broken = hidden.detach().clone()
        broken[3, 2] = value
        loss = linear_cross_entropy(broken, LinearLayer(weight, bias), targets)
        assert not loss.isfinite()
    nothing = torch.full((40,), cross_entropy.IGNORED)
    assert linear_cross_entropy(hidden, LinearLayer(weight, bias), nothing).isnan()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [F32, F64])
def test_measured_losses_and_labels_equal_those_of_torch(dtype: torch.dtype, variant: str) -> None:
    for N, W, K in SIZES:
        hidden, weight, bias, targets = draw(N, W, K, dtype)
        total, labels = measure(hidden, LinearLayer(weight, bias), targets)
        logits = linear(hidden, weight, bias)
        expected = torch_cross_entropy(logits, targets, reduction="sum")
        assert_near("loss", torch.tensor(total, dtype=dtype), expected)
        assert torch.equal(labels, logits.argmax(dim=1))
    layer = LinearLayer(torch.eye(3, dtype=dtype), torch.tensor([0, float("nan"), 5], dtype=dtype))
    for row, expected in ([[1.0, 1.0, 1.0], 1], [[float("nan"), 1.0, 1.0], 0]):
        assert measure(torch.tensor([row], dtype=dtype), layer, torch.tensor([0]))[1].item() == expected


def test_results_do_not_depend_on_the_number_of_calls_and_little_on_threads() -> None:
    hidden, weight, bias, targets = draw(301, 24, 130, F32)
    for tensor in (hidden, weight, bias):
        tensor.requires_grad_()
    threads, results = torch.get_num_threads(), []
    backend.force_threads(True)
    try:
        for count in (1, 1, 2, 2):
            torch.set_num_threads(count)
            loss = linear_cross_entropy(hidden, LinearLayer(weight, bias), targets)
            results.append([loss.detach(), *torch.autograd.grad(loss, (hidden, weight, bias))])
    finally:
        backend.force_threads(False)
        torch.set_num_threads(threads)
    for first, second in ((0, 1), (2, 3)):
        assert all(torch.equal(a, b) for a, b in zip(results[first], results[second], strict=True))
    for a, b in zip(results[0], results[2], strict=True):
        assert_near("threads", a, b)


class Largest(TorchDispatchMode):
    """The largest tensor that an operation of torch returns, in numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.untyped_storage().nbytes() // result.element_size())
        return result


def test_memory_does_not_hold_all_logits() -> None:
    N, W, K = 400, 4, 50_000
    hidden, weight, bias, targets = draw(N, W, K, F32)
    for tensor in (hidden, weight, bias):
        tensor.requires_grad_()
    layer = LinearLayer(weight, bias)
    with Largest() as largest:
        linear_cross_entropy(hidden, layer, targets).backward()
        measure(hidden, layer, targets)
    assert largest.numbers <= cross_entropy.LEAST_ROWS * K < N * K / 6
    expected = torch_cross_entropy(linear(hidden, weight, bias), targets)
    assert hidden.grad is not None
    assert weight.grad is not None
    for name, ours, theirs in zip(
        "xWb", (hidden.grad, weight.grad, bias.grad), torch.autograd.grad(expected, (hidden, weight, bias)), strict=True
    ):
        assert ours is not None
        assert_near(name, ours, theirs)


def test_few_logits_take_the_path_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, bias, targets = draw(5, 3, 4, F32)
    for least, name in ((20, "_LinearCrossEntropyBackward"), (21, "NllLossBackward0")):
        monkeypatch.setattr(cross_entropy, "LEAST_NUMBERS", least)
        loss = linear_cross_entropy(hidden.requires_grad_(), LinearLayer(weight, bias), targets)
        assert type(loss.grad_fn).__name__ == name


def test_a_target_that_is_no_label_is_refused() -> None:
    hidden, weight, bias, targets = draw(5, 3, 4, F32)
    for wrong in (4, -1):
        targets[2] = wrong
        with pytest.raises(IndexError, match=f"label {wrong} is none of 4"):
            linear_cross_entropy(hidden, LinearLayer(weight, bias), targets)


def test_gradients_are_kept_for_one_backward() -> None:
    hidden, weight, bias, targets = draw(5, 3, 4, F32)
    weight.requires_grad_()
    loss = linear_cross_entropy(hidden, LinearLayer(weight, bias), targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward"):
        loss.backward()


def test_what_the_kernels_cannot_read_takes_the_path_of_torch() -> None:
    hidden, weight, bias, targets = draw(5, 3, 4, F32)
    layer = LinearLayer(weight, bias)
    label_weights = torch.ones(4, requires_grad=True)
    assert can_measure(hidden, layer, targets)
    assert not can_measure(hidden, layer, targets, label_weights)
    assert not can_measure(hidden.bfloat16(), LinearLayer(weight.bfloat16(), None), targets)
    assert not can_measure(hidden[:0], layer, targets[:0])
    assert not can_measure(hidden, LinearLayer(weight.double(), bias), targets)
    assert not can_measure(hidden.to("meta"), layer, targets)
    with torch.autocast("cpu", torch.bfloat16):
        assert not can_measure(hidden, layer, targets)
    none = linear_cross_entropy(hidden, layer, targets, reduction="none")
    assert torch.equal(none, torch_cross_entropy(linear(hidden, weight, bias), targets, reduction="none"))
    with pytest.raises(RuntimeError, match="nll_loss"):
        linear_cross_entropy(hidden, layer, targets, weight=label_weights)
