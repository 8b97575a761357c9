"""`ohlol playground`: a page that trains small networks in the browser and runs a trained one."""

from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import INSPECT, app
from ohlol.utils.terminal import print_message


@app.command(rich_help_panel=INSPECT)
def playground(
    run: Annotated[
        Path | None, typer.Argument(help="Run directory of a model to type text into.", metavar="[RUN]")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write the page to.")] = Path("playground.html"),
    lang: Annotated[
        str | None, typer.Option(help="Language of the page: en or zh; by default that of the browser.")
    ] = None,
) -> None:
    """Write a page that trains hello -> ohlol in the browser and, with RUN, reads what is typed with that model."""
    from ohlol.display import translations
    from ohlol.display.playground import render_page
    from ohlol.inference.trained_model import load
    from ohlol.utils.files import check_suffix, write_output

    if out.is_file() or not out.exists():  # a device or a pipe can have any name
        check_suffix(out, "a page", (".html", ".htm"))
    language = None if lang is None else translations.language(lang)
    html = render_page(None if run is None else load(run), lang=language)
    write_output(out, html.encode("utf-8"))
    print_message(f"written: {out}")
