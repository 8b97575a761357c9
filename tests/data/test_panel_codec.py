"""The encoding of panels: what a row of the input holds, and that it holds nothing of the future."""

from dataclasses import replace

import numpy as np
import pytest

from ohlol.data.panel import Panel, PanelColumns, TimeSeries, TimeStep
from ohlol.data.panel_codec import PanelCodec
from ohlol.utils.errors import InputError

RNG = np.random.default_rng(1)


def make_panel(*, positive: bool = True, known: int = 0, observed: int = 0, static: bool = False) -> Panel:
    """Two daily series of different lengths."""
    columns = PanelColumns(
        ("y",),
        tuple(f"k{i}" for i in range(known)),
        tuple(f"o{i}" for i in range(observed)),
        ("kind",) if static else (),
    )
    series: list[TimeSeries] = []
    for i, T in enumerate((60, 45)):
        y = 20 + 5 * np.sin(2 * np.pi * np.arange(T) / 7) + RNG.normal(0, 1, T) - 25 * (not positive)
        values = np.column_stack([y, *(RNG.normal(i, 2, T) for _ in range(known + observed))])
        series.append(
            TimeSeries(f"s{i}", values, np.datetime64("2024-01-01", "s"), statics=("ab"[i],) if static else ())
        )
    return Panel(tuple(series), columns, TimeStep("s", 86400), 7)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize(("known", "observed", "static"), [(0, 0, False), (2, 1, True)])
def test_sizes_targets_and_undo_agree(positive: bool, known: int, observed: int, static: bool):
    panel = make_panel(positive=positive, known=known, observed=observed, static=static)
    codec = PanelCodec.fit(panel, 5, [10, 10])
    assert codec.is_log == (positive,)
    for series in panel.series:
        origins = codec.encode(series, len(series.values) - 10)
        T = len(series.values)
        assert origins.inputs.shape == (T, codec.inputs)
        assert origins.targets.shape == (T, codec.outputs)
        assert np.isfinite(origins.inputs).all()
        t = 30
        back = codec.undo(origins.targets[t].reshape(1, 5), origins.levels[t], origins.scales)
        assert back[0] == pytest.approx(series.values[t + 1 : t + 6, 0], rel=1e-5, abs=1e-5)
        assert np.isnan(origins.targets[-1]).all()


def test_a_row_holds_nothing_of_later_rows_but_known_columns():
    panel = make_panel(known=1, observed=1)
    codec = PanelCodec.fit(panel, 5, [10, 10])
    series = panel.series[0]
    later = series.values.copy()
    later[40:, [0, 2]] = RNG.normal(1000, 300, (20, 2))
    before, after = (codec.encode(replace(series, values=values), 40) for values in (series.values, later))
    assert np.array_equal(before.inputs[:40], after.inputs[:40])
    changed = series.values.copy()
    changed[41, 1] += 100  # known one step ahead of row 40
    assert not np.array_equal(codec.encode(replace(series, values=changed), 40).inputs[40], before.inputs[40])


def test_future_values_of_known_columns_are_read():
    panel = make_panel(known=1)
    codec = PanelCodec.fit(panel, 5, [0, 0])
    series = panel.series[0]
    future = RNG.normal(0, 1, (5, 1))
    cut = codec.encode(replace(series, values=series.values[:50]), future=series.values[50:55, 1:])
    whole = codec.encode(series, 50)
    known = slice(-(1 + 5) - 9, -9)  # before the calendar's 9 columns
    assert np.array_equal(cut.inputs[49, known], whole.inputs[49, known])
    other = codec.encode(replace(series, values=series.values[:50]), future=future)
    assert not np.array_equal(cut.inputs[49], other.inputs[49])


def test_the_effect_of_a_known_column_is_estimated():
    T = 200
    promotion = (RNG.random(T) < 0.3).astype(float)
    y = 50 + 20 * promotion + RNG.normal(0, 0.5, T)
    series = TimeSeries("", np.column_stack([y - 60, promotion]), None)
    panel = Panel((series,), PanelColumns(("y",), ("promotion",)), TimeStep(), 1)
    codec = PanelCodec.fit(panel, 4, [0])
    scale = codec.encode(series).scales[0]
    assert codec.effects[0][0] * scale == pytest.approx(20 * promotion.std(), rel=0.1)
    base = codec.encode(series).inputs[:, :4]
    errors = codec.encode(series).targets - base
    assert np.nanmean(np.abs(errors[50:])) * scale < 2  # without the column it is about 8


def test_missing_values_are_marked_and_have_no_target():
    panel = make_panel()
    values = panel.series[0].values.copy()
    values[30] = np.nan
    series = replace(panel.series[0], values=values)
    codec = PanelCodec.fit(panel, 5, [0, 0])
    origins = codec.encode(series)
    assert np.isfinite(origins.inputs).all()
    assert np.isnan(origins.targets[29, 0])
    assert np.isnan(origins.targets[28, 1])
    assert np.isfinite(origins.targets[30]).all()


def test_it_is_read_back_equal():
    codec = PanelCodec.fit(make_panel(known=1, observed=1, static=True), 5, [3, 3])
    assert PanelCodec.from_json(codec.to_json()) == codec


@pytest.mark.parametrize(
    "change",
    [
        {"horizon": 0},
        {"season": 10**9},
        {"is_log": []},
        {"stds": [0.0, 1.0]},
        {"means": [float("nan"), 0.0]},
        {"columns": {"targets": "y", "known": [], "observed": [], "static": []}},
        {"step": {"unit": "x", "count": 1}},
        {"effects": [[1.0, 2.0, 3.0]]},
        {"categories": []},
    ],
)
def test_a_damaged_one_is_refused(change: dict):
    data = PanelCodec.fit(make_panel(known=1, observed=1, static=True), 5, [3, 3]).to_json()
    with pytest.raises((ValueError, TypeError, KeyError)):
        PanelCodec.from_json({**data, **change})


def test_other_columns_and_steps_are_refused():
    codec = PanelCodec.fit(make_panel(known=1), 5, [0, 0])
    with pytest.raises(InputError, match="file: the known are none; the model was trained with k0"):
        codec.check_panel(make_panel(), "file")
    with pytest.raises(InputError, match="file: the rows are hourly; the model was trained with daily"):
        codec.check_panel(replace(make_panel(known=1), step=TimeStep("s", 3600)), "file")


def test_too_many_categories_are_refused():
    panel = make_panel(static=True)
    series = tuple(replace(panel.series[0], statics=(str(i),)) for i in range(1001))
    with pytest.raises(InputError, match=r"`static` has 1,001 categories"):
        PanelCodec.fit(replace(panel, series=series), 5, [0] * 1001)


@pytest.mark.parametrize(
    ("unit", "count", "season", "expected"),
    [
        ("s", 3600, 24, (24, 168)),
        ("", 1, 24, (24, 168)),
        ("s", 86400, 7, (7, 365)),
        ("M", 1, 12, (12,)),
        ("", 1, 1, (1,)),
    ],
)
def test_a_day_has_a_week_and_a_week_a_year(unit: str, count: int, season: int, expected: tuple[int, ...]):
    panel = replace(make_panel(), step=TimeStep(unit, count), season=season)
    assert PanelCodec.fit(panel, 5, [0, 0]).seasons == expected
