"""Sample paths: forecasts as possible courses of a series, whose steps depend on each other as past errors do.

At each step the numbers have the distribution that the head gives. Their normal scores have the correlations of the
normal scores of past forecasts (a Gaussian copula), measured over the last rows of the series. So that short series
have a dependence too, rows of all series together count as some rows of each, and one row counts as a random walk.

Source: Pinson, Madsen, Nielsen, Papaefthymiou and Klöckl, "From probabilistic forecasts to statistical scenarios of
short-term wind power production", Wind Energy 12 (2009).

Shapes: F targets, h steps of the horizon, K = F*h, n rows of past forecasts, P paths.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.data.panel import Panel
from ohlol.data.panel_codec import Origins, PanelCodec
from ohlol.evaluation.evaluate import EVAL_BATCH
from ohlol.evaluation.sample_paths import Paths, SamplePaths
from ohlol.inference.forecast import Forecaster, known_values, panel_codec, run_network
from ohlol.models.heads import HEADS, Head
from ohlol.utils.devices import to_numpy
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, translate

Floats = NDArray[np.float64]

SHARED_HORIZONS = 2
"""So many horizons of rows count what all series have in common, beside the rows of a series itself."""
MAX_NUMBERS = 1 << 12
"""K of the largest correlation matrix."""


class _Past(NamedTuple):
    """A series before its paths are drawn."""

    logits: Tensor
    """Of the steps after the last row, (1, logits)."""
    scores: Floats
    """The normal scores of past forecasts, (n, K); 0 where a number is missing."""
    level: Floats
    """As `PanelCodec.undo` takes it."""
    scales: Floats


def sample_paths(
    model: Forecaster, panel: Panel, steps: int, paths: int, seed: int, future: Panel | None = None
) -> SamplePaths:
    """Draw paths of the steps that follow every series of a panel.

    Args:
        model: of a task with a horizon, with a head that gives intervals.
        panel: with the columns of training.
        steps: how many, from 1 to the horizon.
        paths: P, at least 1.
        seed: of the draws; at least 0.
        future: the known covariates of these steps, where the model reads some.

    Raises:
        InputError: the model does not forecast, or without intervals; a number is out of its range; the columns are
            others, or known values are missing.
    """
    codec = panel_codec(model)
    _check(model, codec, steps, paths, seed)
    codec.check_panel(panel, str(panel.series[0].place.file) or translate("the data"))
    known = known_values(codec, panel, steps, future)
    pasts: list[_Past] = []
    shared = _random_walk(codec)
    for first in range(0, len(panel.series), EVAL_BATCH):
        batch = panel.series[first : first + EVAL_BATCH]
        origins = [codec.encode(series, future=known[first + i]) for i, series in enumerate(batch)]
        pasts += _read(model, codec, origins)
        shared = _shorten(np.concatenate([shared, *(past.scores for past in pasts[first:])]))
    shared = _normalize(shared) * np.sqrt(SHARED_HORIZONS * codec.horizon)
    sampled = SamplePaths()
    for index, (series, past) in enumerate(zip(panel.series, pasts, strict=True)):
        T = len(series.values)
        rows = _normalize(np.concatenate([past.scores, shared]))
        scores = np.random.default_rng((seed, index)).standard_normal((paths, len(rows))) @ rows
        values = codec.undo(_numbers(model.network.head, codec, past, scores), past.level, past.scales)
        times = None if series.start is None else panel.step.after(series.start, T + np.arange(steps))
        own = np.ascontiguousarray(values.transpose(2, 1, 0)[:, :steps])
        sampled.append(Paths(series.name, codec.columns.targets, times, own))
    return sampled


def _check(model: Forecaster, codec: PanelCodec, steps: int, paths: int, seed: int) -> None:
    if len(model.network.head.levels) == 1:
        fitting = join_list(name for name, head in HEADS.items() if len(head.levels) > 1)
        raise InputError(
            "`head` {head} gives no intervals, and so no paths; train with one of {fitting}",
            head=model.config.model.head,
            fitting=fitting,
        )
    if not 1 <= steps <= codec.horizon:
        raise InputError(
            "`steps` is {steps}; paths have 1 to {horizon} steps, the horizon of the model",
            steps=steps,
            horizon=codec.horizon,
        )
    if codec.outputs > MAX_NUMBERS:
        raise InputError(
            "paths have at most {max_numbers:,} numbers; those of this model have {outputs:,}",
            max_numbers=MAX_NUMBERS,
            outputs=codec.outputs,
        )
    for name, value, least in (("paths", paths, 1), ("seed", seed, 0)):
        if value < least:
            raise InputError("`{name}` is {value}; it must be at least {low}", name=name, value=value, low=least)


def _read(model: Forecaster, codec: PanelCodec, origins: Sequence[Origins]) -> list[_Past]:
    """What is known of some series at their last rows."""
    logits, indices = run_network(model, origins)
    return [
        _Past(
            logits[rows[-1] : rows[-1] + 1],
            _past_scores(model.network.head, codec, logits[torch.from_numpy(rows).to(logits.device)], origin),
            origin.levels[-1],
            origin.scales,
        )
        for rows, origin in zip(indices, origins, strict=True)
    ]


def _past_scores(head: Head, codec: PanelCodec, logits: Tensor, origin: Origins) -> Floats:
    """The normal scores of the forecasts from all rows of a series but those of the first season and of the end."""
    T, n = len(origin.targets), len(logits)
    first = max(T - n, min(codec.season, T // 3))
    targets = torch.from_numpy(origin.targets[first : max(T - codec.horizon, first)]).to(logits.device)
    start = first - (T - n)
    scores = to_numpy(head.scores_of(logits[start : start + len(targets)], targets)).astype(np.float64)
    return np.where(np.isfinite(scores), scores, 0.0)


def _random_walk(codec: PanelCodec) -> Floats:
    """Rows whose products are the correlations along a random walk, sqrt(j / k) for j < k, of each target, (K, K)."""
    walk = np.triu(np.ones((codec.horizon, codec.horizon)))
    return np.kron(np.eye(len(codec.columns.targets)), _normalize(walk)).astype(np.float64)


def _shorten(rows: Floats) -> Floats:
    """At most K rows with the same products of columns."""
    return np.linalg.qr(rows, mode="r")  # pyright: ignore[reportReturnType]


def _normalize(rows: Floats) -> Floats:
    """Rows whose products are correlations, (n, K): each column has the length 1."""
    return rows / np.sqrt((rows**2).sum(axis=0))


def _numbers(head: Head, codec: PanelCodec, past: _Past, scores: Floats) -> Floats:
    """The encoded numbers with some normal scores (P, K) at the steps after a series, (F, h, P)."""
    of_numbers = torch.from_numpy(np.ascontiguousarray(scores.T)).to(past.logits).unsqueeze(0)
    with torch.no_grad():
        numbers = to_numpy(head.at_scores(past.logits, of_numbers)[0])
    return numbers.astype(np.float64).reshape(len(codec.columns.targets), codec.horizon, -1)
