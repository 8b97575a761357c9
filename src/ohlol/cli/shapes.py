"""`ohlol shapes`: the shapes of a cell or a layer, and what packing makes of sequences of unequal lengths."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import INSPECT, Json, app, console
from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError
from ohlol.utils.translation import choose_language, message_id, translate


@app.command(rich_help_panel=INSPECT)
def shapes(
    kind: Annotated[str, typer.Argument(help="rnncell, grucell, lstmcell, rnn, gru or lstm.", metavar="KIND")],
    input_size: Annotated[int, typer.Option(help="I, features per time step.")] = 4,
    hidden_size: Annotated[int, typer.Option(help="H, hidden units per layer and direction.")] = 2,
    seq_len: Annotated[int | None, typer.Option(help="T, time steps; 3 by default.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="B, sequences; 1 by default.")] = None,
    lengths: Annotated[
        str | None,
        typer.Option(help="Show how sequences of these lengths are packed, such as 5,3,2.", metavar="N,N,..."),
    ] = None,
    num_layers: Annotated[int, typer.Option(help="L, stacked layers.")] = 1,
    bidirectional: Annotated[bool, typer.Option("--bidirectional", help="Run a layer in both directions.")] = False,
    batch_first: Annotated[
        bool, typer.Option("--batch-first", help="Input is (B, T, I) instead of (T, B, I).")
    ] = False,
    bias: Annotated[bool, typer.Option("--bias/--no-bias", help="Include bias_ih and bias_hh.")] = True,
    nonlinearity: Annotated[str, typer.Option(help="tanh or relu, for rnncell and rnn.")] = "tanh",
    html: Annotated[Path | None, typer.Option(help="Write the report of --lengths as a page to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Run a cell or a layer, and show the shape of every tensor."""
    from ohlol.display import packing, shapes_text
    from ohlol.explain.packing import PackedShapes
    from ohlol.explain.shapes import shapes as describe_shapes
    from ohlol.utils.files import check_suffix, write_output
    from ohlol.utils.terminal import print_message

    if html is not None and lengths is None:
        raise InputError("`html` is for the report of `lengths`")
    if html is not None and as_json:
        raise InputError("`as_json` and `html` exclude each other; give one of them")
    language = choose_language()
    if html is not None:
        check_suffix(html, message_id("a page"), (".html", ".htm"))
    report = describe_shapes(
        kind,
        input_size=input_size,
        hidden_size=hidden_size,
        seq_len=seq_len,
        batch_size=batch_size,
        lengths=None if lengths is None else parse_lengths(lengths),
        num_layers=num_layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        bias=bias,
        nonlinearity=nonlinearity,
    )
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    elif not isinstance(report, PackedShapes):
        shapes_text.shapes_to_text(report, console())
    elif html is None:
        packing.packing_to_text(report, console(), lang=language)
    else:
        write_output(html, packing.render_page(report, lang=language).encode("utf-8"))
        print_message(translate("written: {path}", path=html))


def parse_lengths(text: str) -> list[int]:
    """Read the value of `--lengths`.

    Raises:
        InputError: it is not a list of integers.

    >>> parse_lengths("5,3, 2")
    [5, 3, 2]
    """
    lengths = [parse_digits(part.strip()) for part in text.split(",")]
    if None in lengths:
        raise InputError("`lengths` is {text!r}; give integers separated by commas, such as 5,3,2", text=text)
    return [length for length in lengths if length is not None]
