"""Forecasts as plots on a terminal: history, forecast and interval, in 80 columns."""

import io
import re

import numpy as np
import pytest
from forecasts import forecast_of, panel_of, seasonal
from rich.console import Console

from ohlol.data.panel import Panel, TimeStep
from ohlol.display.curves_text import HEIGHT
from ohlol.display.forecast_text import MAX_CURVES, forecast_curves, print_forecasts

NAN = float("nan")


def plotted(panel: Panel, steps: int = 7, *, width: int = 80, colours: bool = False, lang: str = "en") -> list[str]:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=colours, color_system="truecolor" if colours else None, highlight=False
    )
    print_forecasts(forecast_curves(panel, forecast_of(panel, steps)), console, lang=lang)
    return out.getvalue().splitlines()


def test_a_curve_has_the_last_seasons_and_the_forecast() -> None:
    panel = panel_of({"north\tred": seasonal(100)}, 7)
    (curve,) = forecast_curves(panel, forecast_of(panel, 3))
    assert curve.title == "north, red"
    assert curve.rows.tolist() == list(range(80, 101))
    assert curve.ahead.tolist() == [101, 102, 103]
    np.testing.assert_array_equal(curve.history, panel.series[0].values[-21:, 0])
    assert curve.times is not None
    assert curve.times[0] == np.datetime64("2024-01-01") + np.timedelta64(79, "D")
    assert set(curve.bounds) == {80, 95}
    assert curve.bounds[95][1] == pytest.approx(curve.point + 2)


def test_columns_name_their_curves_and_at_most_six_are_drawn() -> None:
    panel = panel_of({name: np.ones((9, 2)) for name in "abcdef"}, targets=("y", "z"))
    titles = [curve.title for curve in forecast_curves(panel, forecast_of(panel, 2), [50])]
    assert titles == ["a, y", "a, z", "b, y", "b, z", "c, y", "c, z"]
    assert len(titles) == MAX_CURVES
    (curve,) = forecast_curves(panel_of({"": [1.0, 2.0]}), forecast_of(panel_of({"": [1.0, 2.0]}), 2))
    assert curve.title == "y"


@pytest.mark.parametrize("width", [40, 79, 80, 200])
def test_every_part_is_drawn_within_the_width(width: int) -> None:
    panel = panel_of({"": [0.0, NAN, 0.0, 10.0]})
    lines = plotted(panel, 2, width=width)
    assert max(map(len, lines)) <= max(min(width, 80), 52)  # the names of the lines are not shortened
    assert lines[0] == "y"
    body = lines[1 : 1 + HEIGHT]
    assert sum(line.count("h") for line in body) == 3
    assert any(re.search("f +f", line) for line in body)
    assert sum(bool(re.search("i +i", line)) for line in body) == 2
    assert "i 95 % interval   h history   f forecast" in "\n".join(lines)


def test_colours_and_languages() -> None:
    text = "\n".join(plotted(panel_of({"": seasonal(50)}, 7), colours=True, lang="zh"))
    assert re.search("[\u2801-\u28ff]", text)
    assert "历史" in text
    assert "95% 区间" in text


@pytest.mark.parametrize(
    ("step", "label"),
    [
        (TimeStep("s", 86400), "01-08"),
        (TimeStep("s", 3600), "01-01 05h"),
        (TimeStep("M", 1), "2024-04"),
        (TimeStep(), "12"),
    ],
)
def test_ticks_are_dates_or_rows(step: TimeStep, label: str) -> None:
    panel = panel_of({"": seasonal(40)}, 12, step=step)
    ticks = "\n".join(plotted(panel, 12)[HEIGHT + 1 : HEIGHT + 3])
    pattern = re.sub(r"\d", r"\\d", label)
    assert re.search(rf"(^|\s){pattern}\s", ticks), ticks


def test_a_constant_and_an_empty_history_are_drawn() -> None:
    assert plotted(panel_of({"": [2.0, 2.0]}), 1)
    assert plotted(panel_of({"": [NAN, NAN]}), 1)


def test_control_characters_in_names_are_escaped() -> None:
    assert plotted(panel_of({"a\x1b[2J[b]": [1.0, 2.0]}), 1)[0] == "a\\x1b[2J[b]"
