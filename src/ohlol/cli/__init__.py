"""The command line: it parses arguments, calls the library and prints results; it imports torch only inside commands.

Exit status: 0 done; 1 a bug (traceback); 2 bad input (one line on stderr); 130 interrupted, after saving.
"""

import os
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import typer
from typer.exceptions import TyperException

# the commands, in the order in which `--help` lists them
from ohlol.utils.translation import translate, use_language

from ohlol.cli import train, evaluate, backtest, predict, generate, tune  # isort: skip
from ohlol.cli import data, shapes, explain, plot, playground, prove, review  # isort: skip
from ohlol.cli import encode, export, import_run, serve, bench, doctor  # isort: skip
from ohlol.cli.app import Output, app, discard_output
from ohlol.cli.flags import name_flags, parser_of
from ohlol.cli.help import find_command, find_language, translate_usage_error
from ohlol.cli.train import join_pairs
from ohlol.utils import processors
from ohlol.utils.errors import InputError, InputWarning, shorten_message
from ohlol.utils.terminal import print_message

__all__ = [
    "app",
    "backtest",
    "bench",
    "data",
    "doctor",
    "encode",
    "evaluate",
    "explain",
    "export",
    "generate",
    "import_run",
    "main",
    "playground",
    "plot",
    "predict",
    "prove",
    "review",
    "serve",
    "shapes",
    "train",
    "tune",
]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    arguments = join_pairs(sys.argv[1:] if arguments is None else arguments)
    processors.set_default_threads()
    with use_language(find_language(arguments)):
        status = _run(arguments)
    sys.exit(status if isinstance(status, int) else 0)


def _run(arguments: list[str]) -> Any:
    command = find_command(arguments)

    def show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        if issubclass(category, InputWarning):
            text = shorten_message(name_flags(str(message), app, command))
            print_message(translate("ohlol: warning: {text}", text=text), sys.stderr)
        else:
            print_message(warnings.formatwarning(message, category, filename, lineno).rstrip("\n"), sys.stderr)

    with _use_standard_streams() as output:
        try:
            if output is None:
                raise InputError("standard output is closed; redirect it to a file, or to /dev/null")
            with warnings.catch_warnings():
                warnings.simplefilter("always", InputWarning)
                warnings.showwarning = show_warning
                status = parser_of(app)(arguments, standalone_mode=False)
                sys.stdout.flush()
        except InputError as error:
            status = _print_error(name_flags(str(error), app, command))
        except TyperException as error:
            status = _print_error(translate_usage_error(error.format_message()))
        except BrokenPipeError:
            status = discard_output()
        except OSError as error:
            if error.filename is not None:
                status = _print_error(f"{os.fsdecode(error.filename)}: {error.strerror}")
            elif output is None or output.error is None:
                raise
            else:
                status = 0  # replaced below
        except (KeyboardInterrupt, typer.Abort):
            status = 130
        if output is not None:
            output.is_required = False
            output.flush()
            if output.error is not None and not status and not isinstance(output.error, BrokenPipeError):
                status = _print_error(
                    translate("standard output cannot be written: {strerror}", strerror=output.error.strerror)
                )
    return status


@contextmanager
def _use_standard_streams() -> Generator[Output | None]:
    """Replace standard output and standard error by streams whose errors are handled, for the time of a command.

    A stream that is closed has no number that a file of a run could take: the null device takes it.

    Returns:
        Standard output, or None where it is closed.
    """
    before: Any = sys.stdin, sys.stdout, sys.stderr
    for number, stream in enumerate(before):
        while stream is None and os.open(os.devnull, os.O_RDWR) < number:
            pass
    with open(os.devnull, "w") as nowhere:  # without it, `print` to a closed standard error is to standard output
        output = None if before[1] is None else Output(before[1], is_required=True)
        streams: Any = (output, Output(before[2] or nowhere, is_required=False))
        sys.stdout, sys.stderr = streams
        try:
            yield output
        finally:
            sys.stdout, sys.stderr = before[1:]


def _print_error(message: str) -> int:
    if message:  # it is empty after the help of a command line without a command
        print_message(f"ohlol: {shorten_message(message)}", sys.stderr)
    return 2
