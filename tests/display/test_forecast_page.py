"""The page of forecasts: plots and rows."""

import pytest
from forecasts import forecast_of, panel_of, seasonal

from ohlol.display.forecast_text import forecast_curves

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'ohlol[plot]'")

from ohlol.display.forecast_page import render_page


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_says_what_is_not_drawn(lang: str):
    panel = panel_of({"shop a": seasonal(30)}, 7)
    forecasts = forecast_of(panel, 5)
    curves, rows = forecast_curves(panel, forecasts), forecasts.to_rows()
    page = render_page(curves, rows, left_out=3, lang=lang)
    assert {"en": "not drawn: 3 more", "zh": "另有 3 个"}[lang] in page
    assert f'<html lang="{lang}">' in page
    assert page.count("<tr>") == len(rows) + 1
    assert page == render_page(curves, rows, left_out=3, lang=lang)
    assert "3" not in render_page(curves, [], lang=lang).split("<p>")[1].split("</p>")[0]
