"""`ohlol predict`: the labels, or the forecast, of a trained model."""

import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ohlol.cli.app import MODELS, Cell, Device, Encoding, Precision, Run, app, console, ignore_closed_pipe
from ohlol.config import FULL_PRECISION
from ohlol.utils.errors import InputError
from ohlol.utils.terminal import print_data, print_message
from ohlol.utils.translation import choose_language, message_id, translate

if TYPE_CHECKING:
    from ohlol.inference.prediction import Prediction
    from ohlol.inference.trained_model import TrainedModel

FILE_SUFFIXES = (
    ".tsv", ".csv", ".jsonl", ".ndjson", ".json", ".conll", ".conllu", ".parquet", ".xlsx", ".ts", ".txt",
)  # fmt: skip
"""An argument that ends in one of these and contains no space is the name of a file, even where there is none."""
FORECAST = "Forecasts"
"""The group of options for models that forecast."""
NEXT_ROWS = 10
"""Rows that a model of the next row predicts by default."""
SHOWN = 10
"""Unknown symbols that are listed."""


@app.command(rich_help_panel=MODELS)
def predict(
    run: Run,
    source: Annotated[
        str,
        typer.Argument(
            help="A text, a file, - for standard input, or an encoded corpus.", metavar="[TEXT|FILE|-|CORPUS]"
        ),
    ] = "-",
    output_format: Annotated[
        str, typer.Option(help="plain, tsv, conll or jsonl; of a forecast csv (plain is the same), tsv or jsonl.")
    ] = "plain",
    n_best: Annotated[int, typer.Option(help="Labels per step, with their probabilities.", min=1)] = 1,
    out: Annotated[Path | None, typer.Option(help="Directory for the predictions of an encoded corpus.")] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Rows to forecast; by default the horizon of the model, or 10 next rows.",
            min=1,
            rich_help_panel=FORECAST,
        ),
    ] = None,
    intervals: Annotated[
        str | None,
        typer.Option(
            help="Prediction intervals in per cent; by default those of 80,95 that the model gives.",
            rich_help_panel=FORECAST,
        ),
    ] = None,
    future: Annotated[
        str | None,
        typer.Option(
            help="File with the known columns of the rows to forecast.", metavar="FILE", rich_help_panel=FORECAST
        ),
    ] = None,
    paths: Annotated[
        int | None,
        typer.Option(
            help="Sample paths of each series, which are written instead of the forecast.",
            min=1,
            rich_help_panel=FORECAST,
        ),
    ] = None,
    plot: Annotated[
        bool,
        typer.Option("--plot", help="Plot history and forecast instead of printing rows.", rich_help_panel=FORECAST),
    ] = False,
    png: Annotated[
        Path | None,
        typer.Option(
            help="Draw history and forecast to this .png, .svg or .pdf file; needs matplotlib.",
            rich_help_panel=FORECAST,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with the plots and a table to this file; needs matplotlib.",
            rich_help_panel=FORECAST,
        ),
    ] = None,
    encoding: Encoding = None,
    cell: Cell = None,
    device: Device = "cpu",
    precision: Precision = FULL_PRECISION,
) -> None:
    """Predict labels for a text, a file, standard input or a corpus, or the rows that follow a series."""
    from ohlol.data.corpus.store import is_corpus
    from ohlol.inference.output import make_writer
    from ohlol.inference.trained_model import load

    model = load(run, device, cell=cell, precision=precision)
    if is_corpus(source) or out is not None:
        _predict_corpus(model, source, out, output_format, n_best)
        return
    if model.targets.horizon:
        chosen: dict[str, Any] = {"steps": steps, "future": future, "encoding": encoding}
        if paths is not None:
            for name, value in (("intervals", intervals), ("plot", plot), ("png", png), ("html", html)):
                if value:
                    raise InputError(
                        "`{name}` is for forecasts, and `paths` writes sample paths instead of one", name=name
                    )
            _print_rows(model.sample(source, paths=paths, **chosen).to_rows(), output_format)
            return
        files = {name: path for name, path in (("png", png), ("html", html)) if path is not None}
        _print_forecast(model, source, output_format, intervals, files, plot=plot, **chosen)
        return
    for_forecasts = {
        "intervals": intervals, "future": future, "paths": paths, "plot": plot, "png": png, "html": html,
    }  # fmt: skip
    for name, value in for_forecasts.items():
        if value:
            raise InputError("`{name}` is for forecasts, and this model's task is {task}", name=name, task=model.task)
    if model.targets.numeric:
        _print_next_rows(model, source, steps, output_format, encoding)
        return
    if steps is not None:
        raise InputError("`steps` is for forecasts, and this model's task is {task}", task=model.task)
    write = make_writer(model, output_format)
    unknown: dict[str, None] = {}
    with ignore_closed_pipe():
        for prediction in _predictions(model, source, n_best, encoding):
            print_data(write(prediction), flush=source == "-")
            unknown.update(dict.fromkeys(prediction.unknown))
        sys.stdout.flush()
    report_unknown(unknown)


def report_unknown(unknown: Collection[str]) -> None:
    """List on standard error the symbols that the training data did not contain."""
    if unknown:
        listed = " ".join(map(repr, list(unknown)[:SHOWN])) + " ..." * (len(unknown) > SHOWN)
        print(translate("not in the training data, read as <unk>: {listed}", listed=listed), file=sys.stderr)


def _predict_corpus(model: "TrainedModel", source: str, out: Path | None, output_format: str, n_best: int) -> None:
    from ohlol.data.corpus.store import is_corpus
    from ohlol.inference.batch_predict import predict_corpus

    if out is None:
        raise InputError(
            "{source} is an encoded corpus: give `out`, a directory for the predictions of its shards", source=source
        )
    if not is_corpus(source):
        raise InputError(
            "`out` is for the predictions of an encoded corpus; encode {source} with `ohlol encode`", source=source
        )
    total = predict_corpus(model, Path(source), out, output_format=output_format, n_best=n_best)
    if total is not None:
        print_message(translate("{total:,} sequences\nsaved: {out}", total=total, out=out))


def _predictions(model: "TrainedModel", source: str, n_best: int, encoding: str | None) -> "Iterator[Prediction]":
    from ohlol.data.iteration import iterate_inputs

    if source != "-" and not _is_file(source):
        yield model.predict(source, n_best=n_best)
        return
    read: Iterator[Any] = iterate_inputs(source, model.data_settings(encoding))
    inputs = (sequence for sequence, _ in read)
    if source == "-":  # answer each line when it arrives
        for sequence in inputs:
            yield model.predict(sequence, n_best=n_best)
        return
    yield from model.predict_many(inputs, n_best=n_best)


def _is_file(source: str) -> bool:
    from ohlol.data.opening import without_compression

    named = str(without_compression(source)).lower().endswith(FILE_SUFFIXES) and not any(c.isspace() for c in source)
    try:
        return named or Path(source).is_file()
    except (OSError, ValueError):  # too long for a file name, or with a NUL: a text
        return False


def _print_forecast(
    model: "TrainedModel",
    source: str,
    output_format: str,
    intervals: str | None,
    files: dict[str, Path],
    *,
    plot: bool,
    encoding: str | None,
    **options: Any,
) -> None:
    from ohlol.data.sequences import read_panel
    from ohlol.inference.forecast_output import parse_intervals

    percents = None if intervals is None else parse_intervals(intervals)
    panel = read_panel(source, model.data_settings(encoding)).panel
    forecasts = model.forecast(panel, encoding=encoding, **options)
    rows = forecasts.to_rows(percents)
    if plot or files:
        from ohlol.display import texts
        from ohlol.display.forecast_text import forecast_curves, print_forecasts

        language, curves = choose_language(), forecast_curves(panel, forecasts, percents)
        count = len(forecasts) * len(panel.columns.targets) - len(curves)
        if count:
            print_message(texts.text("forecast_left_out", language, count=f"{count:,}"), sys.stderr)
        if png := files.get("png"):
            from ohlol.display.figures import save_figure
            from ohlol.display.forecast_figures import draw_forecasts

            save_figure(draw_forecasts(curves, lang=language), png)
        if html := files.get("html"):
            from ohlol.display.forecast_page import render_page
            from ohlol.utils.files import check_suffix, write_output

            check_suffix(html, message_id("a page"), (".html", ".htm"))
            write_output(html, render_page(curves, rows, left_out=count, lang=language).encode())
        for path in files.values():
            print_message(translate("written: {path}", path=path), sys.stderr)
        if plot:
            with ignore_closed_pipe():
                print_forecasts(curves, console(), lang=language)
            return
    _print_rows(rows, output_format)


def _print_next_rows(
    model: "TrainedModel", source: str, steps: int | None, output_format: str, encoding: str | None
) -> None:
    from ohlol.evaluation.forecast import Forecast, Forecasts

    rows = model.next_rows(source, steps or NEXT_ROWS, encoding=encoding)
    forecast = Forecast("", model.codec.target_columns, 1, None, (0.5,), rows[:, :, None])
    _print_rows(Forecasts([forecast]).to_rows(), output_format)


def _print_rows(rows: Sequence[dict[str, Any]], output_format: str) -> None:
    from ohlol.inference.forecast_output import format_rows

    with ignore_closed_pipe():
        for line in format_rows(rows, "csv" if output_format == "plain" else output_format):
            print_data(line)
