"""Weighted quantile loss and training time of ohlol and of the DeepAR of gluonts, on the hourly series of M4.

    python benchmarks/forecast_deepar.py [--series N] [--epochs N] [--rounds N] [--stride N] [--quick]

Reads `m4hourly` from OHLOL_DATA (default ../shared/data). Both models have the defaults of their packages and forecast
the 48 values that follow each series. They are trained in turns on the same rows, with the seeds 1, 2 and so on, each
time for as many epochs as ohlol runs; its last rows of each series are validation data, while DeepAR trains on all.

An epoch is one pass over the rows that ohlol trains on. DeepAR draws windows of C + H rows, the context and the
horizon, and has a loss for each of them: its epoch has so many batches that their windows have as many rows. With
`--stride N` it has a window for every N rows instead; with 1, as many windows as ohlol has rows to forecast from.

The seconds are those of `ohlol.fit`, which reads the file and evaluates after each epoch, and of
`DeepAREstimator.train`, which has the series in memory. The weighted quantile loss is the mean over the levels 0.1, 0.2
to 0.9; quantiles of DeepAR are those of its sample paths. The figures are medians of the rounds. Without gluonts
(`pip install 'gluonts[torch]'`) ohlol is measured alone.
"""

import argparse
import csv
import logging
import math
import os
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from timing import parse_arguments

import ohlol
from ohlol.config import DataSettings
from ohlol.data.sequences import read_panel
from ohlol.evaluation.forecast import Forecast
from ohlol.evaluation.forecast_baselines import seasonal_naive
from ohlol.evaluation.forecast_metrics import ErrorSums, seasonal_scale
from ohlol.training.callbacks import Callback, Epoch, Training

ROOT = Path(__file__).parents[1]
SEASON, HORIZON = 24, 48
LEVELS = tuple(round(0.1 * i, 1) for i in range(1, 10))
INTERVAL = 80.0
BATCH = 32
"""Windows of a batch of DeepAR, the default of gluonts."""
START = "1750-01-01 00:00"
"""The time of all first rows for gluonts, as in its own `m4_hourly`; ohlol counts the rows."""
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """The series and what follows them."""

    file: Path
    """The series as rows of a table, as ohlol reads them."""
    history: list[Rows]
    """(T, 1) for each series."""
    future: list[Rows]
    """(H, 1) for each series."""

    def measure(self, quantiles: list[Rows]) -> tuple[float, ...]:
        """The weighted quantile loss, MASE and the coverage of quantiles (H, 1, levels) of each series."""
        sums = ErrorSums((INTERVAL,))
        for history, y, values in zip(self.history, self.future, quantiles, strict=True):
            sums.add(y, Forecast("", ("value",), 1, None, LEVELS, values), seasonal_scale(history, SEASON))
        scores = sums.scores(0)
        values = (scores.wql, scores.mase, scores.coverage[INTERVAL])
        return tuple(math.nan if value is None else value for value in values)


def read_m4(folder: Path, count: int | None, out: Path) -> Data:
    """The first series of M4, written to a smaller table where only some are chosen."""
    wide = DataSettings(task="forecast", layout="wide", season=SEASON)
    parts = [read_panel(folder / f"Hourly-{part}.csv", wide).panel.series[:count] for part in ("train", "test")]
    if [series.name for series in parts[0]] != [series.name for series in parts[1]]:
        raise SystemExit(f"{folder}: the two files have other series")
    file = folder / "Hourly-train.csv"
    if count is not None:
        with file.open(encoding="utf-8", newline="") as lines, out.open("w", encoding="utf-8", newline="") as written:
            csv.writer(written).writerows(row for row, _ in zip(csv.reader(lines), range(count + 1), strict=False))
        file = out
    history, future = ([series.values for series in part] for part in parts)
    return Data(file, history, future)


def make_series(out: Path) -> Data:
    """A few short series, for `--quick`."""
    rng = np.random.default_rng(1)
    steps = np.arange(240 + HORIZON)
    rows = [10 + n + np.sin(steps * 2 * np.pi / SEASON) + rng.normal(0, 0.1, len(steps)) for n in range(4)]
    names = [f"S{n}" for n in range(4)]
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", *(f"V{n}" for n in range(240))])
        table.writerows([name, *row[:240].tolist()] for name, row in zip(names, rows, strict=True))
    return Data(out, [row[:240, None] for row in rows], [row[240:, None] for row in rows])


@dataclass
class Counting(Callback):
    """Counts the rows of an epoch and the epochs."""

    rows: int = 0
    epochs: int = 0
    model: str = ""
    """Its cell and its size."""

    def on_train_begin(self, trainer: Training) -> None:
        """Count the rows."""
        self.rows = trainer.train.steps
        settings = trainer.config.model
        self.model = f"{settings.cell} {settings.num_layers} x {settings.hidden_size}"

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Count the epoch."""
        self.epochs = epoch.number


@dataclass
class Measured:
    """What was measured of a model, a value for each round."""

    wql: list[float] = field(default_factory=list[float])
    mase: list[float] = field(default_factory=list[float])
    coverage: list[float] = field(default_factory=list[float])
    seconds: list[float] = field(default_factory=list[float])

    def add(self, data: Data, quantiles: list[Rows], seconds: float) -> None:
        """Add a round."""
        scores = data.measure(quantiles)
        for values, value in zip((self.wql, self.mase, self.coverage), scores, strict=True):
            values.append(value)
        self.seconds.append(seconds)
        print(f"weighted quantile loss {scores[0]:.4f}, {seconds:.1f} s", file=sys.stderr, flush=True)

    def row(self, name: str) -> str:
        """A row of the table."""
        wql, mase, coverage, seconds = map(statistics.median, (self.wql, self.mase, self.coverage, self.seconds))
        time_taken = "" if math.isnan(seconds) else f" {seconds:.1f}"
        return f"| {name} | {wql:.4f} | {mase:.3f} | {100 * coverage:.1f} % |{time_taken} |"


def run_ohlol(data: Data, seed: int, epochs: int | None, counting: Counting) -> tuple[list[Rows], float]:
    """The forecasts of ohlol and the seconds of its training."""
    started = time.perf_counter()
    model = ohlol.fit(
        data.file, task="forecast", layout="wide", season=SEASON, horizon=HORIZON, seed=seed, epochs=epochs,
        device="cpu", callbacks=[counting],
    )  # fmt: skip
    seconds = time.perf_counter() - started
    forecasts = model.forecast(data.file, steps=HORIZON)
    return [np.stack([forecast.quantile(level) for level in LEVELS], axis=-1) for forecast in forecasts], seconds


def run_deepar(data: Data, seed: int, counting: Counting, stride: int) -> tuple[list[Rows], float]:
    """The forecasts of DeepAR after as many epochs, and the seconds of its training."""
    from gluonts.dataset.common import ListDataset
    from gluonts.torch.model.deepar import DeepAREstimator

    torch.manual_seed(seed)
    np.random.seed(seed)  # from which gluonts draws windows
    dataset = ListDataset(
        [{"start": START, "target": series[:, 0].astype(np.float32)} for series in data.history], freq="h"
    )
    with tempfile.TemporaryDirectory() as folder:
        estimator = DeepAREstimator(
            freq="h",
            prediction_length=HORIZON,
            batch_size=BATCH,
            num_batches_per_epoch=math.ceil(counting.rows / (BATCH * stride)),
            trainer_kwargs={
                "max_epochs": counting.epochs, "accelerator": "cpu", "logger": False, "default_root_dir": folder,
                "enable_progress_bar": False, "enable_model_summary": False,
            },
        )  # fmt: skip
        started = time.perf_counter()
        predictor = estimator.train(dataset)
        seconds = time.perf_counter() - started
        forecasts = list(predictor.predict(dataset))
    quantiles = [np.stack([forecast.quantile(level) for level in LEVELS], axis=-1) for forecast in forecasts]
    return [values[:, None].astype(np.float64) for values in quantiles], seconds


def import_gluonts() -> ModuleType | None:
    """gluonts without its messages; None where it is not installed."""
    warnings.filterwarnings("ignore")
    try:
        import gluonts
        import gluonts.torch
    except ImportError:
        return None
    for name in ("gluonts", "lightning", "lightning.pytorch", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return gluonts


def main() -> None:
    """Train, forecast and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, help="the first so many series; all by default")
    parser.add_argument("--epochs", type=int, help="of both; by default the epochs of ohlol's defaults")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each, in turns")
    parser.add_argument(
        "--stride", type=int, default=2 * HORIZON, help="rows for each window of DeepAR; by default C + H"
    )
    options = parse_arguments(parser, epochs=1, rounds=1)
    gluonts = import_gluonts()
    ours, theirs, naive = Measured(), Measured(), Measured()
    counts: list[Counting] = []
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "series.csv"
        m4 = Path(os.environ.get("OHLOL_DATA", ROOT.parent / "shared/data")) / "m4hourly"
        data = make_series(table) if options.quick else read_m4(m4, options.series, table)
        naive.add(data, [seasonal_naive(history, SEASON, HORIZON, LEVELS) for history in data.history], math.nan)
        for seed in range(1, options.rounds + 1):
            counts.append(Counting())
            ours.add(data, *run_ohlol(data, seed, options.epochs, counts[-1]))
            if gluonts is not None:
                theirs.add(data, *run_deepar(data, seed, counts[-1], options.stride))
    print(
        f"{len(data.history)} series, {counts[0].rows:,} rows an epoch, {'/'.join(str(c.epochs) for c in counts)} "
        f"epochs, {HORIZON} steps, {torch.get_num_threads()} threads"
    )
    print(f"| model | weighted quantile loss | MASE | inside of {INTERVAL:g} % | training, s |")
    print("|---|---|---|---|---|")
    print(ours.row(f"ohlol, {counts[0].model}"))
    print(naive.row("seasonal naive"))
    if gluonts is None:
        print("gluonts is not installed: DeepAR is not measured")
        print(f"ohlol: {ratio(ours.wql, naive.wql):.3f} of the weighted quantile loss of the seasonal naive forecast")
    else:
        print(theirs.row(f"DeepAR of gluonts {gluonts.__version__}, lstm 2 x 40"))
        speed = ratio(theirs.seconds, ours.seconds)
        loss = ratio(ours.wql, theirs.wql)
        print(f"ohlol: {loss:.3f} of the weighted quantile loss of DeepAR, trained {speed:.2f} times as fast")


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Of two medians."""
    return statistics.median(ours) / statistics.median(theirs)


if __name__ == "__main__":
    main()
