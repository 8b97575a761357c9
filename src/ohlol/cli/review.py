"""`ohlol review`: common mistakes in a program of the user."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import INSPECT, Json, app, console, ignore_closed_pipe
from ohlol.utils.errors import InputError
from ohlol.utils.translation import choose_language


@app.command(rich_help_panel=INSPECT)
def review(
    file: Annotated[Path, typer.Argument(help="A Python program with recurrent layers of PyTorch.", metavar="FILE.py")],
    run: Annotated[
        bool, typer.Option("--run", help="Run the program too, in a process of its own, and watch its shapes.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="With --run: stop the program after this time.")] = 60,
    show_output: Annotated[
        bool, typer.Option("--show-output", help="With --run: what the program prints goes to standard error.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there are findings.")] = False,
    as_json: Json = False,
) -> None:
    """Look for common mistakes in a PyTorch program with recurrent layers, and say how to fix them."""
    from ohlol.explain.review.findings import review as review_file

    language = choose_language()
    try:
        findings, watched = review_file(file), None
    except FileNotFoundError:
        raise InputError("{path}: no such file", path=file) from None
    if run:
        from ohlol.explain.review.watch import watch

        watched = watch(file, seconds=seconds, show_output=show_output)
        known = {finding.check for finding in findings}
        findings = sorted([*findings, *(finding for finding in watched.findings if finding.check not in known)])
    if as_json:
        result: dict[str, object] = {"file": str(file), "findings": [finding.to_json(language) for finding in findings]}
        if watched is not None:
            result["run"] = {"error": watched.error, "stopped": watched.is_stopped}
        print(json.dumps(result, ensure_ascii=False))
    else:
        from ohlol.display.review_text import findings_to_text

        with ignore_closed_pipe():
            findings_to_text(str(file), findings, console(), lang=language, watched=watched)
    if strict and findings:
        raise typer.Exit(1)
