"""Forecasts as CSV, TSV and JSON lines."""

import csv
import io
import json
import math

import numpy as np
import pytest
from forecasts import forecast_of, panel_of
from hypothesis import given
from hypothesis import strategies as st

from ohlol.evaluation.forecast import Forecasts
from ohlol.inference.forecast_output import format_rows, parse_intervals
from ohlol.inference.output import unescape_cell
from ohlol.utils.errors import InputError

NAMES = ("north\tred", 'say "x", y\n')


def forecasts(names: tuple[str, ...] = NAMES) -> Forecasts:
    return forecast_of(panel_of({name: [1.25, 2.5, 3.75] for name in names}), 2, 2)


def test_csv() -> None:
    assert list(format_rows(forecasts(("a",)).to_rows([80]), "csv")) == [
        "series,time,y,lower_80,upper_80",
        "a,2024-01-02,2.5,1.5,3.5",
        "a,2024-01-03,3.75,2.75,4.75",
    ]


def test_csv_quotes_what_must_be_quoted() -> None:
    text = "\n".join(format_rows(forecasts().to_rows(), "csv"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["series"] for row in rows] == [name for name in NAMES for _ in range(2)]


def test_tsv_escapes_tabs_and_line_ends() -> None:
    lines = list(format_rows(forecasts().to_rows(), "tsv"))
    assert len(lines) == 5
    assert [unescape_cell(line.split("\t")[0]) for line in lines[1:]] == [name for name in NAMES for _ in range(2)]


def test_json_lines() -> None:
    made = forecasts()
    assert [json.loads(line) for line in format_rows(made.to_rows(), "jsonl")] == made.to_rows()


def test_values_that_are_missing_are_empty_or_null() -> None:
    made = forecast_of(panel_of({"": [math.nan, math.nan]}), 1, 1)
    assert list(format_rows(made.to_rows([80]), "csv"))[1] == "2024-01-02,,,"
    assert json.loads(next(format_rows(made.to_rows([80]), "jsonl")))["y"] is None


def test_large_and_small_numbers_have_the_digits_that_matter() -> None:
    made = forecast_of(panel_of({"": np.array([123456789.123, 0.00012345678])}), 2, 2, levels=(0.5,))
    assert [line.split(",")[1] for line in format_rows(made.to_rows(), "csv")][1:] == ["123456789", "0"]
    made = forecast_of(panel_of({"": np.array([0.00012345678])}), 1, 1, levels=(0.5,))
    assert list(format_rows(made.to_rows(), "csv"))[1] == "2024-01-01,0.000123457"


def test_formats_that_are_not_there_and_intervals_that_are_too_wide_are_refused() -> None:
    with pytest.raises(InputError, match="`output_format` is 'xml'; a forecast is written as csv, tsv, jsonl"):
        list(format_rows(forecasts().to_rows(), "xml"))
    with pytest.raises(InputError, match="the model gives intervals up to 95 %"):
        forecasts().to_rows([99])


@pytest.mark.parametrize("text", ["", "80,", "0", "100", "-5", "nan", "80;95", "inf", "eighty"])
def test_intervals_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"`intervals` is .*; give per cents between 0 and 100, such as 80,95"):
        parse_intervals(text)


@given(st.sets(st.floats(0.1, 99.9), min_size=1))
def test_intervals_are_sorted(intervals: set[float]) -> None:
    assert parse_intervals(", ".join(map(repr, intervals))) == tuple(sorted(intervals))
