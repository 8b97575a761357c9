"""`ohlol import`: a run directory from the weights of a torch.nn model or from an ONNX graph."""

from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import EXCHANGE, app
from ohlol.utils.terminal import print_message
from ohlol.utils.translation import translate


@app.command("import", rich_help_panel=EXCHANGE)
def import_run(
    file: Annotated[
        Path, typer.Argument(help="model.onnx, or the state_dict of torch.nn layers as .safetensors.", metavar="FILE")
    ],
    out: Annotated[Path | None, typer.Option(help="Run directory to write.", show_default="runs/FILE-1")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Task: label, next, classify, multilabel or next_row; not for a graph that ohlol exported."),
    ] = None,
    symbols: Annotated[
        Path | None, typer.Option(help="File of the symbols by id, or of the columns, one per line.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="File of the labels in the order of the logits.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
) -> None:
    """Import an embedding, an RNN, GRU or LSTM and a linear head, as a run that every command reads."""
    from ohlol.checkpoint.run_directory import choose_free_name
    from ohlol.interop import import_run as importer

    model, description = importer.import_model(file, task=task, symbols=symbols, labels=labels)
    run = choose_free_name(file.name.split(".")[0]) if out is None else out
    importer.save_run(model, run, overwrite=overwrite)
    print_message(translate("read: {description}\nsaved: {run}", description=description, run=run))
