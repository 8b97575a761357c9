"""The commands that show how a network works: `ohlol shapes`."""

import json
from typing import Annotated

import typer

from ohlol.cli.frame import app, console


@app.command()
def shapes(
    kind: Annotated[str, typer.Argument(help="rnncell|grucell|lstmcell|rnn|gru|lstm")],
    input_size: Annotated[int, typer.Option(help="I, numbers in a step's input.")] = 4,
    hidden_size: Annotated[int, typer.Option(help="H, units of a layer and direction.")] = 2,
    seq_len: Annotated[int, typer.Option(help="T, time steps.")] = 3,
    batch_size: Annotated[int, typer.Option(help="B, sequences.")] = 1,
    num_layers: Annotated[int, typer.Option(help="L, for a layer.")] = 1,
    bidirectional: Annotated[bool, typer.Option("--bidirectional", help="Both directions, for a layer.")] = False,
    batch_first: Annotated[bool, typer.Option("--batch-first", help="(B, T, I) instead of (T, B, I).")] = False,
    bias: Annotated[bool, typer.Option("--bias/--no-bias", help="With bias_ih and bias_hh.")] = True,
    nonlinearity: Annotated[str, typer.Option(help="tanh|relu, for rnncell and rnn.")] = "tanh",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Every shape of a cell or a layer, from really running it."""
    from ohlol import render
    from ohlol import shapes as rooms

    report = rooms.describe(
        kind,
        input_size=input_size,
        hidden_size=hidden_size,
        seq_len=seq_len,
        batch_size=batch_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        bias=bias,
        nonlinearity=nonlinearity,
    )
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        render.shapes_to_text(report, console())
