"""The head `sigmoid`: its loss against torch, and what its logits mean."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ohlol.models.heads import HEADS, LossOptions

LOGITS = torch.tensor([[2.0, -1.0, 0.0], [-3.0, 0.5, 1.0]])
SETS = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 2]])
"""The last column counts labels that training did not see."""


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0, 3.0])])
def test_the_loss_is_the_binary_cross_entropy(smoothing: float, weight: torch.Tensor | None) -> None:
    head = HEADS["sigmoid"](5, 3)
    targets = SETS[:, :3].float() * (1 - smoothing) + smoothing / 2
    expected = binary_cross_entropy_with_logits(LOGITS, targets, weight=weight)
    losses = head.loss(LOGITS, SETS, None, LossOptions(weight, smoothing, "none"))
    assert losses.shape == (2,)
    for reduction, value in (("mean", losses.mean()), ("sum", losses.sum())):
        assert head.loss(LOGITS, SETS, None, LossOptions(weight, smoothing, reduction)) == pytest.approx(value.item())
    assert losses.mean().item() == pytest.approx(expected.item())


def test_labels_are_independent() -> None:
    head = HEADS["sigmoid"](5, 3)
    assert head.decode(LOGITS).tolist() == [[1, 0, 1], [0, 1, 1]]
    assert torch.equal(head.probabilities(LOGITS), torch.sigmoid(LOGITS))
    probabilities, labels = head.n_best(LOGITS, 2)
    assert labels.tolist() == [[0, 2], [2, 1]]
    assert probabilities[0].tolist() == pytest.approx([0.880797, 0.5], abs=1e-6)
