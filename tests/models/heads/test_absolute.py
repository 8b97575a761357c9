"""The head `absolute`: its loss by hand, and the constant that minimizes it."""

import pytest
import torch

from ohlol.models.heads import HEADS, LossOptions


def test_the_loss_is_reduced_over_the_predictions() -> None:
    head = HEADS["absolute"](3, 2)
    logits, targets = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.0, 4.0], [0.0, 0.0]])
    losses = head.loss(logits, targets, None, LossOptions(reduction="none"))
    assert losses.tolist() == [1.5, 0.5]
    assert head.loss(logits, targets).item() == 1.0
    assert head.loss(logits, targets, None, LossOptions(reduction="sum")).item() == 2.0
    assert torch.equal(head.decode(logits), logits)


@pytest.mark.parametrize(("name", "best"), [("absolute", 1.0), ("regression", 3.8)])
def test_the_best_constant_is_the_median_and_not_the_mean(name: str, best: float) -> None:
    head, targets = HEADS[name](1, 1), torch.tensor([[1.0], [1.0], [1.0], [0.0], [16.0]])
    constants = torch.linspace(-1, 17, 181)
    losses = [head.loss(constant.expand(5, 1), targets).item() for constant in constants]
    assert constants[losses.index(min(losses))].item() == pytest.approx(best, abs=1e-5)
