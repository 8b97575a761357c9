"""The command line: parse, call, print; knows nothing of how anything is done, and imports torch only inside a command.

Exit status: 0 done; 1 a bug (traceback); 2 bad input (one line on stderr); 130 interrupted, after saving.
"""

import sys
import warnings
from typing import Any

import typer
from typer.exceptions import TyperException

# each adds its commands to the app, in the order in which `--help` lists them
from ohlol.cli import see, speed, train, tune, use  # isort: skip
from ohlol.cli import data, doctor, serve, ship  # isort: skip
from ohlol.cli.flags import name_flags
from ohlol.cli.frame import app, reader_gone
from ohlol.cli.train import glue_pairs
from ohlol.utils.errors import InputError, InputWarning

__all__ = ["app", "data", "doctor", "main", "see", "serve", "ship", "speed", "train", "tune", "use"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    arguments = glue_pairs(sys.argv[1:] if arguments is None else arguments)
    command = arguments[0] if arguments else None

    def warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        if issubclass(category, InputWarning):
            print(f"ohlol: warning: {name_flags(str(message), app, command)}", file=sys.stderr)
        else:
            print(warnings.formatwarning(message, category, filename, lineno), end="", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", InputWarning)
            warnings.showwarning = warn
            status = app(arguments, standalone_mode=False)
            sys.stdout.flush()
    except InputError as error:
        status = _complain(name_flags(str(error), app, command))
    except TyperException as error:
        status = _complain(error.format_message())
    except BrokenPipeError:
        status = reader_gone()
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str) -> int:
    if message:  # there is none after the help that an empty command line gets
        print("ohlol: " + " ".join(message.split("\n")), file=sys.stderr)
    return 2
