"""Forecast from past origins and measure the errors: a backtest of a trained model."""

from dataclasses import replace
from typing import Any

from ohlol.data.frames import read_records
from ohlol.data.panel import Panel
from ohlol.data.sequences import read_panel
from ohlol.evaluation.backtest import BacktestReport
from ohlol.inference.forecast import forecast_origins, panel_codec
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


def backtest(
    model: TrainedModel,
    data: Any,
    *,
    steps: int | None = None,
    origins: int = 5,
    stride: int | None = None,
    encoding: str | None = None,
) -> BacktestReport:
    """Hold back the last rows of every series, forecast them, and again from earlier origins.

    A series is left out where fewer rows than a season and one more come before its first origin.

    Args:
        model: of a task that forecasts.
        data: files, a table in memory or a panel that was read: the series, with the rows to forecast.
        steps: how many rows each forecast has; None for the horizon of the model.
        origins: how many origins; the last one is `steps` rows before the end.
        stride: rows from one origin to the next; None for `steps`, so that every row is forecast once.
        encoding: of the files.

    Raises:
        InputError: the model does not forecast, a file cannot be read, an argument is not positive, or no series is
            long enough.
    """
    horizon = panel_codec(model).horizon
    panel = data if isinstance(data, Panel) else _read(model, data, encoding)
    steps = horizon if steps is None else steps
    stride = steps if stride is None else stride
    for name, value in (("steps", steps), ("origins", origins), ("stride", stride)):
        if value < 1:
            raise InputError("`{name}` is {value}; it must be at least 1", name=name, value=value)
    held_back = [steps + k * stride for k in reversed(range(origins))]
    rows = held_back[0] + panel.season + 1
    long_enough = tuple(series for series in panel.series if len(series.values) >= rows)
    if not long_enough:
        longest = max((len(series.values) for series in panel.series), default=0)
        raise InputError(
            "the longest series has {longest:,} rows, and {rows:,} are needed: {held_back:,} for {origins} "
            "origin{plural} of {steps} steps, and a season of {season} and one more before them; give fewer "
            "`origins` or `steps`, or a smaller `stride`",
            longest=longest,
            rows=rows,
            held_back=held_back[0],
            origins=origins,
            plural="s" * (origins > 1),
            steps=steps,
            season=panel.season,
        )
    forecasts = forecast_origins(model, replace(panel, series=long_enough), held_back, steps)
    return BacktestReport.of(panel, forecasts)


def _read(model: TrainedModel, data: Any, encoding: str | None) -> Panel:
    return read_panel(read_records(data) or data, model.data_settings(encoding)).panel
