"""Forecasts as text: CSV, TSV or JSON lines."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ohlol.data.lines import quote
from ohlol.inference.output import escape_cell
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list


def parse_intervals(text: str) -> tuple[float, ...]:
    """The intervals in a list such as "80,95", in per cent, the narrowest first.

    Raises:
        InputError: one is not a number between 0 and 100.

    >>> parse_intervals("95, 80")
    (80.0, 95.0)
    """
    intervals: set[float] = set()
    for part in text.split(","):
        try:
            percent = float(part)
        except ValueError:
            percent = math.nan
        if not 0 < percent < 100:
            raise InputError("`intervals` is {text}; give per cents between 0 and 100, such as 80,95", text=quote(text))
        intervals.add(percent)
    return tuple(sorted(intervals))


def format_rows(rows: Sequence[dict[str, Any]], output_format: str) -> Iterator[str]:
    """Rows of the same columns as lines of text, without line ends.

    Args:
        rows: of forecasts or of sample paths.
        output_format: a key of `FORECAST_FORMATS`.

    Raises:
        InputError: there is no such format.
    """
    if output_format not in FORECAST_FORMATS:
        raise InputError(
            "`output_format` is {output_format}; a forecast is written as {forecast_formats}",
            output_format=quote(output_format),
            forecast_formats=join_list(FORECAST_FORMATS),
        )
    write, has_header = FORECAST_FORMATS[output_format]
    if has_header and rows:
        yield write({name: name for name in rows[0]})
    yield from map(write, rows)


def _csv(row: dict[str, Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells_of(row))
    return line.getvalue()


def _tsv(row: dict[str, Any]) -> str:
    return "\t".join(map(escape_cell, cells_of(row)))


def _json(row: dict[str, Any]) -> str:
    return json.dumps({name: None if value != value else value for name, value in row.items()}, ensure_ascii=False)


def cells_of(row: dict[str, Any]) -> list[str]:
    """The values of a row as text: all digits of a number, which is rounded, and nothing for NaN."""
    return [
        ("" if math.isnan(value) else f"{value:.15g}") if isinstance(value, float) else str(value)
        for value in row.values()
    ]


FORECAST_FORMATS: dict[str, tuple[Callable[[dict[str, Any]], str], bool]] = {
    "csv": (_csv, True),
    "tsv": (_tsv, True),
    "jsonl": (_json, False),
}
"""How a row is written in each format, and whether the names of the columns come first."""
