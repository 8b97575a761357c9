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
    with pytest.raises(InputError, match=r"column 'when' holds dates \(ISO\), and 'Total' in .*a\.csv:22 is none"):
        ohlol.interpret(write(tmp_path / "a.csv", "when,y", rows), **FORECAST)


def test_months_side_by_side_are_asked_about(tmp_path: Path) -> None:
    header = "Year,Jan,Feb,Mar,Apr,May,Jun,Jul,Aug,Sep,Oct,Nov,Dec"
    rows = [",".join(map(str, [2000 + i, *range(i, i + 12)])) for i in range(8)]
    with pytest.raises(InputError, match="columns 'Jan' to 'Dec' are the months of the year in each row"):
        ohlol.interpret(write(tmp_path / "a.csv", header, rows), **FORECAST)
