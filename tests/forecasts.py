"""Panels and forecasts made of numbers, and a model that returns such forecasts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ohlol.config import DataSettings
from ohlol.data.panel import Panel, PanelColumns, TimeSeries, TimeStep
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.evaluation.forecast import Forecast, Forecasts

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
OFFSETS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
START = np.datetime64("2024-01-01T00:00:00", "s")
DAY = TimeStep("s", 86400)


def panel_of(
    values: dict[str, Sequence[float] | NDArray[np.float64]],
    season: int = 1,
    *,
    targets: tuple[str, ...] = ("y",),
    step: TimeStep = DAY,
) -> Panel:
    """A panel of series with some values, (T,) or (T, F), daily or with another step."""
    series = tuple(
        TimeSeries(name, np.asarray(rows, np.float64).reshape(len(rows), -1), START if step.unit else None)
        for name, rows in values.items()
    )
    return Panel(series, PanelColumns(targets), step, season)


def forecast_of(
    panel: Panel, steps: int, held_back: int = 0, *, error: float = 0.0, levels: tuple[float, ...] = LEVELS
) -> Forecasts:
    """The true values plus an error, the last of them after the end, with `OFFSETS` as the quantiles around them."""
    forecasts = Forecasts()
    for series in panel.series:
        T = len(series.values) - held_back
        rows = np.arange(T, T + steps)
        point = series.values[np.minimum(rows, len(series.values) - 1)] + error
        quantiles = point[:, :, None] + (OFFSETS if len(levels) > 1 else np.zeros(1))
        times = None if series.start is None else panel.step.after(series.start, rows)
        forecasts.append(Forecast(series.name, panel.columns.targets, T + 1, times, levels, quantiles))
    return forecasts


def seasonal(length: int, season: int = 7, seed: int = 0) -> NDArray[np.float64]:
    """A noisy season, (length,)."""
    noise = np.random.default_rng(seed).normal(size=length)
    return 100 + 10 * np.sin(2 * np.pi * np.arange(length) / season) + noise


@dataclass(frozen=True)
class FakeModel:
    """A model whose forecasts are the true values plus an error."""

    error: float = 0.0
    horizon: int = 7
    task: str = "forecast"
    settings: DataSettings = field(default_factory=DataSettings)
    calls: list[Any] = field(default_factory=list)

    @property
    def config(self) -> SimpleNamespace:
        return SimpleNamespace(task=self.task)

    @property
    def codec(self) -> SimpleNamespace:
        return SimpleNamespace(panel=SimpleNamespace(horizon=self.horizon) if self.targets.horizon else None)

    @property
    def targets(self) -> TargetKind:
        return TARGET_KINDS[self.task]

    def data_settings(self, encoding: str | None = None) -> DataSettings:
        return replace(self.settings, encoding=encoding)

    def forecast(
        self, data: Any, steps: int | None = None, *, future: Any = None, encoding: str | None = None
    ) -> Forecasts:
        self.calls.append((data, steps, future, encoding))
        return forecast_of(data, steps or self.horizon, error=self.error)


def fake_origins(
    model: FakeModel, panel: Panel, origins: Sequence[int], steps: int
) -> Iterator[tuple[int, list[Forecast]]]:
    """In place of `ohlol.inference.forecast.forecast_origins`."""
    for held_back in origins:
        yield held_back, forecast_of(panel, steps, held_back, error=model.error)


@pytest.fixture
def fake_forecasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a backtest of a `FakeModel` have its forecasts."""
    monkeypatch.setattr("ohlol.inference.backtest.forecast_origins", fake_origins)
