"""The heads of distributions: likelihoods and quantiles against scipy, and what they begin with."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, lengths_file, sine_file
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

import ohlol
from ohlol.interop.onnx_export import build_graph
from ohlol.models.heads import HEADS, LossOptions
from ohlol.models.heads.base import LEVELS, normal_scores
from ohlol.models.heads.distribution import LEAST_SCALE, DistributionHead, logits_of_scale, scale_of
from ohlol.models.heads.student_t import LEAST_DF
from ohlol.utils.errors import InputError, InputWarning

NAMES = ("normal", "student_t")
LOGITS = torch.tensor([[0.5, -1.0, 1.5, -2.0, 0.7, 0.1], [3.0, 0.2, -4.0, 0.0, 2.0, 8.0]])


def head_of(name: str, outputs: int = 2) -> DistributionHead:
    head = HEADS[name](3, outputs)
    assert isinstance(head, DistributionHead)
    return head


def logits_of(head: DistributionHead) -> Tensor:
    return LOGITS[:, : head.outputs * head.parameters_of_each]


def by_scipy(head: DistributionHead, logits: Tensor) -> stats.rv_continuous:
    """The distributions, (N, K)."""
    location, scale, *df = (parameter.double() for parameter in head.split(logits))
    scale = torch.nn.functional.softplus(scale) + LEAST_SCALE
    if not df:
        return stats.norm(location.numpy(), scale.numpy())
    return stats.t((LEAST_DF + torch.nn.functional.softplus(df[0])).numpy(), location.numpy(), scale.numpy())


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_negative_log_likelihood(name: str) -> None:
    head, targets = head_of(name), torch.tensor([[0.0, 2.0], [1.0, -7.0]])
    logits = logits_of(head)
    expected = -by_scipy(head, logits).logpdf(targets.numpy()).mean(axis=1)
    losses = head.loss(logits, targets, None, LossOptions(reduction="none"))
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    assert head.loss(logits, targets).item() == pytest.approx(expected.mean(), rel=1e-5)
    assert head.loss(logits, targets, None, LossOptions(reduction="sum")).item() == pytest.approx(
        expected.sum(), rel=1e-5
    )
    assert head.loss_unit == "loss"


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_number_has_no_loss_and_no_gradient(name: str) -> None:
    head = head_of(name)
    logits = logits_of(head).clone().requires_grad_()
    targets = torch.tensor([[torch.nan, 2.0], [torch.nan, torch.nan]])
    losses = head.loss(logits, targets, None, LossOptions(reduction="none"))
    expected = -by_scipy(head, logits.detach()).logpdf([[0.0, 2.0], [0.0, 0.0]])[0, 1] / 2
    assert losses.tolist() == pytest.approx([expected, 0.0], rel=1e-5)
    losses.sum().backward()
    assert logits.grad is not None
    gradient = logits.grad.unflatten(1, (2, head.parameters_of_each))
    assert torch.equal(gradient[0, 0], torch.zeros(head.parameters_of_each))
    assert torch.equal(gradient[1], torch.zeros(2, head.parameters_of_each))
    assert bool((gradient[0, 1] != 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_quantiles_are_those_of_the_distribution(name: str) -> None:
    head = head_of(name)
    logits = logits_of(head)
    expected = np.stack([by_scipy(head, logits).ppf(level) for level in LEVELS], axis=2)
    quantiles = head.quantiles(logits)
    assert quantiles.dtype == logits.dtype
    np.testing.assert_allclose(quantiles.numpy(), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(head.decode(logits), quantiles[:, :, LEVELS.index(0.5)])
    tails = torch.tensor([-4.0, 4.0]).expand(2, 2, 2)
    expected = np.stack([by_scipy(head, logits).ppf(stats.norm.cdf(score)) for score in (-4.0, 4.0)], axis=2)
    np.testing.assert_allclose(head.at_scores(logits, tails).numpy(), expected, rtol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_base_moves_the_distribution(name: str) -> None:
    head, base = head_of(name), torch.tensor([[1.0, -2.0], [0.0, 0.5]])
    logits = logits_of(head)
    moved = head.add(logits, base)
    torch.testing.assert_close(head.quantiles(moved), head.quantiles(logits) + base.unsqueeze(2))
    with pytest.raises(TypeError):
        head.probabilities(logits)


@pytest.mark.parametrize(("name", "draw"), [
    ("normal", lambda random: random.normal(size=20_000)),
    ("student_t", lambda random: random.normal(size=20_000)),
    ("student_t", lambda random: random.standard_t(3.0, size=20_000)),
])  # fmt: skip
def test_the_head_begins_with_the_distribution_of_the_residuals(name: str, draw) -> None:
    residuals = 0.7 * draw(np.random.default_rng(0))
    head = head_of(name)
    rows = torch.tensor(np.stack([residuals, 2 * residuals], axis=1), dtype=torch.float32)
    rows[::5, 0] = torch.nan
    head.start_from(rows, torch.zeros(2))
    logits = head(torch.randn(1, 3))
    assert head.decode(logits).tolist() == [[0.0, 0.0]]
    expected = np.quantile(residuals, LEVELS)
    np.testing.assert_allclose(head.quantiles(logits)[0, 1].detach(), 2 * expected, atol=0.1)
    np.testing.assert_allclose(head.quantiles(logits)[0, 0].detach(), expected, atol=0.07)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_residuals_that_are_zero_or_missing_give_a_finite_start(name: str, value: float) -> None:
    head = head_of(name)
    head.start_from(torch.full((9, 2), value), torch.zeros(2))
    logits = head(torch.zeros(1, 3))
    assert bool(torch.isfinite(head.quantiles(logits)).all())
    assert bool(torch.isfinite(head.loss(logits, torch.zeros(1, 2))))


@given(st.floats(2 * LEAST_SCALE, 1e6))
def test_the_logit_of_a_scale_gives_this_scale(scale: float) -> None:
    assert float(scale_of(logits_of_scale(torch.tensor(scale)))) == pytest.approx(scale, rel=1e-3)


def test_bf16_logits_give_the_same_distribution() -> None:
    """Logits are cast before the loss; the head itself works in their dtype."""
    head = head_of("student_t")
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(torch.randn(4, 3))
    assert bool(torch.isfinite(head.loss(logits.float(), torch.zeros(4, 2))))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=4))
def test_scores_are_the_reverse_of_numbers_at_scores(scores: list[float]) -> None:
    head = HEADS["quantile"](3, 1)
    logits = torch.tensor([[-3.0, -2.5, -2.0, -1.0, 0.0, 0.5, 2.0, 3.0, 3.5]]).double()
    asked = torch.tensor(scores).double().reshape(1, 1, -1)
    numbers = head.at_scores(logits, asked)
    for score, number in zip(scores, numbers.flatten().tolist(), strict=True):
        back = head.scores_of(logits, torch.tensor([[number]]).double())
        assert back.item() == pytest.approx(max(-3.0, min(3.0, score)), abs=1e-6)
    known = normal_scores(LEVELS, logits).reshape(1, 1, -1)
    torch.testing.assert_close(head.at_scores(logits, known).flatten(), logits.flatten())
    assert bool(torch.isnan(head.scores_of(logits, torch.tensor([[torch.nan]]))).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_heads_serve_every_task_of_numbers(name: str, tmp_path: Path) -> None:
    sine = sine_file(tmp_path / "sine.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # bf16 is slow on the CPU
        model = ohlol.fit(sine, task="forecast", target="height", head=name, precision="bf16", **TINY)
    (forecast,) = model.forecast(sine)
    assert (forecast.levels, forecast.intervals()) == (LEVELS, (80, 95))
    assert (np.diff(forecast.quantiles, axis=-1) > 0).all()
    with pytest.raises(InputError, match=f"`head` {name} cannot be exported"):
        build_graph(model)
    model = ohlol.fit(sine, task="next_row", head=name, **TINY)
    assert np.isfinite(model.next_rows(sine, 2)).all()
    assert np.isfinite(model.stream().step([50.0, 0.0]).row).all()
    words = lengths_file(tmp_path / "words.csv")
    model = ohlol.fit(words, task="regress", input="name", target="size", head=name, **TINY)
    assert np.isfinite(model.predict("abba").number)


@pytest.mark.parametrize("name", NAMES)
def test_the_spread_follows_the_hidden_state(name: str) -> None:
    """Errors of two sizes are learned from the likelihood."""
    hidden = torch.tile(torch.eye(2), (200, 1))
    scales = torch.tensor([0.1, 3.0])
    targets = torch.randn(400, 1, generator=torch.Generator().manual_seed(0)) * (hidden @ scales).unsqueeze(1)
    head = HEADS[name](2, 1)
    head.start_from(targets, torch.zeros(1))
    optimizer = torch.optim.Adam(head.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        head.loss(head(hidden), targets).backward()
        optimizer.step()
    quantiles = head.quantiles(head(torch.eye(2)))[:, 0].detach()
    widths = quantiles[:, LEVELS.index(0.9)] - quantiles[:, LEVELS.index(0.1)]
    np.testing.assert_allclose(widths, 2 * 1.2816 * scales, rtol=0.25)
