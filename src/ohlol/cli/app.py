"""The app that every command joins, the options that several commands share, and standard output."""

import os
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from io import TextIOWrapper, UnsupportedOperation
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from ohlol.cli.help import App, Group, Lang
from ohlol.config import INFERENCE_PRECISIONS, DataSettings
from ohlol.data.readers.base import READERS
from ohlol.utils.terminal import new_console
from ohlol.utils.version import __version__

MODELS, INSPECT, EXCHANGE, MACHINE = "Train and use models", "Inspect", "Convert and serve", "This machine"
"""The groups of commands in `ohlol --help`."""
DATA, MODEL, TRAINING = "Data", "Model", "Training"
"""The groups of options that are settings."""

app = App(
    cls=Group,
    help="Train, inspect and serve recurrent neural networks.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    lang: Lang = None,
) -> None:
    """Train, inspect and serve recurrent neural networks."""
    del lang  # `main` has read it
    if version:
        print(f"ohlol {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:  # options alone, such as --lang
        print(ctx.get_help())
        raise typer.Exit(2)


def one_of(names: Iterable[str]) -> str:
    """Names as a sentence lists them.

    >>> one_of(("mean", "sum", "none"))
    'mean, sum or none'
    """
    *most, last = names
    return f"{', '.join(most)} or {last}"


Run = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...; auto is the first GPU, or the CPU.")]
Cell = Annotated[
    str | None,
    typer.Option(help="The cell of the run, where it has to be imported.", metavar="package.module:Class"),
]
Precision = Annotated[
    str,
    typer.Option(
        help=f"Precision of the recurrent weights: {one_of(INFERENCE_PRECISIONS)}; bf16 and int8 are for the CPU, "
        "faster and not exact."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_COLUMN = "by name, or by number from 1"
Format = Annotated[
    str | None,
    typer.Option(help=f"File format: {one_of(READERS)}; inferred from the file.", rich_help_panel=DATA),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="Task: label, next, classify, multilabel, regress, forecast or next_row; inferred from the file.",
        rich_help_panel=DATA,
    ),
]
Level = Annotated[str | None, typer.Option(help="What a symbol is: char or word.", rich_help_panel=DATA)]
Input = Annotated[str | None, typer.Option(help=f"Input column, {_COLUMN}.", rich_help_panel=DATA)]
Target = Annotated[
    str | None, typer.Option(help=f"Target column, {_COLUMN}; several for forecasts.", rich_help_panel=DATA)
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first row of a CSV is a header.", rich_help_panel=DATA),
]

Decimal = Annotated[str | None, typer.Option(help="Decimal mark of numbers: . or the comma.", rich_help_panel=DATA)]
Thousands = Annotated[
    str | None,
    typer.Option(help="Thousands separator of numbers: , . ' _ or a space; by default none.", rich_help_panel=DATA),
]
Missing = Annotated[
    str | None,
    typer.Option(help="Cells that stand for a missing value, such as -999; several with commas.", rich_help_panel=DATA),
]
DateOrder = Annotated[
    str | None,
    typer.Option(help="Order of the numbers in dates such as 01/02/2020: ymd, dmy or mdy.", rich_help_panel=DATA),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(
        help="What separates the labels of a set, such as | or ;; inferred from the file.", rich_help_panel=DATA
    ),
]
Sheet = Annotated[
    str | None,
    typer.Option(help="Sheet of an Excel file with several sheets, by name or by number from 1.", rich_help_panel=DATA),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        help="Encoding of the files, such as gb18030; by default UTF-8, or that of a byte order mark.",
        rich_help_panel=DATA,
    ),
]
Time = Annotated[
    str | None,
    typer.Option(help="Column of dates, or of integers that count the rows; '': none.", rich_help_panel=DATA),
]
Series = Annotated[
    str | None,
    typer.Option(help="Column that names the series of each row; '': all rows are one.", rich_help_panel=DATA),
]
Known = Annotated[
    str | None, typer.Option(help="Columns of numbers that are known for the forecast steps.", rich_help_panel=DATA)
]
Observed = Annotated[
    str | None, typer.Option(help="Columns of numbers that are known up to the present.", rich_help_panel=DATA)
]
Static = Annotated[
    str | None,
    typer.Option(help="Columns beside a text; or of categories, constant within a series.", rich_help_panel=DATA),
]
Layout = Annotated[
    str | None,
    typer.Option(help="Layout of a table of series: long, or wide with a series in each row.", rich_help_panel=DATA),
]
Season = Annotated[
    int | None, typer.Option(help="Steps of a season, or 1: none; inferred from the dates.", rich_help_panel=DATA)
]
Horizon = Annotated[int | None, typer.Option(help="Steps to forecast; by default one season.", rich_help_panel=DATA)]


def choose_data_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a command, by name, that say how files are read."""
    return {field.name: options[field.name] for field in fields(DataSettings) if field.name in options}


def console() -> Any:
    """Standard output as rich writes to it: brackets in data are not markup, and control characters are escaped."""
    return new_console()


class Output:
    """Standard output or standard error, on which a write may fail: the disk is full, or nobody reads any more.

    What the first error was is kept in `error`, and what is written later is discarded.
    """

    def __init__(self, stream: TextIO, *, is_required: bool) -> None:
        self.stream, self.is_required = stream, is_required
        self.error: OSError | None = None
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a byte of a file name that is not UTF-8

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write text; raises OSError the first time that it fails, where the output is required."""
        with self._keep_error():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, as `write` writes."""
        with self._keep_error():
            self.stream.flush()

    @contextmanager
    def _keep_error(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or type(error)(error.errno, error.strerror)  # without the frames of its traceback
            with suppress(OSError, UnsupportedOperation):  # a stream without a file
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            if self.is_required:
                raise


@contextmanager
def continue_without_output() -> Generator[None]:
    """Within it, a failing standard output ends the output and not the work; `main` reports it at the end."""
    output: Any = sys.stdout
    if not isinstance(output, Output):
        yield
        return
    output.is_required = False
    try:
        yield
    finally:
        output.is_required = True


@contextmanager
def ignore_closed_pipe() -> Generator[None]:
    """Exit with status 0 when the reader of our output closes it, as `head` does; typer exits with 1."""
    try:
        yield
    except BrokenPipeError:
        raise typer.Exit(discard_output()) from None


def discard_output() -> int:
    """Discard output that is still buffered, since nobody reads it; return the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
