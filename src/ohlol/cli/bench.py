"""`ohlol bench`: the speed of the layers on this machine, compared with torch's."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ohlol.cli.app import MACHINE, Json, app, console, one_of
from ohlol.config import FULL_PRECISION, INFERENCE_PRECISIONS
from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, translate

DTYPES = ("float32", "float64")
SHORT = {"loop": "loop ", "TorchScript": "script ", FULL_PRECISION: ""}
"""What a cell was compared with, in the table."""


@app.command(rich_help_panel=MACHINE)
def bench(
    cell: Annotated[
        list[str] | None,
        typer.Option(help="rnn, gru, lstm or another cell, or package.module:Class to import; repeatable."),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            help="Time steps, batch size, input size and hidden size, such as 50,32,64,64; repeatable.",
            metavar="T,B,I,H",
        ),
    ] = None,
    grad: Annotated[
        bool | None, typer.Option("--grad/--no-grad", help="Training only, or inference only; by default both.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    precision: Annotated[
        str,
        typer.Option(
            help=f"Precision of the weights in inference: {one_of(INFERENCE_PRECISIONS)}; bf16 and int8 are compared "
            "with fp32."
        ),
    ] = FULL_PRECISION,
    seconds: Annotated[float, typer.Option(help="Time to measure each row.", min=0.0)] = 1.0,
    save: Annotated[Path | None, typer.Option(help="Keep the result in a file, as JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Compare layers with those of torch.nn, and cells with a loop: first their results, then their speed.

    With a reduced precision, layers and cells in the kernels are compared with themselves in float32.
    """
    from rich import box
    from rich.table import Table

    from ohlol.nn import benchmark
    from ohlol.nn.roofline import measure_limits
    from ohlol.utils.files import write_json

    if dtype not in DTYPES:
        raise InputError("`dtype` is {dtype!r}; it must be one of {dtypes}", dtype=dtype, dtypes=join_list(DTYPES))
    is_reduced = precision != FULL_PRECISION
    if precision not in INFERENCE_PRECISIONS:
        raise InputError(
            "`precision` is {precision!r}; it must be one of {precisions}",
            precision=precision,
            precisions=join_list(INFERENCE_PRECISIONS),
        )
    if is_reduced and (grad or dtype != "float32"):
        raise InputError(
            "`precision` {precision} is for inference in float32: leave `grad` and `dtype` out", precision=precision
        )
    if save is not None and not save.parent.is_dir():
        raise InputError(
            "`save` is {save}, and {folder} is not a directory; create it first", save=save, folder=save.parent
        )
    import torch

    limits = measure_limits(getattr(torch, dtype))
    rows = benchmark.run(
        tuple(cell or ()),
        tuple(benchmark.Size(*_parse_size(text)) for text in sizes) if sizes else benchmark.SIZES,
        (False,) if is_reduced else (False, True) if grad is None else (grad,),
        dtype=getattr(torch, dtype),
        seconds=seconds,
        limits=limits,
        precision=precision,
    )
    plain = [{**asdict(row), "ratio": row.ratio} for row in rows]
    if save is not None:
        write_json(save, {"machine": _describe_machine(), "limits": limits.to_json(), "rows": plain})
    if as_json:
        print(json.dumps(plain, indent=2))
        return
    table: Any = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("T,B,I,H", "", translate("cell")):
        table.add_column(heading, no_wrap=True)
    compared = [translate("torch,\nms"), translate("ohlol,\nms")]
    if is_reduced:
        compared = [f"{FULL_PRECISION},\nms", f"{precision},\nms"]
    for heading in (*compared, translate("speedup"), "vs\nmm", "of\nroofline"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(translate("backend"))
    for row in rows:
        table.add_row(
            _describe(row.size),
            translate("train") if row.grad else translate("infer"),
            row.cell.rpartition(":")[2],
            f"{1e3 * row.torch:.3g}"
            if row.matmul_share is not None
            else f"{SHORT[row.compared_with]}{1e3 * row.torch:.3g}",
            f"{1e3 * row.ours:.3g}",
            f"{row.ratio:.2f}x",
            "" if row.matmul_share is None else f"{100 * row.matmul_share:.0f} %",
            "" if row.roofline_share is None else f"{100 * row.roofline_share:.0f} %",
            row.backend.split(" ")[0].rstrip(":"),
        )
    console().print(table)
    for group in benchmark.group_cells(rows):
        size, mode, least = (
            _describe(group[0].size),
            translate("train") if group[0].grad else translate("infer"),
            min(r.ratio for r in group),
        )
        mean = benchmark.geometric_mean(group)
        print(
            translate(
                "{size} {mode}: {count} cells, geometric mean {mean:.2f}x, least {least:.2f}x",
                size=size,
                mode=mode,
                count=len(group),
                mean=mean,
                least=least,
            )
        )
    if is_reduced:
        print(translate("medians; fp32 and {precision} are measured in turns, both of ohlol", precision=precision))
    else:
        print(translate("medians; torch and ohlol are measured in turns"))
    if any(row.matmul_share is None for row in rows) and not is_reduced:
        print(
            translate(
                "loop, TorchScript: the same cell in a loop over the steps, as it is or compiled; the faster "
                "one is shown"
            )
        )
    print(
        translate("vs mm: operations per second of ohlol, relative to one large torch.mm; more than 100 % is possible")
    )
    print(
        translate(
            "of roofline: the least time for the multiply-adds, or for the data from memory, relative to the time "
            "of ohlol"
        )
    )
    print(
        translate(
            "this machine, threads: {threads}, Gflop/s in {dtype}: multiply-adds ({variant}) {peak:,.0f}, torch.mm "
            "{matmul:,.0f}; memory {bandwidth:,.1f} GB/s",
            threads=limits.threads,
            dtype=limits.dtype,
            variant=limits.variant,
            peak=1e-9 * limits.peak,
            matmul=1e-9 * limits.matmul,
            bandwidth=1e-9 * limits.bandwidth,
        )
    )


def _describe_machine() -> dict[str, Any]:
    from ohlol import ops
    from ohlol.utils import environment

    machine = environment.describe_machine(kernels=ops.implementation()).to_json()
    return {key: value for key, value in machine.items() if key not in ("memory", "disk", "writable")}


def _describe(size: Any) -> str:
    return f"{size.T},{size.B},{size.inputs},{size.hidden}"


def _parse_size(text: str) -> list[int]:
    parts = [parse_digits(part) or 0 for part in text.split(",")]
    if len(parts) != 4 or not all(parts):
        raise InputError("`sizes` is {text!r}; give T,B,I,H, such as 50,32,64,64", text=text)
    return parts
