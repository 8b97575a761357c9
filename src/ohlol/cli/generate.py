"""`ohlol generate`: text from a trained language model."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ohlol.cli.app import MODELS, Cell, Device, Precision, app, ignore_closed_pipe
from ohlol.cli.predict import report_unknown
from ohlol.config import FULL_PRECISION
from ohlol.utils.terminal import print_data


@app.command(rich_help_panel=MODELS)
def generate(
    run: Annotated[Path, typer.Argument(help="Run directory of a language model (task next).", metavar="RUN")],
    prompt: Annotated[str, typer.Option(help="Text to continue.")] = "",
    length: Annotated[int, typer.Option(help="Symbols to generate.")] = 500,
    temperature: Annotated[float, typer.Option(help="Divides the logits; 0 takes the most probable symbol.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Sample from the k most probable symbols; 0: from all.")] = 0,
    top_p: Annotated[
        float, typer.Option(help="Sample from the most probable symbols that together have this probability.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling.")] = None,
    cell: Cell = None,
    device: Device = "cpu",
    precision: Precision = FULL_PRECISION,
) -> None:
    """Continue a text, and print each symbol when it is sampled."""
    from ohlol.data.symbols import split_text
    from ohlol.inference.trained_model import load

    model = load(run, device, cell=cell, precision=precision)
    symbols = model.generate(prompt, length=length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    by_word = model.config.data.level == "word"
    with ignore_closed_pipe():
        print_data(prompt, end="")
        previous = prompt[-1:] or "\n"
        for symbol in symbols:
            separator = " " if by_word and previous != "\n" and symbol != "\n" else ""
            print_data(separator + symbol, end="", flush=True)
            previous = symbol
        if previous != "\n":
            sys.stdout.write("\n")
        sys.stdout.flush()
    if prompt and model.codec.symbols is not None:
        report_unknown(model.codec.unknown(split_text(prompt, model.config.data)))
