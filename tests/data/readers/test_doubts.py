"""Tables that could be taken for another problem than was meant: a question, a warning or the right reading."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from data.reading import TEXTS, WAVE, Write, days, read_error, table_of
from ohlol.config import DataSettings
from ohlol.data.sequences import read
from ohlol.utils.errors import InputWarning

FORECAST = DataSettings(task="next_row")
"""Numbers that neither count nor repeat in a cycle."""


def table(*rows: object, header: str = "", mark: str = ",") -> str:
    """A CSV text; a row is a tuple of cells."""
    lines = [mark.join(map(str, row if isinstance(row, tuple) else (row,))) for row in rows]
    return "\n".join([header] * bool(header) + lines) + "\n"


@pytest.mark.parametrize("task", [None, "next_row"])
@pytest.mark.parametrize(
    ("cell", "meaning"),
    [
        ('"1,037"', "'1,037', which is 1037 (a thousands separator) or 1.037 (a decimal comma)"),
        ('"1.037,5"', "'1.037,5', which is 1037.5 (a decimal comma)"),
        ('"1,037.5"', "'1,037.5', which is 1037.5 (a thousands separator)"),
        ("1 037", "'1 037', which is 1037 (a thousands separator)"),
        ("1\u202f037", "which is 1037 (a thousands separator)"),
        ("1'037", "which is 1037 (a thousands separator)"),
        ("1_037", "which is 1037 (a thousands separator)"),
        ('"3,5"', "'3,5', which is 3.5 (a decimal comma)"),
        ("$5", "'$5', which is 5 with '$'"),
        ("5.5 €", "'5.5 €', which is 5.5 with '€'"),
        ("7%", "'7%', which is 7 with '%'"),
        ("12 kg", "'12 kg', which is 12 with 'kg'"),
        ("(12)", "'(12)', which is 12 with '()'"),
    ],
)
def test_a_number_in_another_form_is_never_dropped(write: Write, task: str | None, cell: str, meaning: str):
    text = table_of("month,sales", range(1, 7), [112, 118, cell, 129, cell, 135])
    message = read_error(write("a.csv", text), DataSettings(task=task))
    assert message.startswith("a.csv:4: column 'sales' holds ")
    assert meaning in message
    assert ("with `input`" if task else "with `target`") in message


def test_a_column_of_decimal_commas_alone_is_found(write: Write):
    text = table_of("date;sales", days(6), ["1,5", "2,25", "3,0", "1,75", "2,5", "9,0"], mark=";")
    assert read_error(write("a.csv", text)).startswith("a.csv:2: column 'sales' holds '1,5', which is 1.5")


def test_a_column_that_is_not_read_may_hold_any_form(write: Write):
    text = table_of("sales,price", WAVE, ["$5"] * 12)
    assert read(write("a.csv", text), DataSettings(task="next_row", input="sales")).columns == ("sales",)


@pytest.mark.parametrize("marker", ["N/A", "NA", "null", "-", "", "nan", "#N/A", "inf"])
def test_a_missing_value_is_refused_where_it_is(write: Write, marker: str):
    text = table_of("date,sales", days(6), [5, 2, marker, marker, marker, marker])
    problem = "is empty" if not marker else "is "
    assert read_error(write("a.csv", text), FORECAST).startswith(f"a.csv:4: column 'sales' {problem}")


@pytest.mark.parametrize(
    ("name", "cells", "why"),
    [
        ("day", range(1, 13), "goes from 1 to 12 in steps of 1"),
        ("", range(12), "goes from 0 to 11 in steps of 1"),
        ("Unnamed: 0", [7, 3, 9, 1, 8, 2, 11, 5, 4, 6, 10, 0], "has no name, as the index of a data frame"),
        ("time", range(1577836800, 1577836800 + 12 * 86400, 86400), "goes from 1577836800 to 1578787200 in steps"),
        ("ts", [1577836800 + 40 * n * n for n in range(12)], "holds integers such as Unix time"),
        ("id", [n * n for n in range(12)], "holds increasing integers"),
        ("when", [20200127 + n for n in range(5)] + [20200201 + n for n in range(7)], "holds increasing integers"),
        ("year", [1949] * 12, "is a part of the date, from 1949 to 1949"),
        ("depth", [0.5 * n for n in range(12)], "goes from 0 to 5.5 in steps of 0.5"),
        ("left", range(12, 0, -1), "goes from 1 to 12 in steps of 1"),
        ("x", [f"{n / 10}" for n in range(12)], "goes from 0 to 1.1 in steps of 0.1"),
    ],
)
def test_a_column_that_counts_rows_is_not_forecast(write: Write, name: str, cells: object, why: str):
    path = write("a.csv", table_of(f"{name},sales", cells, WAVE))
    for settings in (FORECAST,):
        message = read_error(path, settings)
        assert message.startswith(f"a.csv: column {name!r} {why}")
        assert message.endswith("choose what to forecast with `target`, such as 'sales'")
    chosen = read(path, DataSettings(task="next_row", target="sales"))
    assert (chosen.columns, chosen.target_columns) == (("sales",), ("sales",))
    both = read(path, DataSettings(task="next_row", input=f'"{name}",sales' if name else "1,sales"))
    assert both.target_columns == (name, "sales")


def test_a_column_alone_may_count(write: Write):
    assert read(write("a.csv", table(*range(9), header="y"))).columns == ("y",)
    assert read(write("b.csv", table_of("date,y", days(9), range(9))), FORECAST).columns == ("y",)


STORES = [(store, day, y) for store in ("Aa", "Bb", "Cc") for day, y in zip(days(6), WAVE, strict=False)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (table(*STORES, header="store,date,y"), "and the dates of column 'date' begin again for each"),
        (table(*sorted(STORES, key=lambda row: row[1]), header="store,date,y"), "and the dates of column 'date'"),
        (table(*((s, y) for s, _, y in STORES), header="store,y"), "column 'store' has 3 values that repeat"),
        (
            table(*((i, t, (t * 7 + i) % 5, i % 2) for i in range(1, 7) for t in range(5)), header="id,t,value,label"),
            "column 'id' has 6 values that repeat ('1', '2', '3'), and column 't' begins again for each",
        ),
        (
            table(*((len(s) + ord(s[0]), day, y) for s, day, y in STORES), header="shop,date,y"),
            "column 'shop' has 3 values",
        ),
    ],
)
def test_several_series_are_not_read_as_one(write: Write, content: str, why: str):
    path = write("a.csv", content)
    message = read_error(path, FORECAST)
    assert message.startswith(("a.csv: the rows are of several series: column ", "a.csv: the rows may be of several"))
    assert ("may be" in message) == (content.startswith("store,y"))
    assert why in message
    y = "value" if "value" in content else "y"
    assert len(read(path, DataSettings(task="next_row", input=y, target=y)).inputs) == 1


@pytest.mark.parametrize(
    "words", [["Mon", "Tue", "Wed"] * 4, ["true", "false"] * 6, ["sunny", "rain", "rain", "sunny"] * 3]
)
def test_a_text_that_repeats_beside_dates_in_order_is_no_series(write: Write, words: list[str]):
    path = write("a.csv", table_of("date,what,y", days(12), words, WAVE))
    assert read(path, FORECAST).columns == ("y",)


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (days(12)[::-1], "a.csv:3: column 'date' runs backward: '2020-01-11' is before the row above, as in every row"),
        ([*days(6), *days(6, "2019-05-01")], "a.csv:8: column 'date' runs backward: '2019-05-01' is before"),
        ([*days(6), *days(6, "2020-01-06")], "a.csv:8: column 'date' has '2020-01-06' twice"),
        (["31/01/2020", "01/01/2020", *(f"{d:02}/02/2020" for d in range(1, 11))], "a.csv:3: column 'date' runs"),
        ([f"{d} 01:00" for d in days(12)][::-1], "a.csv:3: column 'date' runs backward: '2020-01-11 01:00'"),
        ([f"{d:02}.01.2020" for d in range(12, 0, -1)], "a.csv:3: column 'date' runs backward: '11.01.2020'"),
    ],
)
def test_dates_out_of_order_are_refused(write: Write, dates: list[str], message: str):
    path = write("a.csv", table_of("date,y", dates, WAVE))
    assert read_error(path, FORECAST).startswith(message)
    assert len(read(path, DataSettings(task="next_row", input="y", target="y")).inputs[0]) == 12


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%Y/%m/%d", "%Y-%m-%dT%H:%M:%SZ", "%m-%d-%Y"])
def test_dates_of_either_order_are_in_order(write: Write, form: str, recwarn: pytest.WarningsRecorder):
    dates = [(date(2020, 1, 1) + timedelta(9 * n)).strftime(form) for n in range(12)]
    assert read(write("a.csv", table_of("date,y", dates, WAVE)), FORECAST).columns == ("y",)
    assert not recwarn.list


def test_a_time_of_day_beside_a_date_is_no_repetition(write: Write):
    times = [f"{hour}:00" for hour in range(12)]
    path = write("a.csv", table_of("date,time,y", ["01/01/2020"] * 12, times, WAVE))
    assert read(path, FORECAST).columns == ("y",)


@pytest.mark.parametrize(
    ("dates", "gap"),
    [
        (
            [*days(8), *days(4, "2020-03-08")],
            "60 days from '2020-01-08' to '2020-03-08', where the usual step is 1 day",
        ),
        ([f"2020-{m:02}" for m in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12)] + ["2021-01", "2021-02"], "91 days from '2020-09'"),
        (
            [f"2020-01-01 {h:02}:00" for h in range(11)] + ["2020-01-01 13:00"],
            "3:00:00 from '2020-01-01 10:00' to '2020-01-01 13:00', where the usual step is 1:00:00",
        ),
    ],
)
def test_a_gap_between_dates_is_a_warning(write: Write, dates: list[str], gap: str):
    lines = [i for i, (a, b) in enumerate(pairwise(dates)) if gap.split("'")[1] == a and gap]
    with pytest.warns(InputWarning, match=rf":{lines[0] + 3}: column 'date' has a gap of ") as caught:
        assert read(write("a.csv", table_of("date,y", dates, WAVE)), FORECAST).columns == ("y",)
    assert gap in str(caught[0].message)


def test_weekends_and_months_are_no_gaps(write: Write, recwarn: pytest.WarningsRecorder):
    weekdays = [day for day in days(60) if date.fromisoformat(day).weekday() < 5][:24]
    months = [f"{2020 + m // 12}-{m % 12 + 1:02}-01" for m in range(24)]
    for name, dates in (("a.csv", weekdays), ("b.csv", months)):
        read(write(name, table_of("date,y", dates, WAVE * 2)), FORECAST)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("task", "names", "why"),
    [
        (
            None,
            ("up", "down"),
            "a.csv: the rows are series of numbers with a class each: column 'id' names the series of",
        ),
        ("classify", ("up", "down"), "a.csv: the rows are series of numbers with a class each: column 'id' names the"),
        (
            "classify",
            (0, 1),
            "a.csv: the rows are series of numbers with a class each: column 'id' names the series of",
        ),
        (None, (0, 1), "a.csv: the rows are of several series: column 'id' has 6 values that repeat"),
    ],
)
def test_series_with_a_class_each_are_refused(write: Write, task: str | None, names: tuple[object, object], why: str):
    rows = [(i, t, (t * 7 + i) % 5, names[i % 2]) for i in range(1, 7) for t in range(5)]
    path = write("a.csv", table(*rows, header="id,t,value,label"))
    assert read_error(path, DataSettings(task=task, input="value", target="label")).startswith(why)


def test_a_header_of_years_is_a_question(write: Write):
    path = write("a.csv", table(("FR", 5, 6, 9), ("DE", 4, 8, 2), header="country,1990,1991,1992"))
    assert read_error(path, FORECAST).startswith("a.csv:1: the first row may be a header: its numbers count from 1990")
    named = DataSettings(task="next_row", header=True)
    assert read(path, named).columns == ("1990", "1991", "1992")


def test_the_name_of_a_class_is_no_class(write: Write):
    path = write("a.csv", table(*((text, "ab"[n % 2]) for n, text in enumerate(TEXTS)), header="text,label"))
    by_number = DataSettings(input="1", target="2")
    assert read_error(path, by_number).startswith("a.csv:1: the first row may be a header: 'label' is in no other row")
    with pytest.warns(InputWarning, match="column '2': 1 of 3 classes occur once: 'label'"):
        assert len(read(path, DataSettings(input="1", target="2", header=False)).inputs) == 101
    assert len(read(path, DataSettings(input="1", target="2", header=True)).inputs) == 100


def test_a_byte_order_mark_is_no_part_of_a_name(write: Write):
    text = "\ufeff" + table_of("day,sales", range(1, 13), WAVE)
    assert read_error(write("a.csv", text), FORECAST).startswith("a.csv: column 'day' goes from 1 to 12")
    assert read(write("a.csv", text), DataSettings(task="next_row", target="sales")).columns == ("sales",)


def test_semicolons_and_decimal_commas(write: Write):
    text = table_of("date;sales, net", days(4), ["1,5", "2,5", "3,5", "1,25"], mark=";")
    assert read_error(write("a.csv", text)).startswith("a.csv:2: column 'sales, net' holds '1,5', which is 1.5 (a dec")


def test_unquoted_decimal_commas_are_two_columns(write: Write):
    text = table_of("date,sales", days(4), ["1,5", "2,5", "3,5", "1,25"])
    assert read_error(write("a.csv", text)).startswith("a.csv:2: 3 columns, where the first row has 2")


def test_a_series_without_a_header(write: Write):
    path = write("a.csv", table_of("", days(12), WAVE))
    assert read(path, FORECAST).columns == ("2",)
    assert len(read(path, FORECAST).inputs[0]) == 12


def test_booleans_beside_a_series_are_not_numbers(write: Write):
    rows = [f'{{"open": {str(n % 3 > 0).lower()}, "y": {y}}}' for n, y in enumerate(WAVE)]
    path = write("a.jsonl", "\n".join(rows))
    corpus = read(path, FORECAST)
    assert corpus.columns == ("y",)
    assert corpus.interpretation is not None
    assert corpus.interpretation.unread == ("open",)


def test_null_and_text_in_json_are_refused_where_they_are(write: Write):
    rows = [f'{{"y": {y}}}' for y in WAVE]
    nothing = [*rows[:3], '{"y": null}', *rows[3:]]
    assert read_error(write("a.jsonl", "\n".join(nothing)), FORECAST).startswith("a.jsonl:4: column 'y' is empty")
    texts = [*rows[:3], '{"y": "1,5"}', *rows[3:]]
    assert read_error(write("b.jsonl", "\n".join(texts)), FORECAST).startswith("b.jsonl:4: column 'y' holds '1,5'")


def test_an_empty_target_is_refused_where_it_is(write: Write):
    path = write("a.csv", table_of("text,label", TEXTS, ["a", "b", "", "a"] * 25))
    message = read_error(path, DataSettings(input="text", target="label"))
    assert message.startswith("a.csv:4: column 'label' is empty; a class is a text or a number")


def test_two_targets_of_forecasts_keep_their_covariates(write: Write):
    path = write("a.csv", table_of("day,low,high,wind", range(12), WAVE, WAVE[::-1], WAVE[3:] + WAVE[:3]))
    corpus = read(path, DataSettings(task="next_row", target="low,high"))
    assert (corpus.columns, corpus.target_columns) == (("low", "high", "wind"), ("low", "high"))


def test_a_text_is_forecast_by_nobody(write: Write):
    path = write("a.csv", table_of("name,place", TEXTS, TEXTS))
    assert read_error(path, FORECAST).startswith("a.csv: no column of numbers to forecast; there are")


def test_dates_of_parquet_are_dates(write: Write):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = write("a.parquet", "")
    moments = [date.fromisoformat(day) for day in days(12)]
    parquet.write_table(arrow.table({"when": moments[::-1], "y": WAVE}), path)
    assert read_error(path, FORECAST).startswith("a.parquet:2: column 'when' runs backward: '2020-01-11' is before")
    parquet.write_table(arrow.table({"when": moments, "y": WAVE}), path)
    assert read(path, FORECAST).columns == ("y",)


def test_a_month_that_is_a_number_beside_one_in_another_form(write: Write):
    text = table_of("month,sales", [*range(1, 13)], [f'"1,{n:03}"' for n in range(12)])
    for settings in (
        None,
        FORECAST,
        DataSettings(task="next_row", target="sales"),
        DataSettings(task="next_row", target="sales"),
    ):
        assert "'sales' holds '1,000', which is 1000 (a thousands" in read_error(write("a.csv", text), settings)


@pytest.mark.parametrize(
    ("decimal", "thousands", "cells"),
    [
        (",", ".", ["1.037,5", "12,25", "1.000.000", "7"]),
        (None, ",", ["1,037.5", "12.25", "1,000,000", "7"]),
        (",", " ", ["1 037,5", "12,25", "1\u202f000\u00a0000", "7"]),
        (None, "'", ["1'037.5", "12.25", "1’000’000", "7"]),
        (None, "_", ["1_037.5", "12.25", "1_000_000", "7"]),
    ],
)
@pytest.mark.parametrize(
    "settings", [{"task": "forecast"}, {"target": "sales"}, {"task": "next_row", "input": "sales"}]
)
def test_a_chosen_number_format_is_read(
    write: Write, decimal: str | None, thousands: str | None, cells: list[str], settings: dict[str, str]
):
    path = write("a.csv", table_of("date;sales", days(4), cells, mark=";"))
    chosen = DataSettings(**settings, decimal=decimal, thousands=thousands)  # pyright: ignore[reportArgumentType]
    corpus = read(path, chosen)
    rows = corpus.inputs[0]
    assert [float(value) for (value,) in rows] == [1037.5, 12.25, 1e6, 7]
    assert (corpus.settings.decimal, corpus.settings.thousands) == (decimal, thousands)
    again = read(path, corpus.settings)
    assert [float(value) for (value,) in again.inputs[0]] == [1037.5, 12.25, 1e6, 7]


@pytest.mark.parametrize(
    ("decimal", "thousands", "message"),
    [
        ("x", None, "`decimal` is 'x'; it must be one of '.' ','"),
        (None, "space", "`thousands` is 'space'; it must be one of ',' '.' ' ' \"'\" '_'"),
        (",", ",", "`decimal` and `thousands` are both ','; they must differ"),
        (None, ".", "`decimal` and `thousands` are both '.'; they must differ"),
    ],
)
def test_a_number_format_that_does_not_exist(write: Write, decimal: str | None, thousands: str | None, message: str):
    assert read_error(write("a.csv", "y\n1\n2\n"), DataSettings(decimal=decimal, thousands=thousands)) == message


UNIX = 1577836800


@pytest.mark.parametrize("unit", [1, 1000])
def test_unix_time_out_of_order_is_refused(write: Write, unit: int):
    times = [(UNIX + 3600 * n) * unit for n in (0, 1, 2, 4, 3, 5, 6, 7, 8, 9, 10, 11)]
    path = write("a.csv", table_of("ts,y", times, WAVE))
    for settings in (FORECAST, DataSettings(task="next_row", target="y")):
        assert read_error(path, settings).startswith(f"a.csv:6: column 'ts' runs backward: '{times[4]}' is before")
    hours = [(UNIX + 3600 * n) * unit for n in range(11)] + [(UNIX + 3600 * 20) * unit]
    path = write("b.csv", table_of("ts,y", hours, WAVE))
    with pytest.warns(InputWarning, match="has a gap of 10:00:00 from .* where the usual step is 1:00:00"):
        assert read(path, DataSettings(task="next_row", target="y")).columns == ("y",)
    assert "column 'ts' holds integers such as Unix time" in error_with_warning(path)


def error_with_warning(path: Path) -> str:
    with pytest.warns(InputWarning):
        return read_error(path, FORECAST)


def test_series_in_the_order_of_unix_time_are_not_one(write: Write):
    rows = [(UNIX + 60 * n, ship, WAVE[n], WAVE[-n]) for n in range(12) for ship in (211, 305, 407)]
    path = write("a.csv", table(*rows, header="time,ship,lat,lon"))
    message = read_error(path, DataSettings(task="next_row", target="lat"))
    assert message.startswith("a.csv: the rows are of several series: column 'ship' has 3 values that repeat")


def test_years_and_months_are_no_series(write: Write):
    rows = [(1949 + n // 12, n % 12 + 1, WAVE[n % 11]) for n in range(48)]
    path = write("a.csv", table(*rows, header="year,month,passengers"))
    assert read_error(path, FORECAST).startswith("a.csv: column 'year' is a part of the date, from 1949 to 1952")
    assert read(path, DataSettings(task="next_row", target="passengers")).columns == ("passengers",)


def test_a_point_that_may_separate_thousands_is_a_question(write: Write):
    cells = [f"{n}.{n * 37 % 1000:03}" for n in WAVE]
    path = write("a.csv", table_of("date;price", days(12), cells, mark=";"))
    message = read_error(path, FORECAST)
    assert message.startswith("a.csv:2: column 'price' holds '3.111', which is 3111 or 3.111: semicolons separate")
    assert message.endswith("set `thousands=.`, or `decimal=.` for a decimal point")
    for chosen, first in ((DataSettings(task="next_row", decimal="."), 3.111), (GERMAN, 3111)):
        assert float(read(path, chosen).inputs[0][0][0]) == first
    assert read(write("b.csv", table_of("date,price", days(12), cells)), FORECAST).columns == ("price",)


GERMAN = DataSettings(task="next_row", decimal=",", thousands=".")
