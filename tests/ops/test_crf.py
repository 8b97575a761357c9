"""A CRF in the kernels, against every sequence of labels and against the equations; what it refuses."""

import pytest
import torch
from chains import F64, ChainCase, draw_chain, enumerate_chain, gradients_of, rows_of, sizes_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ohlol.ops import backend, crf, crf_equations
from ohlol.ops.crf_equations import ChainScores

pytestmark = pytest.mark.usefixtures("poisoned")

F32 = torch.float32
RELATIVE = {F32: 1e-5, F64: 2e-14}
"""Largest difference, as a share of the largest number of a tensor, at least 1: that of tests/parity."""


def run(case: ChainCase, labels: Tensor | None = None, grad: Tensor | None = None) -> tuple[Tensor, ...]:
    """The losses and all gradients."""
    losses = crf.losses(case.emissions, case.scores, case.batch_sizes, labels)
    return losses.detach(), *torch.autograd.grad(
        losses, case.leaves(), torch.ones_like(losses) if grad is None else grad
    )


def run_equations(case: ChainCase, labels: Tensor | None, grad: Tensor) -> tuple[Tensor, ...]:
    losses = crf_equations.log_partition(case.emissions, case.scores, case.batch_sizes)
    if labels is not None:
        losses = losses - crf_equations.score_labels(case.emissions, labels, case.scores, case.batch_sizes)
    return losses.detach(), *torch.autograd.grad(losses, case.leaves(), grad)


def assert_near(ours: Tensor, exact: Tensor, dtype: torch.dtype, scale: float) -> None:
    """Within rounding of the numbers that are added, whose largest sum is `scale`."""
    assert ours.dtype is dtype
    size = max(1.0, scale, float(exact.detach().abs().max()))
    assert float((ours.double() - exact.double()).detach().abs().max()) <= RELATIVE[dtype] * size


@pytest.mark.parametrize("forbidden", [0.0, 0.4])
@pytest.mark.parametrize(("lengths", "K"), [([1], 1), ([1, 1], 3), ([5, 3, 3, 1], 2), ([4, 4], 4), ([5, 2, 1], 4)])
def test_everything_equals_the_sum_over_every_sequence(
    lengths: list[int], K: int, forbidden: float, variant: str
) -> None:
    case = draw_chain(lengths, K, seed=3, forbidden=forbidden)
    by_hand = enumerate_chain(case)
    partition = torch.stack([scores.exp().sum().log() for _, scores in by_hand])
    rows = rows_of(case.batch_sizes)
    named = [dict(zip(every, scores, strict=True)) for every, scores in by_hand]
    score = torch.stack([scores[tuple(case.labels[at].tolist())] for at, scores in zip(rows, named, strict=True)])
    losses, *gradients = run(case, case.labels)
    torch.testing.assert_close(losses, (partition - score).detach(), rtol=0, atol=1e-12)
    for ours, exact in zip(gradients, gradients_of((partition - score).sum(), case), strict=True):
        torch.testing.assert_close(ours, exact, rtol=0, atol=1e-12)
    labels, best = crf.decode(case.emissions, case.scores, case.batch_sizes)
    marginals = crf.marginals(case.emissions, case.scores, case.batch_sizes)
    sequences, probabilities = crf.best_sequences(case.emissions, case.scores, case.batch_sizes, 2)
    for b, (at, (every, scores)) in enumerate(zip(rows, by_hand, strict=True)):
        order = scores.argsort(descending=True).tolist()
        assert tuple(labels[at].tolist()) == every[order[0]] == tuple(sequences[at, 0].tolist())
        assert float(best[b].detach()) == pytest.approx(float(scores[order[0]].detach()), abs=1e-12)
        p = scores.detach().softmax(0)
        assert probabilities[b, : len(every)].tolist() == pytest.approx([float(p[i]) for i in order[:2]], abs=1e-12)
        for t, row in enumerate(at):
            exact = [float(p[[i for i, y in enumerate(every) if y[t] == k]].sum()) for k in range(K)]
            assert marginals[row].tolist() == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("K", [1, 2, 7, 16, 17, 20, 33, 70])
@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
def test_kernels_equal_the_equations(K: int, scale: float, dtype: torch.dtype, variant: str) -> None:
    """Also where emissions differ so much that exponentials lose most of them."""
    case = draw_chain([12, 7, 7, 3, 1, 1], K, scale=scale, forbidden=0.3, dtype=dtype)
    grad = torch.randn(6, dtype=dtype, generator=torch.Generator().manual_seed(1))
    exact = case.to(F64)
    summed = run_equations(exact, None, grad.double().abs())  # with labels, a loss is the difference of two such sums
    for labels in (None, case.labels):
        results = zip(run(case, labels, grad), run_equations(exact, labels, grad.double()), summed, strict=True)
        for ours, expected, terms in results:
            assert_near(ours, expected, dtype, max(scale, float(terms.abs().max())))
    labels, best = crf.decode(case.emissions, case.scores, case.batch_sizes)
    expected_labels, expected_best = crf_equations.best_sequences(exact.emissions, exact.scores, case.batch_sizes)
    assert torch.equal(labels, expected_labels[:, 0])
    assert_near(best, expected_best[:, 0], dtype, scale)


@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=pytest.mark.slow), 50.0])
def test_float32_is_exact_over_ten_thousand_steps(scale: float) -> None:
    case = draw_chain([10_000, 10_000, 4_321], 5, scale=scale, forbidden=0.3, dtype=F32)
    exact = case.to(F64)
    grad = torch.ones(3)
    losses, *gradients = run(case, case.labels, grad)
    expected, *expected_gradients = run_equations(exact, case.labels, grad.double())
    torch.testing.assert_close(losses.double(), expected, rtol=1e-6, atol=0)
    assert_near(gradients[0], expected_gradients[0], F32, scale)
    for ours, theirs in zip(gradients[1:], expected_gradients[1:], strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-3)  # sums of 24,321 marginals
    labels, _ = crf.decode(case.emissions, case.scores, case.batch_sizes)
    assert torch.equal(labels, crf_equations.best_sequences(exact.emissions, exact.scores, case.batch_sizes)[0][:, 0])
    marginals = crf.marginals(case.emissions, case.scores, case.batch_sizes)
    torch.testing.assert_close(marginals.sum(1), torch.ones(len(marginals)), rtol=0, atol=1e-5)


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    K=st.integers(1, 19),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.1, 1.0, 100.0, 1000.0]),
    dtype=st.sampled_from([F32, F64]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_cases_drawn_at_random(lengths: list[int], K: int, seed: int, scale: float, dtype: torch.dtype) -> None:
    case = draw_chain(lengths, K, seed=seed, scale=scale, forbidden=0.5, dtype=dtype)
    grad = torch.ones(len(lengths), dtype=dtype)
    expected = run_equations(case.to(F64), case.labels, grad.double())
    for ours, exact in zip(run(case, case.labels, grad), expected, strict=True):
        assert_near(ours, exact, dtype, scale)


def test_results_do_not_depend_on_the_threads() -> None:
    case = draw_chain([40, 30, 30, 20, 9, 1], 20, dtype=F64)
    threads = torch.get_num_threads()
    backend.force_threads(True)
    try:
        results: list[tuple[Tensor, ...]] = []
        for count in (1, 2, 2, 4):
            torch.set_num_threads(count)
            results.append((*run(case, case.labels), *crf.decode(case.emissions, case.scores, case.batch_sizes)))
            assert backend.KERNEL is None or count == 1 or backend.KERNEL.threaded_calls()[1] == count
    finally:
        torch.set_num_threads(threads)
        backend.force_threads(False)
    for one, two, again, four in zip(*results, strict=True):
        assert torch.equal(two, again)
        for other in (two, four):
            torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_second_derivatives_and_views() -> None:
    case = draw_chain([3, 2], 3)
    fixed = case.labels

    def loss(x: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
        return crf.losses(x, ChainScores(transitions, start, end), case.batch_sizes, fixed)

    inputs = tuple(t.detach().requires_grad_() for t in case.leaves())
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)
    spread = torch.stack([case.emissions, case.emissions], dim=2)[:, :, 0]  # not contiguous
    assert torch.equal(crf.losses(spread, case.scores, case.batch_sizes, fixed), loss(*case.leaves()))
    transposed = case.scores._replace(transitions=case.scores.transitions.t().contiguous().t())
    assert torch.equal(crf.losses(case.emissions, transposed, case.batch_sizes, fixed), loss(*case.leaves()))


def test_impossible_and_infinite_numbers() -> None:
    case = draw_chain([4, 2], 3, dtype=F32)
    nothing = case.emissions.detach().clone()
    nothing[2] = -torch.inf  # the second step of the first sequence
    x = nothing.requires_grad_()
    losses = crf.losses(x, case.scores, case.batch_sizes)
    assert losses[0] == -torch.inf
    assert losses[1].isfinite()
    assert crf.best_sequences(x, case.scores, case.batch_sizes, 2)[1][0].tolist() == [0.0, 0.0]
    assert crf.marginals(x, case.scores, case.batch_sizes).isfinite().all()
    (gradient,) = torch.autograd.grad(losses[1], x)
    assert gradient.isfinite().all()
    for wrong in (torch.nan, torch.inf):
        rubbish = case.emissions.detach().clone()
        rubbish[2, 1] = wrong
        values, *gradients = run(case._replace(emissions=rubbish.requires_grad_()), case.labels)
        assert not values[0].isfinite()
        assert values[1].isfinite()
        assert not all(g.isfinite().all() for g in gradients)
        crf.decode(rubbish, case.scores, case.batch_sizes)


@pytest.mark.parametrize("labels", [[0, 1, 3], [0, -1, 2]])
def test_a_label_out_of_range_is_refused(labels: list[int]) -> None:
    case = draw_chain([2, 1], 3)
    for dtype in (F64, torch.float16):
        x, *scores = (t.detach().to(dtype) for t in case.leaves())
        with pytest.raises(IndexError, match=r"the label (3|-1) is none of 3"):
            crf.losses(x, ChainScores(*scores), case.batch_sizes, torch.tensor(labels))


def test_arguments_that_do_not_fit_are_refused() -> None:
    case = draw_chain([3, 1], 4)
    x, scores, sizes = case.emissions, case.scores, case.batch_sizes
    for arguments in (
        (x[0], scores, sizes),
        (x[:, :0], scores, sizes),
        (x.float(), scores, sizes),
        (x, scores._replace(transitions=scores.transitions[:3]), sizes),
        (x, scores._replace(start=scores.start[:, None]), sizes),
        (x, scores, sizes[:-1]),
        (x, scores, sizes.flip(0)),
        (x, scores, sizes.double()),
        (x, scores, torch.tensor([4, 0])),
        (x, scores, torch.tensor([], dtype=torch.int64)),
    ):
        for function in (crf.losses, crf.marginals, crf.decode):
            with pytest.raises(ValueError, match=r"emissions|transitions|start|batch_sizes"):
                function(*arguments)
    with pytest.raises(ValueError, match="labels"):
        crf.losses(x, scores, sizes, case.labels[:-1])
    with pytest.raises(ValueError, match="labels"):
        crf.losses(x, scores, sizes, case.labels.int())
    with pytest.raises(ValueError, match="n is 0"):
        crf.best_sequences(x, scores, sizes, 0)


def test_other_dtypes_take_the_equations() -> None:
    case = draw_chain([3, 2], 4)
    sizes = sizes_of([3, 2])
    x, *scores = (t.detach().bfloat16() for t in case.leaves())
    losses = crf.losses(x, ChainScores(*scores), sizes, case.labels)
    assert losses.dtype is torch.bfloat16
    assert losses.double().tolist() == pytest.approx(run(case, case.labels)[0].tolist(), abs=0.2)
    assert crf.marginals(x, ChainScores(*scores), sizes).sum(1).tolist() == pytest.approx([1.0] * 5, abs=0.05)
    assert crf.decode(x, ChainScores(*scores), sizes)[0].shape == (5,)
