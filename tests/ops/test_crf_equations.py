"""The equations of a CRF against the sum over every sequence of labels."""

import pytest
import torch
from chains import ChainCase, draw_chain, enumerate_chain, gradients_of, rows_of, score_of

from ohlol.ops import crf_equations
from ohlol.ops.crf_equations import ChainScores

SMALL = [([1], 1), ([1, 1], 3), ([5, 3, 3, 1], 2), ([4, 4], 4), ([5, 2, 1], 4)]
"""Lengths of the sequences, and K."""


def cases() -> list[ChainCase]:
    """Every one of them, with and without impossible transitions."""
    return [draw_chain(lengths, K, seed=K, forbidden=share) for lengths, K in SMALL for share in (0.0, 0.4)]


@pytest.mark.parametrize("case", cases())
def test_partition_scores_and_gradients_are_those_of_the_definition(case: ChainCase) -> None:
    by_hand = enumerate_chain(case)
    partition = crf_equations.log_partition(case.emissions, case.scores, case.batch_sizes)
    expected = torch.stack([scores.exp().sum().log() for _, scores in by_hand])
    torch.testing.assert_close(partition, expected, rtol=0, atol=1e-12)
    scores = crf_equations.score_labels(case.emissions, case.labels, case.scores, case.batch_sizes)
    rows = rows_of(case.batch_sizes)
    named = [score_of(case.emissions[at], tuple(case.labels[at].tolist()), case.scores) for at in rows]
    torch.testing.assert_close(scores, torch.stack(named), rtol=0, atol=1e-12)
    ours = gradients_of((partition - scores).sum(), case)
    theirs = gradients_of((expected - torch.stack(named)).sum(), case)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", cases())
@pytest.mark.parametrize("n", [1, 3])
def test_the_best_sequences_are_those_of_the_definition(case: ChainCase, n: int) -> None:
    labels, scores = crf_equations.best_sequences(case.emissions, case.scores, case.batch_sizes, n)
    for b, (rows, (every, expected)) in enumerate(zip(rows_of(case.batch_sizes), enumerate_chain(case), strict=True)):
        order = expected.argsort(descending=True, stable=True)[:n].tolist()
        possible = [i for i in order if expected[i] > -torch.inf]
        assert scores[b, : len(possible)].tolist() == pytest.approx([expected[i].item() for i in possible], abs=1e-12)
        assert (scores[b, len(possible) :] == -torch.inf).all()
        assert [tuple(labels[rows, k].tolist()) for k in range(len(possible))] == [every[i] for i in possible]


@pytest.mark.parametrize("case", cases())
def test_the_losses_of_the_steps_are_conditional_and_add_up(case: ChainCase) -> None:
    losses = crf_equations.step_losses(case.emissions, case.labels, case.scores, case.batch_sizes)
    for rows, (every, scores) in zip(rows_of(case.batch_sizes), enumerate_chain(case), strict=True):
        labels, probabilities = tuple(case.labels[rows].tolist()), scores.softmax(0)
        for t, row in enumerate(rows):
            prefix, longer = (
                sum(p for y, p in zip(every, probabilities, strict=True) if y[:k] == labels[:k]) for k in (t, t + 1)
            )
            assert losses[row].item() == pytest.approx(-(longer / prefix).log().item(), abs=1e-12)


def test_the_best_sequences_are_found_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    case = draw_chain([6, 3], 7)
    expected = crf_equations.best_sequences(case.emissions, case.scores, case.batch_sizes, 4)
    monkeypatch.setattr(crf_equations, "MAX_CANDIDATES", 100)
    for ours, theirs in zip(
        crf_equations.best_sequences(case.emissions, case.scores, case.batch_sizes, 4), expected, strict=True
    ):
        assert torch.equal(ours, theirs)


def test_the_gradient_of_a_sum_of_impossible_terms_is_zero() -> None:
    x = torch.full((2, 3), -torch.inf, dtype=torch.float64, requires_grad=True)
    total = crf_equations.log_sum(x, 1)
    assert (total == -torch.inf).all()
    assert torch.equal(torch.autograd.grad(total.sum(), x)[0], torch.zeros_like(x))
    assert crf_equations.log_sum(torch.tensor([[torch.nan, 1.0]]), 1).isnan().all()


def test_rows_of_packed_sequences() -> None:
    sizes = torch.tensor([3, 2, 2])
    assert crf_equations.previous_rows(sizes).tolist() == [0, 1, 3, 4]
    assert crf_equations.last_rows(sizes).tolist() == [5, 6, 2]
    assert crf_equations.sequences_of_rows(sizes).tolist() == [0, 1, 2, 0, 1, 0, 1]


def test_an_impossible_label_has_an_infinite_loss() -> None:
    case = draw_chain([2], 2)
    start = torch.tensor([0.0, -torch.inf], dtype=torch.float64)
    scores = ChainScores(case.scores.transitions, start, case.scores.end)
    losses = crf_equations.step_losses(case.emissions, torch.tensor([1, 0]), scores, case.batch_sizes)
    assert losses[0] == torch.inf
    assert losses[1].isfinite()
