"""`ohlol shapes`: the shapes of a cell or a layer."""

import json
from typing import Annotated

import typer

from ohlol.cli.app import INSPECT, Json, app, console


@app.command(rich_help_panel=INSPECT)
def shapes(
    kind: Annotated[str, typer.Argument(help="rnncell, grucell, lstmcell, rnn, gru or lstm.", metavar="KIND")],
    input_size: Annotated[int, typer.Option(help="I, features per time step.")] = 4,
    hidden_size: Annotated[int, typer.Option(help="H, hidden units per layer and direction.")] = 2,
    seq_len: Annotated[int, typer.Option(help="T, time steps.")] = 3,
    batch_size: Annotated[int, typer.Option(help="B, sequences.")] = 1,
    num_layers: Annotated[int, typer.Option(help="L, stacked layers.")] = 1,
    bidirectional: Annotated[bool, typer.Option("--bidirectional", help="Run a layer in both directions.")] = False,
    batch_first: Annotated[
        bool, typer.Option("--batch-first", help="Input is (B, T, I) instead of (T, B, I).")
    ] = False,
    bias: Annotated[bool, typer.Option("--bias/--no-bias", help="Include bias_ih and bias_hh.")] = True,
    nonlinearity: Annotated[str, typer.Option(help="tanh or relu, for rnncell and rnn.")] = "tanh",
    as_json: Json = False,
) -> None:
    """Run a cell or a layer, and show the shape of every tensor."""
    from ohlol.display import shapes_text
    from ohlol.explain.shapes import shapes as describe_shapes

    report = describe_shapes(
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
        shapes_text.shapes_to_text(report, console())
