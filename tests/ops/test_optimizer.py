"""A step of an optimizer in the kernels, against torch.optim over hundreds of steps; its state; what it refuses."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ohlol import ops
from ohlol.ops import backend
from ohlol.ops.optimizer import RULES, KernelOptimizer, find_obstacle

pytestmark = [
    pytest.mark.skipif(not ops.available(), reason="no compiled kernels"),
    pytest.mark.usefixtures("poisoned"),
]

F32, F64 = torch.float32, torch.float64
RELATIVE = {F32: 1e-5, F64: 2e-14}
"""Largest difference, as a share of the largest number of a tensor, at least 1: that of tests/parity."""
SHAPES = ((3, 5), (7,), (1,), (130, 67), (0, 4), (17,))
"""Of the parameters: not a multiple of a vector, more than one piece, empty."""
STEPS = 200
NOISE = torch.randn(9000, generator=torch.Generator().manual_seed(1), dtype=F64)


def draw(dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    """Parameters with normal values."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in SHAPES]


def set_gradients(parameters: list[Tensor], step: int, missing: int = 0) -> None:
    """Gradients towards zero with noise; every `missing`-th parameter and step has none."""
    for index, parameter in enumerate(parameters):
        has_none = missing and (step + index) % missing == 0
        noise = NOISE[step % 50 :][: parameter.numel()].view(parameter.shape).to(parameter.dtype)
        parameter.grad = None if has_none else parameter.detach() + noise


def make_theirs(rule: str, groups: list[dict[str, Any]], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimizer of torch with the same rule."""
    match rule:
        case "adam":
            return torch.optim.Adam(groups, lr, weight_decay=weight_decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr, weight_decay=weight_decay, foreach=True)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr, weight_decay=weight_decay)
        case _:
            return torch.optim.SGD(groups, lr, momentum=RULES["sgd"].beta1, weight_decay=weight_decay)


def assert_near(ours: Tensor, theirs: Tensor) -> None:
    """Within rounding, as a share of the largest number."""
    if theirs.numel():
        size = max(1.0, float(theirs.detach().abs().max()))
        off = float((ours.detach() - theirs.detach()).abs().max())
        assert off <= RELATIVE[theirs.dtype] * size, f"off by {off:.3g} of {size:.3g}"


@pytest.mark.parametrize(("weight_decay", "max_norm"), [(0.0, math.inf), (0.1, 5.0)])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("rule", RULES)
def test_steps_equal_those_of_torch(
    rule: str, dtype: torch.dtype, weight_decay: float, max_norm: float, variant: str
) -> None:
    ours, theirs = draw(dtype), draw(dtype)
    split = [[{"params": p[:2], "lr": 0.02}, {"params": p[2:]}] for p in (ours, theirs)]
    mine = KernelOptimizer(rule, split[0], 0.01, weight_decay=weight_decay)
    reference = make_theirs(rule, split[1], 0.01, weight_decay)
    for step in range(STEPS):
        for group in [*mine.param_groups, *reference.param_groups]:
            group["lr"] *= 0.99
        set_gradients(ours, step, missing=5)
        set_gradients(theirs, step, missing=5)
        norm = torch.nn.utils.get_total_norm([p.grad for p in theirs if p.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(theirs, max_norm, norm)
        reference.step()
        assert mine.step(max_norm) == pytest.approx(norm.item(), rel=RELATIVE[dtype])
    for a, b in zip(ours, theirs, strict=True):
        assert_near(a, b)
    expected = reference.state_dict()["state"]
    state = mine.state_dict()["state"]
    assert list(state) == sorted(expected)
    for index, values in state.items():
        known = {name: value for name, value in expected[index].items() if value is not None}
        assert set(values) == set(known)
        for name, value in values.items():
            assert value.shape == known[name].shape
            assert_near(value, known[name].to(value.dtype))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_the_mean_of_the_weights_is_updated(dtype: torch.dtype, variant: str) -> None:
    parameters = draw(dtype)
    optimizer = KernelOptimizer("adam", [{"params": parameters}], 0.1)
    means = {p: torch.zeros_like(p) for p in parameters}
    expected = [p.detach().clone() for p in means.values()]
    for step, weight in enumerate((1.0, 0.7, 0.5, 0.1, 0.001)):
        set_gradients(parameters, step, missing=3)
        optimizer.step(means=means, mean_weight=weight)
        for mean, parameter in zip(expected, parameters, strict=True):
            mean.lerp_(parameter.detach(), weight)
    for parameter, value in zip(parameters, expected, strict=True):
        assert_near(means[parameter], value)


def test_gradients_are_clipped_in_place() -> None:
    parameter = torch.ones(3, requires_grad=True)
    parameter.grad = torch.tensor([3.0, 0.0, 4.0])
    assert KernelOptimizer("sgd", [{"params": [parameter]}], 1.0).step(max_norm=1.0) == 5.0
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.0, 0.8]))
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.4, 1.0, 0.2]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_changes_nothing(value: float) -> None:
    parameters = draw(F32)
    optimizer = KernelOptimizer("adam", [{"params": parameters}], 0.1)
    means = {p: torch.zeros_like(p) for p in parameters}
    before, versions = [p.detach().clone() for p in parameters], [p._version for p in parameters]
    set_gradients(parameters, 0)
    assert parameters[3].grad is not None
    parameters[3].grad[100, 3] = value
    assert not math.isfinite(optimizer.step(means=means, mean_weight=0.5))
    assert all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))
    assert [p._version for p in parameters] == versions
    assert all(values["step"] == 0 for values in optimizer.state_dict()["state"].values())
    assert not any(mean.any() for mean in means.values())


def test_a_step_counts_as_a_change_of_the_weights() -> None:
    parameters = draw(F32)
    optimizer = KernelOptimizer("adam", [{"params": parameters}], 0.1)
    total = sum((p * p).sum() for p in parameters)
    set_gradients(parameters, 0)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("rule", RULES)
def test_results_do_not_depend_on_the_threads(rule: str) -> None:
    threads, results = torch.get_num_threads(), []
    backend.force_threads(True)
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            parameters = draw(F32)
            optimizer = KernelOptimizer(rule, [{"params": parameters}], 0.1)
            for step in range(3):
                set_gradients(parameters, step)
                optimizer.step(max_norm=1.0)
            results.append(parameters)
    finally:
        backend.force_threads(False)
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_a_state_of_torch_is_loaded(rule: str) -> None:
    ours, theirs = draw(F64), draw(F64)
    reference = make_theirs(rule, [{"params": theirs}], 0.01, 0.0)
    for step in range(10):
        set_gradients(theirs, step, missing=4)
        reference.step()
    with torch.no_grad():
        for a, b in zip(ours, theirs, strict=True):
            a.copy_(b)
    optimizer = KernelOptimizer(rule, [{"params": ours}], 0.01)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": reference.state_dict()["state"]})
    for step in range(10, 20):
        set_gradients(ours, step, missing=4)
        set_gradients(theirs, step, missing=4)
        optimizer.step()
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        assert_near(a, b)


def test_a_state_that_does_not_fit_is_refused() -> None:
    optimizer = KernelOptimizer("adam", [{"params": draw(F32)}], 0.1)
    groups = optimizer.state_dict()["param_groups"]
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}
    with pytest.raises(ValueError, match="exp_avg of parameter 1"):
        optimizer.load_state_dict({"state": {1: moments}, "param_groups": groups})
    with pytest.raises(KeyError):
        optimizer.load_state_dict({"state": {1: {"step": torch.tensor(1.0)}}, "param_groups": groups})
    with pytest.raises(ValueError, match="other groups"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
    assert optimizer.state_dict()["state"] == {}


def test_what_the_kernels_cannot_change_is_named() -> None:
    assert "no parameters" in find_obstacle([])
    assert "no parameters" in find_obstacle([torch.zeros(2, dtype=torch.float16)])
    assert "dtype" in find_obstacle([torch.zeros(2), torch.zeros(2, dtype=F64)])
    assert "contiguous" in find_obstacle([torch.zeros(3, 2).t()])
    assert "meta" in find_obstacle([torch.zeros(2, device="meta")])
    with pytest.raises(ValueError, match="contiguous"):
        KernelOptimizer("adam", [{"params": [torch.zeros(3, 2).t()]}], 0.1)


def test_tensors_that_changed_are_refused() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    optimizer = KernelOptimizer("adam", [{"params": [parameter]}], 0.1)
    parameter.grad = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (4,), check_invariants=True)
    with pytest.raises(ValueError, match="parameter 0"):
        optimizer.step()
    parameter.grad = None
    parameter.data = torch.zeros(4, dtype=F64)
    parameter.grad = torch.ones(4, dtype=F64)
    with pytest.raises(ValueError, match="parameter 0"):
        optimizer.step()


def test_a_gradient_that_is_not_contiguous_is_read() -> None:
    a, b = (torch.zeros(3, 4, requires_grad=True) for _ in range(2))
    a.grad, b.grad = torch.arange(12.0).view(4, 3).t(), torch.arange(12.0).view(4, 3).t().contiguous()
    for parameter in (a, b):
        KernelOptimizer("adam", [{"params": [parameter]}], 0.1).step(max_norm=1.0)
    assert torch.equal(a, b)
