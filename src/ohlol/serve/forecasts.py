"""Forecasts over HTTP: series in a request as a panel, and forecasts in a response.

Shapes: F target columns, C columns of a row: the targets, then the known, then the observed covariates.
"""

import math
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.data.panel import Panel, TimeSeries
from ohlol.data.readers.panels import MIN_VALUES
from ohlol.evaluation.forecast import Forecasts, iso_times
from ohlol.inference.forecast import panel_codec
from ohlol.inference.trained_model import TrainedModel
from ohlol.serve.limits import Limits
from ohlol.serve.schemas import Predict, Series, SparseRows
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate


def forecast_series(model: TrainedModel, body: Predict, limits: Limits) -> dict[str, Any]:
    """The members of the response to a request for forecasts.

    Raises:
        InputError: a series does not fit the model or the limits, or a forecast is not finite.
    """
    codec, columns = panel_codec(model), panel_codec(model).columns
    series = [Series(rows=body.rows)] if body.rows is not None else body.series or []
    steps = body.steps or codec.horizon
    if not 0 < len(series) <= limits.max_sequences:
        raise InputError(
            "series: {count} series; it must be from 1 to {max_sequences}",
            count=len(series),
            max_sequences=limits.max_sequences,
        )
    if len({one.name for one in series}) < len(series):
        raise InputError("series: two of them have the same name; give each a `name` of its own")
    rows = sum(len(one.rows) for one in series) + steps * len(series)
    if rows > limits.max_length:
        raise InputError(
            "series: {rows:,} rows and steps in all; at most {max_length:,}", rows=rows, max_length=limits.max_length
        )
    if (work := rows * math.ceil(steps / codec.horizon)) > limits.max_work:
        raise InputError(
            "steps: {steps} are forecast {horizon} at a time, which reads {work:,} rows in all; at most {max_work:,}",
            steps=steps,
            horizon=codec.horizon,
            work=work,
            max_work=limits.max_work,
        )
    read: list[TimeSeries] = []
    later: list[TimeSeries] = []
    for i, one in enumerate(series):
        where = f"series[{i}]." if body.series is not None else ""
        values = _read_rows(one.rows, columns.numeric, f"{where}rows")
        few = np.isfinite(values[:, : len(columns.targets)]).sum(axis=0) < MIN_VALUES
        if few.any():
            name = columns.targets[int(few.argmax())]
            raise InputError(
                "{where}rows: fewer than {min_values} values of {name}", where=where, min_values=MIN_VALUES, name=name
            )
        if len(one.static) != len(columns.static):
            names = f": {', '.join(columns.static)}" * bool(columns.static)
            raise InputError(
                "{where}static has {count} values; the model reads {expected}{names}",
                where=where,
                count=len(one.static),
                expected=len(columns.static),
                names=names,
            )
        start = _read_start(one.start, f"{where}start", needed=bool(codec.step.unit))
        read.append(TimeSeries(one.name, values, start, statics=tuple(one.static)))
        future = _read_rows(one.future, columns.known, f"{where}future")
        if columns.known and not (len(future) == steps and np.isfinite(future).all()):
            names = ", ".join(columns.known)
            raise InputError(
                "{where}future: the values of {names} are needed in {steps} rows, those to forecast",
                where=where,
                names=names,
                steps=steps,
            )
        after = None if start is None else codec.step.after(start, np.array([len(values)]))[0]
        later.append(TimeSeries(one.name, future, after))
    panel = Panel(tuple(read), columns, codec.step, codec.season)
    with np.errstate(over="ignore", invalid="ignore"):
        forecasts = model.forecast(
            panel, steps, future=Panel(tuple(later), columns, codec.step, 1) if columns.known else None
        )
    if not all(np.isfinite(forecast.quantiles).all() for forecast in forecasts):
        raise InputError("rows: too large; the forecast is not finite")
    return {"columns": list(columns.targets), "forecasts": _to_json(forecasts, body.intervals)}


def _read_rows(rows: SparseRows, names: tuple[str, ...], where: str) -> NDArray[np.float64]:
    """Rows of numbers, (T, C), with NaN in the place of null."""
    for i, row in enumerate(rows):
        if len(row) != len(names):
            listed = f": {', '.join(names)}" * bool(names)
            raise InputError(
                "{where}[{i}] has {count} numbers; the model reads {expected}{listed}",
                where=where,
                i=i,
                count=len(row),
                expected=len(names),
                listed=listed,
            )
    return np.array(rows, np.float64).reshape(len(rows), len(names))


def _read_start(text: str | None, where: str, *, needed: bool) -> np.datetime64 | None:
    """The time of the first row; None where the rows of the model are only counted."""
    if (text is not None) != needed:
        raise InputError(
            translate("{where}: the time of the first row is needed, such as 2024-01-31", where=where)
            if needed
            else translate("{where}: the rows of this model are counted, and have no times", where=where)
        )
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            "{where} is not a time in ISO 8601, such as 2024-01-31 or 2024-01-31T12:00:00", where=where
        ) from None
    if time.tzinfo is not None:
        raise InputError("{where} has a time zone; give the local time", where=where)
    return np.datetime64(time, "s")


def _to_json(forecasts: Forecasts, intervals: list[float] | None) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    for forecast in forecasts:
        chosen = forecast.intervals() if intervals is None else intervals
        bounds = {percent: forecast.interval(percent) for percent in chosen}
        answers.append(
            {
                "series": forecast.series,
                "times": None if forecast.times is None else iso_times(forecast.times),
                "medians": forecast.point.tolist(),
                "intervals": [
                    {"percent": percent, "lower": lower.tolist(), "upper": upper.tolist()}
                    for percent, (lower, upper) in bounds.items()
                ],
            }
        )
    return answers
