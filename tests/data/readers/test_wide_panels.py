"""Panels from wide tables, in which each row is a series."""

# ruff: noqa: E501 - messages and rows of parameters
from pathlib import Path

import numpy as np
import pytest

import ohlol
from data.reading import DAILY, DATA, WAVE, WIDE, Write, days, needs_data, panel_error, panel_of, rows_of
from ohlol.data.dates import MONTHS
from ohlol.data.panel import PanelColumns, TimeStep
from ohlol.data.sequences import read_panel
from ohlol.utils.errors import InputError


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("shop,2020-01-01,2020-01-02,2020-01-03", 'a,5,3,4\nb,2,2,7\n', "a.csv: each row may be a series: column 'shop' has another text in each, and 3 columns of numbers follow, '2020-01-01' to '2020-01-03'; say so"),
        ("shop," + ",".join(days(24)), "".join(f"{n * n}," + ",".join(map(str, WAVE * 2)) + "\n" for n in range(5)), "a.csv: each row may be a series: column 'shop' has another text in each, and 24 columns of numbers follow"),
        ("", "".join(f"{n % 2}," + ",".join(map(str, WAVE * 2)) + "\n" for n in range(5)), "a.csv: each row may be a series: 25 columns of numbers follow, '1' to '25'"),
        ("Year," + ",".join(MONTHS).title(), "".join(f"{2000 + n}," + ",".join(map(str, WAVE)) + "\n" for n in range(5)), "a.csv: columns 'Jan' to 'Dec' are the months of the year in each row; write a row for each month"),
    ],
)  # fmt: skip
def test_a_row_that_may_be_a_series_is_a_question(write: Write, header: str, rows: str, message: str) -> None:
    path = write("a.csv", f"{header}\n{rows}".lstrip())
    assert panel_error(path, task="forecast").startswith(message)


def test_a_number_beside_columns_of_dates_is_a_question(write: Write) -> None:
    path = write("a.csv", f"shop,{','.join(days(5))}\n17,5,3,4,2,7\n4,2,2,7,1,3\n")
    assert panel_error(path, layout="wide").startswith("a.csv: column 'shop' has no date as its name, as other columns")
    panel = panel_of(path, layout="wide", series="shop").panel
    assert rows_of(panel) == {"17": [[5], [3], [4], [2], [7]], "4": [[2], [2], [7], [1], [3]]}
    assert panel.step == DAILY


def test_a_row_is_a_series(write: Write) -> None:
    path = write("a.csv", WIDE)
    panel, settings, interpretation = panel_of(path, layout="wide", static="region")
    assert rows_of(panel) == {"H1": [[1], [2], [None], [4], [5]], "H2": [[7], [8], [9]]}
    assert panel.columns == PanelColumns(("value",), static=("region",))
    assert [one.statics for one in panel.series] == [("x",), ("y",)]
    assert (settings.series, settings.target) == ("name", None)
    assert "series 'name', static 'region', a series in each row, rows are counted, 2 series of 3 to 5 rows" in str(
        interpretation
    )
    assert list(rows_of(panel_of(path, layout="wide", series="region").panel)) == ["x", "y"]
    assert rows_of(read_panel(path, settings).panel) == rows_of(panel)


def test_a_header_of_dates(write: Write) -> None:
    for header, step, start in (
        ("2020-01,2020-02,2020-03,2020-05", TimeStep("M"), "2020-02-01"),
        ("1990,1991,1992,1994", TimeStep("M", 12), "1991-01-01"),
    ):
        path = write("a.csv", f"name,{header}\nA,,2,3,4\nB,1,2,3,\n")
        panel = panel_of(path, layout="wide", header=True).panel
        assert panel.step == step
        assert rows_of(panel) == {"A": [[2], [3], [None], [4]], "B": [[1], [2], [3]]}
        assert panel.series[0].start == np.datetime64(start)


@needs_data
def test_m4(tmp_path: Path) -> None:
    panel = panel_of(DATA / "m4hourly" / "Hourly-train.csv", layout="wide").panel
    assert (len(panel.series), panel.season) == (414, 24)
    assert {len(one.values) for one in panel.series} == {700, 960}
    assert (panel.series[0].name, panel.series[413].name) == ("H1", "H414")
    assert not any(np.isnan(one.values).any() for one in panel.series)


def test_the_order_of_dates_in_a_header_can_be_chosen(write: Write) -> None:
    path = write("a.csv", "n,1/2/2020,1/3/2020,1/4/2020,1/5/2020\na,1,2,3,4\nb,2,3,4,5\n")
    with pytest.raises(InputError, match="say which with `date_order=dmy` or `date_order=mdy`"):
        ohlol.interpret(path, layout="wide")
    for order, step in (("mdy", "daily"), ("dmy", "monthly")):
        interpretation = ohlol.interpret(path, layout="wide", date_order=order)
        assert (interpretation.settings.date_order, f"{step}, 2 series" in str(interpretation)) == (order, True)
