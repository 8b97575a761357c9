"""`ohlol playground`: a page that trains small networks in the browser and runs a trained one."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import INSPECT, app
from ohlol.utils.terminal import print_message
from ohlol.utils.translation import VARIABLES, choose_language, message_id, translate


@app.command(rich_help_panel=INSPECT)
def playground(
    run: Annotated[
        Path | None, typer.Argument(help="Run directory of a model to type text into.", metavar="[RUN]")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write the page to.")] = Path("playground.html"),
) -> None:
    """Write a page that trains hello -> ohlol in the browser and, with RUN, reads what is typed with that model."""
    from ohlol.display.playground import render_page
    from ohlol.inference.trained_model import load
    from ohlol.utils.files import check_suffix, write_output

    if out.is_file() or not out.exists():  # a device or a pipe can have any name
        check_suffix(out, message_id("a page"), (".html", ".htm"))
    language = choose_language() if os.environ.get(VARIABLES[0]) else None  # chosen by --lang, for instance
    html = render_page(None if run is None else load(run), lang=language)
    write_output(out, html.encode("utf-8"))
    print_message(translate("written: {path}", path=out))
