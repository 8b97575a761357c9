"""Forecast from past origins and measure the errors: a backtest of a trained model."""

from dataclasses import replace

from ohlol.data.panel import Panel
from ohlol.evaluation.backtest import BacktestReport
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


def backtest(
    model: TrainedModel, panel: Panel, *, steps: int | None = None, origins: int = 5, stride: int | None = None
) -> BacktestReport:
    """Hold back the last rows of every series, forecast them, and again from earlier origins.

    A series is left out where fewer rows than a season and one more come before its first origin.

    Args:
        model: of a task that forecasts.
        panel: the series, with the rows to forecast.
        steps: how many rows each forecast has; None for the horizon of the model, which is a season by default.
        origins: how many origins; the last one is `steps` rows before the end.
        stride: rows from one origin to the next; None for `steps`, so that every row is forecast once.

    Raises:
        InputError: the model does not forecast, an argument is not positive, or no series is long enough.
    """
    from ohlol.inference.forecast import forecast_origins

    if not model.targets.numeric:
        raise InputError(f"this model's task is {model.task}; only forecasts have a backtest")
    steps = (model.config.data.horizon or panel.season) if steps is None else steps
    stride = steps if stride is None else stride
    for name, value in (("steps", steps), ("origins", origins), ("stride", stride)):
        if value < 1:
            raise InputError(f"`{name}` is {value}; it must be at least 1")
    held_back = [steps + k * stride for k in reversed(range(origins))]
    rows = held_back[0] + panel.season + 1
    long_enough = tuple(series for series in panel.series if len(series.values) >= rows)
    if not long_enough:
        longest = max((len(series.values) for series in panel.series), default=0)
        raise InputError(
            f"the longest series has {longest:,} rows, and {rows:,} are needed: {held_back[0]:,} for {origins} "
            f"origin{'s' * (origins > 1)} of {steps} steps, and a season of {panel.season} and one more before them; "
            "give fewer `origins` or `steps`, or a smaller `stride`"
        )
    forecasts = forecast_origins(model, replace(panel, series=long_enough), held_back, steps)
    return BacktestReport.of(panel, forecasts)
