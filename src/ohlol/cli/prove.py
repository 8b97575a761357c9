"""`ohlol prove`: a cell in a loop, a layer and matrix products give the same numbers."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import INSPECT, Json, app, console
from ohlol.utils.translation import choose_language


@app.command(rich_help_panel=INSPECT)
def prove(
    run: Annotated[
        Path | None, typer.Argument(help="Run directory whose weights are used; without it random weights.")
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(help="Without a run rnn, gru or lstm, by default rnn; with one its cell, as for predict."),
    ] = None,
    input_size: Annotated[int, typer.Option(help="I, features per time step; without a run.")] = 4,
    hidden_size: Annotated[int, typer.Option(help="H, hidden units; without a run.")] = 4,
    seq_len: Annotated[int, typer.Option(help="T, time steps of the random input.", min=1, max=1024)] = 5,
    batch_size: Annotated[int, typer.Option(help="B, sequences of the random input.", min=1, max=1024)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the random input and weights.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Compare a cell in a loop, a layer and matrix products with the same weights; exit with 1 if they differ."""
    from ohlol.display import equivalence_text
    from ohlol.explain import equivalence
    from ohlol.inference.trained_model import load

    language = choose_language()
    if run is None:
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "seq_len": seq_len, "batch_size": batch_size}
        comparisons: tuple[equivalence.Comparison, ...] = (equivalence.compare(cell or "rnn", seed=seed, **sizes),)
    else:
        comparisons = equivalence.compare_run(load(run, cell=cell), seq_len=seq_len, batch_size=batch_size, seed=seed)
    if as_json:
        print(json.dumps([comparison.to_json() for comparison in comparisons]))
    else:
        equivalence_text.comparisons_to_text(comparisons, console(), lang=language)
    if not all(comparison.agrees for comparison in comparisons):
        raise typer.Exit(1)
