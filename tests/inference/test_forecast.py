"""Forecasts of a trained model: their rows, their origins and their known covariates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ohlol
from ohlol.data.panel import Panel, PanelColumns, TimeSeries, TimeStep
from ohlol.data.sequences import read_panel
from ohlol.inference.forecast import forecast_origins, forecast_panel
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.heads.quantile import LEVELS
from ohlol.utils.errors import InputError

DAYS = 90
RNG = np.random.default_rng(0)
PROMOTIONS = (RNG.random((2, DAYS + 14)) < 0.3).astype(float)


def daily_rows(known: bool = False, days: slice = slice(0, DAYS)) -> list[dict[str, object]]:
    """Two series with a week and, if `known`, a column that is known ahead and adds 10."""
    start = np.datetime64("2024-01-01")
    rows: list[dict[str, object]] = []
    for i, name in enumerate(("a", "b")):
        for day in range(DAYS + 14)[days]:
            value = 30 + 10 * i + 5 * np.sin(2 * np.pi * day / 7) + 10 * known * PROMOTIONS[i, day]
            row: dict[str, object] = {"store": name, "date": str(start + day), "sales": round(float(value), 3)}
            rows.append({**row, "promotion": PROMOTIONS[i, day]} if known else row)
    return rows


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    """A model of two daily series."""
    return ohlol.fit(daily_rows(), series="store", horizon=7, epochs=1, hidden_size=4)


@pytest.fixture(scope="module")
def with_known() -> TrainedModel:
    """The same with a known column."""
    return ohlol.fit(daily_rows(known=True), series="store", known="promotion", horizon=7, epochs=1, hidden_size=4)


def test_every_series_goes_on_with_dates_and_quantiles(model: TrainedModel):
    forecasts = model.forecast(daily_rows())
    assert [forecast.series for forecast in forecasts] == ["a", "b"]
    truth = daily_rows(days=slice(DAYS, DAYS + 7))
    for i, forecast in enumerate(forecasts):
        assert forecast.columns == ("sales",)
        assert forecast.first == DAYS + 1
        assert forecast.levels == LEVELS
        assert [str(time)[:10] for time in forecast.times] == [row["date"] for row in truth[:7]]
        assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
        expected = [row["sales"] for row in truth[7 * i : 7 * i + 7]]
        assert forecast.point[:, 0] == pytest.approx(expected, abs=1.0)


def test_a_file_and_a_table_have_the_same_forecast(model: TrainedModel, tmp_path: Path):
    rows = daily_rows()
    path = tmp_path / "sales.csv"
    path.write_text("store,date,sales\n" + "".join(f"{r['store']},{r['date']},{r['sales']}\n" for r in rows))
    tables = [
        model.forecast(data).to_rows()
        for data in (rows, path, str(path), read_panel(path, model.data_settings()).panel)
    ]
    assert tables[0] == tables[1] == tables[2] == tables[3]


def test_more_steps_than_the_horizon_go_on_from_the_medians(model: TrainedModel):
    once, twice = model.forecast(daily_rows()), model.forecast(daily_rows(), 10)
    assert np.array_equal(twice[0].quantiles[:7], once[0].quantiles)
    assert len(twice[0].quantiles) == len(twice[0].times) == 10
    longer = daily_rows()
    for forecast in once:
        for time, value in zip(forecast.times, forecast.point[:, 0], strict=True):
            longer.append({"store": forecast.series, "date": str(time)[:10], "sales": float(value)})
    again = model.forecast(longer, 3)
    assert again[0].point == pytest.approx(twice[0].point[7:], rel=1e-6)
    assert len(model.forecast(daily_rows(), 3)[1].point) == 3


def test_a_forecast_from_the_past_does_not_see_what_followed(model: TrainedModel):
    panel = read_panel(_records(daily_rows()), model.data_settings()).panel
    changed = replace(
        panel,
        series=tuple(
            replace(series, values=np.where(np.arange(DAYS)[:, None] < DAYS - 5, series.values, 1e6))
            for series in panel.series
        ),
    )
    results = [dict(forecast_origins(model, one, [5], 7)) for one in (panel, changed)]
    assert np.array_equal(results[0][5][0].quantiles, results[1][5][0].quantiles)
    assert results[0][5][0].first == DAYS - 4


def test_known_columns_of_the_steps_are_needed_and_used(with_known: TrainedModel):
    rows, future = daily_rows(known=True), daily_rows(known=True, days=slice(DAYS, DAYS + 7))
    ahead = [{name: row[name] for name in ("store", "date", "promotion")} for row in future]
    forecasts = with_known.forecast(rows, future=ahead)
    for i, forecast in enumerate(forecasts):
        expected = [row["sales"] for row in future[7 * i : 7 * i + 7]]
        assert forecast.point[:, 0] == pytest.approx(expected, abs=4)  # a promotion adds 10
    with pytest.raises(InputError, match="the model reads promotion of the steps to forecast: give them with `future`"):
        with_known.forecast(rows)
    with pytest.raises(InputError, match="no row 2024-04-06 in the future values"):
        with_known.forecast(rows, future=ahead[:6] + ahead[7:])


def test_what_does_not_fit_is_refused(model: TrainedModel):
    with pytest.raises(InputError, match="`steps` is 0; it must be at least 1"):
        model.forecast(daily_rows(), 0)
    with pytest.raises(InputError, match="`future` is given, and the model was trained without `known` columns"):
        model.forecast(daily_rows(), future=daily_rows())
    series = TimeSeries("a", np.ones((30, 1)), np.datetime64("2024-01-01", "s"))
    hourly = Panel((series,), PanelColumns(("sales",)), TimeStep("s", 3600), 24)
    with pytest.raises(InputError, match="the rows are hourly; the model was trained with daily"):
        forecast_panel(model, hourly, 3)
    hello = ohlol.fit([("hello", "ohlol")], epochs=1)
    with pytest.raises(InputError, match="this model's task is label; it does not forecast series"):
        hello.forecast(daily_rows())


def test_a_short_series_and_one_with_holes_are_forecast(model: TrainedModel):
    rows = [row for i, row in enumerate(daily_rows()) if row["store"] == "a" and i not in (40, 41, 55)]
    with pytest.warns(UserWarning, match="gaps of 3 rows"):
        forecast = model.forecast(rows)[0]
    assert np.isfinite(forecast.quantiles).all()
    short = model.forecast(rows[:5])[0]
    assert np.isfinite(short.quantiles).all()


def _records(rows: list[dict[str, object]]):
    from ohlol.data.frames import read_records

    return read_records(rows)
