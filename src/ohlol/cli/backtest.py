"""`ohlol backtest`: the errors of forecasts from past origins, compared with the naive forecasts."""

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import MODELS, Cell, Device, Encoding, Json, Run, app, console, ignore_closed_pipe
from ohlol.utils.errors import InputWarning
from ohlol.utils.terminal import print_data, print_message
from ohlol.utils.translation import choose_language, translate


@app.command(rich_help_panel=MODELS)
def backtest(
    run: Run,
    file: Annotated[str, typer.Argument(help="Series with the columns of the training data.", metavar="FILE")],
    origins: Annotated[int, typer.Option(help="How many times the series are forecast.", min=1)] = 5,
    stride: Annotated[
        int | None, typer.Option(help="Rows from one origin to the next; by default the steps of a forecast.", min=1)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Rows of each forecast; by default the horizon of the model.", min=1)
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(help="Draw the error at each step to this .png, .svg or .pdf file; needs matplotlib."),
    ] = None,
    as_json: Json = False,
    encoding: Encoding = None,
    cell: Cell = None,
    device: Device = "cpu",
) -> None:
    """Forecast the last rows of each series from earlier ones, and compare the errors with those of naive forecasts."""
    from ohlol.checkpoint.run_directory import trained_on
    from ohlol.display.backtest_text import print_backtest
    from ohlol.inference.backtest import backtest as measure
    from ohlol.inference.trained_model import load

    language = choose_language()
    model = load(run, device, cell=cell)
    report = measure(model, file, steps=steps, origins=origins, stride=stride, encoding=encoding)
    if trained_on(run, [file]):
        warnings.warn(
            translate(
                "{file}: {run} was trained on a file with this content; the errors are those of new data only "
                "where training did not read the last rows",
                file=file,
                run=run,
            ),
            InputWarning,
            2,
        )
    if png is not None:
        from ohlol.display.figures import save_figure
        from ohlol.display.forecast_figures import draw_backtest

        save_figure(draw_backtest(report, lang=language), png)
        print_message(translate("written: {path}", path=png), sys.stderr)
    with ignore_closed_pipe():
        if as_json:
            print_data(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
        else:
            print_backtest(report, console(), lang=language)
