"""Forecasts of the steps that follow the series of a panel.

Shapes: T rows of a series, B series of a batch, F targets, h steps of the horizon, Q quantile levels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.checkpoint.run_config import RunConfig
from ohlol.data.batches import Dataset, Ragged, gather
from ohlol.data.codec import Codec
from ohlol.data.panel import Panel, TimeSeries, align_future
from ohlol.data.panel_codec import Origins, PanelCodec
from ohlol.evaluation.evaluate import EVAL_BATCH, prediction_indices
from ohlol.evaluation.forecast import Forecast, Forecasts
from ohlol.models.inputs import PackedInputs
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.devices import disable_tf32, to_numpy
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

Floats = NDArray[np.float64]


class Forecaster(Protocol):
    """What is read of a trained model."""

    @property
    def config(self) -> RunConfig:
        """Its settings."""
        ...

    @property
    def codec(self) -> Codec:
        """How it reads series."""
        ...

    @property
    def network(self) -> SequenceModel:
        """Its network, in evaluation mode."""
        ...


def forecast_panel(model: Forecaster, panel: Panel, steps: int, future: Panel | None = None) -> Forecasts:
    """Forecast the steps that follow every series of a panel.

    More steps than the horizon of the model are forecast from its own medians, of which the intervals know nothing.

    Args:
        model: of a task with a horizon.
        panel: with the columns of training.
        steps: how many, at least 1.
        future: the known covariates of these steps, where the model reads some.

    Raises:
        InputError: the model does not forecast, the columns are others, or known values are missing.
    """
    codec = panel_codec(model)
    if steps < 1:
        raise InputError("`steps` is {steps}; it must be at least 1", steps=steps)
    codec.check_panel(panel, str(panel.series[0].place.file) or translate("the data"))
    known = known_values(codec, panel, steps, future)
    parts: list[list[Forecast]] = []
    for done in range(0, steps, codec.horizon):
        if parts:
            panel = _extend(panel, parts[-1], known, done)
        parts.append(_forecast_once(model, codec, panel, [values[done:] for values in known]))
    return Forecasts(_join(forecasts, steps) for forecasts in zip(*parts, strict=True))


def forecast_origins(
    model: Forecaster, panel: Panel, origins: Sequence[int], steps: int
) -> Iterator[tuple[int, Forecasts]]:
    """Forecast from earlier rows, as if those after them were not known.

    Args:
        model: of a task with a horizon.
        panel: with the columns of training.
        origins: for each, how many rows are held back at the end of every series.
        steps: how many steps are forecast.

    Yields:
        The origin, and the forecasts of all series that are longer than it.
    """
    codec = panel_codec(model)
    F, known = len(codec.columns.targets), len(codec.columns.known)
    for origin in origins:
        longer = [series for series in panel.series if len(series.values) > origin]
        early = [replace(series, values=series.values[: len(series.values) - origin]) for series in longer]
        late = tuple(_after(panel, series, origin, steps, slice(F, F + known)) for series in longer)
        future = replace(panel, series=late) if known else None
        yield origin, forecast_panel(model, replace(panel, series=tuple(early)), steps, future)


def panel_codec(model: Forecaster) -> PanelCodec:
    """How a model reads series; raises InputError where it does not forecast them."""
    if model.codec.panel is None:
        raise InputError("this model's task is {task}; it does not forecast series", task=model.config.task)
    return model.codec.panel


def _after(panel: Panel, series: TimeSeries, origin: int, steps: int, columns: slice) -> TimeSeries:
    """The known values of the rows that are held back; where there are fewer than `steps`, the last one is repeated."""
    first = len(series.values) - origin
    rows = np.minimum(np.arange(first, first + steps), len(series.values) - 1)
    start = None if series.start is None else panel.step.after(series.start, np.array([first]))[0]
    number = None if series.first is None else series.first + first * panel.step.count
    return replace(series, values=np.nan_to_num(series.values[rows, columns]), start=start, first=number)


def known_values(codec: PanelCodec, panel: Panel, steps: int, future: Panel | None) -> list[Floats]:
    """The known covariates of the steps to forecast, (steps, number of known columns) for each series."""
    names = ", ".join(codec.columns.known)
    if future is None:
        if names:
            raise InputError("the model reads {names} of the steps to forecast: give them with `future`", names=names)
        return [np.zeros((steps, 0)) for _ in panel.series]
    if not names:
        raise InputError("`future` is given, and the model was trained without `known` columns")
    return align_future(panel, future, steps)


def _forecast_once(model: Forecaster, codec: PanelCodec, panel: Panel, known: Sequence[Floats]) -> list[Forecast]:
    """The forecasts of one horizon after every series, given the known covariates of these steps."""
    forecasts: list[Forecast] = []
    for first in range(0, len(panel.series), EVAL_BATCH):
        batch = panel.series[first : first + EVAL_BATCH]
        origins = [codec.encode(series, future=known[first + i]) for i, series in enumerate(batch)]
        for series, origin, quantiles in zip(batch, origins, _predict(model, origins), strict=True):
            encoded = quantiles.reshape(len(codec.columns.targets), codec.horizon, -1)
            own = codec.undo(encoded, origin.levels[-1], origin.scales).transpose(1, 0, 2)
            T = len(series.values)
            times = None if series.start is None else panel.step.after(series.start, T + np.arange(codec.horizon))
            levels = model.network.head.levels
            targets = codec.columns.targets
            forecasts.append(Forecast(series.name, targets, T + 1, times, levels, own, codec.is_count))
    return forecasts


def _predict(model: Forecaster, origins: Sequence[Origins]) -> Floats:
    """The quantiles of the steps after the last row of each series, in increasing order, (B, F*h, Q)."""
    logits, rows = run_network(model, origins)
    last = logits[torch.tensor([int(own[-1]) for own in rows], device=logits.device)]
    return np.sort(to_numpy(model.network.head.quantiles(last)).astype(np.float64), axis=-1)


@torch.no_grad()
def run_network(model: Forecaster, origins: Sequence[Origins]) -> tuple[Tensor, list[NDArray[np.int64]]]:
    """The logits of the last rows of some series, as many as a window of training has.

    Returns:
        The logits of all rows, and which of them are those of each series, in the order of its rows.
    """
    network = model.network
    rows = [origin.inputs[-model.config.training.bptt :] for origin in origins]
    offsets: NDArray[np.int64] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    batch = gather(Dataset(Ragged(np.concatenate(rows), offsets)), np.arange(len(rows)))
    with disable_tf32(network.device):
        logits, _ = network(PackedInputs.of(batch, network.device))
    indices = prediction_indices(batch, per_sequence=False)
    return logits, [indices[i] for i in np.argsort(batch.rows)]


def _extend(panel: Panel, forecasts: Sequence[Forecast], known: Sequence[Floats], done: int) -> Panel:
    """The panel with the medians of a horizon, up to step `done`, as further rows; observed columns are missing."""
    longer: list[TimeSeries] = []
    for series, forecast, values in zip(panel.series, forecasts, known, strict=True):
        F, steps = len(forecast.columns), len(forecast.point)
        rows = np.full((steps, series.values.shape[1]), np.nan)
        rows[:, :F] = forecast.point
        rows[:, F : F + values.shape[1]] = values[done - steps : done]
        longer.append(replace(series, values=np.concatenate([series.values, rows])))
    return replace(panel, series=tuple(longer))


def _join(forecasts: Sequence[Forecast], steps: int) -> Forecast:
    """Consecutive forecasts of a series as one of so many steps."""
    first = forecasts[0]
    quantiles = np.concatenate([forecast.quantiles for forecast in forecasts])[:steps]
    times = None
    if first.times is not None:
        times = np.concatenate([forecast.times for forecast in forecasts if forecast.times is not None])[:steps]
    return replace(first, quantiles=quantiles, times=times)
