"""Columns of dates: parts of a date in several columns, months side by side, and dates that are not read."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import ohlol
from ohlol.data.sequences import read_panel
from ohlol.utils.errors import InputError

FORECAST = {"task": "forecast"}


def write(path: Path, header: str, rows: Sequence[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "rows", "time", "first"),
    [
        ("year,month,y", [f"{2020 + i // 12},{i % 12 + 1},{7 * i % 5}" for i in range(24)], "year,month", "2020-01"),
        ("Jahr,Quartal,y", [f"{2020 + i // 4},{i % 4 + 1},{7 * i % 5}" for i in range(12)], "Jahr,Quartal", "2020-01"),
        ("year,week,y", [f"2020,{i + 1},{7 * i % 5}" for i in range(20)], "year,week", "2019-12-30"),
        ("year,month,day,hour,y", [f"2020,1,{1 + i // 24},{i % 24},{7 * i % 5}" for i in range(48)],
         "year,month,day,hour", "2020-01-01"),
        ("year,y", [f"{1990 + i},{7 * i % 5}" for i in range(20)], "year", None),
    ],
)  # fmt: skip
def test_the_parts_of_a_date_are_its_time(
    tmp_path: Path, header: str, rows: list[str], time: str, first: str | None
) -> None:
    data = read_panel(write(tmp_path / "a.csv", header, rows))
    assert data.settings.time == time
    assert data.panel.columns.targets == ("y",)
    if first is not None:
        assert data.panel.describe(data.panel.series[0], 0) == first


def test_a_year_that_does_not_increase_is_no_time(tmp_path: Path) -> None:
    rows = [f"{1990 + i % 3},{i % 7}" for i in range(20)]
    path = write(tmp_path / "a.csv", "year,y", rows)
    assert read_panel(path, ohlol.interpret(path, task="forecast", target="y").settings).settings.time in (None, "")


@pytest.mark.parametrize("cell", ["{day}. März 2020", "2020-13-{day}"])
def test_dates_that_are_not_read_are_asked_about(tmp_path: Path, cell: str) -> None:
    rows = [f"{cell.format(day=f'{i + 1:02}')},{i}" for i in range(20)]
    with pytest.raises(InputError, match=r"column 'date' holds .* which is not read as a date; write dates as"):
        ohlol.interpret(write(tmp_path / "a.csv", "date,y", rows), **FORECAST)


def test_one_cell_that_is_no_date_is_named(tmp_path: Path) -> None:
    rows = [f"2020-01-{i + 1:02},{i}" for i in range(20)] + ["Total,190"]
    with pytest.raises(
        InputError, match=r"column 'when' holds dates \(ISO\), and 'Total' in .*a\.csv:22 is not a date"
    ):
        ohlol.interpret(write(tmp_path / "a.csv", "when,y", rows), **FORECAST)


def test_months_side_by_side_are_asked_about(tmp_path: Path) -> None:
    header = "Year,Jan,Feb,Mar,Apr,May,Jun,Jul,Aug,Sep,Oct,Nov,Dec"
    rows = [",".join(map(str, [2000 + i, *range(i, i + 12)])) for i in range(8)]
    with pytest.raises(InputError, match="columns 'Jan' to 'Dec' are the months of the year in each row"):
        ohlol.interpret(write(tmp_path / "a.csv", header, rows), **FORECAST)


@pytest.mark.parametrize(
    ("header", "rows", "time"),
    [
        ("year,month,day,hour,minute,y", [f"2020,1,1,{i // 4},{i % 4 * 15},{7 * i % 11}" for i in range(80)],
         "year,month,day,hour,minute"),
        ("year,month,week,y", [f"2020,{1 + i // 5},{i + 1},{7 * i % 11}" for i in range(40)], "year,week"),
        ("time,y", [f"20200101{i:02},{7 * i % 11}" for i in range(24)], "time"),
        ("time,y", [f"20200101{i:02}30,{7 * i % 11}" for i in range(24)], "time"),
        ("t,y", [f"202001{i + 1:02}T000000,{7 * i % 11}" for i in range(28)], "t"),
    ],
)  # fmt: skip
def test_further_times_are_read(tmp_path: Path, header: str, rows: list[str], time: str) -> None:
    data = read_panel(write(tmp_path / "a.csv", header, rows))
    assert (data.settings.time, data.panel.columns.targets) == (time, ("y",))
    assert data.panel.step.unit


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("order_id", range(200001, 200041)),
        ("emp_id", range(200101, 200113)),
        ("zip", range(19000101, 19000121)),
        ("visitors_per_year", range(1000, 1280, 7)),
        ("sales_to_date", range(20000, 21500, 37)),
    ],
)
def test_identifiers_and_amounts_are_no_dates(tmp_path: Path, name: str, values: range) -> None:
    rows = [f"{value},{7 * i % 11}" for i, value in enumerate(values)]
    data = read_panel(write(tmp_path / "a.csv", f"{name},y", rows))
    assert not data.settings.time
    assert not data.panel.step.unit


def test_a_rising_target_with_a_word_of_time_in_its_name_is_forecast(tmp_path: Path) -> None:
    rows = [f"2020-01-{i + 1:02},{7 * i % 11},{i * i + 3 * i}" for i in range(28)]
    data = read_panel(write(tmp_path / "a.csv", "date,new_cases,total_cases_to_date", rows))
    assert data.panel.columns.targets == ("new_cases", "total_cases_to_date")


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("day", ["I had a nice walk", "it rained all day long", "nothing happened", "bad"]),
        ("period", ["Triassic", "Jurassic", "Permian", "Triassic"]),
        ("年级", ["一年级学生", "二年级学生", "三年级学生", "四"]),
        ("text", [f"2020-01-0{i} server restarted" for i in range(1, 5)]),
    ],
)
def test_texts_are_not_taken_for_dates(tmp_path: Path, name: str, texts: list[str]) -> None:
    path = write(tmp_path / "a.csv", f"{name},score", [f"{text},{i}" for i, text in enumerate(texts)])
    with pytest.raises(InputError, match="choose two by name with `input` and `target`"):
        ohlol.interpret(path)
    assert ohlol.interpret(path, input=name, target="score").settings.input == name


def test_a_time_of_day_beside_the_date_names_no_series(tmp_path: Path) -> None:
    rows = [f"2020-01-{1 + i // 24:02},{i % 24:02}:00,{7 * i % 11}" for i in range(96)]
    path = write(tmp_path / "a.csv", "date,time,y", rows)
    with pytest.raises(InputError, match="give a date and a time of day, in two columns, as `time`"):
        ohlol.interpret(path, **FORECAST)
    interpretation = ohlol.interpret(path, time="date,time", **FORECAST)
    assert "hourly, 96 rows" in str(interpretation)


def test_rows_that_run_backward_may_be_of_several_series(tmp_path: Path) -> None:
    rows = [f"{shop},{2018 + i // 12},{i % 12 + 1},{7 * i % 11}" for shop in (1, 2) for i in range(24)]
    path = write(tmp_path / "a.csv", "shop,year,month,y", rows)
    with pytest.raises(InputError, match=r"runs backward.* choose `series` where they are of several"):
        ohlol.interpret(path, series="", **FORECAST)
    assert ohlol.interpret(path, series="shop", **FORECAST).settings.time == "year,month"
