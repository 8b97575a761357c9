"""`ohlol bench`: our layers beside torch's on this machine, as a table; knows nothing of how it is measured."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ohlol.cli.frame import app, console
from ohlol.utils.errors import InputError


@app.command()
def bench(
    cell: Annotated[list[str] | None, typer.Option(help="rnn, gru or lstm; repeatable. All without it.")] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(help="T,B,I,H, such as 50,32,64,64; repeatable. Six usual ones without it.", metavar="T,B,I,H"),
    ] = None,
    grad: Annotated[
        bool | None, typer.Option("--grad/--no-grad", help="Only training, or only inference. Both without it.")
    ] = None,
    double: Annotated[bool, typer.Option("--double", help="float64 instead of float32.")] = False,
    seconds: Annotated[float, typer.Option(help="How long each row takes turns.", min=0.0)] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """How fast the layers are beside torch.nn's: first that the numbers agree, then medians of taking turns."""
    import torch
    from rich import box
    from rich.table import Table

    from ohlol.nn import benchmark as room

    chosen = tuple(room.Size(*_size(text)) for text in sizes) if sizes else room.SIZES
    rows = room.run(
        tuple(cell or ()),
        chosen,
        (False, True) if grad is None else (grad,),
        dtype=torch.float64 if double else torch.float32,
        seconds=seconds,
    )
    if as_json:
        print(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=2))
        return
    table: Any = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("T,B,I,H", "", "cell"):
        table.add_column(heading, no_wrap=True)
    for heading in ("torch, ms", "ohlol, ms", "faster", "peak"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("runs on")
    for row in rows:
        size = row.size
        table.add_row(
            f"{size.T},{size.B},{size.inputs},{size.hidden}",
            "train" if row.grad else "infer",
            row.cell,
            _milliseconds(row.torch),
            _milliseconds(row.ours),
            f"{row.ratio:.2f}x",
            f"{100 * row.peak_share:.0f} %",
            row.backend.split(" ")[0].rstrip(":"),
        )
    console().print(table)
    print("medians of turns: torch, ohlol, torch, ohlol; the peak is that of torch.mm")


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"


def _size(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--sizes is {text!r}; give T,B,I,H, such as 50,32,64,64")
    return [int(part) for part in parts]
