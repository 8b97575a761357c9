"""Panels from tables: parts of columns, series, missing values, regular steps, wide tables, and what is refused."""

# ruff: noqa: E501 - messages and rows of parameters
import csv
import gzip
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading import DAILY, WAVE, WIDE, Write, days, panel_error, panel_of, read_error, rows_of, slow_disk, table_of
from ohlol.config import DataSettings
from ohlol.data.frames import read_records
from ohlol.data.panel import PanelColumns, TimeStep, align_future, format_time
from ohlol.data.readers.column_stats import SAMPLE_ROWS
from ohlol.data.sequences import read, read_panel
from ohlol.utils.errors import InputError, InputWarning


def test_dates_and_numbers_are_found(write: Write) -> None:
    panel, settings, interpretation = panel_of(
        write("a.csv", table_of("date,y,note,z", days(12), WAVE, "abcabdabcabd", WAVE))
    )
    assert panel.columns == PanelColumns(("y", "z"))
    assert (panel.step, panel.season, len(panel.series)) == (DAILY, 7, 1)
    (series,) = panel.series
    assert (series.name, series.start, series.place.line) == ("", np.datetime64("2020-01-01"), 2)
    assert series.values.tolist() == [[value, value] for value in WAVE]
    assert settings == DataSettings(
        "forecast", "columns", None, None, "y,z", True, time="date", layout="long", season=7
    )
    assert str(interpretation).split("), ")[1] == (
        "task forecast, target 'y', 'z', time 'date', daily, 12 rows, season of 7; not read: 'note'"
    )


STORES = "date,store,city,y,price,temp,n\n" + "".join(
    f"{day},{store},{'XY'[store == 'B']},{WAVE[n]},{n * n % 5 / 2},{n * n % 7},{n}\n"
    for n, day in enumerate(days(12))
    for store in "BA"
)


def test_every_part(write: Write) -> None:
    path = write("a.csv", STORES)
    chosen = {"series": "store", "target": "y", "known": "price", "observed": "temp", "static": "city"}
    panel, settings, interpretation = panel_of(path, **chosen)
    assert panel.columns == PanelColumns(("y",), ("price",), ("temp",), ("city",))
    assert panel.columns.numeric == ("y", "price", "temp")
    assert [(one.name, one.statics, one.place.line) for one in panel.series] == [("B", ("Y",), 2), ("A", ("X",), 3)]
    assert panel.series[1].values[3].tolist() == [1, 2, 2]
    assert str(interpretation).endswith("daily, 2 series of 12 rows, season of 7; not read: 'n'")
    again, same, _ = read_panel(path, settings)
    assert same == settings
    assert rows_of(again) == rows_of(panel)
    future, _, _ = read_panel(path, settings, with_targets=False, step=panel.step)
    assert future.columns == PanelColumns((), ("price",))
    assert future.series[1].values[3].tolist() == [2]


def test_other_numbers_are_not_read_where_some_are_chosen(write: Write) -> None:
    path = write("a.csv", STORES)
    assert panel_of(path, series="store", target="y").panel.columns == PanelColumns(("y",))
    assert panel_error(path, series="store", known="price") == (
        "a.csv: columns 'y', 'temp' hold numbers; choose what to forecast with `target`"
    )
    two = write("b.csv", table_of("date,y,price", days(12), WAVE, WAVE[::-1]))
    assert panel_of(two, known="price").panel.columns == PanelColumns(("y",), ("price",))


@pytest.mark.parametrize("time", ["day", "n", ""])
def test_future_values_have_no_targets(write: Write, time: str) -> None:
    history = "day,n,s,y,p\n" + "".join(
        f"{day},{n * 2},{s},{n * n % 7},{n}\n" for n, day in enumerate(days(9)) for s in "AB"
    )
    rows = [(day, n * 2, s, n) for n, day in enumerate(days(12)) for s in "BA"][-6:]
    future = write("b.csv", table_of("day,n,s,p", *zip(*rows, strict=True)))
    one = write("c.csv", table_of("day,n,s,p", *zip(*rows[:2], strict=True)))
    for known in ("p", None):
        panel, settings, _ = panel_of(write("a.csv", history), series="s", target="y", known=known, time=time)
        for path, steps in ((future, 3), (one, 1)):
            values = read_panel(path, settings, with_targets=False, step=panel.step).panel
            follow = [rows.tolist() for rows in align_future(panel, values, steps)]
            assert follow == [[[n] if known else [] for n in (9, 10, 11)[:steps]]] * 2


def test_series_of_several_columns_and_in_blocks(write: Write) -> None:
    rows = [(s, i, d, y) for s in "AB" for i in (1, 2) for d, y in zip(days(4), WAVE[:4], strict=True)]
    path = write("a.csv", table_of("s,i,date,y", *zip(*rows, strict=True)))
    assert set(rows_of(panel_of(path, series="s,i", target="y").panel)) == {"A\t1", "A\t2", "B\t1", "B\t2"}


def test_a_counter_of_each_series_is_no_target(write: Write) -> None:
    rows = [(s, t, WAVE[t + n]) for n, s in enumerate("ABC") for t in range(6)]
    path = write("a.csv", table_of("id,t,y", *zip(*rows, strict=True)))
    panel, settings, _ = panel_of(path, series="id")
    assert (panel.columns.targets, panel.step, settings.time) == (("y",), TimeStep(), None)
    numbered = panel_of(path, series="id", time="t").panel
    assert [(one.start, one.first) for one in numbered.series] == [(None, 0)] * 3


def test_missing_values_are_counted(write: Write) -> None:
    cells = [3, "", "NA", "n/a", 5, "-", 2, "NaN", 5, 3, 5, 8]
    panel, _, interpretation = panel_of(write("a.csv", table_of("date,y", days(12), cells)))
    assert np.isnan(panel.series[0].values).sum() == 5
    assert ", missing values: 5" in str(interpretation)


@pytest.mark.parametrize(
    ("times", "step", "start", "gaps"),
    [
        ([f"{1949 + m // 12}-{m % 12 + 1:02}" for m in range(12)], TimeStep("M"), "1949-01-01", 0),
        ([f"{1949 + m // 12}M{m % 12 + 1:02}" for m in range(12)], TimeStep("M"), "1949-01-01", 0),
        ([f"{2001 + q // 4}Q{q % 4 + 1}" for q in range(12)], TimeStep("M", 3), "2001-01-01", 0),
        ([f"{2001 + q // 4}-Q{q % 4 + 1}" for q in range(12)], TimeStep("M", 3), "2001-01-01", 0),
        ([f"{2001 + y}-01-01" for y in range(12)], TimeStep("M", 12), "2001-01-01", 0),
        ([str(np.datetime64("2020-01") + m + 1 - np.timedelta64(1, "D")) for m in range(12)], None, "2020-01-31", 0),
        ([f"2020-{m:02}-15" for m in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12)] + ["2021-01-15"], TimeStep("M"), "2020-01-15", 1),
        (days(12, step=7), TimeStep("s", 604800), "2020-01-01", 0),
        ([f"2020-01-01 {h:02}:00" for h in range(12)], TimeStep("s", 3600), "2020-01-01", 0),
        ([f"2020-01-01T{h // 2:02}:{h % 2 * 30:02}:00Z" for h in range(12)], TimeStep("s", 1800), "2020-01-01", 0),
        ([f"2020-03-29T0{h}:00+0{1 + (h > 1)}:00" for h in (0, 1, 3, 4, 5, 6, 7, 8, 9)] + [f"2020-03-29T{h}:00+02:00" for h in (10, 11, 12)], TimeStep("s", 3600), "2020-03-28T23:00", 0),
        ([d for d in days(16) if np.is_busday(d)], TimeStep("B"), "2020-01-01", 0),
        ([d for d in days(20) if np.is_busday(d) and d[-2:] not in ("06", "08")], TimeStep("B"), "2020-01-01", 2),
        ([f"{d:02}.01.2020" for d in range(1, 13)], DAILY, "2020-01-01", 0),
        ([f"{d:02}/13/2020" for d in range(1, 13)], TimeStep("M"), "2020-01-13", 0),
        ([20200127 + n for n in range(5)] + [20200201 + n for n in range(7)], DAILY, "2020-01-27", 0),
        ([1577836800 + 3600 * n for n in range(12)], TimeStep("s", 3600), "2020-01-01", 0),
        ([(1577836800 + 60 * n) * 1000 for n in range(12)], TimeStep("s", 60), "2020-01-01", 0),
        ([5 + 5 * n for n in range(12)], TimeStep("", 5), 5, 0),
        ([n + 2 * (n > 7) for n in range(12)], TimeStep("", 1), 0, 2),
    ],
)  # fmt: skip
def test_a_step_is_inferred(write: Write, times: list[Any], step: TimeStep | None, start: Any, gaps: int) -> None:
    assert len(times) == 12, len(times)
    path = write("a.csv", table_of("ts,y", times, WAVE))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        panel = panel_of(path, time="ts", target="y").panel
    assert panel.step == (step or TimeStep("M"))
    (series,) = panel.series
    assert (series.first if isinstance(start, int) else series.start) == (
        start if isinstance(start, int) else np.datetime64(start)
    )
    assert np.isnan(series.values).sum() == gaps
    assert len(series.values) == 12 + gaps
    assert len(caught) == (gaps > 0)
    if series.start is not None and not gaps:
        moments = panel.step.after(series.start, np.arange(12))
        assert len(set(map(str, moments))) == 12
        assert format_time(moments[0], panel.step).startswith(str(series.start)[:4])


def test_the_end_of_months_is_kept(write: Write) -> None:
    ends = [str(np.datetime64("2020-01") + m + 1 - np.timedelta64(1, "D")) for m in range(12)]
    (series,) = panel_of(write("a.csv", table_of("date,y", ends, WAVE))).panel.series
    assert series.start is not None
    assert list(map(str, TimeStep("M").after(series.start, np.arange(12)).astype("datetime64[D]"))) == ends


def test_a_date_and_a_time_of_day(write: Write) -> None:
    hours = [f"{hour}:00" for hour in range(12)]
    path = write("a.csv", table_of("date,time,y", ["01/01/2020"] * 12, hours, WAVE))
    assert "has '01/01/2020' twice" in panel_error(path)
    assert panel_of(path, time="date,time").panel.step == TimeStep("s", 3600)
    path = write(
        "b.csv",
        table_of("year,month,y", [1949 + n // 12 for n in range(24)], [n % 12 + 1 for n in range(24)], WAVE * 2),
    )
    assert panel_of(path, time="").panel.step == TimeStep()
    for panel in (panel_of(path, time="year,month").panel, panel_of(path).panel):
        assert (panel.step, panel.season, panel.columns.targets) == (TimeStep("M"), 12, ("y",))


MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
HOUR = TimeStep("s", 3600)


@pytest.mark.parametrize(
    ("name", "times", "step", "start"),
    [
        ("date", [f'"Jan {d}, 2020"' for d in range(1, 13)], DAILY, "2020-01-01"),
        ("x", [f"{month}-20" for month in MONTHS], TimeStep("M"), "2020-01-01"),
        ("x", [f"Q{n % 4 + 1} {2018 + n // 4}" for n in range(12)], TimeStep("M", 3), "2018-01-01"),
        ("x", [f"{2014 + n // 2}H{n % 2 + 1}" for n in range(12)], TimeStep("M", 6), "2014-01-01"),
        ("x", [f"2020-W{week:02}" for week in range(1, 13)], TimeStep("s", 604800), "2019-12-30"),
        ("x", [f"2020年1月{d}日" for d in range(1, 13)], DAILY, "2020-01-01"),
        ("x", [f"01/01/2020 {(h % 12) or 12}:00 {'AP'[h > 11]}M" for h in range(5, 17)], HOUR, "2020-01-01T05:00"),
        ("x", [f"2020-01-01 {h}:00" for h in range(13, 25)], HOUR, "2020-01-01T13:00"),
        ("x", [f"2020-01-01 {h:02}:00 UTC" for h in range(12)], HOUR, "2020-01-01"),
        ("x", [f"{d}T00:00+0{1 + (d > '2020-03-29')}:00" for d in days(12, "2020-03-24")], DAILY, "2020-03-24"),
        ("x", [f"{d}T00:00+08:00" for d in days(12)], DAILY, "2020-01-01"),
        ("x", [f"2020-{m:02}-01 00:00+0{1 + (3 < m < 11)}:00" for m in range(1, 13)], TimeStep("M"), "2020-01-01"),
        ("yyyymm", [f"{2019 + m // 12}{m % 12 + 1:02}" for m in range(6, 18)], TimeStep("M"), "2019-07-01"),
        ("week", [f"2020{week}" for week in range(42, 54)], TimeStep("s", 604800), "2020-10-12"),
        ("date", [str(n) for n in range(43831, 43843)], DAILY, "2020-01-01"),
        ("Datum", np.cumsum([43831, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30]), TimeStep("M"), "2020-01-01"),
        ("timestamp", [(1577836800 + 3600 * n) * 10**9 for n in range(12)], HOUR, "2020-01-01"),
        ("ts_ms", [(1577836800 + 3600 * n) * 1000 for n in range(12)], HOUR, "2020-01-01"),
    ],
)  # fmt: skip
def test_times_of_any_form_are_found(write: Write, name: str, times: Any, step: TimeStep, start: str) -> None:
    panel, settings, _ = panel_of(write("a.csv", table_of(f"{name},y", times, WAVE)))
    assert (settings.time, panel.columns.targets, panel.step) == (name, ("y",), step)
    (series,) = panel.series
    assert series.start == np.datetime64(start)
    assert series.values[:, 0].tolist() == WAVE


def test_hours_that_change_with_the_season_are_those_of_utc(write: Write) -> None:
    hours = [f"2020-10-25T0{h}:00+02:00" for h in range(3)] + [f"2020-10-25T0{h}:00+01:00" for h in range(2, 9)]
    panel = panel_of(write("a.csv", table_of("t,y", hours, WAVE[:10]))).panel
    assert (panel.step, panel.series[0].start) == (HOUR, np.datetime64("2020-10-24T22:00"))


@pytest.mark.parametrize(
    ("header", "columns", "step", "season"),
    [
        ("year,month,day,y", ([2020] * 12, [1] * 12, range(1, 13), WAVE), DAILY, 7),
        (
            "year,quarter,y",
            ([2010 + n // 4 for n in range(12)], [n % 4 + 1 for n in range(12)], WAVE),
            TimeStep("M", 3),
            4,
        ),
        ("Year,Week,y", ([2020] * 12, range(40, 52), WAVE), TimeStep("s", 604800), 52),
    ],
)
def test_parts_of_dates_are_joined(write: Write, header: str, columns: Any, step: TimeStep, season: int) -> None:
    panel, settings, _ = panel_of(write("a.csv", table_of(header, *columns)))
    assert (panel.step, panel.season, panel.columns.targets) == (step, season, ("y",))
    assert settings.time == header.removesuffix(",y")


def test_an_hour_beside_a_date(write: Write) -> None:
    rows = [(d, h, WAVE[h % 12]) for d in days(2) for h in range(1, 25)]
    panel = panel_of(write("a.csv", table_of("date,hour,y", *zip(*rows, strict=True))), time="date,hour").panel
    assert (panel.step, panel.series[0].start, len(panel.series[0].values)) == (
        HOUR,
        np.datetime64("2020-01-01T01"),
        48,
    )


def test_years_count_the_rows_and_their_gaps(write: Write) -> None:
    path = write("a.csv", table_of("Jahr,y", [*range(2008, 2018), 2019, 2021], WAVE))
    with pytest.warns(InputWarning, match="has gaps of 2 rows, where rows are numbered in steps of 1"):
        panel, settings, _ = panel_of(path)
    assert (settings.time, panel.columns.targets, panel.series[0].first) == ("Jahr", ("y",), 2008)
    assert len(panel.series[0].values) == 14


def test_the_order_of_the_day_and_the_month_is_that_of_a_regular_step(write: Write) -> None:
    months = [f"{m:02}/01/{y}" for y in (2018, 2019, 2020) for m in range(1, 13)]
    path = write("a.csv", table_of("date,y", months, WAVE * 3))
    panel, settings, interpretation = panel_of(path)
    assert (panel.step, panel.season, settings.date_order) == (TimeStep("M"), 12, "mdy")
    assert "dates with the month first" in str(interpretation)
    swapped = write("b.csv", table_of("date,y", [f"{m[3:5]}/{m[:2]}{m[5:]}" for m in months], WAVE * 3))
    assert panel_of(swapped).settings.date_order == "dmy"


def test_a_future_has_the_order_of_the_history(write: Write) -> None:
    history = write(
        "a.csv",
        table_of("date,y,p", [f"{m:02}/01/{y}" for y in (2018, 2019) for m in range(1, 13)], WAVE * 2, WAVE * 2),
    )
    future = write("b.csv", table_of("date,p", ["01/01/2020", "02/01/2020"], [7, 8]))
    panel, settings, _ = panel_of(history, target="y", known="p")
    values = read_panel(future, settings, with_targets=False, step=panel.step).panel
    assert [rows.tolist() for rows in align_future(panel, values, 2)] == [[[7], [8]]]


@pytest.mark.parametrize(
    ("dates", "readings"),
    [
        (
            [f"{m:02}/01/2020" for m in range(1, 13)],
            "'02/01/2020', which is 2020-01-02 (day first) or 2020-02-01 (month first)",
        ),
        (
            [f"20-01-{d:02}" for d in range(1, 13)],
            "'20-01-01', which is 2020-01-01 (year first) or 2001-01-20 (day first)",
        ),
    ],
)
def test_an_order_that_the_dates_leave_open_is_a_question(write: Write, dates: list[str], readings: str) -> None:
    path = write("a.csv", table_of("date,y", dates, WAVE))
    message = panel_error(path)
    assert f"column 'date' holds {readings}; say which with `date_order=" in message
    assert panel_of(path, date_order="dmy").settings.date_order == "dmy"
    points = write("b.csv", table_of("date,y", [f"{d:02}.01.2020" for d in range(1, 13)], WAVE))
    assert panel_of(points).panel.step == DAILY


@pytest.mark.parametrize(
    ("header", "times", "message"),
    [
        ("date,y", [*days(11), "Total"], "a.csv: column 'date' holds dates (ISO), and 'Total' in a.csv:13 is not a date; write dates as"),
        ("date,y", [*days(11), "2020-02-30"], "a.csv: column 'date' holds dates (ISO), and '2020-02-30' in a.csv:13 is not a date"),
        ("x,y", [*days(6), *(f"0{m}/20/2020" for m in range(1, 7))], "a.csv: column 'x' holds dates (ISO), and '01/20/2020' in"),
        ("Monat,y", [f"Januar {y}" for y in range(2000, 2012)], "a.csv: column 'Monat' holds 'Januar 2000', which is not read"),
        ("fy,y", [f"FY{y}" for y in range(2000, 2012)], "a.csv: column 'fy' holds 'FY2000', which is not read as a date"),
        ("period,y", [f"{d} - {d}" for d in days(12)], "a.csv: column 'period' holds '2020-01-01 - 2020-01-01', which is not"),
        ("x,y", [f"{d} 00:00 CET" for d in days(12)], "a.csv: column 'x' holds '2020-01-01 00:00 CET', which is not read as"),
        ("time,y", [f"{h}:00" for h in range(12)], "a.csv: column 'time' holds '0:00', which is not read as a date"),
        ("month,y", MONTHS, "a.csv: column 'month' holds 'Jan', which is not read as a date"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("task", [None, "forecast"])
def test_dates_that_are_not_read_are_a_question(
    write: Write, header: str, times: list[str], message: str, task: str | None
) -> None:
    path = write("a.csv", table_of(header, times, WAVE))
    found = read_error(path, DataSettings(task=task))
    assert found.startswith(message)
    assert found.endswith("or count the rows with `time` ''")
    assert panel_of(path, time="").panel.step == TimeStep()


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("version", [f"1.{n}.0" for n in range(12)]),
        ("address", [f"10.0.0.{n}" for n in range(12)]),
        ("phone", [f"12-34-{n + 10}" for n in range(12)]),
        ("code", [f"H{n + 100}" for n in range(12)]),
        ("order", [f"2020-{1000 + n}" for n in range(12)]),
        ("count", [201001 + 7 * n for n in range(12)]),
        ("response_time_ns", [400_000_000 + 7 * n * n for n in range(12, 0, -1)]),
    ],
)
def test_codes_and_counts_are_no_dates(write: Write, name: str, cells: Any) -> None:
    panel, settings, _ = panel_of(write("a.csv", table_of(f"{name},y", cells, WAVE)), target="y")
    assert (settings.time, panel.step) == (None, TimeStep())


def test_a_cell_without_a_date_far_from_the_start_is_named(write: Write) -> None:
    path = write("a.csv", table_of("date,y", [*days(SAMPLE_ROWS + 9), "Total"], (WAVE * 999)[: SAMPLE_ROWS + 10]))
    assert f"column 'date' holds dates (ISO), and 'Total' in a.csv:{SAMPLE_ROWS + 11} is not a date" in panel_error(
        path
    )


def test_a_column_without_letters_in_its_name_is_no_part_of_a_date(write: Write) -> None:
    path = write("a.csv", table_of("year,1,y", range(2000, 2012), WAVE, WAVE[::-1]))
    assert panel_of(path).settings.time == "year"


def test_numbers_of_a_column_of_times_that_increase_are_no_target(write: Write) -> None:
    path = write("a.csv", table_of("time,co2", [f"{1959 + n / 12:.3f}" for n in range(12)], WAVE))
    assert panel_of(path).panel.columns.targets == ("co2",)


def test_series_of_other_steps_are_a_question(write: Write) -> None:
    rows = [("a", d, y) for d, y in zip(days(12), WAVE, strict=True)]
    rows += [("b", f"2020-{m:02}-01", y) for m, y in zip(range(1, 13), WAVE, strict=True)]
    path = write("a.csv", table_of("shop,date,y", *zip(*rows, strict=True)))
    assert panel_error(path, series="shop") == (
        "a.csv:14: series 'b' is monthly by column 'date', and most rows are daily; train a model for each, or count the "
        "rows with `time` ''"
    )


def test_a_number_that_does_not_change_within_series_is_no_target(write: Write) -> None:
    path = write("a.csv", table_of("s,date,y,size", "AAAABBBB", days(4) * 2, WAVE[:8], [5] * 4 + [7] * 4))
    panel, _, interpretation = panel_of(path, series="s")
    assert (panel.columns.targets, interpretation.unread) == (("y",), ("size",))
    assert panel_of(path, series="s", target="y,size").panel.columns.targets == ("y", "size")


def test_names_of_series_that_differ_in_their_spelling_are_a_warning(write: Write) -> None:
    path = write("a.csv", table_of("s,date,y", [*["007"] * 4, *["7"] * 4], days(4) * 2, WAVE[:8]))
    with pytest.warns(
        InputWarning, match="a.csv: '007', '7' are different series, which differ in their spelling only"
    ):
        assert len(panel_of(path, series="s").panel.series) == 2


def test_rows_without_a_target_at_the_end_are_not_read(write: Write) -> None:
    path = write("a.csv", table_of("date,y,p", days(12), [*WAVE[:9], "", "", ""], WAVE))
    with pytest.warns(InputWarning) as caught:
        panel, settings, _ = panel_of(path, target="y", known="p")
    assert str(caught[0].message).endswith(
        "a.csv: the last rows have no value of a target, from 2020-01-10 on (rows: 3); they are not read, and forecasts begin "
        "there"
    )
    assert panel.series[0].values[:, 0].tolist() == WAVE[:9]
    future = read_panel(path, settings, with_targets=False, step=panel.step).panel
    assert [rows.tolist() for rows in align_future(panel, future, 3)] == [[[3], [5], [8]]]


@pytest.mark.parametrize(
    ("code", "count"), [("-999", 2), ("9999.9", 1), ("-99.9", 3), ("-9.99", 0), ("99.99", 0), ("-998", 0), ("12", 0)]
)
def test_nines_far_from_other_values_are_a_warning(
    write: Write, code: str, count: int, recwarn: pytest.WarningsRecorder
) -> None:
    panel_of(write("a.csv", table_of("date,y", days(12), [code] * max(count, 1) + WAVE[max(count, 1) :])))
    messages = [str(entry.message) for entry in recwarn.list]
    assert len(messages) == (count > 0)
    assert all(f"column 'y' holds {code} ({count} rows), far from all other values, 1 to 9" in one for one in messages)
    assert all(one.endswith(f"if it stands for a missing value, say so with `missing={code}`") for one in messages)


def test_cells_that_stand_for_a_missing_value_are_chosen(write: Write, recwarn: pytest.WarningsRecorder) -> None:
    path = write("a.csv", table_of("date,y,z", days(12), ["-999", "M", "-999.0", *WAVE[3:]], WAVE))
    assert (
        "'y' is 'M', which is not a finite number; name what stands for a missing value with `missing`"
        in panel_error(path)
    )
    recwarn.clear()
    panel, settings, interpretation = panel_of(path, missing="-999,M")
    assert np.isnan(panel.series[0].values).tolist() == [[n < 3, False] for n in range(12)]
    assert "missing values written as '-999,M'" in str(interpretation)
    assert read_panel(path, settings).settings == settings
    frame = read_records([{"y": float(y)} for y in [*WAVE, -999, 4]])
    assert frame is not None
    assert np.isnan(read_panel(frame, DataSettings(missing="-999")).panel.series[0].values[12, 0])
    assert not recwarn.list
    labels = write("b.csv", "text,label\n" + "".join(f"text {n * n},{'ab?'[n % 3]}\n" for n in range(12)))
    chosen = DataSettings(task="classify", input="text", target="label", missing="?")
    assert read_error(labels, chosen).startswith("b.csv:4: column 'label' is empty; a class is a text or a number")


def test_a_column_without_values_is_not_read(write: Write) -> None:
    path = write("a.csv", table_of("date,y,,", days(12), WAVE, [""] * 12, [""] * 12))
    assert panel_of(path).panel.columns.targets == read(path).target_columns == ("y",)


def test_a_gap_is_a_warning(write: Write) -> None:
    rows = [("A", d, 1) for d in [*days(5), *days(5, "2020-01-07")]]
    rows += [("B", d, 2) for d in [*days(5), *days(5, "2020-01-09")]]
    path = write("a.csv", table_of("s,date,y", *zip(*rows, strict=True)))
    with pytest.warns(InputWarning) as caught:
        panel = panel_of(path, series="s", target="y").panel
    assert [np.isnan(one.values).sum() for one in panel.series] == [1, 3]
    assert len(caught) == 1
    assert str(caught[0].message).replace(f"{path.parent}/", "") == (
        "a.csv:17: column 'date' has gaps of 4 rows, where rows are daily; they are read as missing values, the largest "
        "in series 'B' from '2020-01-05' to '2020-01-09'"
    )


def test_seasons(write: Write) -> None:
    cycle = np.tile([0.0, 5, 5, 9, 2], 10) + 0.01 * np.arange(50)
    path = write("a.csv", table_of("y", cycle))
    panel, settings, interpretation = panel_of(path)
    assert (panel.step, panel.season, settings.season) == (TimeStep(), 5, 5)
    assert "season of 5 (a peak of the autocorrelation; choose another with season)" in str(interpretation)
    assert panel_of(path, season=1).panel.season == 1
    assert "no season" in str(panel_of(path, season=1).interpretation)
    assert panel_of(write("b.csv", table_of("date,y", days(50), cycle))).panel.season == 7


def test_files_are_joined(write: Write) -> None:
    a = write("a.csv", table_of("date,s,y", days(6), "ABABAB", range(6)).replace("\r", ""))
    b = write(
        "b.csv.gz", gzip.compress(table_of("y;date;s", range(4), days(4, "2020-01-07"), "ABAB", mark=";").encode())
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        panel = read_panel([a, b], DataSettings(series="s", target="y")).panel
    assert [one[0] for one in rows_of(panel)["A"] if one[0] is not None] == [0, 2, 4, 0, 2]
    alone = [write(f"{n}.csv", table_of("date,y", days(5), WAVE[n : n + 5])) for n in range(2)]
    panel = read_panel(alone).panel
    assert rows_of(panel) == {"0": [[v] for v in WAVE[:5]], "1": [[v] for v in WAVE[1:6]]}
    with pytest.raises(InputError, match="no file to read"):
        read_panel([])


def test_tables_in_memory_and_json_and_parquet(write: Write, tmp_path: Path) -> None:
    from datetime import datetime, timedelta

    times = [datetime(2020, 1, 1) + timedelta(hours=n) for n in range(12)]
    entries = [{"ts": time, "y": y} for time, y in zip(times, WAVE, strict=True)]
    records = read_records(entries)
    assert records is not None
    lines = "".join(
        f'{{"ts": "{time}", "y": {"null" if y == 9 else y}}}\n' for time, y in zip(times, WAVE, strict=True)
    )
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"ts": times, "y": WAVE}), tmp_path / "a.parquet")
    for source in (records, write("a.jsonl", lines), tmp_path / "a.parquet"):
        panel = read_panel(source).panel
        assert (panel.step, panel.series[0].start) == (TimeStep("s", 3600), np.datetime64("2020-01-01"))
        assert panel.series[0].values[:5, 0].tolist() == [3, 1, 4, 1, 5]
    frame = pytest.importorskip("pandas").DataFrame({"y": WAVE}, index=times)
    frame_records = read_records(frame)
    assert frame_records is not None
    assert read_panel(frame_records, DataSettings(target="y")).panel.step == TimeStep("s", 3600)


def test_other_number_formats(write: Write) -> None:
    text = table_of("date;y", days(4), ["1.037,5", "", "2,5", "3"], mark=";")
    assert "which is 1037.5 (a decimal comma)" in panel_error(write("a.csv", text))
    panel = panel_of(write("a.csv", text), decimal=",", thousands=".").panel
    assert rows_of(panel)[""] == [[1037.5], [None], [2.5], [3]]


MANY = ",".join(["name", *(f"V{n}" for n in range(1, 25))])


@pytest.mark.parametrize(
    ("content", "chosen", "message"),
    [
        (
            table_of("date,y", days(4), WAVE[:4]),
            {"input": "y"},
            "a.csv: `input` is not for forecasts: every target is an input, too; choose further columns with `known` or",
        ),
        (table_of("date,y", days(4), "abcd"), {"target": "y"}, "a.csv:2: column 'y' is 'a', which is not a finite number"),
        (table_of("date,y", days(4), [1, 2, "inf", 3]), {}, "a.csv:4: column 'y' is 'inf', which is not a finite number"),
        (table_of("date,note", days(4), "abcd"), {"header": True}, "a.csv: no column of numbers to read; there are 'date', 'note'"),
        ("date,y\n", {"header": True}, "a.csv: no rows below the header"),
        (table_of("date,y", days(4), WAVE[:4]), {"target": "z"}, "a.csv:1: no column 'z'; there are 'date', 'y'"),
        (
            table_of("date,y,x", days(4), WAVE[:4], WAVE[:4]),
            {"target": "y", "known": "x,y"},
            "a.csv: column 'y' is chosen with `known` and with `target`; a column has one part",
        ),
        (
            table_of("date,sent,y", days(4), days(4), WAVE[:4]),
            {},
            "a.csv: columns 'date', 'sent' hold dates; choose that of the rows with `time`",
        ),
        (
            table_of("date,y", ["2020-01-01", "2020-01-02", "", "2020-01-04"], WAVE[:4]),
            {"time": "date"},
            "a.csv:4: column 'date' is empty, which is not a date, and the others hold dates (ISO); `time` is a column",
        ),
        (table_of("a,y", "abcd", WAVE[:4]), {"time": "a"}, "a.csv:2: column 'a' is 'a', which is not a date; `time` is"),
        (table_of("a,y", [0.5, 1, 1.5, 2], WAVE[:4]), {"time": "a"}, "a.csv: column 'a' holds fractions; `time` is"),
        (
            table_of("date,y", [f"2020-01-01 00:00:00.{n}" for n in range(4)], WAVE[:4]),
            {},
            "a.csv:3: column 'date' holds parts of a second, and the shortest step is a second",
        ),
        (
            STORES,
            {"target": "y"},
            "a.csv: the rows are of several series: column 'store' has 2 values that repeat ('B', 'A'), and the dates of "
            "column 'date' begin again for each; name the series with `series` 'store', or read all rows as one series "
            "with `series` ''",
        ),
        (STORES, {"target": "y", "series": ""}, "a.csv:3: column 'date' has '2020-01-01' twice; choose `series` where"),
        (
            table_of("s,date,y", "AAAABBBB", [*days(4), "2020-01-02", *days(3)], WAVE[:8]),
            {"series": "s", "target": "y"},
            "a.csv:7: column 'date' runs backward in series 'B': '2020-01-01' is before the row above, '2020-01-02'; sort "
            "the rows by date, or read them as they stand with `time` ''",
        ),
        (
            table_of("s,date,y", "AABA", ["2020-01-01", "2020-01-02", "2020-01-01", "2020-01-02"], WAVE[:4]),
            {"series": "s", "target": "y"},
            "a.csv:5: column 'date' has '2020-01-02' twice in series 'A'; keep one row for each",
        ),
        (
            table_of("date,y", days(4)[::-1], WAVE[:4]),
            {},
            "a.csv:3: column 'date' runs backward: '2020-01-03' is before the row above, '2020-01-04', as in every row; "
            "reverse the rows",
        ),
        (
            table_of("date,y", [*days(6, step=2), "2020-01-12"], WAVE[:7]),
            {},
            "a.csv:8: column 'date' has no regular step: '2020-01-12' follows '2020-01-11', and the other rows are every "
            "2 days; choose another `time`, `series` where the rows are of several, or count the rows with `time` ''",
        ),
        (
            table_of("date,y", [*days(6), "2620-01-12"], WAVE[:7]),
            {},
            "a.csv:8: column 'date' has a gap from '2020-01-06' to '2620-01-12', of 219,150 rows where rows are daily",
        ),
        (table_of("t,y", [0, 4, 8, 12, 15], WAVE[:5]), {"time": "t"}, "a.csv:6: column 't' has no regular step: '15' follows"),
        (table_of("date,y", days(2), [1, 2]), {}, "a.csv:2: the series has 2 values of 'y'; it must have at least 3: leave"),
        (
            table_of("s,date,y", "AAAB", days(4), WAVE[:4]),
            {"series": "s", "target": "y"},
            "a.csv:5: series 'B' has 1 value of 'y'; it must have at least 3: leave the series out",
        ),
        (
            table_of("s,date,y", "AAABBB", days(6), [1, 2, 3, "", "NA", ""]),
            {"series": "s", "target": "y"},
            "a.csv:5: series 'B' has 0 values of 'y'; it must have at least 3",
        ),
        (table_of("s,date,y", ["A", "A", ""], days(3), WAVE[:3]), {"series": "s"}, "a.csv:4: column 's' is empty; fill it"),
        (
            table_of("s,c,date,y", "AAA", "xxy", days(3), WAVE[:3]),
            {"series": "s", "static": "c"},
            "a.csv:4: column 'c' changes within series 'A', from 'x' to 'y'; leave it out of `static`",
        ),
        (
            "\n".join([MANY, *(",".join([f"H{n}", *map(str, range(n, n + 24))]) for n in range(5))]),
            {"task": "forecast"},
            "a.csv: each row may be a series: column 'name' has another text in each, and 24 columns of numbers follow, "
            "'V1' to 'V24'; say so with `layout` wide, or `layout` long where a row is a time step",
        ),
        (WIDE, {"layout": "wide", "target": "V1"}, "a.csv: `target` is for `layout` long; the columns of a wide table"),
        (WIDE + "H1,z,1,2,3,4,5\n", {"layout": "wide"}, "a.csv:4: series 'H1' is in a.csv:2, too; a row of a wide table"),
        ("name,V1,V2,V3\nA,1,2,3\nB,1,2,\n", {"layout": "wide"}, "a.csv:3: series 'B' has 2 values of 'value'"),
        ("name,V1,V2\nA,1,2\nB,1,x\nC,1,2\n", {"layout": "wide"}, "a.csv:3: column 'V2' is 'x', which is not a finite"),
    ],
)  # fmt: skip
def test_what_is_refused(write: Write, content: str, chosen: dict[str, Any], message: str) -> None:
    path = write("a.csv", content)
    assert panel_error(path, **chosen)[: len(message)] == message


def test_rows_as_they_stand(write: Write) -> None:
    panel = panel_of(write("a.csv", STORES), target="y", series="", time="").panel
    assert (panel.step, len(panel.series), len(panel.series[0].values)) == (TimeStep(), 1, 24)
    backward = write("b.csv", table_of("date,y", days(4)[::-1], WAVE[:4]))
    assert panel_of(backward, time="").panel.series[0].start is None
    assert panel_of(backward, time="").panel.columns.targets == ("y",)


NAMES = st.text(st.sampled_from('aé"; ,天1'), min_size=1, max_size=5).filter(lambda name: bool(name.strip()))
VALUES = st.none() | st.floats(-1e12, 1e12)


@st.composite
def panels(draw: st.DrawFn) -> dict[str, list[list[float | None]]]:
    names = draw(st.lists(NAMES.map(str.strip), min_size=1, max_size=4, unique=True))
    columns = draw(st.integers(1, 3))
    rows = st.lists(st.lists(VALUES, min_size=columns, max_size=columns), min_size=4, max_size=9)
    series = {name: draw(rows) for name in names}
    for values in series.values():
        for row in (0, 1, 2, -1):
            values[row] = [0.0 if cell is None else cell for cell in values[row]]
    return series


def written(rows: list[list[Any]], delimiter: str, end: str, quoting: int) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()


DIALECTS = st.tuples(
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)


@given(panels(), DIALECTS, st.sampled_from(["date", "number", "none"]), st.randoms())
@slow_disk
def test_a_long_panel_is_read_as_it_was_written(
    tmp_path: Path, series: Any, dialect: Any, time: str, random: Any
) -> None:
    columns = len(next(iter(series.values()))[0])
    left = [(name, list(enumerate(rows))) for name, rows in series.items()]
    lines: list[list[Any]] = [["series", "when", *(f"y{n}" for n in range(columns))]]
    while left:
        name, rows = random.choice(left)
        row, values = rows.pop(0)
        when = {"date": str(np.datetime64("2020-01-30") + row), "number": 7 + 3 * row, "none": "x"}[time]
        lines.append([name, when, *("" if value is None else value for value in values)])
        left = [entry for entry in left if entry[1]]
    path = tmp_path / "a.csv"
    path.write_bytes(written(lines, *dialect).encode())
    panel = panel_of(
        path,
        series="series",
        time="" if time == "none" else "when",
        target=",".join(f"y{n}" for n in range(columns)),
        header=True,
        decimal=".",
    ).panel
    assert rows_of(panel) == series
    steps = {"date": DAILY, "number": TimeStep("", 3), "none": TimeStep()}
    assert panel.step == steps[time]


@given(panels(), DIALECTS, st.booleans())
@slow_disk
def test_a_wide_panel_is_read_as_it_was_written(tmp_path: Path, series: Any, dialect: Any, dated: bool) -> None:
    longest = max(map(len, series.values()))
    header = [str(np.datetime64("2020-01-30") + n) if dated else f"V{n}" for n in range(longest)]
    lines: list[list[Any]] = [["series", *header]]
    for name, rows in series.items():
        cells = ["" if row[0] is None else row[0] for row in rows]
        lines.append([name, *cells, *[""] * (longest - len(cells))])
    path = tmp_path / "a.csv"
    path.write_bytes(written(lines, *dialect).encode())
    panel = panel_of(path, layout="wide", series="series", header=True, decimal=".").panel
    assert rows_of(panel) == {name: [row[:1] for row in rows] for name, rows in series.items()}
    assert panel.series[0].start == (np.datetime64("2020-01-30") if dated else None)
