"""The rows of a panel as training and validation data.

The validation data of a series are the forecasts of its last rows, which are set apart: those from the row before them
on, so that the weights are chosen by their error over the whole horizon. Nothing of these rows is used in training.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ohlol.data.batches import Dataset, Ragged
from ohlol.data.panel import Panel
from ohlol.data.panel_codec import Origins, PanelCodec

LARGEST_SHARE = 3
"""At most a third of a series is set apart."""
HORIZONS = 2
"""Horizons of a short series that are set apart, at least, so that every step is measured several times."""


def encode_panel_parts(
    panel: Panel,
    horizon: int,
    fraction: float,
    context: int,
    codec: PanelCodec | None = None,
    *,
    is_count: bool = False,
) -> tuple[PanelCodec, Dataset, Dataset | None]:
    """The codec of a panel, the training data and the validation data.

    Args:
        panel: the series.
        horizon: steps to forecast.
        fraction: of each series that is set apart; 0 for nothing.
        context: rows before those set apart with which the validation data begin; they are read and not measured.
        codec: encodes the series; None for one that is fitted to the training data.
        is_count: whether a codec that is fitted has counts as targets.
    """
    held_out = [_held_out(len(series.values), panel.season, horizon, fraction) for series in panel.series]
    codec = codec or PanelCodec.fit(panel, horizon, held_out, is_count=is_count)
    train: list[Origins] = []
    dev: list[Origins] = []
    for series, held in zip(panel.series, held_out, strict=True):
        T = len(series.values)
        cut = T - held
        origins = codec.encode(series, cut)
        start = min(panel.season, cut // LARGEST_SHARE)
        train.append(_select(origins, codec, slice(0, max(cut - 1, 1)), start, cut))
        if held:
            first = max(cut - 1 - context, 0)
            dev.append(_select(origins, codec, slice(first, T - 1), cut - 1 - first, T))
    return codec, _dataset(train), _dataset(dev) if dev else None


def encode_panel(codec: PanelCodec, panel: Panel) -> Dataset:
    """All rows of a panel with the values that follow them; those of the first season are read and not measured."""
    parts: list[Origins] = []
    for series in panel.series:
        T = len(series.values)
        parts.append(_select(codec.encode(series), codec, slice(0, max(T - 1, 1)), min(codec.season, T // 3), T))
    return _dataset(parts)


def _held_out(length: int, season: int, horizon: int, fraction: float) -> int:
    """Rows at the end of a series that are set apart; 0 where it is too short."""
    held = min(max(round(length * fraction), HORIZONS * horizon), length // LARGEST_SHARE)
    return held if fraction and length - held >= 2 * season + 2 else 0


def _select(origins: Origins, codec: PanelCodec, rows: slice, first: int, end: int) -> Origins:
    """Some rows, with the targets from row `first` of them on, and none at or after row `end` of the series."""
    targets = origins.targets[rows].copy()
    targets[:first] = np.nan
    step = np.arange(rows.start, rows.start + len(targets))[:, None] + 1 + np.arange(codec.horizon)
    targets[np.tile(step >= end, (1, len(codec.columns.targets)))] = np.nan
    return Origins(origins.inputs[rows], targets, origins.levels[rows], origins.scales)


def _dataset(parts: Sequence[Origins]) -> Dataset:
    offsets: NDArray[np.int64] = np.cumsum([0, *(len(part.inputs) for part in parts)], dtype=np.int64)
    inputs = Ragged(np.concatenate([part.inputs for part in parts]), offsets)
    return Dataset(inputs, np.concatenate([part.targets for part in parts]))
