"""Sample paths: the distribution of each step, the dependence of the steps, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ohlol
from ohlol.evaluation.sample_paths import SamplePaths
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError

HORIZON = 6
ROWS = 90
LEARNED = {"task": "forecast", "season": 1, "horizon": HORIZON, "hidden_size": 6, "epochs": 1}
"""Hardly trained: the network begins with the distribution of the errors of exponential smoothing."""


def simulate(kind: str, series: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Random walks or AR(1) series, (series, ROWS + HORIZON)."""
    noise = np.random.default_rng(seed).normal(size=(series, ROWS + HORIZON))
    share = {"walk": 1.0, "ar": 0.6}[kind]
    values = np.zeros_like(noise)
    for t in range(noise.shape[1]):
        values[:, t] = share * values[:, t - 1] + noise[:, t] if t else noise[:, t]
    return values


def write(path: Path, values: NDArray[np.float64], second: NDArray[np.float64] | None = None) -> Path:
    """The first `ROWS` values of each series, perhaps with a second column."""
    lines = ["name,t,y" + (",z" if second is not None else "")]
    for i, row in enumerate(values[:, :ROWS].tolist()):
        for t, y in enumerate(row):
            z = "" if second is None else f",{second[i, t]}"
            lines.append(f"s{i},{t},{y!r}{z}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def fit(path: Path, target: str = "y", **settings: object) -> TrainedModel:
    return ohlol.fit(path, series="name", time="t", target=target, **(LEARNED | settings))


@pytest.fixture(scope="module")
def walks() -> NDArray[np.float64]:
    return simulate("walk", 12)


@pytest.fixture(scope="module")
def file(walks: NDArray[np.float64], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("paths") / "walks.csv", walks)


@pytest.fixture(scope="module")
def model(file: Path) -> TrainedModel:
    return fit(file)


def stack(paths: SamplePaths) -> NDArray[np.float64]:
    """(series, P, steps)."""
    return np.stack([own.values[:, :, 0] for own in paths])


def coverage(sums: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    lower, upper = np.quantile(sums, [0.1, 0.9], axis=1)
    return float(((lower <= true) & (true <= upper)).mean())


@pytest.mark.parametrize(("kind", "head"), [
    ("walk", "quantile"), ("walk", "student_t"), ("ar", "normal"), ("ar", "quantile"),
])  # fmt: skip
def test_the_interval_of_the_sum_covers_its_share(kind: str, head: str, tmp_path: Path) -> None:
    """The 80 % interval of the sum over the horizon, of 80 series, and its spread beside that of the errors."""
    values = simulate(kind, 80)
    path = write(tmp_path / "data.csv", values)
    drawn = stack(fit(path, head=head).sample(path, paths=200))
    true = values[:, ROWS:].sum(axis=1)
    assert 0.68 < coverage(drawn.sum(axis=2), true) < 0.92
    spread = drawn.sum(axis=2).std(axis=1).mean()
    assert spread == pytest.approx((true - np.median(drawn.sum(axis=2), axis=1)).std(), rel=0.25)
    independent = np.random.default_rng(0).permuted(drawn, axis=1)  # the same distributions, without dependence
    assert independent.sum(axis=2).std(axis=1).mean() < 0.75 * spread


def test_each_step_has_the_distribution_of_the_forecast(model: TrainedModel, file: Path) -> None:
    paths, forecasts = model.sample(file, paths=4000), model.forecast(file)
    own, forecast = paths[3], forecasts[3]
    assert own.values.shape == (4000, HORIZON, 1)
    assert (own.series, own.columns) == (forecast.series, forecast.columns)
    for level in (0.1, 0.5, 0.9):
        tolerance = 0.1 * (forecast.quantile(0.9) - forecast.quantile(0.1))
        assert (np.abs(np.quantile(own.values, level, axis=0) - forecast.quantile(level)) < tolerance).all()


def test_paths_follow_from_the_seed_alone(model: TrainedModel, file: Path) -> None:
    first, again, other = (stack(model.sample(file, steps=2, paths=3, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (12, 3, 2)
    assert (first != other).all()
    np.testing.assert_array_equal(first, stack(model.sample(file, paths=3))[:, :, :2])
    assert abs(np.corrcoef(stack(model.sample(file))[:2, :, 0])[0, 1]) < 0.4  # series are independent


def test_a_series_that_is_shorter_than_the_horizon_depends_as_the_others(
    model: TrainedModel, walks: NDArray[np.float64], tmp_path: Path
) -> None:
    path = write(tmp_path / "short.csv", walks)
    with path.open("a") as lines:
        lines.writelines(f"short,{t},{t % 3}\n" for t in range(4))
    short = model.sample(path, paths=2000)[-1]
    assert short.series == "short"
    assert np.isfinite(short.values).all()
    assert np.corrcoef(short.values[:, 4, 0], short.values[:, 5, 0])[0, 1] == pytest.approx(np.sqrt(5 / 6), abs=0.1)
    alone = tmp_path / "alone.csv"
    alone.write_text("name,t,y\n" + "".join(f"short,{t},{t % 3}\n" for t in range(4)))
    (own,) = model.sample(alone, paths=2000)  # a random walk where nothing is known
    assert np.corrcoef(own.values[:, 0, 0], own.values[:, 1, 0])[0, 1] == pytest.approx(np.sqrt(1 / 2), abs=0.1)


def test_targets_depend_on_each_other_as_their_errors_do(walks: NDArray[np.float64], tmp_path: Path) -> None:
    some = walks
    noise = 0.1 * np.random.default_rng(1).normal(size=some.shape)
    path = write(tmp_path / "two.csv", some, 5 - some + noise)
    paths = fit(path, target="y,z").sample(path, paths=500)
    sums = paths[0].values.sum(axis=1)
    assert paths[0].columns == ("y", "z")
    assert np.corrcoef(sums.T)[0, 1] < -0.9


def test_missing_values_are_no_past_errors(model: TrainedModel, walks: NDArray[np.float64], tmp_path: Path) -> None:
    some = walks[:5].copy()
    some[:, 10:80:7] = np.nan
    path = write(tmp_path / "missing.csv", some)
    path.write_text(path.read_text().replace("nan", ""))
    assert np.isfinite(stack(model.sample(path))).all()


def test_numbers_that_are_not_negative_have_paths_that_are_not(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(0.7, size=(10, ROWS)).astype(float)
    path = write(tmp_path / "counts.csv", counts)
    assert (stack(fit(path).sample(path)) >= 0).all()


def test_what_cannot_be_drawn_is_refused(model: TrainedModel, file: Path) -> None:
    with pytest.raises(InputError, match="`steps` is 7; paths have 1 to 6 steps, the horizon of the model"):
        model.sample(file, steps=7)
    with pytest.raises(InputError, match="`paths` is 0; it must be at least 1"):
        model.sample(file, paths=0)
    with pytest.raises(InputError, match="`seed` is -1; it must be at least 0"):
        model.sample(file, seed=-1)
    point = fit(file, head="absolute")
    with pytest.raises(InputError, match=r"`head` absolute gives no intervals, .* one of negative_bin"):
        point.sample(file)
