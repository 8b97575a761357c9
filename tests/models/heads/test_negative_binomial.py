"""The head of counts: likelihood and quantiles against scipy, its scaling, and forecasts of counts with it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, sine_file
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

import ohlol
from ohlol.inference.backtest import backtest
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop.onnx_export import build_graph
from ohlol.models.heads import HEADS, LossOptions
from ohlol.models.heads.base import LEVELS
from ohlol.models.heads.negative_binomial import NegativeBinomialHead, count_quantiles, middle_levels
from ohlol.utils.errors import InputError

SERIES, ROWS, HORIZON, DISPERSION = 24, 120, 7, 0.5
NONE = LossOptions(reduction="none")
MEANS = (1e-3, 0.05, 1.0, 30.0, 2e3, 1e6)


def head_of(outputs: int = 1) -> NegativeBinomialHead:
    head = HEADS["negative_binomial"](3, outputs)
    assert isinstance(head, NegativeBinomialHead)
    return head


def by_scipy(mean: float | NDArray[np.float64], dispersion: float) -> stats.rv_discrete:
    return stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean))


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("dispersion", [1e-6, 0.01, 0.5, 8.0])
def test_the_loss_of_float32_logits_is_the_negative_log_likelihood(mean: float, dispersion: float) -> None:
    counts = np.unique(by_scipy(mean, dispersion).ppf([1e-4, 0.1, 0.5, 0.9, 1 - 1e-4]))
    logits = torch.tensor([[mean, dispersion]]).log().expand(len(counts), -1)
    losses = head_of().loss(logits, torch.tensor(counts, dtype=torch.float32).unsqueeze(1), None, NONE)
    assert losses.dtype == torch.float32
    # the density of the logits as they are rounded to float32
    rounded = logits[0].double().exp().tolist()
    expected = -by_scipy(rounded[0], rounded[1]).logpmf(counts)
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mean", MEANS)
def test_the_gradient_of_the_whole_head(mean: float) -> None:
    head = head_of(2).double()
    hidden = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    base = torch.full((4, 2), np.log(mean), dtype=torch.float64)
    counts = torch.tensor([[0.0, 1.0], [2.0, 0.0], [round(mean), 3.0], [torch.nan, round(1.5 * mean)]]).double()

    def loss(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        parameters = {"weight": weight, "bias": bias}
        logits = torch.func.functional_call(head, parameters, hidden)
        return head.loss(head.add(logits, base), counts, None, NONE)

    assert torch.autograd.gradcheck(loss, (hidden, head.weight, head.bias), rtol=1e-4)


def test_a_missing_count_has_no_loss_and_no_gradient() -> None:
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    head = head_of(2)
    losses = head.loss(logits, torch.tensor([[torch.nan, 2.0], [torch.nan, torch.nan]]), None, NONE)
    own = head_of().loss(logits[:1, 2:], torch.tensor([[2.0]]))
    assert losses.tolist() == pytest.approx([own.item() / 2, 0.0])
    losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, :2].tolist() == logits.grad[1, :2].tolist() == [0.0, 0.0]
    assert bool((logits.grad[0, 2:] != 0).all())


@given(st.floats(-7, 14), st.floats(-18, 4), st.floats(-4, 4))
def test_quantiles_and_levels_are_those_of_scipy(log_mean: float, log_dispersion: float, score: float) -> None:
    mean, dispersion = np.exp(log_mean), np.exp(log_dispersion)
    distribution, level = by_scipy(mean, dispersion), float(stats.norm.cdf(score))
    parameters = torch.tensor(mean, dtype=torch.float64), torch.tensor(dispersion, dtype=torch.float64)
    found = count_quantiles(torch.tensor(level, dtype=torch.float64), *parameters).item()
    assert found == int(found) >= 0
    tolerance = 1e-6 if found < 512 else 1e-3  # of a level
    assert distribution.cdf(found) >= level - tolerance
    assert distribution.cdf(found - 1) <= level + tolerance
    middle = middle_levels(torch.tensor(found, dtype=torch.float64), *parameters).item()
    expected = distribution.cdf(found - 1) + distribution.pmf(found) / 2
    assert middle == pytest.approx(expected, abs=1e-6 if found < 512 else 1e-3)


def test_quantiles_of_a_head_are_whole_numbers_and_the_prediction_is_the_median() -> None:
    logits = torch.tensor([[0.5, -1.0, 8.0, -3.0]])
    head = head_of(2)
    quantiles = head.quantiles(logits)
    for column, (mean, dispersion) in enumerate(logits.double().exp().reshape(2, 2).tolist()):
        assert quantiles[0, column].tolist() == by_scipy(mean, dispersion).ppf(LEVELS).tolist()
    assert torch.equal(head.decode(logits), quantiles[:, :, LEVELS.index(0.5)])
    scores = head.scores_of(logits, torch.tensor([[0.0, torch.nan]]))
    assert scores[0, 0].item() == pytest.approx(stats.norm.ppf(by_scipy(np.exp(0.5), np.exp(-1)).pmf(0) / 2), abs=1e-5)
    assert bool(scores[0, 1].isnan())


def test_the_mean_is_scaled_by_that_of_the_base_and_the_dispersion_by_its_root() -> None:
    head, nu = head_of(), torch.tensor([[1.0], [100.0]])
    logits = head(torch.randn(1, 3))
    moved = head.distribution(head.add(logits.expand(2, -1), nu.log()))
    assert (moved.mean[1] / moved.mean[0]).item() == pytest.approx(100, rel=1e-4)
    assert (moved.total_count[1] / moved.total_count[0]).item() == pytest.approx(10, rel=1e-4)
    factors = torch.nn.functional.softplus(head.bias)
    at_zero = head.distribution(head(torch.zeros(1, 3)))
    assert [at_zero.mean.item(), 1 / at_zero.total_count.item()] == pytest.approx(factors.tolist(), rel=1e-5)


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("dispersion", [0.03, 1.0])
def test_the_head_begins_with_the_distribution_of_the_counts(factor: float, dispersion: float) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(-1, 6, size=(4000, 1))
    mean = factor * np.exp(base)
    counts = random.negative_binomial(np.exp(base / 2) / dispersion, 1 / (1 + dispersion * mean / np.exp(base / 2)))
    rows = torch.tensor(counts, dtype=torch.float32)
    rows[::7] = torch.nan
    head = head_of()
    head.start_from(rows, torch.tensor(base, dtype=torch.float32))
    fitted = head.distribution(head(torch.randn(1, 3)))
    assert fitted.mean.item() == pytest.approx(factor, rel=0.1)
    assert 1 / fitted.total_count.item() == pytest.approx(dispersion, rel=0.4)
    for value in (0.0, torch.nan):
        head.start_from(torch.full((5, 1), value), torch.zeros(5, 1))
        assert bool(torch.isfinite(head(torch.zeros(1, 3))).all())


def simulate(rows: int = ROWS) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Intermittent counts with a weekly pattern, and their means, (SERIES, rows) each."""
    random = np.random.default_rng(0)
    level, phase = np.exp(random.uniform(np.log(0.2), np.log(5), (SERIES, 1))), random.uniform(0, 6, (SERIES, 1))
    means = level * (1 + 0.6 * np.sin(2 * np.pi * np.arange(rows) / 7 + phase))
    return random.negative_binomial(1 / DISPERSION, 1 / (1 + DISPERSION * means)), means


def write(path: Path, counts: NDArray[np.int64]) -> Path:
    lines = [f"s{i},{t},{count}" for i, row in enumerate(counts.tolist()) for t, count in enumerate(row)]
    path.write_text("\n".join(["shop,day,sales", *lines]) + "\n")
    return path


def fit(path: Path, **settings: object) -> TrainedModel:
    chosen = {"head": "negative_binomial", "season": 7, "horizon": HORIZON, "seed": 0, **TINY} | settings
    return ohlol.fit(path, task="forecast", series="shop", time="day", target="sales", **chosen)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("counts") / "sales.csv", simulate()[0])


@pytest.fixture(scope="module")
def model(file: Path) -> TrainedModel:
    return fit(file)


@pytest.mark.slow
def test_intervals_of_intermittent_counts_hold_their_share_and_the_loss_is_below_that_of_the_normal_head(
    tmp_path: Path,
) -> None:
    """The share is that of the intervals of the true distribution, which hold more than 80 % of such counts."""
    held_back = 4 * HORIZON
    counts, means = simulate(ROWS + held_back)
    train, full = write(tmp_path / "train.csv", counts[:, :ROWS]), write(tmp_path / "full.csv", counts)
    scores = {}
    for head in ("normal", "negative_binomial"):
        fitted = fit(train, head=head, hidden_size=32, epochs=8, lr=0.005)
        scores[head] = backtest(fitted, full, origins=4, steps=HORIZON).scores["model"]["sales"]
    assert scores["negative_binomial"].wql < 0.98 * scores["normal"].wql
    assert scores["negative_binomial"].mae < scores["normal"].mae
    true = by_scipy(means[:, ROWS:], DISPERSION)
    for percent in (80.0, 95.0):
        lower, upper = true.interval(percent / 100)
        share = ((lower <= counts[:, ROWS:]) & (counts[:, ROWS:] <= upper)).mean()
        assert scores["negative_binomial"].coverage[percent] == pytest.approx(share, abs=0.04)


def test_forecasts_and_paths_are_whole_numbers(model: TrainedModel, file: Path) -> None:
    forecasts = model.forecast(file, steps=10)
    for forecast in forecasts:
        numbers = np.concatenate([forecast.quantiles, forecast.quantile(0.3)[:, :, None]], axis=2)
        assert (numbers == np.round(numbers)).all()
        assert (numbers >= 0).all()
        assert forecast.intervals() == (80, 95)
    paths = np.stack([own.values for own in model.sample(file, paths=400)])
    assert (paths == np.round(paths)).all()
    assert paths.min() == 0
    for percent in (0.1, 0.9):
        quantiles = np.stack([forecast.quantile(percent)[:HORIZON] for forecast in forecasts])
        assert np.abs(np.quantile(paths, percent, axis=1) - quantiles).mean() < 0.25


def test_the_metrics_of_counts_are_in_their_unit_and_the_loss_chooses_the_weights(
    model: TrainedModel, file: Path
) -> None:
    assert list(model.config.metrics) == ["mae", "loss"]
    accumulator = model.evaluate(file)
    assert accumulator.main_metric == "loss"
    assert 0.5 < accumulator.metrics()["mae"] < 3
    assert model.config.sizes.counts


def test_large_counts_and_missing_ones(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(1e6, size=(2, 60))
    path = write(tmp_path / "large.csv", counts)
    lines = path.read_text().splitlines()
    lines[30] = "s0,29,"
    path.write_text("\n".join(line for i, line in enumerate(lines) if i not in (20, 22)) + "\n")
    with pytest.warns(match="gaps"):
        fitted = fit(path)
    with pytest.warns(match="gaps"):
        (first, _) = fitted.forecast(path)
    assert np.abs(first.point / 1e6 - 1).max() < 0.01
    lower, upper = first.interval(95)
    assert (upper - lower).mean() < 0.02 * 1e6


@pytest.mark.parametrize(("value", "shown"), [("1.5", "1.5"), ("-2", "-2")])
def test_a_value_that_is_no_count_is_refused_with_its_line(
    model: TrainedModel, file: Path, tmp_path: Path, value: str, shown: str
) -> None:
    path, lines = tmp_path / "sales.csv", file.read_text().splitlines()
    lines[130] = lines[130].rsplit(",", 1)[0] + "," + value
    path.write_text("\n".join(lines) + "\n")
    for use in (fit, model.forecast):
        with pytest.raises(InputError, match=rf"sales.csv:131: series 's1': 'sales' is {shown} in row 9; this `head`"):
            use(path)
    assert fit(path, head="normal").config.model.head == "normal"


def test_the_head_is_for_forecasts(model: TrainedModel, file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`head` negative_binomial does not fit this task; it must be one of regre"):
        ohlol.fit(sine_file(tmp_path / "sine.csv"), task="next_row", head="negative_binomial", **TINY)
    with pytest.raises(InputError, match="`head` negative_binomial cannot be exported"):
        build_graph(model)


def test_resume_and_start_from(file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(file, out=run)
    resumed = fit(file, out=run, resume=True)
    panel = resumed.codec.panel
    assert panel is not None
    assert panel.is_count
    started = fit(file, start_from=run, head=None)
    assert started.config.model.head == "negative_binomial"
    assert started.config.keeps_head
    with pytest.raises(InputError, match="`head` normal does not fit this task; it must be one of negative_binomial"):
        fit(file, start_from=run, head="normal")
    description = json.loads((run / "vocab.json").read_text())
    assert description["panel"]["is_count"] is True
    assert "Targets are counts" in (run / "README.md").read_text()
    assert type(panel).from_json(replace(panel, is_count=False).to_json()) == replace(panel, is_count=False)
