"""The command that serves trained models: `ohlol serve`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.frame import app
from ohlol.utils.errors import InputError

LIMITS = "Limits"
NEEDS = "needs what `pip install 'ohlol[serve]'` brings"


@app.command()
def serve(
    runs: Annotated[
        list[str], typer.Argument(help="Run directories; NAME=RUN serves one under another name.", metavar="RUN...")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; off loopback a key is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    api_key: Annotated[
        Path | None, typer.Option(help="File of the key that requests must bring; or OHLOL_API_KEY.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Name it may be asked under, beside this machine's own.")
    ] = None,
    allow_origin: Annotated[list[str] | None, typer.Option(help="Origin whose pages may ask, beside its own.")] = None,
    log: Annotated[bool, typer.Option("--log", help="A line on standard error for every request.")] = False,
    batch_size: Annotated[
        int, typer.Option(help="Sequences in a batch; 1 for no batches.", min=1, rich_help_panel=LIMITS)
    ] = 64,
    batch_wait: Annotated[
        float, typer.Option(help="Milliseconds a batch waits for more.", min=0, max=1000, rich_help_panel=LIMITS)
    ] = 2.0,
    max_queue: Annotated[
        int, typer.Option(help="Sequences that wait for a batch; more get 429.", min=1, rich_help_panel=LIMITS)
    ] = 256,
    max_body: Annotated[int, typer.Option(help="Bytes of a body; more get 413.", min=1, rich_help_panel=LIMITS)] = 1
    << 20,
    max_length: Annotated[
        int, typer.Option(help="Symbols of a sequence, read or made; more get 422.", min=1, rich_help_panel=LIMITS)
    ] = 10_000,
    max_sessions: Annotated[
        int, typer.Option(help="WebSocket streams at once; more get 429.", min=1, rich_help_panel=LIMITS)
    ] = 256,
    idle: Annotated[
        float, typer.Option(help="Seconds a stream may be silent.", min=0.1, rich_help_panel=LIMITS)
    ] = 300.0,
    timeout: Annotated[
        float, typer.Option(help="Seconds a sequence waits for its batch; then 429.", min=0.1, rich_help_panel=LIMITS)
    ] = 30.0,
    trainings: Annotated[
        int, typer.Option(help="Trainings of the page at once; 0: none.", min=0, max=64, rich_help_panel=LIMITS)
    ] = 4,
) -> None:
    """Serve trained models over HTTP and WebSocket, with a page to try them and to watch one learn."""
    if not math.isfinite(batch_wait + idle + timeout):
        raise InputError("--batch-wait, --idle and --timeout must be finite")
    try:
        from ohlol.serve import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ohlol":
            raise
        raise InputError(f"ohlol serve {NEEDS}: there is no {error.name}") from None
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
    run.serve(
        runs,
        host=host,
        port=port,
        key=run.load_key(api_key),
        allow_host=allow_host or (),
        allow_origin=allow_origin or (),
        limits=limits,
        log=log,
    )
