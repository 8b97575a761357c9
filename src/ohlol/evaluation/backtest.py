"""The errors of forecasts from past origins, of a model and of the naive forecasts, by column and step.

Shapes: H steps, F target columns.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ohlol.data.panel import Panel, TimeSeries
from ohlol.evaluation.forecast import INTERVALS, Forecast
from ohlol.evaluation.forecast_baselines import seasonal_naive
from ohlol.evaluation.forecast_metrics import ErrorSums, Scores, seasonal_scale
from ohlol.utils.errors import InputError
from ohlol.utils.rendering import to_html, to_text
from ohlol.utils.translation import translate

MODEL, SEASONAL_NAIVE, NAIVE = "model", "seasonal_naive", "naive"
"""What is measured, by name."""


@dataclass(frozen=True)
class BacktestReport:
    """The metrics of a model and of the naive forecasts, measured on the same values."""

    columns: tuple[str, ...]
    """The F target columns."""
    season: int
    origins: tuple[int, ...]
    """How many rows at the end of every series were held back, for each origin."""
    series: int
    """Series that were measured."""
    left_out: int
    """Series that were not, since they are too short."""
    values: dict[str, int]
    """By column: how many values were measured."""
    missing: dict[str, int]
    """By column: values that were not, since they are missing, or nothing is known before them."""
    constant: dict[str, int]
    """By column: forecasts left out of MASE and MSIS, since their history is constant or not longer than a season."""
    scores: dict[str, dict[str, Scores]]
    """The metrics of `model`, `seasonal_naive` and `naive`, by column; without a season, of the last two `naive`."""
    by_step: dict[str, dict[str, tuple[Scores, ...]]]
    """The same at each of the H steps."""

    @staticmethod
    def of(panel: Panel, results: Iterable[tuple[int, list[Forecast]]]) -> "BacktestReport":
        """Measure forecasts.

        Args:
            panel: the series with all their rows.
            results: for each origin, how many rows at the end of every series were held back, and the forecasts, in the
                order of the panel; a series without a forecast is left out.

        Raises:
            InputError: there is no forecast, or one is not finite.
        """
        measuring = _Measuring(panel)
        for held_back, forecasts in results:
            measuring.add(held_back, forecasts)
        return measuring.report()

    @property
    def steps(self) -> int:
        """H, the steps that were forecast."""
        return len(self.by_step[MODEL][self.columns[0]])

    @property
    def baseline(self) -> str:
        """The naive forecast that the model has to beat: the seasonal one, where there is a season."""
        return SEASONAL_NAIVE if SEASONAL_NAIVE in self.scores else NAIVE

    @property
    def intervals(self) -> tuple[float, ...]:
        """The intervals that were measured, in per cent."""
        return tuple(self.scores[MODEL][self.columns[0]].coverage)

    def mase(self, name: str, step: int | None = None) -> float | None:
        """The mean MASE of the columns, at a step, from 0, or at all; None where it has no divisor."""
        columns = [self.scores[name][c] if step is None else self.by_step[name][c][step] for c in self.columns]
        values = [scores.mase for scores in columns if scores.mase is not None]
        return sum(values) / len(values) if values else None

    @property
    def beats_seasonal_naive(self) -> bool | None:
        """Whether the MASE of the model is below that of `baseline`; None where there is no MASE."""
        model, baseline = self.mase(MODEL), self.mase(self.baseline)
        return None if model is None or baseline is None else model < baseline

    def __str__(self) -> str:
        return to_text(self)

    def _repr_html_(self) -> str:
        return to_html(self)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON has it; a metric without a value is null."""
        return {
            "season": self.season,
            "steps": self.steps,
            "origins": list(self.origins),
            "series": self.series,
            "left_out": self.left_out,
            "beats_seasonal_naive": self.beats_seasonal_naive,
            "columns": {
                column: {
                    "values": self.values[column],
                    "missing": self.missing[column],
                    "constant": self.constant[column],
                    "metrics": {name: scores[column].to_json() for name, scores in self.scores.items()},
                    "by_step": {name: [s.to_json() for s in steps[column]] for name, steps in self.by_step.items()},
                }
                for column in self.columns
            },
        }


class _Measuring:
    """The sums of a backtest while its forecasts arrive."""

    def __init__(self, panel: Panel):
        self.panel = panel
        self.seasons = {MODEL: 0, SEASONAL_NAIVE: panel.season, NAIVE: 1}
        if panel.season == 1:
            del self.seasons[SEASONAL_NAIVE]
        self.sums: dict[str, ErrorSums] = {}
        self.columns: tuple[str, ...] = ()
        self.origins: list[int] = []
        self.measured: set[int] = set()
        self.counts = np.zeros((3, 0), np.int64)
        """(3, F): values, those that are missing, and forecasts without a divisor."""

    def add(self, held_back: int, forecasts: list[Forecast]) -> None:
        """Add the forecasts of one origin; raises InputError."""
        self.origins.append(held_back)
        remaining = iter(enumerate(self.panel.series))
        for forecast in forecasts:
            if not self.sums:
                self._start(forecast)
            place = next((k for k, series in remaining if _continues(series, held_back, forecast)), None)
            if place is None:
                raise ValueError(f"no series {forecast.series!r} of the panel ends before row {forecast.first}")
            self.measured.add(place)
            self._add(self.panel.series[place], held_back, forecast)

    def _start(self, forecast: Forecast) -> None:
        self.columns = forecast.columns
        self.counts = np.zeros((3, len(self.columns)), np.int64)
        self.sums = {name: ErrorSums(forecast.intervals(INTERVALS)) for name in self.seasons}

    def _add(self, series: TimeSeries, held_back: int, forecast: Forecast) -> None:
        places = [self.panel.columns.targets.index(column) for column in forecast.columns]
        rows = series.values[:, places]
        history, y = rows[: len(rows) - held_back], np.full(forecast.point.shape, np.nan)
        later = rows[len(history) :][: len(y)]
        y[: len(later)] = later
        y[:, np.isnan(history).all(axis=0)] = np.nan  # nothing to forecast from
        known, scale = ~np.isnan(y), seasonal_scale(history, self.panel.season)
        self.counts += np.array([known.sum(axis=0), (~known).sum(axis=0), np.isnan(scale) & known.any(axis=0)])
        if not np.isfinite(forecast.quantiles[known]).all():
            name = translate(" of series {series_name!r}", series_name=series.name) if series.name else ""
            raise InputError(
                "the forecast{name} from row {first} is not finite; train with a lower `lr`",
                name=name,
                first=forecast.first,
            )
        for name, season in self.seasons.items():
            quantiles = seasonal_naive(history, season, len(y), forecast.levels) if season else forecast.quantiles
            self.sums[name].add(y, replace(forecast, quantiles=quantiles), scale)

    def report(self) -> BacktestReport:
        """What was measured; raises InputError where nothing was."""
        if not self.sums:
            raise InputError("there is no forecast to measure")
        by_column: list[dict[str, int]] = [
            dict(zip(self.columns, counts, strict=True)) for counts in self.counts.tolist()
        ]
        H = self.sums[MODEL].steps
        return BacktestReport(
            self.columns,
            self.panel.season,
            tuple(self.origins),
            len(self.measured),
            len(self.panel.series) - len(self.measured),
            *by_column,
            scores={
                name: {column: sums.scores(f) for f, column in enumerate(self.columns)}
                for name, sums in self.sums.items()
            },
            by_step={
                name: {
                    column: tuple(sums.scores(f, step) for step in range(H)) for f, column in enumerate(self.columns)
                }
                for name, sums in self.sums.items()
            },
        )


def _continues(series: TimeSeries, held_back: int, forecast: Forecast) -> bool:
    """Whether a forecast is that of a series from an origin."""
    return series.name == forecast.series and len(series.values) - held_back == forecast.first - 1
