"""Settings that do not suit each other are refused in one line."""

from pathlib import Path
from typing import Any

import pytest

import ohlol
from ohlol.config import DataSettings
from ohlol.data.settings import check_settings
from ohlol.utils.errors import InputError


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"season": 0}, "`season` is 0; it must be at least 1"),
        ({"horizon": 0}, "`horizon` is 0; it must be at least 1"),
        ({"horizon": 2**21}, "`horizon` is 2097152; it must be at most 1048576"),
        ({"layout": "square"}, "`layout` is 'square'; it must be one of long, wide"),
        ({"task": "classify", "horizon": 3}, "`horizon` is for task forecast, and the task is classify"),
        ({"task": "next", "known": "x"}, "`known` is for task forecast, and the task is next"),
        ({"task": "label", "series": "x"}, "`series` is for series of numbers, and the task is label"),
        ({"format": "text", "time": "x"}, "`time` is for series of numbers, and the task is next"),
        ({"format": "text", "season": 3}, "format text does not serve task forecast; use columns"),
    ],
)
def test_settings_of_panels_have_bounds_and_a_task(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_settings(DataSettings(**chosen))
    assert str(caught.value) == message


def test_settings_of_forecasts_choose_the_task() -> None:
    assert check_settings(DataSettings(known="x")).task == "forecast"
    assert check_settings(DataSettings(series="x")).task is None
    assert check_settings(DataSettings(task="classify", series="x", time="t")).task == "classify"


@pytest.mark.parametrize(("name", "value"), [("missing", "O"), ("date_order", "dmy"), ("decimal", ",")])
def test_settings_of_tables_are_refused_elsewhere(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "a.conll"
    path.write_text("x B-A\n\ny O\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"`{name}` is for tables, and the format is conll"):
        ohlol.interpret(path, **{name: value})


@pytest.mark.parametrize("value", [-999, ["-999"]])
def test_a_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"`missing` is .*; it must be a string"):
        ohlol.interpret([{"x": 1.0}, {"x": 2.0}], missing=value)
