"""The head `normal`: the constants that minimize its loss."""

import pytest
import torch

from ohlol.models.heads import HEADS


def test_the_head_begins_with_the_root_mean_square_of_the_residuals() -> None:
    head = HEADS["normal"](2, 2)
    head.start_from(torch.tensor([[3.0, 1.0], [-4.0, torch.nan], [0.0, -1.0]]), torch.zeros(2))
    distribution = head.distribution(head(torch.randn(1, 2)))
    assert distribution.mean.tolist() == [[0.0, 0.0]]
    assert distribution.stddev.flatten().tolist() == pytest.approx([(25 / 3) ** 0.5, 1.0], rel=1e-5)


def test_numbers_of_a_score_are_so_many_standard_deviations_from_the_mean() -> None:
    head = HEADS["normal"](2, 1)
    logits = torch.tensor([[2.0, 1.0]])
    scale = head.distribution(logits).stddev.item()
    numbers = head.at_scores(logits, torch.tensor([[[-1.0, 0.0, 2.0]]]))
    assert numbers.flatten().tolist() == pytest.approx([2 - scale, 2.0, 2 + 2 * scale])
    assert head.scores_of(logits, torch.tensor([[2 + scale]])).item() == pytest.approx(1.0, abs=1e-5)
