"""`ohlol serve`: an HTTP and WebSocket server for trained models."""

import math
from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import EXCHANGE, Precision, app, continue_without_output
from ohlol.config import FULL_PRECISION
from ohlol.utils.errors import InputError

LIMITS = "Limits"


@app.command(rich_help_panel=EXCHANGE)
def serve(
    runs: Annotated[
        list[str], typer.Argument(help="Run directories; NAME=RUN serves one under another name.", metavar="RUN...")
    ],
    cell: Annotated[
        list[str] | None,
        typer.Option(help="Cell of a run that has to be imported; repeatable.", metavar="package.module:Class"),
    ] = None,
    precision: Precision = FULL_PRECISION,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but a loopback address needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 selects a free one.", min=0, max=65535)] = 8000,
    api_key: Annotated[
        Path | None, typer.Option(help="File of the key that requests must contain; or set OHLOL_API_KEY.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Accepted Host header, besides the names of this machine; repeatable.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may send requests, besides its own; repeatable.")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Log each request to standard error.")] = False,
    batch_size: Annotated[
        int, typer.Option(help="Largest number of sequences per batch.", min=1, rich_help_panel=LIMITS)
    ] = 64,
    batch_wait: Annotated[
        float,
        typer.Option(help="Milliseconds to wait for more sequences.", min=0, max=1000, rich_help_panel=LIMITS),
    ] = 2.0,
    max_queue: Annotated[
        int, typer.Option(help="Sequences that wait for a batch; beyond it 429.", min=1, rich_help_panel=LIMITS)
    ] = 256,
    max_body: Annotated[int, typer.Option(help="Bytes per request; beyond it 413.", min=1, rich_help_panel=LIMITS)] = 1
    << 20,
    max_length: Annotated[
        int,
        typer.Option(help="Symbols per sequence, read or generated; beyond it 422.", min=1, rich_help_panel=LIMITS),
    ] = 10_000,
    max_sessions: Annotated[
        int, typer.Option(help="Open WebSocket streams; beyond it 429.", min=1, rich_help_panel=LIMITS)
    ] = 256,
    idle: Annotated[
        float, typer.Option(help="Seconds after which a silent stream is closed.", min=0.1, rich_help_panel=LIMITS)
    ] = 300.0,
    timeout: Annotated[
        float,
        typer.Option(help="Seconds a sequence waits for its batch; beyond it 429.", min=0.1, rich_help_panel=LIMITS),
    ] = 30.0,
    trainings: Annotated[
        int, typer.Option(help="Concurrent trainings of the page; 0: none.", min=0, max=64, rich_help_panel=LIMITS)
    ] = 4,
) -> None:
    """Serve trained models over HTTP and WebSocket, with a page to try them and to watch a training."""
    if not math.isfinite(batch_wait + idle + timeout):
        raise InputError("`batch_wait`, `idle` and `timeout` must be finite")
    try:
        from ohlol.serve import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ohlol":
            raise
        raise InputError("ohlol serve needs {name}: pip install 'ohlol[serve]'", name=error.name) from None
    from ohlol.serve.limits import Limits

    limits = Limits(
        batch_size=batch_size,
        batch_wait=batch_wait / 1000,
        max_queue=max_queue,
        max_body=max_body,
        max_length=max_length,
        max_generated=max_length,
        max_work=max(Limits.max_work, max_length),
        max_sessions=max_sessions,
        idle=idle,
        timeout=timeout,
        trainings=trainings,
    )
    with continue_without_output():  # which is one line, and not the service
        run.serve(
            runs,
            cells=cell or (),
            precision=precision,
            host=host,
            port=port,
            key=run.load_key(api_key),
            allow_host=allow_host or (),
            allow_origin=allow_origin or (),
            limits=limits,
            log=log,
        )
