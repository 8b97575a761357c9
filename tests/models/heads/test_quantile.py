"""The head `quantile`: its loss by the definition, its start and its quantiles."""

import pytest
import torch

from ohlol.models.heads import LossOptions
from ohlol.models.heads.quantile import LEVELS, MEDIAN, ROWS, QuantileHead


def make_head(width: int = 5, outputs: int = 3) -> QuantileHead:
    """A head in float64 with random weights."""
    torch.manual_seed(0)
    return QuantileHead(width, outputs).double()


def by_definition(head: QuantileHead, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Twice the quantile loss, its mean over levels and numbers, (N,); a missing number has none."""
    losses = torch.zeros(len(targets), dtype=torch.float64)
    for n, row in enumerate(targets):
        for k, y in enumerate(row):
            for q, level in enumerate(LEVELS):
                error = y - head.quantiles(logits)[n, k, q]
                if not torch.isnan(y):
                    losses[n] = losses[n] + 2 * torch.maximum(level * error, (level - 1) * error)
    return losses / (targets.size(1) * len(LEVELS))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_loss_and_gradient_are_those_of_the_definition(reduction: str):
    head = make_head()
    targets = torch.randn(4, 3, dtype=torch.float64)
    targets[2, 1] = torch.nan
    values: list[torch.Tensor] = []
    for compute in (lambda x: head.loss(x, targets, None, LossOptions(reduction=reduction)), None):
        logits = head(torch.ones(4, 5, dtype=torch.float64) * torch.arange(4).unsqueeze(1)).detach().requires_grad_()
        rows = by_definition(head, logits, targets) if compute is None else None
        loss = compute(logits) if rows is None else {"mean": rows.mean(), "sum": rows.sum(), "none": rows}[reduction]
        (loss * torch.arange(1, 1 + loss.numel())).sum().backward()
        values += [loss.detach(), logits.grad]
    assert torch.allclose(values[0], values[2], rtol=1e-12, atol=1e-14)
    assert torch.allclose(values[1], values[3], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("count", [ROWS - 1, ROWS, 2 * ROWS + 3])
def test_many_rows_have_the_losses_and_gradients_of_each_alone(count: int):
    head = make_head()
    targets = torch.randn(count, 3, dtype=torch.float64)
    targets[torch.rand(count, 3) < 0.1] = torch.nan
    logits = torch.randn(count, 3 * len(LEVELS), dtype=torch.float64, requires_grad=True)
    alone = torch.cat([head.loss(logits[n : n + 1], targets[n : n + 1]).view(1) for n in range(count)])
    together = head.loss(logits, targets, None, LossOptions(reduction="none"))
    assert torch.equal(alone, together)
    gradients = [torch.autograd.grad(losses.sum(), logits, retain_graph=True)[0] for losses in (alone, together)]
    assert torch.equal(*gradients)


def test_it_begins_with_the_spread_of_the_residuals_around_the_base():
    head = make_head(outputs=2)
    residuals = torch.randn(20000, 2, dtype=torch.float64) * torch.tensor([1.0, 3.0]) + torch.tensor([5.0, -5.0])
    residuals[::7, 0] = torch.nan
    head.start_from(residuals, torch.zeros(2))
    base = torch.tensor([[10.0, 20.0]], dtype=torch.float64)
    logits = head.add(head(torch.randn(1, 5, dtype=torch.float64)), base)
    assert torch.allclose(head.decode(logits), base)
    quantiles = head.quantiles(logits)[0] - base[0].unsqueeze(1)
    normal = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64))
    assert torch.allclose(quantiles[0], normal, atol=0.06)
    assert torch.allclose(quantiles[1], 3 * normal, atol=0.18)


def test_the_prediction_is_the_median():
    head = make_head()
    logits = torch.randn(6, 3 * len(LEVELS), dtype=torch.float64)
    assert torch.equal(head.decode(logits), head.quantiles(logits)[:, :, MEDIAN])
    with pytest.raises(TypeError, match="no probabilities"):
        head.probabilities(logits)


def test_training_finds_the_quantiles():
    """Quantiles of numbers that depend on nothing are those of the numbers."""
    head = make_head(outputs=1)
    targets = torch.randn(2000, 1, dtype=torch.float64) * 2 + 1
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    hidden = torch.zeros(2000, 5, dtype=torch.float64)
    for _ in range(400):
        optimizer.zero_grad()
        head.loss(head(hidden), targets).backward()
        optimizer.step()
    expected = torch.quantile(targets[:, 0], torch.tensor(LEVELS, dtype=torch.float64))
    assert torch.allclose(head.quantiles(head(hidden))[0, 0], expected, atol=0.1)
