"""Forecasts as one HTML page that loads nothing: the plots, and a table of all rows."""

import io
from collections.abc import Sequence
from html import escape
from typing import Any

from ohlol.display import texts
from ohlol.display.figures import write_figure
from ohlol.display.forecast_figures import draw_forecasts
from ohlol.display.forecast_text import ForecastCurve
from ohlol.display.page import fill_placeholders
from ohlol.inference.forecast_output import cells_of


def render_page(
    curves: Sequence[ForecastCurve], rows: Sequence[dict[str, Any]], *, left_out: int = 0, lang: str = "en"
) -> str:
    """Render the page as HTML.

    Args:
        curves: what `ohlol.display.forecast_text.forecast_curves` returns; they are drawn.
        rows: what `Forecasts.to_rows` returns; the table has all of them.
        left_out: series or columns that are not drawn.
        lang: "en" or "zh".
    """
    image = io.BytesIO()
    write_figure(draw_forecasts(curves, lang=lang), image, ".svg")
    figure = image.getvalue().decode("utf-8")
    title = escape(texts.text("forecast_title", lang))
    note = escape(texts.text("forecast_left_out", lang, count=f"{left_out:,}")) if left_out else ""
    content = [
        f"<h1>{title}</h1>\n<p>{note}</p>\n<figure>{figure[figure.index('<svg') :]}</figure>\n",
        '<table class="rows">\n',
        *_table(rows),
        "</table>\n",
    ]
    return fill_placeholders("static.html", {"LANG": lang, "TITLE": title, "CONTENT": "".join(content)})


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of the table: a header, and the cells of each row."""
    if not rows:
        return []
    classes = [' class="number"' if isinstance(value, int | float) else "" for value in rows[0].values()]
    lines = [_line("th", classes, [str(name) for name in rows[0]])]
    return lines + [_line("td", classes, cells_of(row)) for row in rows]


def _line(tag: str, classes: Sequence[str], cells: Sequence[str]) -> str:
    filled = "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(classes, cells, strict=True))
    return f"<tr>{filled}</tr>\n"
