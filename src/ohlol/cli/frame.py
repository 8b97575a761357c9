"""The frame of the command line: the app that commands join, options of several, and pipes; knows no command."""

import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from ohlol.config import LEVELS, TASKS
from ohlol.data.readers.base import READERS
from ohlol.utils.version import __version__

app = typer.Typer(
    help="Recurrent networks you can read, train and ship.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Recurrent networks you can read, train and ship."""
    if version:
        print(f"ohlol {__version__}")
        raise typer.Exit


def one_of(names: Iterable[str]) -> str:
    """The choices of an option, for its help."""
    return ", ".join(names)


Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 and so on; auto is a GPU where there is one.")]
_COLUMN = "Column by name or number from 1."
Format = Annotated[str | None, typer.Option(help=one_of(READERS) + "; told from the file.", rich_help_panel="Data")]
Task = Annotated[str | None, typer.Option(help=one_of(TASKS) + "; told from the file.", rich_help_panel="Data")]
Level = Annotated[str | None, typer.Option(help=one_of(LEVELS) + ": what a symbol is.", rich_help_panel="Data")]
Input = Annotated[str | None, typer.Option(help=_COLUMN, rich_help_panel="Data")]
Target = Annotated[str | None, typer.Option(help=_COLUMN, rich_help_panel="Data")]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether a CSV file names its columns.", rich_help_panel="Data"),
]


def console() -> Any:
    """Standard output as rich sees it."""
    from rich.console import Console

    return Console(highlight=False)


@contextmanager
def until_enough() -> Generator[None]:
    """Stop in silence when whoever reads our output has enough; typer would call it a failure."""
    try:
        yield
    except BrokenPipeError:
        raise typer.Exit(reader_gone()) from None


def reader_gone() -> int:
    """Throw away what is still to be written, since nobody reads it; the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
