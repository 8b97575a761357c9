"""A backtest as tables for a terminal."""

from collections.abc import Callable

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohlol.display import texts
from ohlol.evaluation.backtest import MODEL, NAIVE, SEASONAL_NAIVE, BacktestReport
from ohlol.evaluation.forecast_metrics import Scores
from ohlol.utils.numbers import format_significant
from ohlol.utils.rendering import to_text
from ohlol.utils.terminal import capture, escape_symbol
from ohlol.utils.translation import choose_language

NAMES = {MODEL: "backtest_model", SEASONAL_NAIVE: "backtest_seasonal_naive", NAIVE: "backtest_naive"}
"""The texts of the catalogue for what is measured."""
MAX_STEPS = 12
"""Steps that the table by step shows."""


def print_backtest(report: BacktestReport, console: Console, *, lang: str = "en") -> None:
    """Print the metrics by column, MASE by step, what was left out, and whether the model beats the naive forecast."""
    summary = {"series": report.series, "origins": len(report.origins), "steps": report.steps, "season": report.season}
    values = f"{sum(report.values.values()):,}"
    console.print(texts.text("backtest_summary", lang, **summary, values=values))
    console.print(_metrics(report, lang))
    if report.intervals:
        intervals = ", ".join(f"{percent:g} %" for percent in report.intervals)
        console.print(texts.text("backtest_inside", lang, intervals=intervals))
    if report.mase(MODEL) is not None:
        console.print(_by_step(report, lang))
    for line in left_out(report, lang):
        console.print(Text(line))
    console.print(Text(verdict(report, lang)))


@to_text.register
def backtest_to_text(report: BacktestReport) -> str:
    """Return the tables."""
    return capture(lambda console: print_backtest(report, console, lang=choose_language()))


def metric_names(report: BacktestReport) -> list[str]:
    """The headings of `metric_cells`."""
    inside = [f"{percent:g} %" for percent in report.intervals]
    return ["RMSE", "MAE", "sMAPE %", "MASE", "wQL", *inside, *(["MSIS"] if inside else [])]


def metric_cells(scores: Scores) -> list[str]:
    """The metrics as they are shown, with the MSIS of the widest interval; "-" where there is none."""
    inside, widest = scores.coverage.values(), list(scores.msis.values())[-1:]
    return [
        *(_shown(value, lambda v: format_significant(v, 4)) for value in (scores.rmse, scores.mae)),
        _shown(scores.smape, lambda v: f"{v:.2f}"),
        _shown(scores.mase, lambda v: f"{v:.3f}"),
        _shown(scores.wql, lambda v: f"{v:.4f}"),
        *(_shown(share, lambda v: f"{100 * v:.1f}") for share in inside),
        *(_shown(value, lambda v: format_significant(v, 4)) for value in widest),
    ]


def left_out(report: BacktestReport, lang: str) -> list[str]:
    """What was not measured, a sentence for each kind."""
    lines: list[str] = []
    if report.left_out:
        count, total = f"{report.left_out:,}", f"{report.series + report.left_out:,}"
        lines.append(texts.text("backtest_left_out", lang, count=count, all=total))
    for column in report.columns:
        for key, counts in (("backtest_missing", report.missing), ("backtest_constant", report.constant)):
            if counts[column]:
                name, count = escape_symbol(column), f"{counts[column]:,}"
                lines.append(texts.text(key, lang, column=name, count=count))
    return lines


def verdict(report: BacktestReport, lang: str) -> str:
    """Whether the model beats the seasonal naive forecast, by MASE, and by how much."""
    name = texts.text(NAMES[report.baseline], lang)
    model, other = report.mase(MODEL), report.mase(report.baseline)
    if model is None or other is None:
        return texts.text("backtest_unscaled", lang, baseline=name)
    key = "backtest_beaten" if report.beats_seasonal_naive else "backtest_not_beaten"
    figures = {"model": f"{model:.4f}", "other": f"{other:.4f}", "difference": f"{abs(model - other):.4f}"}
    return texts.text(key, lang, baseline=name, **figures)


def shown_steps(report: BacktestReport) -> list[int]:
    """The steps that are shown, from 0: all, or some of many."""
    return np.unique(np.linspace(0, report.steps - 1, min(report.steps, MAX_STEPS)).round().astype(int)).tolist()


def _metrics(report: BacktestReport, lang: str) -> Table:
    table = Table("", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in metric_names(report):
        table.add_column(name, justify="right", no_wrap=True, min_width=len("100.0"))
    for k, column in enumerate(report.columns):
        if len(report.columns) > 1:
            if k:
                table.add_section()
            table.add_row(Text(escape_symbol(column), style="bold"))  # not str: [b] in a name is not markup
        for name, scores in report.scores.items():
            table.add_row(texts.text(NAMES[name], lang), *metric_cells(scores[column]))
    return table


def _by_step(report: BacktestReport, lang: str) -> Table:
    title = texts.text("backtest_by_step", lang)
    table = Table(title, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in report.by_step:
        table.add_column(texts.text(NAMES[name], lang), justify="right", no_wrap=True)
    for step in shown_steps(report):
        values = [report.mase(name, step) for name in report.by_step]
        table.add_row(str(step + 1), *(_shown(value, lambda v: f"{v:.3f}") for value in values))
    return table


def _shown(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)
